//! Background jobs: who works on what, so that no two nodes do the same work and none takes up a stage that is past.

use sealdex_core::{IndexId, NodeId};

/// What is done to an index in the background.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum JobKind {
    /// Learning a new generation.
    Training,
    /// Going from one key epoch to the next.
    Rotation,
    /// Giving what waits in the inbox its rows.
    Promotion,
    /// Rewriting small blocks as well-filled ones.
    Fold,
    /// Dropping generations and records that nothing names.
    Tidying,
}

/// Names a job: an index has one of each kind at a time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct JobName {
    /// What is done.
    pub kind: JobKind,
    /// To which index.
    pub index: IndexId,
}

/// One node's hold on a job. Never given twice: what carries an older one is refused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Claim(pub u64);

/// What a node is doing for a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Work {
    /// Which job.
    pub job: JobName,
    /// What is being done.
    pub state: WorkState,
    /// Items gone through.
    pub done: u64,
    /// Items to go through; 0 while that is not known.
    pub total: u64,
}

/// How far work is. Not every kind of job knows every state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkState {
    /// Others come first.
    Queued,
    /// It is being learned what the rest needs.
    Learning,
    /// Requests that began before are waited for.
    Preparing,
    /// Items are gone through.
    Running,
    /// Files that hold what was replaced are rewritten.
    Purging,
    /// It fails at present and is tried again by itself.
    Failing,
}

/// A job that somebody works on, or did until they were lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JobRecord {
    /// Which.
    pub name: JobName,
    /// Who works on it.
    pub owner: NodeId,
    /// The owner's hold on it.
    pub claim: Claim,
    /// How far it is, as its kind counts; 0 at first. Whoever takes it over goes on from here.
    pub stage: u32,
}
