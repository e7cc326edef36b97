//! What nodes report to the leader of the metadata group, and what the leader tells other coordinators of it, as it travels. What a
//! later version says and this one does not know is left out: it is for the eyes of operators.

use super::deployment_codec::{job_name_from_wire, job_name_to_wire};
use crate::domain::deployment::{DiskRoom, Group, GroupReport, NodeReport, Sightings, Work, WorkState};
use sealdex_consensus::{GroupStatus, LogIndex, Room};
use sealdex_core::NodeId;
use sealdex_proto::coordinator as wire;
use std::time::Duration;

/// What a leader says of its group, which it led for certain when it had seen version `knows` of the group's assignment.
pub fn report_of(group: Group, leader: NodeId, knows: u64, status: GroupStatus) -> GroupReport {
    let last = status.last_log.0;
    let lag = |(node, at): (NodeId, LogIndex)| (node, last.saturating_sub(at.0));
    GroupReport {
        group,
        leader,
        term: status.term,
        knows,
        voters: status.voters,
        learners: status.learners,
        changing: status.is_joint,
        behind: status.replicated.into_iter().map(lag).collect(),
    }
}

impl From<Room> for DiskRoom {
    fn from(room: Room) -> Self {
        Self {
            free_bytes: room.free_bytes,
            needed_bytes: room.needed_bytes,
        }
    }
}

/// What a node says of itself.
pub(crate) fn node_report(said: &wire::ReportRequest) -> NodeReport {
    NodeReport {
        stopping: said.stopping,
        full: said.full,
        disk: said.disk.as_ref().map(|room| DiskRoom {
            free_bytes: room.free_bytes,
            needed_bytes: room.needed_bytes,
        }),
        leases: said.leases,
        replicas: said.replicas,
        work: said.work.iter().filter_map(work).collect(),
    }
}

/// The same on its way; who says it and where that runs is left to the caller.
pub(crate) fn said(report: &NodeReport) -> wire::ReportRequest {
    wire::ReportRequest {
        stopping: report.stopping,
        full: report.full,
        disk: report.disk.map(|room| wire::Room {
            free_bytes: room.free_bytes,
            needed_bytes: room.needed_bytes,
        }),
        leases: report.leases,
        replicas: report.replicas,
        work: report.work.iter().map(work_to_wire).collect(),
        ..wire::ReportRequest::default()
    }
}

/// What `leader` says of its group. `None`: of no group that there can be.
pub(crate) fn group_report(leader: NodeId, report: &wire::GroupReport) -> Option<GroupReport> {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    let behind = report.behind.iter();
    Some(GroupReport {
        group: Group::from_number(report.group)?,
        leader,
        term: report.term,
        knows: report.knows,
        voters: nodes(&report.voters),
        learners: nodes(&report.learners),
        changing: report.changing,
        behind: behind.map(|lag| (NodeId(lag.node), lag.entries)).collect(),
    })
}

fn group_report_to_wire(report: &GroupReport) -> wire::GroupReport {
    let lag = |(node, entries): (&NodeId, &u64)| wire::Lag {
        node: node.0,
        entries: *entries,
    };
    wire::GroupReport {
        group: report.group.number(),
        term: report.term,
        knows: report.knows,
        voters: report.voters.iter().map(|node| node.0).collect(),
        learners: report.learners.iter().map(|node| node.0).collect(),
        changing: report.changing,
        behind: report.behind.iter().map(lag).collect(),
    }
}

/// What the leader has heard, for another coordinator.
pub(crate) fn sightings_to_wire(sightings: &Sightings) -> wire::SightingsReply {
    let node = |(node, (ago, report)): (&NodeId, &(Duration, NodeReport))| wire::Sighting {
        node: node.0,
        milliseconds_ago: u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
        said: Some(said(report)),
    };
    let group = |report: &GroupReport| wire::LedGroup {
        leader: report.leader.0,
        report: Some(group_report_to_wire(report)),
    };
    wire::SightingsReply {
        leader: 0,
        leaderless: false,
        nodes: sightings.nodes.iter().map(node).collect(),
        groups: sightings.groups.values().map(group).collect(),
    }
}

/// What the leader said that it has heard.
pub(crate) fn sightings(reply: &wire::SightingsReply) -> Sightings {
    let node = |sighting: &wire::Sighting| {
        let ago = Duration::from_millis(sighting.milliseconds_ago);
        Some((NodeId(sighting.node), (ago, node_report(sighting.said.as_ref()?))))
    };
    let group = |led: &wire::LedGroup| {
        let report = group_report(NodeId(led.leader), led.report.as_ref()?)?;
        Some((report.group, report))
    };
    Sightings {
        nodes: reply.nodes.iter().filter_map(node).collect(),
        groups: reply.groups.iter().filter_map(group).collect(),
    }
}

fn work(work: &wire::Work) -> Option<Work> {
    Some(Work {
        job: job_name_from_wire(work.job).ok()?,
        state: match work.state() {
            wire::WorkState::Unspecified => return None,
            wire::WorkState::Queued => WorkState::Queued,
            wire::WorkState::Learning => WorkState::Learning,
            wire::WorkState::Preparing => WorkState::Preparing,
            wire::WorkState::Running => WorkState::Running,
            wire::WorkState::Purging => WorkState::Purging,
            wire::WorkState::Failing => WorkState::Failing,
        },
        done: work.done,
        total: work.total,
    })
}

fn work_to_wire(work: &Work) -> wire::Work {
    let state = match work.state {
        WorkState::Queued => wire::WorkState::Queued,
        WorkState::Learning => wire::WorkState::Learning,
        WorkState::Preparing => wire::WorkState::Preparing,
        WorkState::Running => wire::WorkState::Running,
        WorkState::Purging => wire::WorkState::Purging,
        WorkState::Failing => wire::WorkState::Failing,
    };
    wire::Work {
        job: Some(job_name_to_wire(work.job)),
        state: state.into(),
        done: work.done,
        total: work.total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::{JobKind, JobName};
    use sealdex_core::{IndexId, PartitionId};

    fn heard() -> Sightings {
        let job = JobName {
            kind: JobKind::Rotation,
            index: IndexId(8),
        };
        let states = [
            WorkState::Queued,
            WorkState::Learning,
            WorkState::Preparing,
            WorkState::Running,
            WorkState::Purging,
            WorkState::Failing,
        ];
        let report = NodeReport {
            stopping: true,
            full: true,
            disk: Some(DiskRoom {
                free_bytes: 5,
                needed_bytes: 6,
            }),
            leases: 3,
            replicas: 4,
            work: states
                .map(|state| Work {
                    job,
                    state,
                    done: 1,
                    total: 2,
                })
                .to_vec(),
        };
        let group = GroupReport {
            group: Group::Partition(PartitionId(2)),
            leader: NodeId(4),
            term: 7,
            knows: 9,
            voters: [NodeId(4), NodeId(5)].into(),
            learners: [NodeId(6)].into(),
            changing: true,
            behind: [(NodeId(5), 0), (NodeId(6), 11)].into(),
        };
        let silent = (Duration::from_millis(1_500), NodeReport::default());
        Sightings {
            nodes: [(NodeId(4), (Duration::ZERO, report)), (NodeId(5), silent)].into(),
            groups: [(group.group, group)].into(),
        }
    }

    #[test]
    fn sightings_survive_the_way() {
        assert_eq!(sightings(&sightings_to_wire(&heard())), heard());
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut reply = sightings_to_wire(&heard());
        reply.groups[0].report.as_mut().unwrap().group = u64::MAX;
        let said = reply.nodes[0].said.as_mut().unwrap();
        said.work[0].state = 99;
        said.work[1].job = None;
        let read = sightings(&reply);
        assert!(read.groups.is_empty());
        assert_eq!(read.nodes[&NodeId(4)].1.work.len(), 4);
    }
}
