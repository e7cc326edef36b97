//! The threads on which records are read and opened, and the bound on what waits for them. Reading and scanning never
//! happen on the threads of the async runtime.

use rayon::prelude::*;
use sealdex_index::dataplane::ShardError;
use sealdex_telemetry::{Queue, metrics};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

/// A fixed number of threads and a bounded number of jobs for them.
pub(crate) struct Pool {
    threads: rayon::ThreadPool,
    crew: Arc<Crew>,
    room: Arc<Semaphore>,
    jobs_max: u32,
}

/// What a job knows of the threads it runs on.
pub(crate) struct Crew {
    threads: usize,
    running: AtomicUsize,
}

impl Pool {
    /// `jobs_max` jobs may run or wait at a time.
    pub(crate) fn new(threads: usize, jobs_max: usize) -> Result<Self, ShardError> {
        let jobs_max = u32::try_from(jobs_max)
            .unwrap_or(u32::MAX)
            .clamp(1, (Semaphore::MAX_PERMITS >> 1) as u32);
        let threads = threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("scan-{n}"))
            .panic_handler(|_| tracing::error!("a job on the scan pool panicked"))
            .build()
            .map_err(|error| ShardError::Storage(error.to_string()))?;
        let crew = Arc::new(Crew {
            threads,
            running: AtomicUsize::new(0),
        });
        Ok(Self {
            threads: pool,
            crew,
            room: Arc::new(Semaphore::new(jobs_max as usize)),
            jobs_max,
        })
    }

    /// Runs `job`, or refuses it if too many are under way. A job whose caller no longer waits when its turn comes is
    /// left out.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Crew) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        let room = Arc::clone(&self.room)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits => {
                    metrics().queues.refused(Queue::Scan);
                    ShardError::Busy
                }
                TryAcquireError::Closed => ShardError::Stopped,
            })?;
        let queued = metrics().queues.enter(Queue::Scan);
        let (reply, answer) = oneshot::channel();
        let crew = Arc::clone(&self.crew);
        self.threads.spawn(move || {
            // Given back when the job is over, however it ends.
            let _held = (room, queued);
            if !reply.is_closed() {
                let _running = Running::new(&crew);
                // A caller that went away meanwhile has no use for the result.
                let _ = reply.send(job(&crew));
            }
        });
        answer
            .await
            .unwrap_or_else(|_| Err(ShardError::Storage("a job panicked; the log has more".to_owned())))
    }

    /// Refuses further jobs and waits for those under way.
    pub(crate) async fn stop(&self) {
        // An error means that the pool was stopped before.
        let all = self.room.acquire_many(self.jobs_max).await;
        self.room.close();
        drop(all);
    }
}

impl Crew {
    /// How many parts a job should split into now: one, unless threads are idle.
    pub(crate) fn parts(&self) -> usize {
        1 + self.threads.saturating_sub(self.running.load(Ordering::Relaxed))
    }

    /// Does all of `parts`, at the same time if threads are idle. For jobs on the pool only.
    pub(crate) fn each<P: Sync, R: Send>(
        &self,
        parts: &[P],
        work: impl Fn(&P) -> Result<R, ShardError> + Sync,
    ) -> Result<Vec<R>, ShardError> {
        if parts.len() > 1 && self.parts() > 1 {
            parts.par_iter().map(&work).collect()
        } else {
            parts.iter().map(work).collect()
        }
    }
}

struct Running<'a>(&'a Crew);

impl<'a> Running<'a> {
    fn new(crew: &'a Crew) -> Self {
        crew.running.fetch_add(1, Ordering::Relaxed);
        Self(crew)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_room_comes_back() {
        let pool = Arc::new(Pool::new(1, 2).unwrap());
        let (open_gate, gate) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(move |_| gate.recv().map_err(|_| ShardError::Busy)).await }
        });
        // Waits behind the first, and is given up before its turn.
        let second = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(|_| -> Result<(), _> { panic!("nobody waits for this") })
                    .await
            }
        });
        while pool.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|_| Ok(())).await, Err(ShardError::Busy));
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        open_gate.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        while pool.room.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            pool.run(|crew| Ok(crew.running.load(Ordering::Relaxed))).await,
            Ok(1)
        );
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_leaves_no_trace() {
        let pool = Pool::new(1, 1).unwrap();
        let failed = pool.run(|_| -> Result<(), _> { panic!("a bug") }).await;
        assert!(matches!(failed, Err(ShardError::Storage(_))));
        while pool.room.available_permits() < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|crew| Ok(crew.parts())).await, Ok(1));
        pool.stop().await;
        pool.stop().await;
        assert_eq!(pool.run(|_| Ok(())).await, Err(ShardError::Stopped));
    }

    #[tokio::test]
    async fn parts_are_all_done_and_the_first_error_wins() {
        let pool = Pool::new(2, 4).unwrap();
        let sum = pool.run(|crew| {
            assert_eq!(crew.parts(), 2);
            crew.each(&[1, 2, 3], |n| Ok(n * n))
        });
        assert_eq!(sum.await, Ok(vec![1, 4, 9]));
        let failed =
            pool.run(|crew| crew.each(&[1, 2], |n| if *n == 2 { Err(ShardError::Busy) } else { Ok(()) }));
        assert_eq!(failed.await, Err(ShardError::Busy));
    }
}
