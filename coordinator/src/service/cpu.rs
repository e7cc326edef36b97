//! The coordinator's one door for computing: a bounded pool, so that no request computes on an async thread and no
//! number of requests starts more threads.

use super::ServiceError;
use sealdex_core::ErrorCode;
use sealdex_telemetry::{Queue, metrics};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// A pool of compute threads with a bounded queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cpu {
    pool: Arc<rayon::ThreadPool>,
    name: Queue,
    queue: Arc<Semaphore>,
}

impl Cpu {
    /// `threads` threads; at most `queue` tasks running or waiting, observed under `name`.
    pub(crate) fn new(name: Queue, threads: usize, queue: usize) -> std::io::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("compute-{n}"))
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
