//! Request bodies: read whole, within limits of size, time and memory.

use super::server::ServerOptions;
use crate::service::ServiceError;
use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use sealdex_core::{ErrorCode, limits};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a refused body is read on.
const LINGER: Duration = Duration::from_secs(5);

/// The unit in which memory is counted.
const KIB: usize = 1024;

/// Reads bodies for all connections of a server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bodies {
    bytes_max: usize,
    timeout: Duration,
    grace: Duration,
    memory: Arc<Semaphore>,
}

/// A body, with its share of the server's memory for bodies.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) share: Share,
}

impl Bodies {
    /// Within the limits of `options`. All bodies together may be at least as large as one.
    pub(super) fn new(options: &ServerOptions) -> Self {
        let memory = options.bodies_bytes_max.max(options.body_bytes_max);
        Self {
            bytes_max: options.body_bytes_max,
            timeout: options.body_timeout,
            grace: options.body_grace,
            memory: Arc::new(Semaphore::new(memory.div_ceil(KIB))),
        }
    }

    /// Reads a body to its end. `awaits_continue` says that the client sends it only when it is asked to.
    pub(super) async fn receive(
        &self,
        mut body: Body,
        awaits_continue: bool,
    ) -> Result<Received, ServiceError> {
        match self.collect(&mut body).await {
            Err(refusal) => {
                // Nobody waits for one that is too slow.
                if !awaits_continue && refusal.code() != ErrorCode::Timeout {
                    linger(body);
                }
                Err(refusal)
            }
            received => received,
        }
    }

    async fn collect(&self, body: &mut Body) -> Result<Received, ServiceError> {
        let announced = body.size_hint().lower();
        if announced > self.bytes_max as u64 {
            return Err(self.too_large());
        }
        let mut received = Received {
            bytes: Vec::with_capacity(announced as usize),
            share: Share::default(),
        };
        let started = Instant::now();
        loop {
            let deadline = started + self.time_for(received.bytes.len());
            let Some(frame) = timeout_at(deadline, body.frame())
                .await
                .map_err(|_| self.too_slow())?
            else {
                return Ok(received);
            };
            let frame =
                frame.map_err(|_| ServiceError::invalid("The request body ended before it was complete."))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = received.bytes.len() + data.len();
            if length > self.bytes_max {
                return Err(self.too_large());
            }
            received.share.grow(&self.memory, length)?;
            received.bytes.extend_from_slice(&data);
        }
    }

    /// How long a body may take of which so many bytes are here.
    fn time_for(&self, bytes: usize) -> Duration {
        let at_least_rate = Duration::from_secs_f64(bytes as f64 / limits::BODY_RATE_MIN as f64);
        (self.grace + at_least_rate).min(self.timeout)
    }

    fn too_large(&self) -> ServiceError {
        ServiceError::new(
            ErrorCode::TooLarge,
            format!(
                "The request body may be at most {} bytes; send several smaller requests.",
                self.bytes_max
            ),
        )
    }

    fn too_slow(&self) -> ServiceError {
        ServiceError::new(
            ErrorCode::Timeout,
            format!(
                "The request body came too slowly: send it within {} seconds, after the first {} at {} KiB a second or more.",
                self.timeout.as_secs_f32(),
                self.grace.as_secs_f32(),
                limits::BODY_RATE_MIN / KIB
            ),
        )
    }
}

/// Memory that bodies under way take up; given back when it is dropped.
#[derive(Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Share {
    fn grow(&mut self, memory: &Arc<Semaphore>, bytes: usize) -> Result<(), ServiceError> {
        let held = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.div_ceil(KIB).saturating_sub(held)).unwrap_or(u32::MAX);
        let permit = memory.clone().try_acquire_many_owned(more).map_err(|_| {
            ServiceError::new(
                ErrorCode::Busy,
                "The server has too many large requests under way; send the request again.",
            )
        })?;
        match &mut self.0 {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// Reads on for a while and forgets what comes. A client that sends its whole body before it looks for an answer would
/// find the connection reset, and the answer lost, if the server closed it at once.
pub(super) fn linger(mut body: Body) {
    if !body.is_end_stream() {
        tokio::spawn(timeout(LINGER, async move {
            while let Some(Ok(_)) = body.frame().await {}
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;

    /// A body without a length, as when it comes in chunks.
    fn chunked(chunks: usize, bytes: usize) -> Body {
        let chunk = move |_| Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes]));
        Body::from_stream(stream::iter((0..chunks).map(chunk)))
    }

    /// Bodies of at most `bytes_max` bytes, each within `timeout`, together at most `memory_max` bytes.
    fn bodies(bytes_max: usize, timeout: Duration, memory_max: usize) -> Bodies {
        Bodies::new(&ServerOptions {
            body_bytes_max: bytes_max,
            bodies_bytes_max: memory_max,
            body_timeout: timeout,
            ..ServerOptions::default()
        })
    }

    async fn refusal(bodies: &Bodies, body: Body) -> ServiceError {
        bodies.receive(body, true).await.err().unwrap()
    }

    #[tokio::test]
    async fn size_is_limited_whether_it_is_announced_or_not() {
        let bodies = bodies(1000, Duration::from_secs(5), 1 << 20);
        assert_eq!(
            bodies.receive(chunked(10, 100), false).await.unwrap().bytes.len(),
            1000
        );
        for body in [chunked(11, 100), Body::from(vec![0; 1001])] {
            let error = refusal(&bodies, body).await;
            assert_eq!(error.code(), ErrorCode::TooLarge);
            assert!(error.detail().contains("1000 bytes"));
        }
    }

    #[tokio::test]
    async fn time_is_limited() {
        let bodies = bodies(1000, Duration::from_millis(20), 1 << 20);
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert_eq!(refusal(&bodies, never).await.code(), ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn a_trickle_is_cut_off_and_a_steady_stream_is_not() {
        let stream = |bytes: usize| {
            let chunks = stream::unfold((), move |()| async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Some((Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes])), ()))
            });
            Body::from_stream(chunks.take(40))
        };
        let bodies = Bodies::new(&ServerOptions {
            body_grace: Duration::from_millis(100),
            ..ServerOptions::default()
        });
        assert_eq!(refusal(&bodies, stream(1)).await.code(), ErrorCode::Timeout);
        assert!(bodies.receive(stream(limits::BODY_RATE_MIN), false).await.is_ok());
    }

    #[tokio::test]
    async fn memory_is_shared_and_given_back() {
        let bodies = bodies(8 * KIB, Duration::from_secs(5), 10 * KIB);
        let first = bodies.receive(chunked(7, KIB), false).await.unwrap();
        assert_eq!(refusal(&bodies, chunked(4, KIB)).await.code(), ErrorCode::Busy);
        let second = bodies.receive(chunked(3, KIB), false).await.unwrap();
        drop((first, second));
        assert!(bodies.receive(chunked(8, KIB), false).await.is_ok());
    }
}
