//! What clients of a deployment did and saw, and whether a correct deployment could have shown it to them.
//!
//! A [`Recorder`] takes down every operation of every client with the times at which it began and was answered; [`check`] reads that
//! history. It knows nothing of how the operations were carried out.
//!
//! **The model.** Each item is a register of its own: an upsert writes a value that no other upsert wrote, a deletion writes "none".
//! A user is a register too: minted, then revoked. Whatever a client learns is an observation of one register at some moment between
//! its question and the answer: it holds this value, it does not hold that one, it is there, it is not. The history is right if each
//! register's operations can be put into one order that agrees with the clock and explains every observation (linearizability,
//! Herlihy and Wing 1990; it holds for all registers if it holds for each). That one rule says that what was acknowledged is there,
//! that what was deleted stays away, that a query finds what was there before it began, and that a revoked user is served no more.
//!
//! An operation without an answer may have taken effect, may yet, any time later, or never will.

mod order;
mod record;
mod shrink;
mod step;
mod violation;

pub use order::{Verdict, verdict};
pub use record::{Call, Effect, History, Id, Moment, Operation, Recorder, Ticket, Token, User};
pub use step::{Act, Seen, State, Step, Subject, steps};
pub use violation::{Kind, Violation};

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many registers were judged.
    pub subjects: usize,
    /// How many writes and observations of one register each were judged.
    pub steps: usize,
    /// What no correct deployment could have shown.
    pub violations: Vec<Violation>,
    /// Registers whose order was not found within the search's bound. A run with any of these proves nothing.
    pub undecided: Vec<Subject>,
}

/// Judges a whole history.
pub fn check(history: &History) -> Findings {
    let (registers, mut violations) = steps(history);
    let mut findings = Findings {
        subjects: registers.len(),
        ..Findings::default()
    };
    for (subject, steps) in registers {
        findings.steps += steps.len();
        match verdict(&steps) {
            Verdict::Possible => {}
            Verdict::Impossible => violations.push(Violation::of(subject, &steps)),
            Verdict::Undecided => findings.undecided.push(subject),
        }
    }
    findings.violations = violations;
    findings
}

impl Findings {
    /// True if everything was judged and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }

    /// How many violations are of this kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.violations
            .iter()
            .filter(|violation| violation.kind == kind)
            .count()
    }
}
