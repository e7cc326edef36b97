//! The deployment's commands, one by one.

use super::*;
use sealdex_core::{DeploymentId, IndexId, NodeId, PartitionId, limits};
use std::time::Duration;

fn new_node(name: &str, role: Role, install: u8) -> NewNode {
    NewNode {
        name: name.into(),
        role,
        address: format!("{name}:7000"),
        zone: String::new(),
        version: "1.0.0".into(),
        install: InstallId([install; 16]),
    }
}

fn bootstrap(role: Role) -> Deployment {
    Deployment::bootstrap(Bootstrap {
        deployment: DeploymentId([9; 16]),
        partitions: 2,
        settings: Settings::default(),
        node: new_node("first", role, 1),
    })
    .unwrap()
}

fn register(deployment: &mut Deployment, name: &str, install: u8) -> Result<NodeId, Rejection> {
    match deployment.apply(Command::RegisterNode(new_node(name, Role::Shard, install)))? {
        Applied::Node(record) => Ok(record.id),
        other => panic!("{other:?}"),
    }
}

fn start(deployment: &mut Deployment, node: NodeId) -> Result<Applied, Rejection> {
    deployment.apply(Command::UpdateNode {
        node,
        address: "10.0.0.1:7000".into(),
        zone: "z".into(),
        version: "1.1.0".into(),
        lease_key: Some([4; 32]),
    })
}

fn set(deployment: &mut Deployment, node: NodeId, to: NodeChange) -> Result<Applied, Rejection> {
    deployment.apply(Command::SetNode { node, to })
}

/// Shards 2 to 1 + `shards`, and a table with the first three of them everywhere.
fn with_table(shards: u8) -> Deployment {
    let mut deployment = bootstrap(Role::Coordinator);
    for n in 0..shards {
        let node = register(&mut deployment, &format!("s{n}"), 10 + n).unwrap();
        start(&mut deployment, node).unwrap();
    }
    let voters = vec![NodeId(2), NodeId(3), NodeId(4)];
    deployment.apply(Command::MakeTable(vec![voters; 2])).unwrap();
    deployment
}

const GROUP: Group = Group::Partition(PartitionId(0));

fn begin(deployment: &mut Deployment, begin: Begin) -> Result<Applied, Rejection> {
    let table_version = deployment.table.version;
    deployment.apply(Command::BeginChange {
        group: GROUP,
        table_version,
        begin,
    })
}

fn advance(deployment: &mut Deployment, step: Step) -> Result<Applied, Rejection> {
    let version = deployment.table.get(GROUP).unwrap().version;
    deployment.apply(Command::AdvanceChange {
        group: GROUP,
        version,
        step,
    })
}

fn voters(deployment: &Deployment) -> Vec<u64> {
    let assignment = deployment.table.get(GROUP).unwrap();
    assignment.voters.iter().map(|node| node.0).collect()
}

#[test]
fn an_embedded_deployment_is_whole_at_once_and_takes_nobody_in() {
    let mut deployment = bootstrap(Role::Embedded);
    let hosted = MetadataView::new(deployment.clone().into());
    let groups: Vec<u64> = hosted
        .hosted(NodeId(1))
        .iter()
        .map(|h| h.group.number())
        .collect();
    assert_eq!(groups, [0, 1, 2]);
    assert!(
        hosted
            .hosted(NodeId(1))
            .iter()
            .all(|h| h.genesis == Some([NodeId(1)].into()))
    );
    assert_eq!(register(&mut deployment, "s", 2), Err(Rejection::Embedded));
}

#[test]
fn a_disk_gets_one_id_and_a_name_goes_on_when_its_node_is_lost() {
    let mut deployment = bootstrap(Role::Coordinator);
    let old = register(&mut deployment, "s", 2).unwrap();
    assert_eq!(register(&mut deployment, "s", 2), Ok(old));
    assert_eq!(register(&mut deployment, "s", 3), Err(Rejection::NameTaken(old)));
    set(&mut deployment, old, NodeChange::Lost { since: 5 }).unwrap();
    let new = register(&mut deployment, "s", 3).unwrap();
    assert!(new > old);
    assert_eq!(
        deployment.node(old).unwrap().state,
        NodeState::Replaced { by: new }
    );
    assert_eq!(start(&mut deployment, old), Err(Rejection::NoSuchNode(old)));
    assert_eq!(
        register(&mut deployment, "s", 2),
        Err(Rejection::NoSuchNode(old)),
        "the old disk does not push the new one out"
    );
    assert_eq!(register(&mut deployment, "s", 3), Ok(new));
    assert!(
        Rejection::NoSuchNode(old)
            .to_string()
            .contains("empty data directory")
    );
}

#[test]
fn a_copy_of_a_disk_waits_until_its_node_is_lost() {
    let mut deployment = bootstrap(Role::Coordinator);
    let node = register(&mut deployment, "s", 2).unwrap();
    let elsewhere = NewNode {
        address: "10.0.0.77:7000".into(),
        ..new_node("s", Role::Shard, 2)
    };
    let copy = Command::RegisterNode(elsewhere);
    assert_eq!(deployment.apply(copy.clone()), Err(Rejection::NameTaken(node)));
    assert_eq!(register(&mut deployment, "s", 2), Ok(node), "where it was");
    set(&mut deployment, node, NodeChange::Lost { since: 5 }).unwrap();
    let Ok(Applied::Node(moved)) = deployment.apply(copy) else {
        panic!("a node may move when it is down");
    };
    assert_eq!(moved.id, node);
}

#[test]
fn a_role_is_not_taken_over_with_a_name() {
    let mut deployment = bootstrap(Role::Coordinator);
    set(&mut deployment, NodeId(1), NodeChange::Lost { since: 5 }).unwrap();
    assert_eq!(
        register(&mut deployment, "first", 2),
        Err(Rejection::NameTaken(NodeId(1)))
    );
}

#[test]
fn ids_of_nodes_that_are_forgotten_stay_spent() {
    let mut deployment = bootstrap(Role::Coordinator);
    let mut last = NodeId(1);
    let register = |deployment: &mut Deployment, disk: u16| {
        let mut install = [0; 16];
        install[..2].copy_from_slice(&disk.to_be_bytes());
        let node = NewNode {
            install: InstallId(install),
            ..new_node("s", Role::Shard, 0)
        };
        match deployment.apply(Command::RegisterNode(node)) {
            Ok(Applied::Node(record)) => record.id,
            other => panic!("{other:?}"),
        }
    };
    for disk in 0..limits::GONE_NODES_MAX as u16 + 10 {
        let node = register(&mut deployment, disk);
        assert!(node > last);
        last = node;
        set(&mut deployment, node, NodeChange::Remove).unwrap();
    }
    register(&mut deployment, 9_999);
    assert_eq!(deployment.nodes().count(), limits::GONE_NODES_MAX + 2);
    assert_eq!(deployment.node(NodeId(2)), None);
    assert_eq!(
        start(&mut deployment, NodeId(2)),
        Err(Rejection::NoSuchNode(NodeId(2)))
    );
}

#[test]
fn what_cannot_be_a_node_is_refused() {
    let mut deployment = bootstrap(Role::Coordinator);
    for name in ["", "-a", "a-", "A", "a.b", "a b", &"a".repeat(64)] {
        assert_eq!(
            register(&mut deployment, name, 2),
            Err(Rejection::BadNode),
            "{name}"
        );
    }
    for address in ["", "host", "host:", "host:70000"] {
        let node = NewNode {
            address: address.into(),
            ..new_node("s", Role::Shard, 2)
        };
        let refused = deployment.apply(Command::RegisterNode(node));
        assert_eq!(refused, Err(Rejection::BadNode), "{address}");
    }
    for n in 0..limits::NODES_MAX - 1 {
        register(&mut deployment, &format!("s{n}"), 2).unwrap();
    }
    assert_eq!(
        register(&mut deployment, "one-more", 2),
        Err(Rejection::TooManyNodes)
    );
}

#[test]
fn a_start_makes_a_node_active_and_ends_its_absence() {
    let mut deployment = bootstrap(Role::Coordinator);
    let node = register(&mut deployment, "s", 2).unwrap();
    assert!(!deployment.node(node).unwrap().takes_replicas());
    set(&mut deployment, node, NodeChange::Lost { since: 5 }).unwrap();
    start(&mut deployment, node).unwrap();
    let record = deployment.node(node).unwrap();
    assert!(record.takes_replicas());
    assert_eq!(
        (record.node.address.as_str(), record.lease_key),
        ("10.0.0.1:7000", Some([4; 32]))
    );
}

#[test]
fn a_table_is_made_once_of_nodes_that_run() {
    let mut deployment = bootstrap(Role::Coordinator);
    let node = register(&mut deployment, "s", 2).unwrap();
    let make = |voters: &[NodeId]| Command::MakeTable(vec![voters.to_vec(); 2]);
    assert_eq!(deployment.apply(make(&[node])), Err(Rejection::BadTable));
    start(&mut deployment, node).unwrap();
    for voters in [&[][..], &[node, node], &[NodeId(1)], &[NodeId(7)]] {
        assert_eq!(
            deployment.apply(make(voters)),
            Err(Rejection::BadTable),
            "{voters:?}"
        );
    }
    let short = Command::MakeTable(vec![vec![node]]);
    assert_eq!(deployment.apply(short), Err(Rejection::BadTable));
    deployment.apply(make(&[node])).unwrap();
    assert_eq!(deployment.apply(make(&[node])), Err(Rejection::BadTable));
}

#[test]
fn a_replica_moves_step_by_step_and_only_one_at_a_time() {
    let mut deployment = with_table(4);
    let add = Begin::Add {
        node: NodeId(5),
        replaces: Some(NodeId(2)),
    };
    let role = |deployment: &Deployment, node| deployment.table.get(GROUP).unwrap().role_of(NodeId(node));
    assert_eq!(
        advance(&mut deployment, Step::Promote),
        Err(Rejection::StepOutOfTurn)
    );
    begin(&mut deployment, add).unwrap();
    assert_eq!(role(&deployment, 5), Some(ReplicaRole::Learner));
    assert_eq!(begin(&mut deployment, add), Err(Rejection::ChangeUnderWay));
    assert_eq!(
        advance(&mut deployment, Step::Settle),
        Err(Rejection::StepOutOfTurn)
    );
    advance(&mut deployment, Step::Promote).unwrap();
    assert_eq!(voters(&deployment), [3, 4, 5]);
    assert_eq!(role(&deployment, 2), Some(ReplicaRole::Leaving));
    advance(&mut deployment, Step::Settle).unwrap();
    assert_eq!(role(&deployment, 2), None);
    assert_eq!(deployment.table.get(GROUP).unwrap().genesis(), None);
}

#[test]
fn a_change_that_leads_nowhere_is_undone() {
    let mut deployment = with_table(4);
    let add = Begin::Add {
        node: NodeId(5),
        replaces: Some(NodeId(2)),
    };
    begin(&mut deployment, add).unwrap();
    advance(&mut deployment, Step::Abandon).unwrap();
    assert_eq!(voters(&deployment), [2, 3, 4]);
    advance(&mut deployment, Step::Settle).unwrap();
    begin(&mut deployment, add).unwrap();
    advance(&mut deployment, Step::Promote).unwrap();
    advance(&mut deployment, Step::Retreat).unwrap();
    assert_eq!(voters(&deployment), [2, 3, 4]);
    let role = deployment.table.get(GROUP).unwrap().role_of(NodeId(5));
    assert_eq!(role, Some(ReplicaRole::Leaving));
}

#[test]
fn a_decision_on_what_is_past_is_refused() {
    let mut deployment = with_table(4);
    let past = deployment.table.version - 1;
    let begin_past = Command::BeginChange {
        group: GROUP,
        table_version: past,
        begin: Begin::Remove { node: NodeId(2) },
    };
    assert_eq!(deployment.apply(begin_past), Err(Rejection::VersionPast));
    begin(&mut deployment, Begin::Remove { node: NodeId(2) }).unwrap();
    let settle = Command::AdvanceChange {
        group: GROUP,
        version: 1,
        step: Step::Settle,
    };
    assert_eq!(deployment.apply(settle), Err(Rejection::VersionPast));
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let mut deployment = with_table(4);
    let joining = register(&mut deployment, "new", 90).unwrap();
    let add = |node, replaces: Option<u64>| Begin::Add {
        node: NodeId(node),
        replaces: replaces.map(NodeId),
    };
    let refused = [
        (add(2, None), Rejection::ReplicasDiffer),
        (add(5, Some(6)), Rejection::ReplicasDiffer),
        (add(99, None), Rejection::NoSuchNode(NodeId(99))),
        (Begin::Remove { node: NodeId(5) }, Rejection::ReplicasDiffer),
    ];
    for (change, why) in refused {
        assert_eq!(begin(&mut deployment, change), Err(why));
    }
    for node in [NodeId(1), joining] {
        let refused = begin(&mut deployment, add(node.0, None));
        assert!(
            matches!(refused, Err(Rejection::NodeOutOfTurn { .. })),
            "{refused:?}"
        );
    }
    let one = Settings {
        changes_max: 1,
        ..deployment.settings
    };
    deployment.apply(Command::Configure(one)).unwrap();
    begin(&mut deployment, add(5, None)).unwrap();
    let other = Command::BeginChange {
        group: Group::Partition(PartitionId(1)),
        table_version: deployment.table.version,
        begin: add(5, None),
    };
    assert_eq!(deployment.apply(other), Err(Rejection::TooManyChanges));
}

#[test]
fn nodes_go_when_the_others_suffice() {
    let mut deployment = with_table(3);
    let refused = set(&mut deployment, NodeId(2), NodeChange::Decommission);
    assert_eq!(refused, Err(Rejection::TooFewNodes { needed: 3, left: 2 }));
    let refused = set(&mut deployment, NodeId(1), NodeChange::Decommission);
    assert_eq!(refused, Err(Rejection::TooFewNodes { needed: 1, left: 0 }));
    let mut deployment = with_table(4);
    set(&mut deployment, NodeId(2), NodeChange::Decommission).unwrap();
    assert_eq!(
        set(&mut deployment, NodeId(2), NodeChange::Remove),
        Err(Rejection::StillHosts(NodeId(2)))
    );
    let refused = set(&mut deployment, NodeId(3), NodeChange::Decommission);
    assert_eq!(refused, Err(Rejection::TooFewNodes { needed: 3, left: 2 }));
    set(&mut deployment, NodeId(2), NodeChange::Recommission).unwrap();
    assert_eq!(deployment.node(NodeId(2)).unwrap().state, NodeState::Active);
    set(&mut deployment, NodeId(2), NodeChange::Lost { since: 1 }).unwrap();
    set(&mut deployment, NodeId(2), NodeChange::Remove).unwrap();
    assert_eq!(
        set(&mut deployment, NodeId(2), NodeChange::Found),
        Err(Rejection::NoSuchNode(NodeId(2)))
    );
}

#[test]
fn a_disk_whose_node_was_removed_does_not_come_back() {
    let mut deployment = bootstrap(Role::Coordinator);
    let node = register(&mut deployment, "s", 2).unwrap();
    set(&mut deployment, node, NodeChange::Remove).unwrap();
    assert_eq!(
        register(&mut deployment, "s", 2),
        Err(Rejection::NoSuchNode(node))
    );
    let emptied = register(&mut deployment, "s", 3).unwrap();
    assert!(emptied > node);
}

#[test]
fn who_never_started_can_be_let_go() {
    let mut deployment = with_table(3);
    let joining = register(&mut deployment, "new", 90).unwrap();
    set(&mut deployment, joining, NodeChange::Decommission).unwrap();
    start(&mut deployment, joining).unwrap();
    let record = deployment.node(joining).unwrap();
    assert_eq!(
        (record.state, record.takes_replicas()),
        (NodeState::Decommissioning, false)
    );
}

#[test]
fn a_decision_that_was_taken_can_be_repeated_whatever_came_since() {
    let mut deployment = with_table(4);
    set(&mut deployment, NodeId(2), NodeChange::Decommission).unwrap();
    set(&mut deployment, NodeId(3), NodeChange::Lost { since: 1 }).unwrap();
    set(&mut deployment, NodeId(2), NodeChange::Decommission).unwrap();
}

/// Whether the controller, having heard so, removes the node 5, which is to go and hosts nothing any more.
fn is_removed_after(report: Option<NodeReport>) -> bool {
    let mut deployment = with_table(4);
    set(&mut deployment, NodeId(5), NodeChange::Decommission).unwrap();
    let mut controller = Controller::new(Duration::ZERO);
    if let Some(report) = report {
        controller.step(&deployment, Event::Heard(NodeId(5), report), Duration::ZERO);
    }
    let tick = Event::Tick { unix_seconds: 9 };
    let actions = controller.step(&deployment, tick, Duration::from_secs(1));
    actions.contains(&Action::Propose(Command::SetNode {
        node: NodeId(5),
        to: NodeChange::Remove,
    }))
}

#[test]
fn who_leaves_is_let_go_when_its_disk_holds_no_replica_any_more() {
    let hosting = |replicas| NodeReport {
        replicas,
        ..NodeReport::default()
    };
    assert!(is_removed_after(Some(hosting(0))));
    assert!(!is_removed_after(Some(hosting(1))));
    assert!(
        !is_removed_after(None),
        "a controller that has just begun waits for its word"
    );
}

#[test]
fn what_was_heard_can_be_told() {
    let deployment = with_table(3);
    let mut controller = Controller::new(Duration::ZERO);
    let report = NodeReport {
        leases: 7,
        ..NodeReport::default()
    };
    let heard = Event::Heard(NodeId(2), report.clone());
    controller.step(&deployment, heard, Duration::from_secs(3));
    let sightings = controller.sightings(Duration::from_secs(8));
    assert_eq!(sightings.nodes[&NodeId(2)], (Duration::from_secs(5), report));
    assert!(sightings.groups.is_empty() && sightings.nodes.len() == 1);
}

#[test]
fn a_job_has_one_owner_and_whoever_lost_it_is_fenced() {
    let mut deployment = with_table(3);
    let job = JobName {
        kind: JobKind::Training,
        index: IndexId(3),
    };
    let claim =
        |deployment: &mut Deployment, owner| match deployment.apply(Command::ClaimJob { job, owner })? {
            Applied::Job(record) => Ok(record),
            other => panic!("{other:?}"),
        };
    let first = claim(&mut deployment, NodeId(1)).unwrap();
    assert_eq!(
        claim(&mut deployment, NodeId(2)),
        Err(Rejection::JobTaken(NodeId(1)))
    );
    let stage = |claim, stage| Command::AdvanceJob { job, claim, stage };
    deployment.apply(stage(first.claim, 4)).unwrap();
    set(&mut deployment, NodeId(1), NodeChange::Lost { since: 1 }).unwrap();
    let second = claim(&mut deployment, NodeId(2)).unwrap();
    assert_eq!((second.stage, second.claim > first.claim), (4, true));
    assert_eq!(deployment.apply(stage(first.claim, 5)), Err(Rejection::ClaimPast));
    let finish = |claim| Command::FinishJob { job, claim };
    assert_eq!(deployment.apply(finish(first.claim)), Err(Rejection::ClaimPast));
    deployment.apply(finish(second.claim)).unwrap();
    assert_eq!(deployment.jobs().count(), 0);
    let third = claim(&mut deployment, NodeId(2)).unwrap();
    assert!(third.claim > second.claim);
    let again = claim(&mut deployment, NodeId(2)).unwrap();
    assert!(
        again.claim > third.claim,
        "a restarted owner fences its earlier run"
    );
    deployment.forget_index(IndexId(3));
    assert_eq!(deployment.jobs().count(), 0);
}

#[test]
fn only_a_group_that_never_changed_is_founded() {
    let mut deployment = with_table(4);
    let hosted = |deployment: &Deployment, node| {
        let view = MetadataView::new(deployment.clone().into());
        view.hosted(NodeId(node)).to_vec()
    };
    assert!(hosted(&deployment, 2).iter().all(|h| h.genesis.is_some()));
    assert_eq!(hosted(&deployment, 5), []);
    begin(&mut deployment, Begin::Remove { node: NodeId(2) }).unwrap();
    let of_two = hosted(&deployment, 2);
    assert_eq!(
        (of_two[0].role, &of_two[0].genesis),
        (ReplicaRole::Leaving, &None)
    );
    advance(&mut deployment, Step::Settle).unwrap();
    let back = Begin::Add {
        node: NodeId(2),
        replaces: None,
    };
    begin(&mut deployment, back).unwrap();
    let of_two = hosted(&deployment, 2);
    assert_eq!(
        (of_two[0].role, &of_two[0].genesis),
        (ReplicaRole::Learner, &None)
    );
}

#[test]
fn who_is_not_lost_is_asked_first() {
    let mut deployment = with_table(3);
    set(&mut deployment, NodeId(2), NodeChange::Lost { since: 1 }).unwrap();
    let view = MetadataView::new(deployment.into());
    let ids: Vec<u64> = view
        .candidates(PartitionId(1))
        .iter()
        .map(|node| node.id.0)
        .collect();
    assert_eq!(ids, [3, 4, 2]);
}

#[test]
fn groups_are_numbered_for_good() {
    for (group, number) in [
        (Group::Metadata, 0),
        (GROUP, 1),
        (Group::Partition(PartitionId(u16::MAX)), 65_536),
    ] {
        assert_eq!(
            (group.number(), Group::from_number(number)),
            (number, Some(group))
        );
    }
    assert_eq!(Group::from_number(65_537), None);
}
