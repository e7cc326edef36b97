//! Whether a node is ready for requests, and what stands in the way. Its role tells it at which stage of its life it is and what else
//! has to hold; nothing is known here of what that is.

use parking_lot::Mutex;
use std::fmt::Write;
use std::sync::Arc;

/// The readiness of one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<Mutex<Inner>>);

struct Inner {
    life: Life,
    conditions: Vec<(&'static str, Look)>,
}

/// Where a node is in its life.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Life {
    Starting,
    Serving,
    Draining,
}

type Look = Arc<dyn Fn() -> Condition + Send + Sync>;

/// What one thing is like that a node depends on.
pub(crate) enum Condition {
    /// As it should be.
    Good,
    /// Something is wrong, but requests are still better sent here than nowhere: the same may be wrong everywhere.
    Impaired(String),
    /// Requests are to go elsewhere.
    Bad(String),
}

/// What is told of a node.
pub(crate) struct Report {
    pub(crate) is_ready: bool,
    /// A line for the node, and one for each condition.
    pub(crate) text: String,
}

impl Readiness {
    /// Of a node that is starting.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            life: Life::Starting,
            conditions: Vec::new(),
        })))
    }

    /// From now on `look` is asked, too. It may take a moment, and should wait for nobody.
    pub(crate) fn depend(&self, on: &'static str, look: impl Fn() -> Condition + Send + Sync + 'static) {
        self.0.lock().conditions.push((on, Arc::new(look)));
    }

    /// The node has started.
    pub(crate) fn serve(&self) {
        self.0.lock().life = Life::Serving;
    }

    /// The node finishes what is under way, and requests are to go elsewhere. Returns whether it served before.
    pub(crate) fn drain(&self) -> bool {
        let before = std::mem::replace(&mut self.0.lock().life, Life::Draining);
        before == Life::Serving
    }

    /// What to tell.
    pub(crate) fn report(&self) -> Report {
        let (life, conditions) = {
            let inner = self.0.lock();
            (inner.life, inner.conditions.clone())
        };
        let mut is_ready = life == Life::Serving;
        let mut text = match life {
            Life::Starting => "node: starting\n",
            Life::Serving => "node: serving\n",
            Life::Draining => "node: draining\n",
        }
        .to_owned();
        for (name, look) in conditions {
            let (mark, why) = match look() {
                Condition::Good => ("good", String::new()),
                Condition::Impaired(why) => ("impaired, ", why),
                Condition::Bad(why) => {
                    is_ready = false;
                    ("bad, ", why)
                }
            };
            // A text takes what is written to it.
            let _ = writeln!(text, "{name}: {mark}{why}");
        }
        Report { is_ready, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_between_its_start_and_its_end() {
        let readiness = Readiness::new();
        assert!(!readiness.report().is_ready);
        readiness.serve();
        assert!(readiness.report().is_ready);
        assert!(readiness.drain(), "it served");
        let report = readiness.report();
        assert!(!report.is_ready);
        assert_eq!(report.text, "node: draining\n");
        assert!(!Readiness::new().drain(), "it had not started");
    }

    #[test]
    fn what_is_bad_keeps_requests_away_and_what_is_impaired_does_not() {
        let readiness = Readiness::new();
        readiness.serve();
        readiness.depend("disk", || Condition::Impaired("full".to_owned()));
        let report = readiness.report();
        assert!(report.is_ready);
        assert_eq!(report.text, "node: serving\ndisk: impaired, full\n");
        readiness.depend("leader", || Condition::Bad("none".to_owned()));
        assert!(!readiness.report().is_ready);
    }
}
