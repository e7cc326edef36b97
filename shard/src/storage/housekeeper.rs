//! The node's housekeeper: one thread that gives back the disk space of what was dropped, and moves the log into tables
//! when writing pauses, as far as the disk has room for it. Nothing depends on when it comes round; what it has not done at a crash is done later.

use super::db::Database;
use super::families::Family;
use sealdex_index::dataplane::ShardError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Writing has paused when nothing was written for that long.
const PAUSE: Duration = Duration::from_secs(3);

/// How often it looks whether writing has paused.
const ROUND: Duration = Duration::from_millis(500);

/// Unwritten tables that are worth a flush: less is read back from the log in no time.
const WORTH_A_FLUSH_BYTES: u64 = 4 * 1024 * 1024;

/// The thread, as long as it is wanted.
pub(crate) struct Housekeeper {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

/// All records of these families whose keys begin with `prefix`, deleted already.
pub(crate) struct Dropped {
    pub(crate) families: &'static [Family],
    pub(crate) prefix: Vec<u8>,
}

enum Job {
    Reclaim(Dropped),
    Purge {
        prefix: Vec<u8>,
        done: oneshot::Sender<Result<(), ShardError>>,
    },
}

impl Job {
    fn run(self, database: &Database) {
        match self {
            Job::Reclaim(dropped) => database.compact(dropped.families, &dropped.prefix),
            Job::Purge { prefix, done } => {
                // Whoever asked may have gone.
                let _ = done.send(database.purge(&Family::OF_AN_INDEX, &prefix));
            }
        }
    }
}

impl Housekeeper {
    pub(crate) fn start(database: Arc<Database>) -> std::io::Result<Self> {
        let (sender, jobs) = channel();
        let thread = std::thread::Builder::new()
            .name("housekeeper".to_owned())
            .spawn(move || keep_house(&database, &jobs))?;
        Ok(Self { jobs: sender, thread })
    }

    /// To be told after the deletion is durable.
    pub(crate) fn reclaim(&self, dropped: Dropped) {
        // It ends only with the node.
        let _ = self.jobs.send(Job::Reclaim(dropped));
    }

    /// Has all files rewritten that hold records of an index whose keys begin with `prefix`. The answer comes when nothing
    /// that was replaced or deleted before is left in any of them; none comes if the node closes before.
    pub(crate) fn purge(&self, prefix: Vec<u8>) -> oneshot::Receiver<Result<(), ShardError>> {
        let (done, answer) = oneshot::channel();
        let _ = self.jobs.send(Job::Purge { prefix, done });
        answer
    }

    /// Ends the thread. A compaction under way is given up; the database takes no further one.
    pub(crate) fn stop(self, database: &Database) {
        drop(self.jobs);
        database.give_up_compactions();
        // It has nothing to report.
        let _ = self.thread.join();
    }
}

fn keep_house(database: &Database, jobs: &Receiver<Job>) {
    let mut writing = Writing::new(database);
    let mut waiting = VecDeque::new();
    loop {
        match jobs.recv_timeout(ROUND) {
            Ok(job) => waiting.push_back(job),
            Err(RecvTimeoutError::Timeout) => writing.flush_in_a_pause(database),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let unwritten = database.unwritten_bytes();
        database.space().owe(unwritten);
        database.space().keep_headroom();
        // A compaction begins with a flush, and one that meets a full disk stops all writes.
        if database.space().has(unwritten)
            && let Some(job) = waiting.pop_front()
        {
            job.run(database);
        }
    }
}

/// What it has seen of the writers.
struct Writing {
    last_write: u64,
    since: Instant,
}

impl Writing {
    fn new(database: &Database) -> Self {
        Self {
            last_write: database.last_write(),
            since: Instant::now(),
        }
    }

    fn flush_in_a_pause(&mut self, database: &Database) {
        let last_write = database.last_write();
        if last_write != self.last_write {
            (self.last_write, self.since) = (last_write, Instant::now());
            return;
        }
        let unwritten = database.unwritten_bytes();
        if self.since.elapsed() >= PAUSE
            && unwritten >= WORTH_A_FLUSH_BYTES
            && database.space().has(unwritten)
        {
            self.since = Instant::now();
            if let Err(error) = database.flush() {
                // Nothing is lost: it is in the log.
                tracing::warn!(%error, "the last writes were not moved into tables");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_consensus::Space;
    use std::path::Path;

    fn disk_bytes(directory: &Path) -> u64 {
        let files = std::fs::read_dir(directory.join("db")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    fn put_all(database: &Database, prefix: u8, mib: u8) {
        for n in 0..mib {
            let mut batch = database.batch();
            batch.put(Family::Blocks, &[prefix, n], &vec![n; 1024 * 1024]);
            database.commit(batch.finish()).unwrap();
        }
    }

    /// Waits for what a background thread does sooner or later.
    fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn what_was_replaced_or_deleted_is_in_no_file_after_a_purge() {
        let home = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::open(home.path(), Some(0)).unwrap());
        let database = Arc::new(Database::open(home.path(), 1 << 20, 2, space).unwrap());
        let housekeeper = Housekeeper::start(Arc::clone(&database)).unwrap();
        let put = |key: &[u8], value: &[u8]| {
            let mut batch = database.batch();
            batch.put(Family::Vectors, key, value);
            database.commit(batch.finish()).unwrap();
        };
        let is_found = |text: &[u8]| {
            std::fs::read_dir(home.path().join("db")).unwrap().any(|file| {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                bytes.windows(text.len()).any(|window| window == text)
            })
        };
        let (replaced, deleted, kept) = (b"this was replaced", b"this was deleted", b"this is current");
        put(&[1, 1], replaced);
        put(&[1, 2], deleted);
        // In the last level, and kept there by a reader when newer versions came.
        database.flush().unwrap();
        database.compact(&Family::OF_AN_INDEX, &[1]);
        let reader = database.snapshot();
        put(&[1, 1], kept);
        let mut batch = database.batch();
        batch.delete(Family::Vectors, &[1, 2]);
        database.commit(batch.finish()).unwrap();
        database.flush().unwrap();
        database.compact(&Family::OF_AN_INDEX, &[1]);
        assert!(is_found(replaced) && is_found(deleted) && is_found(kept));
        let purged = housekeeper.purge(vec![1]);
        drop(reader);
        purged.blocking_recv().unwrap().unwrap();
        wait_until("purged", || !is_found(replaced) && !is_found(deleted));
        assert!(is_found(kept));
        housekeeper.stop(&database);
    }

    #[test]
    fn the_log_is_emptied_in_a_pause_and_dropped_records_leave_the_disk() {
        const MIB: u64 = 1024 * 1024;
        let home = tempfile::tempdir().unwrap();
        let open = || {
            let space = Arc::new(Space::open(home.path(), Some(0)).unwrap());
            Database::open(home.path(), 1 << 20, 2, space).unwrap()
        };
        let database = Arc::new(open());
        let housekeeper = Housekeeper::start(Arc::clone(&database)).unwrap();
        put_all(&database, 1, 20);
        put_all(&database, 2, 20);
        wait_until("flushed", || database.unwritten_bytes() < WORTH_A_FLUSH_BYTES);
        wait_until("the log is gone", || disk_bytes(home.path()) < 45 * MIB);

        let mut batch = database.batch();
        batch.delete_prefix(Family::Blocks, &[1]);
        database.commit(batch.finish()).unwrap();
        housekeeper.reclaim(Dropped {
            families: &Family::OF_A_GENERATION,
            prefix: vec![1],
        });
        wait_until("reclaimed", || disk_bytes(home.path()) < 25 * MIB);
        let left = database.latest().range(Family::Blocks, &[0], vec![9]).count();
        assert_eq!(left, 20);

        housekeeper.stop(&database);
        drop(database);
        let database = open();
        let left = database.latest().range(Family::Blocks, &[0], vec![9]).count();
        assert_eq!(left, 20);
    }
}
