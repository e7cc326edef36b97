//! The log on its real files, against a model.

use super::database::LogStoreError;
use super::*;
use crate::raft::types::{Command, Entry, LogId, Payload, Types, Vote};
use crate::{GroupId, Space};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A log database and its stream.
struct Files {
    database: Arc<Database>,
    writer: Writer,
    stream: Stream,
}

fn try_open(folder: &Path) -> Result<Files, LogStoreError> {
    let space = Arc::new(Space::open(folder, Some(0))?);
    let database = Arc::new(Database::open(folder, space)?);
    let (writer, stream) = Writer::start(Arc::clone(&database), Arc::new(|fault| panic!("{fault}")));
    Ok(Files {
        database,
        writer,
        stream,
    })
}

impl Files {
    fn open(folder: &Path) -> Self {
        try_open(folder).unwrap()
    }

    fn log(&self, group: u64) -> LogStore {
        LogStore::open(GroupId(group), Arc::clone(&self.database), self.writer.clone()).unwrap()
    }

    async fn close(self) {
        self.stream.close().await;
    }
}

/// Gives the group in a closed database an older vote: as if a later one had never been synced.
pub(crate) async fn roll_back_vote(folder: &Path, group: GroupId, vote: Vote) {
    let files = Files::open(folder);
    let mut batch = files.database.batch();
    batch.vote(group, vote);
    files.database.commit(batch).unwrap();
    files.close().await;
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn entry(term: u64, index: u64) -> Entry {
    Entry {
        log_id: id(term, index),
        payload: Payload::Normal(Command(vec![term as u8; 1 + index as usize % 50].into())),
    }
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    let (flushed, done) = Types::oneshot();
    log.append(entries, IOFlushed::signal(flushed)).await.unwrap();
    done.await.unwrap().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Truncate(u8),
    Purge(u8),
    Vote,
    Reopen,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let step = prop_oneof![
        4 => (1..20_u8).prop_map(Step::Append),
        2 => (0..30_u8).prop_map(Step::Truncate),
        2 => (0..30_u8).prop_map(Step::Purge),
        1 => Just(Step::Vote),
        1 => Just(Step::Reopen),
    ];
    (0..2_u64, step)
}

/// What a group's log should be.
#[derive(Default)]
struct Model {
    term: u64,
    entries: BTreeMap<u64, u64>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

impl Model {
    fn end(&self) -> u64 {
        let last = self.entries.keys().next_back().copied();
        last.or(self.purged.map(|id| id.index)).map_or(0, |last| last + 1)
    }

    fn last(&self) -> Option<LogId> {
        let last = self.entries.last_key_value();
        last.map(|(index, term)| id(*term, *index)).or(self.purged)
    }
}

async fn check(log: &mut LogStore, model: &Model) {
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, model.purged);
    assert_eq!(state.last_log_id, model.last());
    let mut reader = log.get_log_reader().await;
    let entries = reader.try_get_log_entries(..).await.unwrap();
    let expected: Vec<Entry> = model
        .entries
        .iter()
        .map(|(index, term)| entry(*term, *index))
        .collect();
    assert_eq!(entries, expected);
    assert_eq!(reader.read_vote().await.unwrap(), model.vote);
    for from in model.entries.keys() {
        let some = reader.limited_get_log_entries(*from, model.end()).await.unwrap();
        assert_eq!(some[0].log_id.index, *from);
    }
}

async fn run(steps: Vec<(u64, Step)>) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::open(folder.path());
    let mut logs = [files.log(0), files.log(1)];
    let mut models = [Model::default(), Model::default()];
    for (group, step) in steps {
        let (log, model) = (&mut logs[group as usize], &mut models[group as usize]);
        let end = model.end();
        let start = model.purged.map_or(0, |id| id.index + 1);
        match step {
            Step::Append(count) => {
                let new: Vec<u64> = (end..end + u64::from(count)).collect();
                append(log, new.iter().map(|index| entry(model.term, *index)).collect()).await;
                model
                    .entries
                    .extend(new.into_iter().map(|index| (index, model.term)));
            }
            Step::Truncate(count) => {
                let end = end.saturating_sub(u64::from(count)).max(start);
                model.entries.split_off(&end);
                model.term += 1;
                log.truncate_after(model.last()).await.unwrap();
            }
            Step::Purge(count) if start < end => {
                let upto = (start + u64::from(count)).min(end - 1);
                let purged = id(model.entries[&upto], upto);
                model.entries = model.entries.split_off(&(upto + 1));
                model.purged = Some(purged);
                log.purge(purged).await.unwrap();
            }
            Step::Purge(_) => {}
            Step::Vote => {
                model.term += 1;
                let vote = Vote::new(model.term, group);
                log.save_vote(&vote).await.unwrap();
                model.vote = Some(vote);
            }
            Step::Reopen => {
                drop(logs);
                files.close().await;
                files = Files::open(folder.path());
                logs = [files.log(0), files.log(1)];
            }
        }
        for (log, model) in logs.iter_mut().zip(&models) {
            check(log, model).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn two_logs_in_one_database_are_what_they_should_be(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps));
    }
}

#[tokio::test]
async fn a_log_that_comes_back_with_less_than_was_synced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path());
    let mut log = files.log(3);
    append(&mut log, vec![entry(1, 0)]).await;
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    drop(log);
    files.close().await;
    let logs: Vec<_> = std::fs::read_dir(folder.path().join("db"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    let (newest, whole) = logs
        .iter()
        .map(|path| (path, std::fs::read(path).unwrap()))
        .max()
        .unwrap();
    // The vote is the last record: without it the node would vote again in its term.
    std::fs::write(newest, &whole[..whole.len() - 9]).unwrap();
    let refused = try_open(folder.path()).err().unwrap().to_string();
    assert!(refused.contains("restore this node"), "{refused}");
}

#[tokio::test]
async fn a_missing_or_damaged_entry_is_an_error_and_not_a_hole() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path());
    let mut log = files.log(3);
    append(&mut log, (0..10).map(|index| entry(1, index)).collect()).await;
    drop(log);
    let mut batch = files.database.batch();
    batch.delete(GroupId(3), 4..5);
    files.database.commit(batch).unwrap();
    let mut reader = files.log(3).reader();
    assert_eq!(reader.try_get_log_entries(0..4).await.unwrap().len(), 4);
    let missing = reader.try_get_log_entries(3..6).await.unwrap_err().to_string();
    assert!(missing.contains("missing"), "{missing}");
    let stream = reader.entries_stream(8..11).await;
    let applied: Vec<_> = futures_util::StreamExt::collect(stream).await;
    assert!(
        applied.len() == 2 && applied.iter().all(Result::is_ok),
        "it ends with the log"
    );
    let stream = reader.entries_stream(3..6).await;
    let applied: Vec<_> = futures_util::StreamExt::collect(stream).await;
    assert!(applied.last().is_some_and(Result::is_err), "not within it");
}

#[tokio::test]
async fn a_forgotten_log_keeps_its_vote_and_knows_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path());
    let mut log = files.log(3);
    let vote = Vote::new(5, 2);
    log.save_vote(&vote).await.unwrap();
    append(&mut log, (0..10).map(|index| entry(4, index)).collect()).await;
    log.forget().await.unwrap();
    let mut log = files.log(3);
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_log_id, state.last_purged_log_id), (None, None));
    let mut reader = log.reader();
    assert_eq!(reader.read_vote().await.unwrap(), Some(vote));
    assert!(reader.is_recovering());
    append(&mut log, (0..9).map(|index| entry(4, index)).collect()).await;
    assert!(reader.is_recovering(), "one entry is missing");
    append(&mut log, vec![entry(4, 9)]).await;
    assert!(!reader.is_recovering());
    log.settle().await.unwrap();
    assert!(!files.log(3).reader().is_recovering());
}

#[tokio::test]
async fn what_was_purged_is_in_no_file_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path());
    let (mut log, mut other) = (files.log(3), files.log(4));
    let secret = |index| Entry {
        log_id: id(1, index),
        payload: Payload::Normal(Command(vec![0xAB; 777].into())),
    };
    let found = || {
        let files = std::fs::read_dir(folder.path().join("db")).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .any(|bytes| bytes.windows(700).any(|window| window == [0xAB; 700]))
    };
    append(&mut log, (0..5).map(secret).collect()).await;
    append(&mut other, vec![entry(1, 0)]).await;
    assert!(found());
    log.purge(id(1, 4)).await.unwrap();
    log.settle().await.unwrap();
    log.erase_purged().unwrap();
    // Files that nobody needs any more are deleted a little later.
    for _ in 0..200 {
        if !found() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!found());
    assert_eq!(
        other.reader().try_get_log_entries(..).await.unwrap(),
        [entry(1, 0)]
    );
}
