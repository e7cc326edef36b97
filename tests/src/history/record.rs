//! The record of what clients did, as they do it. Times come from one clock, so all clients of a history live in one process.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The number of an item. How it is spelled as an id is its client's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub u32);

/// The number of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct User(pub u32);

/// What one upsert wrote under one id. No two upserts of a history write the same, refused ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

/// Nanoseconds since the history began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Who did it.
    pub client: u32,
    /// Not later than the request was sent.
    pub begin: Moment,
    /// Not earlier than the answer came; `None` if none came.
    pub end: Option<Moment>,
    /// What was asked, and what was answered.
    pub call: Call,
}

/// A request and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// Write items, each id once.
    Upsert {
        /// What is written under each id.
        items: Vec<(Id, Token)>,
        /// What became of it.
        effect: Effect,
    },
    /// Remove items, each id once.
    Delete {
        /// The ids.
        ids: Vec<Id>,
        /// What became of it.
        effect: Effect,
    },
    /// Read items by id.
    Get {
        /// The ids asked for.
        ids: Vec<Id>,
        /// The items there were; `None` if there was no answer.
        items: Option<Vec<(Id, Token)>>,
    },
    /// Search, with every cluster probed, for the vector of one item, which only that version of it has.
    Query {
        /// The version whose vector is searched for.
        wanted: (Id, Token),
        /// The rows of the answer; `None` if there was none.
        rows: Option<Vec<(Id, Token)>>,
    },
    /// List all ids.
    List {
        /// The ids there were; `None` if there was no answer.
        ids: Option<Vec<Id>>,
    },
    /// Make a user, once.
    Mint {
        /// The user.
        user: User,
        /// What became of it.
        effect: Effect,
    },
    /// Take a user's rights away, for good.
    Revoke {
        /// The user.
        user: User,
        /// What became of it.
        effect: Effect,
    },
    /// Ask for anything with a user's token.
    Act {
        /// The user.
        user: User,
        /// Whether the request was served; `None` if there was no answer.
        served: Option<bool>,
    },
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It took effect before the answer came.
    Acknowledged,
    /// It had no effect and will have none.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Takes operations down while they happen.
pub struct Recorder {
    start: Instant,
    operations: Mutex<Vec<Operation>>,
}

/// An operation that has begun.
#[must_use = "an operation that is not ended counts as unanswered"]
pub struct Ticket(usize);

/// The operations of a run, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(pub Vec<Operation>);

impl Moment {
    /// Later than everything: when something ends that may still take effect.
    pub const NEVER: Self = Self(u64::MAX);
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NEVER => write!(f, "{:>12}", "?"),
            Self(nanos) => write!(f, "{:>10.6} s", Duration::from_nanos(nanos).as_secs_f64()),
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            operations: Mutex::default(),
        }
    }
}

impl Recorder {
    /// Now, on the history's clock.
    pub fn now(&self) -> Moment {
        Moment(self.start.elapsed().as_nanos() as u64)
    }

    /// Takes down that a client is about to ask; `call` is as it stands without an answer.
    pub fn begin(&self, client: u32, call: Call) -> Ticket {
        let mut operations = self.operations.lock();
        operations.push(Operation {
            client,
            begin: self.now(),
            end: None,
            call,
        });
        Ticket(operations.len() - 1)
    }

    /// Takes down the answer: `call` as it stands with it. An operation without an answer is never ended.
    pub fn end(&self, ticket: Ticket, call: Call) {
        let end = self.now();
        if let Some(operation) = self.operations.lock().get_mut(ticket.0) {
            operation.end = Some(end);
            operation.call = call;
        }
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        History(self.operations.lock().clone())
    }
}

impl History {
    /// Writes one line of JSON per operation.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for operation in &self.0 {
            serde_json::to_writer(&mut file, operation)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }

    /// Reads what [`History::write`] wrote.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lines = BufReader::new(File::open(path)?).lines();
        let operations = lines.map(|line| Ok(serde_json::from_str(&line?)?));
        Ok(Self(operations.collect::<io::Result<_>>()?))
    }
}
