//! openraft's own suite for storage, on the real log and the door to a state machine.

use super::ledger::{Disk, Ledger, Plants};
use crate::log::{Database, LogReader, LogStore, Stream, Writer};
use crate::machine::{Applier, Machine, Progress};
use crate::raft::types::{Entry, LogId, Types, Vote};
use crate::{GroupId, Space};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use std::io;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;

/// A log that begins where the suite's first entry stands: the suite likes to begin an empty log in the middle, which this log
/// takes for the loss of what was before, unless that was purged.
struct Begun(LogStore);

impl RaftLogStorage<Types> for Begun {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.0.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(vote).await
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let first = entries.first().map_or(0, |entry| entry.log_id.index);
        if first > 0 && self.0.get_log_state().await?.last_log_id.is_none() {
            self.0.purge(LogId::new_term_index(0, first - 1)).await?;
        }
        self.0.append(entries, flushed).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.purge(upto).await
    }
}

/// Makes a log on files of its own, and a state machine that applies what the suite hands it without a log.
struct Builder;

/// What lasts as long as the two.
struct Files {
    _stream: Stream,
    _folder: TempDir,
}

impl StoreBuilder<Types, Begun, Applier, Files> for Builder {
    async fn build(&self) -> Result<(Files, Begun, Applier), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::open(folder.path(), Some(0)).unwrap());
        let database = Arc::new(Database::open(folder.path(), space).unwrap());
        let on_fault: crate::log::OnFault = Arc::new(|fault| panic!("{fault}"));
        let (writer, stream) = Writer::start(Arc::clone(&database), Arc::clone(&on_fault));
        let log = LogStore::open(GroupId(1), database, writer).unwrap();
        let machine = Machine::new(Ledger::open(&Disk::default(), Plants::default()), on_fault);
        let (_, everything) = watch::channel(u64::MAX);
        let applier = Applier::new(machine, everything, Arc::<Progress>::default()).await;
        let files = Files {
            _stream: stream,
            _folder: folder,
        };
        Ok((files, Begun(log), applier.unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_for_storage_passes() {
    Suite::<Types, Begun, Applier, Builder, Files>::test_all(Builder)
        .await
        .unwrap();
}
