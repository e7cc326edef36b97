//! What a group does for those who use it.

use super::deployment::{Deployment, GROUP, ids};
use super::ledger::{Command, Ledger, Plants};
use crate::keeper::Upkeep;
use crate::replica::QUEUED_KIB_MAX;
use crate::{ChangeError, GroupId, LogIndex, NodeId, ProposeError, Purpose, ReadError, ReceiveError, Timing};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn set(deployment: &Deployment, node: u64, version: u64) -> Result<(u64, u64), ProposeError> {
    let command = Command::set(1, version);
    deployment.group(node).propose(Purpose::Grow, command).await
}

/// The same, at whoever leads; a new leader refuses until its followers have answered it once.
async fn set_soon(deployment: &Deployment, version: u64) {
    for _ in 0..1000 {
        let leader = deployment.leader().await;
        match set(deployment, leader.0, version).await {
            Err(ProposeError::NotLeader { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            outcome => {
                outcome.unwrap();
                return;
            }
        }
    }
    panic!("nobody leads");
}

#[tokio::test(start_paused = true)]
async fn a_single_voter_replies_and_comes_back_with_what_it_had() {
    let mut deployment = Deployment::new(1);
    deployment.timing = Timing::alone();
    deployment.found(1).await;
    for version in 1..=50 {
        let (before, index) = set(&deployment, 1, version).await.unwrap();
        assert_eq!(before, version - 1);
        assert!(index > version - 1);
    }
    deployment.crash(NodeId(1)).await;
    for version in 51..=60 {
        deployment.start(NodeId(1)).await.unwrap();
        deployment.leader().await;
        assert_eq!(set(&deployment, 1, version).await.unwrap().0, version - 1);
        deployment.crash(NodeId(1)).await;
    }
    deployment.start(NodeId(1)).await.unwrap();
    deployment.leader().await;
    deployment.group(1).read_barrier().await.unwrap();
    assert_eq!(deployment.state(NodeId(1)).version(1), 60);
    deployment.stop(NodeId(1)).await;
}

#[tokio::test(start_paused = true)]
async fn three_voters_hold_the_same_and_only_the_leader_proposes() {
    let deployment = Deployment::founded(2, 3).await;
    let leader = deployment.leader().await;
    for version in 1..=20 {
        set(&deployment, leader.0, version).await.unwrap();
    }
    deployment.converge().await;
    for (id, group) in deployment.running().filter(|(id, _)| *id != leader) {
        let refused = group.propose(Purpose::Grow, Command::set(1, 99)).await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
        assert_eq!(
            group.read_barrier().await,
            Err(ReadError::NotLeader { leader: Some(leader) })
        );
        let index = group.read_index().await.unwrap();
        group.wait_applied(index).await.unwrap();
        assert_eq!(deployment.state(id).version(1), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn proposals_that_wait_are_applied_together() {
    let deployment = Deployment::founded(3, 1).await;
    let group = deployment.group(1);
    let all = (1..=200).map(|version| group.propose(Purpose::Grow, Command::set(version as u16, version)));
    let replies = futures_util::future::join_all(all).await;
    let indices: BTreeSet<u64> = replies.into_iter().map(|reply| reply.unwrap().1).collect();
    assert_eq!(indices.len(), 200, "each got the reply to its own");
    let batches = Ledger::batches(&deployment.nodes[&NodeId(1)].disk);
    assert!(batches.iter().any(|batch| *batch > 50), "{batches:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_in_number_and_in_bytes() {
    let deployment = Deployment::founded(4, 3).await;
    let leader = deployment.leader().await;
    let group = deployment.group(leader.0);
    deployment.net.isolate(leader, deployment.nodes.keys().copied());
    let held = group.propose(
        Purpose::Grow,
        Bytes::from(vec![0; QUEUED_KIB_MAX as usize * 1024]),
    );
    let mut held = Box::pin(held);
    assert!(futures_util::poll!(&mut held).is_pending());
    let refused = group.propose(Purpose::Grow, Command::set(1, 1)).await;
    assert_eq!(refused, Err(ProposeError::Busy));
    drop(held);
    let refused = group.propose(Purpose::Grow, Command::set(1, 1)).await;
    assert_eq!(
        refused,
        Err(ProposeError::Busy),
        "who stops waiting does not take it back"
    );
}

#[tokio::test(start_paused = true)]
async fn an_isolated_leader_refuses_soon_and_serves_nothing_stale() {
    let deployment = Deployment::founded(5, 3).await;
    let old = deployment.leader().await;
    set(&deployment, old.0, 1).await.unwrap();
    deployment.net.isolate(old, deployment.nodes.keys().copied());
    let asked = tokio::time::Instant::now();
    assert_eq!(
        deployment.group(old.0).read_barrier().await,
        Err(ReadError::Unknown)
    );
    assert!(asked.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let refused = set(&deployment, old.0, 2).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    let new = deployment.leader().await;
    assert_ne!(new, old);
    set_soon(&deployment, 3).await;
    assert_eq!(deployment.state(old).version(1), 1);
    assert!(deployment.group(old.0).read_barrier().await.is_err());
    deployment.net.set(|faults| faults.cut.clear());
    deployment.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_disturbs_nobody_when_it_is_back() {
    let deployment = Deployment::founded(6, 3).await;
    let leader = deployment.leader().await;
    let term = deployment.group(leader.0).status().term;
    let away = NodeId(if leader.0 == 1 { 2 } else { 1 });
    deployment.net.isolate(away, deployment.nodes.keys().copied());
    for version in 1..=100 {
        set(&deployment, leader.0, version).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    deployment.net.set(|faults| faults.cut.clear());
    deployment.converge().await;
    assert_eq!(
        deployment.group(leader.0).status().term,
        term,
        "it asked before it voted"
    );
    assert_eq!(deployment.leader().await, leader);
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_share_a_confirmation() {
    let deployment = Deployment::founded(7, 3).await;
    let leader = deployment.leader().await;
    deployment.net.set(|faults| faults.delay_max = 20);
    let group = deployment.group(leader.0);
    let asked = tokio::time::Instant::now();
    let reads = futures_util::future::join_all((0..500).map(|_| group.read_barrier())).await;
    assert!(reads.into_iter().all(|read| read.is_ok()));
    assert!(
        asked.elapsed() < Duration::from_millis(200),
        "not one after the other"
    );
}

#[tokio::test(start_paused = true)]
async fn a_learner_joins_after_the_whole_log_was_purged() {
    let mut deployment = Deployment::founded(8, 3).await;
    let leader = deployment.leader().await;
    for version in 1..=300 {
        set(&deployment, leader.0, version).await.unwrap();
    }
    deployment.converge().await;
    for (_, group) in deployment.running() {
        group.purge_applied().await.unwrap();
        let status = group.status();
        assert_eq!(status.purged, status.applied);
    }
    deployment.start(NodeId(4)).await.unwrap();
    let group = deployment.group(leader.0).clone();
    group.add_learner(NodeId(4)).await.unwrap();
    group.add_learner(NodeId(4)).await.unwrap();
    deployment.converge().await;
    assert!(deployment.net.snapshots.load(Ordering::Relaxed) > 0);
    group.change_voters(&ids(2..=4)).await.unwrap();
    let led = deployment.group(4).wait_status(|status| {
        status.voters == ids(2..=4) && !status.is_joint && status.leader.is_some_and(|id| id.0 != 1)
    });
    tokio::time::timeout(Duration::from_secs(20), led)
        .await
        .unwrap()
        .unwrap();
    deployment.stop(NodeId(1)).await;
    set_soon(&deployment, 301).await;
    deployment.converge().await;
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over() {
    let deployment = Deployment::founded(9, 3).await;
    let leader = deployment.leader().await;
    set(&deployment, leader.0, 1).await.unwrap();
    let next = NodeId(leader.0 % 3 + 1);
    let started = tokio::time::Instant::now();
    deployment.group(leader.0).transfer_to(next).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_millis(300),
        "without a time-out"
    );
    assert_eq!(deployment.leader().await, next);
    deployment.group(next.0).relinquish().await.unwrap();
    assert_ne!(deployment.leader().await, next);
    let refused = deployment.group(next.0).transfer_to(NodeId(1)).await;
    assert!(matches!(refused, Err(ChangeError::NotLeader { .. })));
}

/// Proposes or reads at `node`, and once more where that says.
async fn at_the_leader(
    deployment: &Deployment,
    mut node: NodeId,
    version: Option<u64>,
) -> Result<NodeId, String> {
    for _ in 0..2 {
        let group = deployment.group(node.0);
        let hint = match version {
            Some(version) => match group
                .propose(Purpose::Grow, Command::set(version as u16, version))
                .await
            {
                Ok(_) => return Ok(node),
                Err(ProposeError::NotLeader { leader: Some(leader) }) => leader,
                Err(error) => return Err(format!("a proposal: {error:?}")),
            },
            None => match group.read_barrier().await {
                Ok(()) => return Ok(node),
                Err(ReadError::NotLeader { leader: Some(leader) }) => leader,
                Err(error) => return Err(format!("a read: {error:?}")),
            },
        };
        node = hint;
    }
    Err("the hint led to nobody who leads".to_owned())
}

#[tokio::test(start_paused = true)]
async fn nobody_notices_that_leadership_is_handed_over() {
    let deployment = Deployment::founded(21, 3).await;
    deployment.net.set(|faults| faults.delay_max = 5);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let leader = deployment.leader().await;
    let client = async |number: u64| {
        let (mut node, mut done) = (leader, 0);
        while !stop.load(Ordering::Relaxed) {
            let version = number.is_multiple_of(2).then_some(1000 * number + done);
            node = at_the_leader(&deployment, node, version).await.unwrap();
            done += 1;
        }
        done
    };
    let handing_over = async {
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let leader = deployment.leader().await;
            deployment.group(leader.0).relinquish().await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    };
    let clients = futures_util::future::join_all((0..20).map(client));
    let (done, ()) = tokio::join!(clients, handing_over);
    assert!(done.iter().all(|done| *done > 30), "{done:?}");
    deployment.converge().await;
}

#[tokio::test(start_paused = true)]
async fn voters_of_whom_no_majority_answers_are_refused() {
    let mut deployment = Deployment::founded(22, 3).await;
    let leader = deployment.leader().await;
    for node in [4, 5] {
        deployment.start(NodeId(node)).await.unwrap();
        deployment
            .group(leader.0)
            .add_learner(NodeId(node))
            .await
            .unwrap();
    }
    set(&deployment, leader.0, 1).await.unwrap();
    deployment.converge().await;
    for node in [4, 5] {
        deployment
            .net
            .isolate(NodeId(node), deployment.nodes.keys().copied());
    }
    tokio::time::sleep(2 * deployment.timing.election_max).await;
    let group = deployment.group(leader.0);
    let wanted = ids([leader.0, 4, 5]);
    let refused = group.change_voters(&wanted).await;
    assert!(matches!(refused, Err(ChangeError::Refused(_))), "{refused:?}");
    let status = group.status();
    assert!(!status.is_joint && status.voters == ids(1..=3), "{status:?}");
    set(&deployment, leader.0, 2).await.unwrap();
    // One of the two is enough.
    deployment.net.set(|faults| {
        faults
            .cut
            .retain(|(from, to)| *from != NodeId(4) && *to != NodeId(4))
    });
    let answers = async {
        while group.change_voters(&wanted).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answers)
        .await
        .unwrap();
    assert_eq!(group.status().voters, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_a_fault_stopped_says_which() {
    let deployment = Deployment::founded(23, 1).await;
    let group = deployment.group(1).clone();
    assert!(futures_util::poll!(Box::pin(group.failed())).is_pending());
    let _ = group.propose(Purpose::Grow, Bytes::from("fail")).await;
    let fault = tokio::time::timeout(Duration::from_secs(60), group.failed())
        .await
        .unwrap();
    assert!(fault.reason.contains("no"), "{fault}");
    let other = Deployment::founded(24, 1).await;
    let group = other.group(1).clone();
    group.stop().await;
    let stopped = tokio::time::timeout(Duration::from_secs(60), group.failed()).await;
    assert!(stopped.is_err(), "it was told to stop: {stopped:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_or_forgotten_group_is_told_so() {
    let mut deployment = Deployment::founded(10, 3).await;
    let leader = deployment.leader().await;
    let away = NodeId(leader.0 % 3 + 1);
    for version in 1..=10 {
        set(&deployment, leader.0, version).await.unwrap();
    }
    deployment.converge().await;
    let voters: BTreeSet<NodeId> = ids(1..=3).into_iter().filter(|id| *id != away).collect();
    deployment.group(leader.0).change_voters(&voters).await.unwrap();
    let host = deployment.nodes[&away].running.as_ref().unwrap().host.clone();
    host.forget(GROUP).await.unwrap();
    let message = crate::raft::wire::encode_request(GROUP, &crate::raft::wire::Request::ReadIndex);
    assert_eq!(
        host.receive(leader, message).await,
        Err(ReceiveError::UnknownGroup(GROUP))
    );
    assert!(matches!(
        host.receive(leader, Bytes::from_static(b"nonsense")).await,
        Err(ReceiveError::Message(_))
    ));
    set(&deployment, leader.0, 11).await.unwrap();

    // It may come back, with an empty state, and takes part when it has what it had.
    deployment.crash(away).await;
    deployment.nodes.get_mut(&away).unwrap().disk = Default::default();
    deployment.start(away).await.unwrap();
    deployment.group(leader.0).add_learner(away).await.unwrap();
    deployment.converge().await;
    deployment
        .group(leader.0)
        .change_voters(&ids(1..=3))
        .await
        .unwrap();
    deployment.group(leader.0).transfer_to(away).await.unwrap();
    set_soon(&deployment, 12).await;
    deployment.converge().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_speaks_for_another_node_is_refused() {
    let deployment = Deployment::founded(11, 3).await;
    let host = &deployment.nodes[&NodeId(1)].running.as_ref().unwrap().host;
    let vote = openraft::raft::VoteRequest::new(crate::raft::types::Vote::new(1000, 2), None);
    let message = crate::raft::wire::encode_request(GROUP, &crate::raft::wire::Request::Vote(vote));
    let forged = host.receive(NodeId(3), message.clone()).await;
    assert_eq!(forged, Err(ReceiveError::Forged(NodeId(3))));
    assert!(host.receive(NodeId(2), message).await.is_ok());
    assert_eq!(GroupId(1), GROUP);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_kept_short_and_no_further_than_the_state_is_durable() {
    let deployment = Deployment::founded(12, 1).await;
    for version in 1..=2000 {
        set(&deployment, 1, version).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = deployment.group(1).status();
    let durable = Ledger::durable_index(&deployment.nodes[&NodeId(1)].disk);
    assert!(status.purged.0 > 1800, "{status:?}");
    assert!(status.purged <= durable);
    assert!(status.applied >= LogIndex(2000));
}

#[tokio::test(start_paused = true)]
async fn what_followers_may_ask_for_is_kept() {
    let mut deployment = Deployment::new(13);
    deployment.upkeep = Upkeep {
        kept: 20_000,
        ..deployment.upkeep
    };
    deployment.found(3).await;
    let leader = deployment.leader().await;
    for version in 1..=2000 {
        set(&deployment, leader.0, version).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = deployment.group(leader.0).status();
    let kept = status.last_log.0 - status.purged.0;
    assert!((200..600).contains(&kept), "{status:?}");
}

/// Reads what node `node` shows after it has found out how much of the log it takes.
async fn read(deployment: &Deployment, node: NodeId) -> Result<u64, ReadError> {
    let group = deployment.group(node.0);
    let index = group.read_index().await?;
    group.wait_applied(index).await?;
    Ok(deployment.state(node).version(1))
}

/// A replica that is cut off, or was deposed and does not know it, reads nothing rather than what is old; when it hears the others again,
/// its next read has everything.
#[tokio::test(start_paused = true)]
async fn no_replica_reads_what_is_old() {
    for seed in 0..20 {
        let deployment = Deployment::founded(170 + seed, 3).await;
        deployment.net.set(|faults| faults.delay_max = 20);
        let mut version = 0;
        for _ in 0..3 {
            let leader = deployment.leader().await;
            let follower = ids(1..=3).into_iter().find(|node| *node != leader).unwrap();
            for cut_off in [follower, leader] {
                let others = ids(1..=3).into_iter().filter(|node| *node != cut_off);
                let others: Vec<NodeId> = others.collect();
                deployment.net.isolate(cut_off, others.clone());
                if cut_off == leader {
                    others_lead(&deployment, &others).await;
                }
                version += 1;
                set_soon_among(&deployment, &others, version).await;
                let refused = read(&deployment, cut_off).await;
                assert!(refused.is_err(), "node {cut_off} of seed {seed}: {refused:?}");
                deployment.net.set(|faults| faults.cut.clear());
                for node in ids(1..=3) {
                    let seen = read_soon(&deployment, node).await;
                    assert_eq!(seen, version, "node {node} of seed {seed}");
                }
            }
        }
    }
}

/// What was proposed is in the leader's log and not committed, when somebody asks whether it is there: that is decided first.
#[tokio::test(start_paused = true)]
async fn what_is_undecided_is_waited_for() {
    let mut settled = 0;
    for seed in 0..20 {
        let deployment = Deployment::founded(300 + seed, 3).await;
        deployment.net.set(|faults| faults.delay_max = 20);
        let leader = deployment.leader().await;
        set(&deployment, leader.0, 1).await.unwrap();
        deployment.net.isolate(leader, deployment.nodes.keys().copied());
        let group = deployment.group(leader.0).clone();
        let end = group.status().last_log;
        let proposing = tokio::spawn({
            let group = group.clone();
            async move { group.propose(Purpose::Grow, Command::set(1, 2)).await }
        });
        group.wait_status(|status| status.last_log > end).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        deployment.net.set(|faults| faults.cut.clear());
        // Another one may have begun to stand for election meanwhile.
        if group.settle_log().await.is_ok() {
            assert_eq!(deployment.state(leader).version(1), 2, "seed {seed}");
            settled += 1;
        }
        let _ = proposing.await;
    }
    assert!(settled > 10, "{settled}");
}

/// Waits until one of these leads, as far as it knows.
async fn others_lead(deployment: &Deployment, nodes: &[NodeId]) {
    for _ in 0..2000 {
        if nodes
            .iter()
            .any(|node| deployment.group(node.0).status().is_leader)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("none of {nodes:?} leads");
}

async fn set_soon_among(deployment: &Deployment, nodes: &[NodeId], version: u64) {
    for _ in 0..2000 {
        for node in nodes {
            if set(deployment, node.0, version).await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("none of {nodes:?} takes a proposal");
}

async fn read_soon(deployment: &Deployment, node: NodeId) -> u64 {
    for _ in 0..2000 {
        if let Ok(version) = read(deployment, node).await {
            return version;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("node {node} cannot read");
}

#[tokio::test(start_paused = true)]
async fn a_storage_fault_or_a_panic_ends_the_process() {
    for (payload, reason) in [("fail", "no"), ("panic", "the state machine panicked")] {
        let deployment = Deployment::founded(14, 1).await;
        set(&deployment, 1, 1).await.unwrap();
        let group = deployment.group(1);
        let failed = group.propose(Purpose::Grow, Bytes::from(payload)).await;
        assert!(matches!(
            failed,
            Err(ProposeError::Stopped | ProposeError::Unknown)
        ));
        assert_eq!(deployment.faults.lock().first().map(String::as_str), Some(reason));
        assert_eq!(set(&deployment, 1, 2).await, Err(ProposeError::Stopped));
        group.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_group_has_ended_what_was_proposed_and_made_it_durable() {
    let mut deployment = Deployment::founded(15, 1).await;
    let group = deployment.group(1).clone();
    let proposals = (1..=50).map(|version| group.propose(Purpose::Grow, Command::set(1, version)));
    let proposals = futures_util::future::join_all(proposals);
    let (replies, ()) = tokio::join!(proposals, group.stop());
    assert!(replies.iter().all(Result::is_ok));
    let refused = set(&deployment, 1, 51).await;
    assert_eq!(
        refused,
        Err(ProposeError::NotLeader { leader: None }),
        "nothing was taken"
    );
    assert_eq!(deployment.nodes[&NodeId(1)].disk.durable.lock().version(1), 50);
    drop(group);
    deployment.stop(NodeId(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_lacks_what_was_purged_is_refused() {
    let mut deployment = Deployment::new(16);
    deployment.plants = Plants {
        lies_about_durable: true,
        ..Plants::default()
    };
    deployment.found(1).await;
    for version in 1..=200 {
        set(&deployment, 1, version).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    deployment.crash(NodeId(1)).await;
    let refused = deployment
        .start(NodeId(1))
        .await
        .err()
        .map(|error| error.to_string());
    assert!(
        refused
            .as_ref()
            .is_some_and(|reason| reason.contains("restore this node")),
        "{refused:?}"
    );
}
