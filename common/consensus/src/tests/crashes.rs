//! What a crash may not undo.

use super::deployment::{Deployment, GROUP};
use super::ledger::{Command, Disk, Ledger, Plants};
use super::rng::Rng;
use crate::raft::types::{LogId, SnapshotMeta, Vote};
use crate::raft::wire::{self, Request};
use crate::snapshot::{Header, Staging, outgoing};
use crate::{Entry, LogIndex, Mark, NodeId, Purpose, StateMachine};
use futures_util::StreamExt;
use std::time::Duration;

/// Whether node 1 votes for `candidate` in term 5.
async fn votes_for(deployment: &Deployment, candidate: u64) -> bool {
    let request = openraft::raft::VoteRequest::new(Vote::new(5, candidate), None);
    let message = wire::encode_request(GROUP, &Request::Vote(request));
    let host = &deployment.nodes[&NodeId(1)].running.as_ref().unwrap().host;
    let reply = host.receive(NodeId(candidate), message).await.unwrap();
    wire::decode_vote_reply(reply).unwrap().vote_granted
}

#[tokio::test(start_paused = true)]
async fn a_vote_is_given_once_in_a_term_whatever_happens() {
    for forgets in [false, true] {
        let mut deployment = Deployment::new(1);
        deployment.start(NodeId(1)).await.unwrap();
        assert!(votes_for(&deployment, 2).await);
        deployment.crash(NodeId(1)).await;
        if forgets {
            // A planted bug: the vote was never synced.
            let folder = deployment.nodes[&NodeId(1)].folder.path().join("log");
            crate::log::tests::roll_back_vote(&folder, GROUP, Vote::new(4, 2)).await;
        }
        deployment.start(NodeId(1)).await.unwrap();
        assert_eq!(votes_for(&deployment, 3).await, forgets);
    }
}

/// A leader that is back at once must not go on in its old term: followers may have what it lost.
#[tokio::test(start_paused = true)]
async fn a_leader_that_crashes_and_is_back_at_once_leaves_replicas_equal() {
    let crashes = std::env::var("SEALDEX_SIM_CRASHES").map_or(100, |count| count.parse().unwrap());
    let mut deployment = Deployment::founded(2, 3).await;
    let mut rng = Rng::new(2);
    let mut version = 0;
    let mut acked = [0; 8];
    for crash in 1..=crashes {
        let leader = deployment.leader().await;
        let group = deployment.group(leader.0).clone();
        let mut writers = tokio::task::JoinSet::new();
        for key in 0..8 {
            let group = group.clone();
            version += 100;
            writers.spawn(async move {
                let mut acked = 0;
                for version in version..version + 100 {
                    let set = group.propose(Purpose::Grow, Command::set(key, version)).await;
                    if set.is_err() {
                        break;
                    }
                    acked = version;
                }
                (key, acked)
            });
        }
        drop(group);
        tokio::time::sleep(Duration::from_micros(rng.below(3000))).await;
        deployment.crash(leader).await;
        while let Some(written) = writers.join_next().await {
            let (key, version) = written.unwrap();
            acked[usize::from(key)] = version.max(acked[usize::from(key)]);
        }
        tokio::time::sleep(Duration::from_millis(rng.below(100))).await;
        deployment.start(leader).await.unwrap();
        if crash % 10 == 0 {
            deployment.converge().await;
            let state = deployment.state(NodeId(1));
            for (key, acked) in (0..).zip(acked) {
                assert!(state.version(key) >= acked, "crash {crash}, key {key}");
            }
        }
    }
    assert!(acked.iter().all(|acked| *acked > 0));
    deployment.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_installation_a_crash_interrupted_is_installed_again() {
    let meta = SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(3, 40)),
        ..SnapshotMeta::default()
    };
    let disk = Disk::default();
    let mut source = Ledger::open(&disk, Plants::default());
    let entry = Entry {
        index: LogIndex(40),
        payload: Command::set(7, 70),
    };
    source.apply(&[entry], &Mark::from_meta(meta.clone())).unwrap();
    let header = Header {
        group: GROUP,
        vote: Vote::new_committed(3, 2),
        meta,
    };
    let mut pieces = Box::pin(outgoing(&header, source.snapshot().unwrap()));

    let mut deployment = Deployment::new(3);
    deployment.start(NodeId(1)).await.unwrap();
    deployment.crash(NodeId(1)).await;
    let folder = deployment.nodes[&NodeId(1)].folder.path().join("snapshots");
    let mut incoming = Staging::new(&folder, GROUP).receive().unwrap();
    while let Some(piece) = pieces.next().await {
        incoming.push(piece.unwrap()).unwrap();
    }
    incoming.finish().unwrap().adopt().unwrap();

    for _ in 0..2 {
        deployment.start(NodeId(1)).await.unwrap();
        assert_eq!(deployment.state(NodeId(1)).version(7), 70);
        let is_there =
            |status: &crate::GroupStatus| (status.applied, status.last_log) == (LogIndex(40), LogIndex(40));
        let there = deployment.group(1).wait_status(is_there);
        tokio::time::timeout(Duration::from_secs(10), there)
            .await
            .unwrap();
        deployment.crash(NodeId(1)).await;
    }
}
