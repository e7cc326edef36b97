//! How long calls may take, and which of them may be carried out twice.

use super::attempts::Repeat;
use sealdex_proto::partition::{Entry, entry::Command};
use std::time::Duration;

/// How long a call waits for a leader while nobody leads its partition: longer than an election takes.
pub(super) const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a call may take, in all and at one node, and whether it may be carried out twice.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub(super) in_all: Duration,
    pub(super) at_one: Duration,
    pub(super) repeat: Repeat,
    /// Any replica may answer it, and a second one is asked if the first is slow.
    pub(super) hedged: bool,
}

pub(super) const READ: Effort = Effort {
    hedged: true,
    ..effort(30, 10, Repeat::Safe)
};
/// A fold, or a page that is sealed again. A second time finds the blocks gone, or sealed already.
pub(super) const MAINTAIN: Effort = effort(120, 60, Repeat::Safe);
/// A node that is there says at once whether its disk has room.
pub(super) const ROOM_ANSWER_MAX: Duration = Duration::from_millis(500);
/// Files are rewritten.
pub(super) const PURGE_MAX: Duration = Duration::from_secs(1_200);

const fn effort(in_all: u64, at_one: u64, repeat: Repeat) -> Effort {
    Effort {
        in_all: Duration::from_secs(in_all),
        at_one: Duration::from_secs(at_one),
        repeat,
        hedged: false,
    }
}

/// Of a write. It waits for one node as long as it may: to leave it early is not to know what came of it.
pub(super) fn write_effort(entry: &Entry) -> Effort {
    effort(30, 30, repeat_of(entry))
}

/// Whether an entry that may have been applied can be proposed again. Items and deletions cannot: between the two times,
/// somebody else may have written the same item, been told so, and would find it undone. Whoever sent the request sends it
/// again as a write of its own. Everything else names what it replaces, or is the same however often it is written.
fn repeat_of(entry: &Entry) -> Repeat {
    match entry.command {
        Some(Command::CommitItems(_) | Command::DeleteItems(_) | Command::PutInbox(_)) | None => {
            Repeat::Unsafe
        }
        Some(
            Command::BeginGeneration(_)
            | Command::RetireGeneration(_)
            | Command::AppendBlocks(_)
            | Command::ReplaceBlocks(_)
            | Command::PutBlobs(_)
            | Command::DropIndex(_)
            | Command::PromoteItems(_)
            | Command::PinWriteKey(_)
            | Command::DropWriteKeys(_)
            | Command::ResealItems(_),
        ) => Repeat::Safe,
    }
}
