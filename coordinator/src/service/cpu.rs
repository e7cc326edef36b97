//! The coordinator's one door for computing: a bounded pool, so that no request computes on an async thread and no
//! number of requests starts more threads.

use super::ServiceError;
use sealdex_core::ErrorCode;
use sealdex_telemetry::{Queue, metrics};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// What somebody waits for goes first where cores are short: the operating system gives a thread that is so much nicer about
/// a tenth of the share of one that is not.
const NICER: i32 = 10;

/// Whether somebody waits for what a pool does.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Urgency {
    /// A request does.
    Asked,
    /// Nobody does: it may take its time.
    Behind,
}

/// A pool of compute threads with a bounded queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cpu {
    pool: Arc<rayon::ThreadPool>,
    name: Queue,
    queue: Arc<Semaphore>,
}

impl Cpu {
    /// `threads` threads; at most `queue` tasks running or waiting, observed under `name`.
    pub(crate) fn new(name: Queue, threads: usize, queue: usize, urgency: Urgency) -> std::io::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(move |n| match urgency {
                Urgency::Asked => format!("compute-{n}"),
                Urgency::Behind => format!("behind-{n}"),
            })
            .start_handler(move |_| {
                if urgency == Urgency::Behind {
                    give_way();
                }
            })
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self {
            pool: Arc::new(pool),
            name,
            queue: Arc::new(Semaphore::new(queue)),
        })
    }

    /// Runs `task` on the pool. Refused as busy when the queue is full.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let permit = self.queue.clone().try_acquire_owned().map_err(|_| {
            metrics().queues.refused(self.name);
            ServiceError::new(
                ErrorCode::Busy,
                "The server has too much under way; send the request again.",
            )
        })?;
        let queued = metrics().queues.enter(self.name);
        let (done, outcome) = oneshot::channel();
        self.pool.spawn(move || {
            let _held = (permit, queued);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
            let _ = done.send(result);
        });
        match outcome.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => Err(ServiceError::internal("a compute task panicked")),
        }
    }
}

/// Makes this thread a nicer one. Linux counts niceness by thread.
fn give_way() {
    let thread = Some(rustix::thread::gettid());
    // Where it cannot be told or changed, all have the same share.
    if rustix::process::getpriority_process(thread).is_ok_and(|now| now < NICER) {
        let _ = rustix::process::setpriority_process(thread, NICER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn niceness(urgency: Urgency) -> i32 {
        let cpu = Cpu::new(Queue::Training, 1, 1, urgency).unwrap();
        let niceness = cpu.run(|| rustix::process::getpriority_process(Some(rustix::thread::gettid())));
        niceness.await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_nobody_waits_for_gives_way() {
        let asked = niceness(Urgency::Asked).await;
        assert_eq!(niceness(Urgency::Behind).await, asked.max(NICER));
    }
}
