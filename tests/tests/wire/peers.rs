//! The two byte calls of consensus, and joining.

use crate::deployment::{COORDINATOR, Deployment, ID, PARTITIONS, SHARD, identity};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use sealdex_core::NodeId;
use sealdex_peer::{
    CurrentCredentials, Gate, Identity, PeerClient, PeerError, PeerHandler, PeerService, Role,
    SnapshotChunks, join,
};
use sealdex_proto::peer::{JoinReply, JoinRequest};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Status;

const SOON: Duration = Duration::from_secs(5);

/// Answers with what came, and remembers how snapshots ended.
#[derive(Default)]
struct Echo {
    ends: Mutex<Vec<Result<usize, String>>>,
}

#[async_trait]
impl PeerHandler for Echo {
    async fn raft(&self, from: NodeId, message: Bytes) -> Result<Bytes, Status> {
        if message == "sleep" {
            tokio::time::sleep(2 * SOON).await;
        }
        Ok([from.to_string().as_bytes(), &message].concat().into())
    }

    async fn snapshot(&self, _: NodeId, mut chunks: SnapshotChunks) -> Result<Bytes, Status> {
        let mut bytes = 0;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => bytes += chunk.len(),
                Err(error) => {
                    self.ends.lock().push(Err(error.to_string()));
                    return Err(Status::aborted("the sender gave up"));
                }
            }
        }
        self.ends.lock().push(Ok(bytes));
        Ok(bytes.to_string().into())
    }

    async fn join(&self, identity: Identity, request: JoinRequest) -> Result<JoinReply, Status> {
        if request.token != "token" {
            return Err(Status::permission_denied("wrong join token"));
        }
        Ok(JoinReply {
            deployment: ID.0.to_vec().into(),
            node: identity.name.as_str().len() as u64,
            members: Vec::new(),
            partitions: u32::from(PARTITIONS),
        })
    }
}

async fn serve(deployment: &Deployment) -> (Arc<Echo>, SocketAddr) {
    let echo = Arc::new(Echo::default());
    let credentials = deployment.credentials(&identity(Role::Shard, "shard-1"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    deployment.register(SHARD, identity(Role::Shard, "shard-1"), &address.to_string());
    let gate = Gate::new(ID, SHARD, deployment.directory.clone());
    let router = sealdex_peer::server().add_service(PeerService::new(gate, echo.clone()));
    let shown = Arc::new(CurrentCredentials::new(credentials));
    tokio::spawn(sealdex_peer::serve(
        router,
        listener,
        shown,
        std::future::pending(),
    ));
    (echo, address)
}

#[tokio::test]
async fn messages_and_snapshots_arrive_as_they_were_sent() {
    let deployment = Deployment::new();
    let (echo, _) = serve(&deployment).await;
    let peers = PeerClient::new(deployment.channels());
    let answer = peers
        .call(SHARD, Bytes::from_static(b"vote"), SOON)
        .await
        .unwrap();
    assert_eq!(answer, format!("{COORDINATOR}vote"));
    let chunks = || (0..40).map(|n| Ok(Bytes::from(vec![n; 1 << 20])));
    let answer = peers
        .send_snapshot(SHARD, stream::iter(chunks()).boxed(), SOON)
        .await
        .unwrap();
    assert_eq!(answer, (40 << 20).to_string());
    let unknown = peers.call(NodeId(9), Bytes::new(), SOON).await;
    assert!(matches!(unknown, Err(PeerError::Channel(_))));
    assert_eq!(*echo.ends.lock(), [Ok(40 << 20)]);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_deadline() {
    let deployment = Deployment::new();
    let _server = serve(&deployment).await;
    let peers = PeerClient::new(deployment.channels());
    let short = Duration::from_millis(300);
    let late = peers.call(SHARD, Bytes::from_static(b"sleep"), short).await;
    assert!(matches!(late, Err(PeerError::TimedOut(_))), "{late:?}");
    let stuck = stream::iter([Ok(Bytes::from_static(b"first"))]).chain(stream::pending());
    let late = peers.send_snapshot(SHARD, stuck.boxed(), short).await;
    assert!(matches!(late, Err(PeerError::TimedOut(_))), "{late:?}");
    // Slow, but never idle for so long.
    let slow = stream::iter(0..8).then(|_| async {
        tokio::time::sleep(Duration::from_millis(120)).await;
        Ok(Bytes::from_static(b"chunk"))
    });
    assert!(peers.send_snapshot(SHARD, slow.boxed(), short).await.is_ok());
}

#[tokio::test]
async fn a_snapshot_that_breaks_is_whole_for_nobody() {
    let deployment = Deployment::new();
    let (echo, _) = serve(&deployment).await;
    let peers = PeerClient::new(deployment.channels());
    let chunks = [Ok(Bytes::from_static(b"first")), Err(io::Error::other("disk"))];
    let sent = peers
        .send_snapshot(SHARD, stream::iter(chunks).boxed(), Duration::from_millis(200))
        .await;
    assert!(matches!(sent, Err(PeerError::Chunks(_))), "{sent:?}");
    for _ in 0..100 {
        if !echo.ends.lock().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(echo.ends.lock()[..], [Err(_)]), "{:?}", echo.ends.lock());
}

#[tokio::test]
async fn a_newcomer_needs_a_certificate_and_the_token_but_no_id() {
    let deployment = Deployment::new();
    let (_, address) = serve(&deployment).await;
    let newcomer = deployment.credentials(&identity(Role::Shard, "shard-22"));
    let request = |token: &'static str| JoinRequest {
        version: 1,
        token: token.into(),
        address: "shard-22:7000".into(),
        zone: "a".into(),
        install: vec![1; 16].into(),
        software: String::new(),
        deployment: Vec::new().into(),
    };
    let joined = join(&newcomer, &address.to_string(), request("token"), SOON)
        .await
        .unwrap();
    assert_eq!((joined.deployment.as_ref(), joined.node), (&ID.0[..], 8));
    let refused = join(&newcomer, &address.to_string(), request("guess"), SOON).await;
    assert!(matches!(&refused, Err(PeerError::Status(status)) if status.message() == "wrong join token"));
    // Under a host name that its certificate does not have, nobody is believed to be a node.
    let elsewhere = format!("localhost:{}", address.port());
    assert!(join(&newcomer, &elsewhere, request("token"), SOON).await.is_err());
    let before = PeerClient::new(deployment.channels_of(&identity(Role::Shard, "shard-22"), NodeId(50)));
    let refused = before.call(SHARD, Bytes::new(), SOON).await;
    assert!(
        matches!(&refused, Err(PeerError::Status(status)) if status.message().contains("not known")),
        "{refused:?}"
    );
}
