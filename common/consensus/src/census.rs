//! Figures of all groups of a process, for whoever scrapes them: what its replicas are, and how far the worst of them lag.

use crate::{GroupId, GroupStatus, LogIndex};
use sealdex_core::{NodeId, limits};
use sealdex_telemetry::{RaftFigures, Replicated, metrics};

/// Tells the figures of `me`'s replicas.
pub(crate) fn tell(me: NodeId, groups: &[(GroupId, GroupStatus)]) {
    for of in [Replicated::Metadata, Replicated::Partition] {
        let statuses = groups.iter().filter(|(group, _)| replicated(*group) == of);
        metrics()
            .raft
            .set(of, figures(me, statuses.map(|(_, status)| status)));
    }
}

fn replicated(group: GroupId) -> Replicated {
    match group {
        GroupId(0) => Replicated::Metadata,
        _ => Replicated::Partition,
    }
}

fn figures<'a>(me: NodeId, statuses: impl Iterator<Item = &'a GroupStatus>) -> RaftFigures {
    let mut figures = RaftFigures::default();
    for status in statuses {
        let role = match status.leader {
            _ if status.is_leader => &mut figures.leaders,
            None => &mut figures.leaderless,
            Some(_) if status.voters.contains(&me) => &mut figures.followers,
            Some(_) => &mut figures.learners,
        };
        *role += 1;
        let lag = |at: LogIndex| status.last_log.0.saturating_sub(at.0);
        figures.unapplied_max = figures.unapplied_max.max(lag(status.applied));
        if status.is_leader {
            let followers = status.replicated.iter().filter(|(node, _)| **node != me);
            for behind in followers.map(|(_, at)| lag(*at)) {
                figures.behind_max = figures.behind_max.max(behind);
                figures.followers_behind += u64::from(behind > limits::CAUGHT_UP_ENTRIES);
            }
            figures.changing += u64::from(status.is_joint);
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);

    fn status(leader: Option<u64>, voters: &[u64]) -> GroupStatus {
        GroupStatus {
            leader: leader.map(NodeId),
            is_leader: leader == Some(ME.0),
            term: 3,
            last_log: LogIndex(500),
            applied: LogIndex(490),
            purged: LogIndex(0),
            voters: voters.iter().copied().map(NodeId).collect(),
            learners: [NodeId(4)].into(),
            is_joint: false,
            replicated: Default::default(),
        }
    }

    #[test]
    fn the_worst_of_what_is_led_is_told() {
        let led = GroupStatus {
            is_joint: true,
            replicated: [
                (ME, LogIndex(0)),
                (NodeId(2), LogIndex(470)),
                (NodeId(4), LogIndex(100)),
            ]
            .into(),
            ..status(Some(1), &[1, 2])
        };
        let others = [
            status(Some(2), &[1, 2]),
            status(Some(2), &[2, 3]),
            status(None, &[1, 2]),
        ];
        let told = figures(ME, others.iter().chain([&led]));
        let expected = RaftFigures {
            leaders: 1,
            followers: 1,
            learners: 1,
            leaderless: 1,
            unapplied_max: 10,
            behind_max: 400,
            followers_behind: 1,
            changing: 1,
        };
        assert_eq!(told, expected);
        assert_eq!(figures(ME, [].iter()), RaftFigures::default());
    }

    #[test]
    fn the_first_group_is_that_of_the_metadata() {
        assert_eq!(replicated(GroupId(0)), Replicated::Metadata);
        assert_eq!(replicated(GroupId(1)), Replicated::Partition);
    }
}
