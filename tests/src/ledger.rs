//! What a writer knows of its own items after crashes: for each id the last acknowledged state, and the states that requests without
//! an answer may have left behind. Each id has one writer, which waits for an answer before it writes the id again.

use crate::item::Item;
use std::collections::BTreeMap;
use std::fmt;

/// One writer's memory.
#[derive(Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
}

/// The state of an id: the item under it, or none.
pub type State = Option<Item>;

#[derive(Default)]
struct Entry {
    settled: State,
    open: Vec<State>,
}

/// A promise that was broken.
#[derive(Debug, PartialEq)]
pub enum Violation {
    /// An acknowledged item is gone.
    Lost(String),
    /// An item is back whose deletion was acknowledged.
    Resurrected(String),
    /// An item is there in a state that nobody wrote: of parts of several versions, an older version, or half.
    Torn {
        /// The id.
        id: String,
        /// What was read.
        found: Box<Item>,
    },
    /// An item is there that nobody wrote.
    Unknown(String),
}

impl Ledger {
    /// Remembers that these states were asked for and not yet answered.
    pub fn begin(&mut self, writes: &[(String, State)]) {
        for (id, state) in writes {
            self.entries
                .entry(id.clone())
                .or_default()
                .open
                .push(state.clone());
        }
    }

    /// Remembers that the writes last begun were acknowledged.
    pub fn acknowledge(&mut self, writes: &[(String, State)]) {
        for (id, state) in writes {
            self.entries.insert(
                id.clone(),
                Entry {
                    settled: state.clone(),
                    open: Vec::new(),
                },
            );
        }
    }

    /// Compares what was read under all known ids with what may be there.
    pub fn violations(&self, found: &BTreeMap<String, Item>) -> Vec<Violation> {
        let unknown = found
            .keys()
            .filter(|id| !self.entries.contains_key(*id))
            .cloned()
            .map(Violation::Unknown);
        let broken = self
            .entries
            .iter()
            .filter_map(|(id, entry)| entry.violation(id, found.get(id)));
        unknown.chain(broken).collect()
    }

    /// Takes what was read as the truth from now on: after a crash no request is under way any more.
    pub fn adopt(&mut self, found: &BTreeMap<String, Item>) {
        for (id, entry) in &mut self.entries {
            *entry = Entry {
                settled: found.get(id).cloned(),
                open: Vec::new(),
            };
        }
    }

    /// Every id ever written.
    pub fn ids(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// The items that are there for certain.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.entries.values().filter_map(|entry| entry.settled.as_ref())
    }

    /// The item under `id`, if one is there for certain.
    pub fn get(&self, id: &str) -> Option<&Item> {
        self.entries.get(id)?.settled.as_ref()
    }

    /// True if `id` was ever written through this ledger.
    pub fn knows(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }
}

impl Entry {
    fn violation(&self, id: &str, found: Option<&Item>) -> Option<Violation> {
        let allowed = std::iter::once(&self.settled)
            .chain(&self.open)
            .any(|state| match (state, found) {
                (Some(written), Some(found)) => written.is_same_as(found),
                (None, None) => true,
                _ => false,
            });
        match found {
            _ if allowed => None,
            None => Some(Violation::Lost(id.to_owned())),
            Some(_) if self.settled.is_none() && self.open.iter().all(Option::is_none) => {
                Some(Violation::Resurrected(id.to_owned()))
            }
            Some(item) => Some(Violation::Torn {
                id: id.to_owned(),
                found: Box::new(item.clone()),
            }),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost(id) => write!(f, "{id} was acknowledged and is gone"),
            Violation::Resurrected(id) => write!(f, "{id} was deleted and is back"),
            Violation::Torn { id, found } => write!(f, "{id} is in a state that nobody wrote: {found:?}"),
            Violation::Unknown(id) => write!(f, "{id} is there and nobody wrote it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn version(n: u32) -> Item {
        Item::bare("a", vec![n as f32])
            .with_metadata(json!({"v": n}))
            .with_contents(n.to_string())
    }

    fn ledger_with(settled: State) -> Ledger {
        let mut ledger = Ledger::default();
        let writes = [("a".to_owned(), settled)];
        ledger.begin(&writes);
        ledger.acknowledge(&writes);
        ledger
    }

    fn read(item: Option<Item>) -> BTreeMap<String, Item> {
        item.into_iter().map(|item| (item.id.clone(), item)).collect()
    }

    #[test]
    fn the_acknowledged_state_is_right() {
        assert_eq!(
            ledger_with(Some(version(1))).violations(&read(Some(version(1)))),
            []
        );
        assert_eq!(ledger_with(None).violations(&read(None)), []);
    }

    #[test]
    fn an_unanswered_write_may_have_happened_or_not() {
        let mut ledger = ledger_with(Some(version(1)));
        ledger.begin(&[("a".to_owned(), Some(version(2)))]);
        assert_eq!(ledger.violations(&read(Some(version(1)))), []);
        assert_eq!(ledger.violations(&read(Some(version(2)))), []);
        assert_eq!(ledger.violations(&read(None)), [Violation::Lost("a".to_owned())]);
        ledger.adopt(&read(Some(version(2))));
        assert!(
            !ledger.violations(&read(Some(version(1)))).is_empty(),
            "what was read once must stay"
        );
    }

    #[test]
    fn every_broken_promise_is_named() {
        assert_eq!(
            ledger_with(Some(version(1))).violations(&read(None)),
            [Violation::Lost("a".to_owned())]
        );
        assert_eq!(
            ledger_with(None).violations(&read(Some(version(1)))),
            [Violation::Resurrected("a".to_owned())]
        );
        assert_eq!(
            Ledger::default().violations(&read(Some(version(1)))),
            [Violation::Unknown("a".to_owned())]
        );
    }

    #[test]
    fn a_mixture_of_two_versions_is_torn() {
        let mut ledger = ledger_with(Some(version(1)));
        ledger.begin(&[("a".to_owned(), Some(version(2)))]);
        let mixtures = [
            Item {
                vector: version(2).vector,
                ..version(1)
            },
            Item {
                metadata: version(2).metadata,
                ..version(1)
            },
            Item {
                contents: version(2).contents,
                ..version(1)
            },
            Item {
                contents: String::new(),
                ..version(2)
            },
            Item {
                vector: vec![-0.0],
                ..version(1)
            },
        ];
        for mixture in mixtures {
            assert!(matches!(
                &ledger.violations(&read(Some(mixture)))[..],
                [Violation::Torn { .. }]
            ));
        }
    }
}
