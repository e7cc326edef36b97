//! What is told of a deployment of two coordinators and three shard nodes, by what was heard of them.

use super::*;
use crate::domain::deployment::{
    Applied, Begin, Bootstrap, Command, Deployment, InstallId, NewNode, NodeChange, Settings, Sightings,
};

const GROUP: Group = Group::Partition(PartitionId(0));

fn new_node(name: &str, role: Role, install: u8) -> NewNode {
    NewNode {
        name: name.into(),
        role,
        address: format!("{name}:7000"),
        zone: "z".into(),
        version: "1".into(),
        install: InstallId([install; 16]),
    }
}

fn apply(deployment: &mut Deployment, command: Command) -> Applied {
    deployment.apply(command).unwrap()
}

/// Coordinators 1 and 2, shard nodes 3 to 5 with replicas of both partitions, and 6, which has just joined.
fn deployment() -> Deployment {
    let mut deployment = Deployment::bootstrap(Bootstrap {
        deployment: DeploymentId([9; 16]),
        partitions: 2,
        settings: Settings::default(),
        node: new_node("c1", Role::Coordinator, 1),
    })
    .unwrap();
    for (name, role, install) in [
        ("c2", Role::Coordinator, 2),
        ("s3", Role::Shard, 3),
        ("s4", Role::Shard, 4),
        ("s5", Role::Shard, 5),
        ("s6", Role::Shard, 6),
    ] {
        let node = new_node(name, role, install);
        apply(&mut deployment, Command::RegisterNode(node.clone()));
        if install < 6 {
            let (address, zone, version) = (node.address, node.zone, node.version);
            let started = Command::UpdateNode {
                node: NodeId(install.into()),
                address,
                zone,
                version,
                lease_key: None,
            };
            apply(&mut deployment, started);
        }
    }
    let voters = vec![NodeId(3), NodeId(4), NodeId(5)];
    apply(&mut deployment, Command::MakeTable(vec![voters; 2]));
    deployment
}

fn word(leases: u64) -> NodeReport {
    NodeReport {
        leases,
        disk: Some(DiskRoom {
            free_bytes: 100 * leases,
            needed_bytes: 10,
        }),
        ..NodeReport::default()
    }
}

/// Node 3 leads the first partition; of the second nobody has said so. Node 5 lacks many entries.
fn heard() -> Sightings {
    let report = |group, leader: u64, behind: &[(u64, u64)]| GroupReport {
        group,
        leader: NodeId(leader),
        term: 1,
        knows: 1,
        voters: Default::default(),
        learners: Default::default(),
        changing: false,
        behind: behind.iter().map(|(node, lag)| (NodeId(*node), *lag)).collect(),
    };
    let groups = [
        report(Group::Metadata, 1, &[]),
        report(GROUP, 3, &[(4, 2), (5, 500)]),
    ];
    let words = (1..6).map(|node| (NodeId(node), (Duration::from_secs(node), word(node))));
    Sightings {
        nodes: words.collect(),
        groups: groups.map(|report| (report.group, report)).into(),
    }
}

fn survey(deployment: Deployment, sightings: Option<Sightings>) -> Survey {
    Survey {
        deployment: deployment.into(),
        asked: NodeId(2),
        sightings,
    }
}

fn node(survey: &Survey, id: u64) -> NodeStatus {
    View(survey).node(survey.deployment.node(NodeId(id)).unwrap())
}

#[test]
fn a_node_is_told_by_its_record_and_its_last_word() {
    let mut sightings = heard();
    sightings.nodes.get_mut(&NodeId(4)).unwrap().1.stopping = true;
    sightings.nodes.get_mut(&NodeId(5)).unwrap().0 = LOST_AFTER;
    let survey = survey(deployment(), Some(sightings));
    let phases: Vec<NodePhase> = (1..7).map(|id| node(&survey, id).phase).collect();
    use NodePhase::{Draining, Joined, Joining};
    assert_eq!(phases, [Joined, Joined, Joined, Draining, Joined, Joining]);
    let leader = node(&survey, 1);
    assert!(leader.leads_metadata && leader.leases.is_none() && leader.leads == 0);
    let third = node(&survey, 3);
    assert_eq!((third.leads, third.replicas, third.behind), (1, 2, Some(0)));
    assert_eq!(third.heard_ago, Some(Duration::from_secs(3)));
    assert_eq!((third.leases, third.full), (Some(3), Some(false)));
    let silent = node(&survey, 5);
    assert_eq!(
        (silent.leases, silent.disk, silent.behind),
        (None, None, Some(500)),
        "what it said long ago is not told"
    );
    assert_eq!(node(&survey, 6).heard_ago, None);
}

#[test]
fn whoever_goes_is_told_so_also_when_it_is_lost() {
    let mut deployment = deployment();
    let mut set = |node, to| apply(&mut deployment, Command::SetNode { node, to });
    set(NodeId(6), NodeChange::Decommission);
    set(NodeId(6), NodeChange::Lost { since: 7 });
    set(NodeId(3), NodeChange::Lost { since: 8 });
    let survey = survey(deployment.clone(), None);
    let going = node(&survey, 6);
    assert_eq!(
        (going.phase, going.lost_since),
        (NodePhase::Decommissioning, Some(7))
    );
    assert_eq!(node(&survey, 3).phase, NodePhase::Lost);
    let (node_6, to) = (NodeId(6), NodeChange::Remove);
    apply(&mut deployment, Command::SetNode { node: node_6, to });
    apply(
        &mut deployment,
        Command::RegisterNode(new_node("s3", Role::Shard, 7)),
    );
    let survey = self::survey(deployment, None);
    assert_eq!(node(&survey, 6).phase, NodePhase::Decommissioned);
    assert_eq!(node(&survey, 3).phase, NodePhase::Replaced);
}

#[test]
fn a_partition_is_well_when_all_of_it_is_there() {
    let survey_of = |sightings| survey(deployment(), Some(sightings));
    let partition = |survey: &Survey, n| View(survey).partition(PartitionId(n)).unwrap();
    let first = partition(&survey_of(heard()), 0);
    assert_eq!(first.leader.as_ref().map(|node| node.name.as_str()), Some("s3"));
    let lags: Vec<Option<u64>> = first.replicas.iter().map(|replica| replica.behind).collect();
    assert_eq!((lags, first.is_well), (vec![Some(0), Some(2), Some(500)], false));
    let second = partition(&survey_of(heard()), 1);
    assert!(second.leader.is_none() && !second.is_well);

    let mut caught_up = heard();
    let report = caught_up.groups.get_mut(&GROUP).unwrap();
    report.behind.insert(NodeId(5), limits::CAUGHT_UP_ENTRIES);
    assert!(partition(&survey_of(caught_up.clone()), 0).is_well);

    let mut lost = deployment();
    let (node, to) = (NodeId(4), NodeChange::Lost { since: 1 });
    apply(&mut lost, Command::SetNode { node, to });
    assert!(!partition(&survey(lost, Some(caught_up.clone())), 0).is_well);

    let mut moving = deployment();
    let begin = Command::BeginChange {
        group: GROUP,
        table_version: moving.table.version,
        begin: Begin::Remove { node: NodeId(4) },
    };
    apply(&mut moving, begin);
    let moving = partition(&survey(moving, Some(caught_up)), 0);
    assert!(moving.is_changing && !moving.is_well);
    assert_eq!(moving.replicas[1].role, ReplicaRole::Leaving);
}

#[test]
fn the_whole_counts_what_its_parts_say() {
    let survey = survey(deployment(), Some(heard()));
    let whole = View(&survey).whole(Vec::new());
    let counts = PartitionCounts {
        total: 2,
        assigned: 2,
        led: 1,
        well: 0,
        changing: 0,
        replicas: 6,
        replicas_behind: 1,
        replicas_lost: 0,
    };
    assert_eq!((whole.partitions, whole.is_current), (counts, true));
    assert_eq!(
        (whole.leases, whole.free_bytes_min, whole.full_nodes),
        (3 + 4 + 5, Some(100), 0)
    );
    assert_eq!(whole.answered_by.name, "c2");
    let joined = whole.nodes.iter().find(|(phase, _)| *phase == NodePhase::Joined);
    assert_eq!(joined, Some(&(NodePhase::Joined, 5)));
    let alone = View(&self::survey(deployment(), None)).whole(Vec::new());
    assert!(!alone.is_current && alone.metadata.leader.is_none());
    assert_eq!((alone.partitions.led, alone.free_bytes_min), (0, None));
}
