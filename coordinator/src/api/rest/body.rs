//! Request bodies: read whole, within limits of size, time and memory.

use crate::service::ServiceError;
use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use sealdex_core::ErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a refused body is read on.
const LINGER: Duration = Duration::from_secs(5);

/// The unit in which memory is counted.
const KIB: usize = 1024;

/// Reads bodies for all connections of a server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bodies {
    bytes_max: usize,
    timeout: Duration,
    memory: Arc<Semaphore>,
}

/// A body, with its share of the server's memory for bodies.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) share: Share,
}

impl Bodies {
    /// Bodies of at most `bytes_max` bytes, each within `timeout`, together at most `memory_max` bytes at any time.
    pub(super) fn new(bytes_max: usize, timeout: Duration, memory_max: usize) -> Self {
        Self {
            bytes_max,
            timeout,
            memory: Arc::new(Semaphore::new(memory_max.max(bytes_max).div_ceil(KIB))),
        }
    }

    /// Reads a body to its end. `awaits_continue` says that the client sends it only when it is asked to.
    pub(super) async fn receive(
        &self,
        mut body: Body,
        awaits_continue: bool,
    ) -> Result<Received, ServiceError> {
        let refusal = match timeout(self.timeout, self.collect(&mut body)).await {
            Ok(Ok(received)) => return Ok(received),
            Ok(Err(refusal)) => refusal,
            Err(_) => return Err(self.too_slow()),
        };
        if !awaits_continue {
            linger(body);
        }
        Err(refusal)
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
        while let Some(frame) = body.frame().await {
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
        Ok(received)
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
                "The request body did not arrive within {} seconds.",
                self.timeout.as_secs_f32()
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
    use futures_util::stream;
    use std::convert::Infallible;

    /// A body without a length, as when it comes in chunks.
    fn chunked(chunks: usize, bytes: usize) -> Body {
        let chunk = move |_| Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes]));
        Body::from_stream(stream::iter((0..chunks).map(chunk)))
    }

    async fn refusal(bodies: &Bodies, body: Body) -> ServiceError {
        bodies.receive(body, true).await.err().unwrap()
    }

    #[tokio::test]
    async fn size_is_limited_whether_it_is_announced_or_not() {
        let bodies = Bodies::new(1000, Duration::from_secs(5), 1 << 20);
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
        let bodies = Bodies::new(1000, Duration::from_millis(20), 1 << 20);
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert_eq!(refusal(&bodies, never).await.code(), ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn memory_is_shared_and_given_back() {
        let bodies = Bodies::new(8 * KIB, Duration::from_secs(5), 10 * KIB);
        let first = bodies.receive(chunked(7, KIB), false).await.unwrap();
        assert_eq!(refusal(&bodies, chunked(4, KIB)).await.code(), ErrorCode::Busy);
        let second = bodies.receive(chunked(3, KIB), false).await.unwrap();
        drop((first, second));
        assert!(bodies.receive(chunked(8, KIB), false).await.is_ok());
    }
}
