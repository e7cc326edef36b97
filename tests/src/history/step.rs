//! A history taken apart into what it says about each register.

use super::record::{Call, Effect, History, Id, Moment, Operation, Token, User};
use super::violation::{Kind, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A register: what is judged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// What is under an id.
    Item(Id),
    /// Whether a user has rights.
    User(User),
}

/// What a register holds.
pub type State = Option<Token>;

/// A write or an observation of one register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Who did it.
    pub client: u32,
    /// It happened not before this.
    pub begin: Moment,
    /// It happened not after this; [`Moment::NEVER`] for a write that nobody answered, which may also not happen at all.
    pub end: Moment,
    /// What was done or seen.
    pub act: Act,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// From then on, the register holds this.
    Write(State),
    /// The register held what fits this.
    Observe(Seen),
}

/// What a client learned of a register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// It holds exactly this.
    Is(State),
    /// It does not hold this: a query for the vector of that version did not find it.
    IsNot(Token),
    /// It holds something.
    Present,
}

impl Seen {
    /// True if a register that holds `state` looks like this.
    pub fn fits(self, state: State) -> bool {
        match self {
            Self::Is(seen) => seen == state,
            Self::IsNot(token) => state != Some(token),
            Self::Present => state.is_some(),
        }
    }
}

impl Step {
    /// True for a write that may take effect any time later or never.
    pub fn is_open(&self) -> bool {
        self.end == Moment::NEVER
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(id) => write!(f, "item {}", id.0),
            Self::User(user) => write!(f, "user {}", user.0),
        }
    }
}

/// What a user's register holds while the user has rights.
const RIGHTS: State = Some(Token(0));

/// The steps of every register in the order in which they began, and what is wrong whatever the order.
pub fn steps(history: &History) -> (BTreeMap<Subject, Vec<Step>>, Vec<Violation>) {
    let mut apart = Apart::default();
    for operation in &history.0 {
        apart.take(operation);
    }
    for steps in apart.registers.values_mut() {
        steps.sort_by_key(|step| step.begin);
    }
    (apart.registers, apart.violations)
}

#[derive(Default)]
struct Apart {
    registers: BTreeMap<Subject, Vec<Step>>,
    violations: Vec<Violation>,
    /// Ids that some upsert named so far: a list that began later than all of these says of each whether it is there.
    named: BTreeSet<Id>,
}

impl Apart {
    fn take(&mut self, operation: &Operation) {
        match &operation.call {
            Call::Upsert { items, effect } => {
                self.named.extend(items.iter().map(|(id, _)| *id));
                for (id, token) in items {
                    self.write(operation, *effect, Subject::Item(*id), Some(*token));
                }
            }
            Call::Delete { ids, effect } => {
                for id in ids {
                    self.write(operation, *effect, Subject::Item(*id), None);
                }
            }
            Call::Get {
                ids,
                items: Some(items),
            } => {
                let found = self.rows(operation, items);
                for id in ids.iter().filter(|id| !found.contains(*id)) {
                    self.see(operation, *id, Seen::Is(None));
                }
            }
            Call::Query {
                wanted: (id, token),
                rows: Some(rows),
            } => {
                if !self.rows(operation, rows).contains(id) {
                    self.see(operation, *id, Seen::IsNot(*token));
                }
            }
            Call::List { ids: Some(ids) } => self.list(operation, ids),
            Call::Mint { user, effect } => self.write(operation, *effect, Subject::User(*user), RIGHTS),
            Call::Revoke { user, effect } => self.write(operation, *effect, Subject::User(*user), None),
            Call::Act {
                user,
                served: Some(served),
            } => {
                let seen = Seen::Is(if *served { RIGHTS } else { None });
                self.observe(operation, Subject::User(*user), seen);
            }
            Call::Get { items: None, .. }
            | Call::Query { rows: None, .. }
            | Call::List { ids: None }
            | Call::Act { served: None, .. } => {}
        }
    }

    /// Each row is an observation; an id that comes twice is wrong by itself.
    fn rows(&mut self, operation: &Operation, rows: &[(Id, Token)]) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        for (id, token) in rows {
            self.see(operation, *id, Seen::Is(Some(*token)));
            if !found.insert(*id) {
                self.twice(operation, *id, Seen::Is(Some(*token)));
            }
        }
        found
    }

    fn list(&mut self, operation: &Operation, ids: &[Id]) {
        let mut listed = BTreeSet::new();
        for id in ids {
            if !listed.insert(*id) {
                self.twice(operation, *id, Seen::Present);
            }
        }
        // What nobody had named when the list began may be missing from it without a word.
        for id in self.named.union(&listed).copied().collect::<Vec<_>>() {
            let seen = if listed.contains(&id) {
                Seen::Present
            } else {
                Seen::Is(None)
            };
            self.see(operation, id, seen);
        }
    }

    fn write(&mut self, operation: &Operation, effect: Effect, subject: Subject, state: State) {
        let end = match (effect, operation.end) {
            (Effect::Refused, _) => return,
            (Effect::Acknowledged, Some(end)) => end,
            (Effect::Acknowledged, None) | (Effect::Unknown, _) => Moment::NEVER,
        };
        self.push(operation, subject, Act::Write(state), end);
    }

    fn see(&mut self, operation: &Operation, id: Id, seen: Seen) {
        self.observe(operation, Subject::Item(id), seen);
    }

    fn observe(&mut self, operation: &Operation, subject: Subject, seen: Seen) {
        if let Some(end) = operation.end {
            self.push(operation, subject, Act::Observe(seen), end);
        }
    }

    fn push(&mut self, operation: &Operation, subject: Subject, act: Act, end: Moment) {
        self.registers.entry(subject).or_default().push(Step {
            client: operation.client,
            begin: operation.begin,
            end,
            act,
        });
    }

    fn twice(&mut self, operation: &Operation, id: Id, seen: Seen) {
        let step = Step {
            client: operation.client,
            begin: operation.begin,
            end: operation.end.unwrap_or(Moment::NEVER),
            act: Act::Observe(seen),
        };
        self.violations.push(Violation {
            subject: Subject::Item(id),
            kind: Kind::Twice,
            evidence: vec![step],
        });
    }
}
