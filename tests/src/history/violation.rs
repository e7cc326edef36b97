//! A promise that a history shows to be broken, told so that a reader can follow it.

use super::shrink::{is_phantom, smallest};
use super::step::{Act, Seen, Step, Subject};
use std::fmt;

/// What no correct deployment could have shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The register it is about.
    pub subject: Subject,
    /// Which promise was broken, as the last observation of the evidence tells.
    pub kind: Kind,
    /// The few steps that have no order, in the order in which they began.
    pub evidence: Vec<Step>,
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something was read that no acknowledged or unanswered write had written: invented, torn, or refused.
    Phantom,
    /// Something acknowledged was not there.
    Lost,
    /// Something acknowledged and not replaced was not found by its own vector.
    Unfound,
    /// Something was there after its deletion.
    Resurrected,
    /// An older version was read than had been acknowledged or read before.
    Stale,
    /// One answer held the same id twice.
    Twice,
    /// A revoked user was served.
    Revoked,
    /// A user was denied who had rights.
    Denied,
}

impl Violation {
    /// Finds out what is wrong with steps of `subject` that have no order.
    pub(super) fn of(subject: Subject, steps: &[Step]) -> Self {
        match steps.iter().find(|step| is_phantom(step, steps)) {
            Some(step) => Self {
                subject,
                kind: Kind::Phantom,
                evidence: vec![*step],
            },
            None => {
                let evidence = smallest(steps);
                let kind = kind(subject, &evidence);
                Self {
                    subject,
                    kind,
                    evidence,
                }
            }
        }
    }
}

/// Named after the observation that was made last.
fn kind(subject: Subject, evidence: &[Step]) -> Kind {
    let observations = evidence.iter().filter_map(|step| match step.act {
        Act::Observe(seen) => Some((step.end, seen)),
        Act::Write(_) => None,
    });
    let last = observations.max_by_key(|(end, _)| *end).map(|(_, seen)| seen);
    let shows_something = last.is_some_and(|seen| !seen.fits(None));
    let deletes = evidence.iter().any(|step| step.act == Act::Write(None));
    match (subject, last) {
        (Subject::User(_), _) if shows_something => Kind::Revoked,
        (Subject::User(_), _) => Kind::Denied,
        (_, Some(Seen::IsNot(_))) => Kind::Unfound,
        _ if shows_something && deletes => Kind::Resurrected,
        _ if shows_something => Kind::Stale,
        _ => Kind::Lost,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phantom => "was read as nobody wrote it",
            Self::Lost => "was acknowledged and is not there",
            Self::Unfound => "is not found by its own vector",
            Self::Resurrected => "was deleted and is back",
            Self::Stale => "was read in an older version",
            Self::Twice => "is in one answer twice",
            Self::Revoked => "was revoked and is served",
            Self::Denied => "has rights and is denied",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {}; no order of these steps explains what was seen:",
            self.subject, self.kind
        )?;
        for step in &self.evidence {
            writeln!(f, "  {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {:<3} {} to {}  ", self.client, self.begin, self.end)?;
        match self.act {
            Act::Write(Some(token)) => write!(f, "writes {}", token.0),
            Act::Write(None) => write!(f, "deletes"),
            Act::Observe(Seen::Is(Some(token))) => write!(f, "sees {}", token.0),
            Act::Observe(Seen::Is(None)) => write!(f, "sees nothing"),
            Act::Observe(Seen::IsNot(token)) => write!(f, "does not find {}", token.0),
            Act::Observe(Seen::Present) => write!(f, "sees that it is there"),
        }?;
        match self.act {
            Act::Write(_) if self.is_open() => {
                f.write_str(" (unanswered: may happen any time later, or never)")
            }
            _ => Ok(()),
        }
    }
}
