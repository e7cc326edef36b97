//! The connection to one peer: puts the headers into each call, and hears it when the peer answers that this node was removed.

use crate::headers::Headers;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

const REMOVED: &str = "sealdex-removed";

/// Tells with a refusal that the caller is part of the deployment no more.
pub(crate) fn tell_removed(refusal: &mut Status) {
    let yes = MetadataValue::from_static("1");
    refusal.metadata_mut().insert(REMOVED, yes);
}

fn tells_removed(headers: &HeaderMap) -> bool {
    headers.contains_key(REMOVED)
}

/// Set once it was told that this node was removed.
pub(crate) type Removed = Arc<watch::Sender<bool>>;

type Calls = InterceptedService<Channel, Headers>;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerChannel {
    calls: Calls,
    /// None where the peer does not decide who is removed.
    removed: Option<Removed>,
}

impl PeerChannel {
    pub(crate) fn new(channel: Channel, headers: Headers, removed: Option<Removed>) -> Self {
        Self {
            calls: InterceptedService::new(channel, headers),
            removed,
        }
    }
}

impl Service<Request<Body>> for PeerChannel {
    type Response = <Calls as Service<Request<Body>>>::Response;
    type Error = <Calls as Service<Request<Body>>>::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.calls, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = Service::<Request<Body>>::call(&mut self.calls, request);
        let removed = self.removed.clone();
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(removed) = removed.filter(|_| tells_removed(answer.headers())) {
                removed.send_replace(true);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_says_the_other_understands() {
        let mut refusal = Status::permission_denied("no");
        assert!(!tells_removed(refusal.clone().into_http::<()>().headers()));
        tell_removed(&mut refusal);
        assert!(tells_removed(refusal.into_http::<()>().headers()));
    }
}
