//! The deployment on one screen.

use super::api::{Job, Node, Partition, Replica, Status};
use crate::output::{aligned, printable};
use std::fmt::Write;

/// Partitions that are shown one by one if not all were asked for.
const PARTITIONS_SHOWN: usize = 16;

const MIB: u64 = 1 << 20;

/// Entries from which on a replica is worth a word.
const BEHIND: u64 = 64;

/// The whole: nodes, partitions that are not in good health (or all of them), jobs.
pub(crate) fn screen(
    status: &Status,
    nodes: &[Node],
    partitions: &[Partition],
    all_partitions: bool,
) -> String {
    let mut text = head(status);
    let members: Vec<&Node> = nodes.iter().filter(|node| !node.is_gone()).collect();
    text += &lines(&self::nodes(&members));
    text.push('\n');
    text += &summary(status);
    let shown = partitions
        .iter()
        .filter(|partition| all_partitions || !partition.healthy);
    let limit = if all_partitions {
        usize::MAX
    } else {
        PARTITIONS_SHOWN
    };
    let (shown, more): (Vec<_>, Vec<_>) = shown.enumerate().partition(|(n, _)| *n < limit);
    if !shown.is_empty() {
        let headings = ["PARTITION", "LEADER", "REPLICAS"].map(str::to_owned);
        let rows = shown.into_iter().map(|(_, partition)| row(partition));
        text += &lines(&[headings].into_iter().chain(rows).collect::<Vec<_>>());
    }
    if !more.is_empty() {
        let _ = writeln!(text, "and {} more; --partitions shows all", more.len());
    }
    text.push('\n');
    text += &jobs(status);
    text
}

/// Nodes, a line each, below their headings.
pub(crate) fn nodes(nodes: &[&Node]) -> Vec<[String; 11]> {
    let headings = [
        "NODE",
        "ID",
        "ROLE",
        "STATE",
        "HEARD",
        "LEADS",
        "REPLICAS",
        "BEHIND",
        "DISK FREE",
        "LEASES",
        "ZONE",
    ];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(nodes.iter().map(|node| {
        [
            printable(&node.name),
            node.id.to_string(),
            node.role.clone(),
            state(node),
            node.last_heard_seconds_ago
                .map_or_else(none, |seconds| format!("{seconds} s")),
            leads(node),
            match node.role.as_str() {
                "coordinator" => none(),
                _ => node.replicas.to_string(),
            },
            node.behind_entries
                .map_or_else(none, |entries| entries.to_string()),
            disk(node),
            node.leases.map_or_else(none, |leases| leases.to_string()),
            match node.zone.as_str() {
                "" => none(),
                zone => printable(zone),
            },
        ]
    }));
    rows
}

/// Rows as lines of text.
pub(crate) fn lines<const N: usize>(rows: &[[String; N]]) -> String {
    aligned(rows).into_iter().map(|line| line + "\n").collect()
}

fn head(status: &Status) -> String {
    let leader = status.metadata.leader.as_ref();
    let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| printable(&leader.name));
    let mut text = format!(
        "Deployment {}, metadata led by {leader}, told by {}\n",
        status.deployment,
        printable(&status.answered_by.name)
    );
    if !status.current {
        text += "The coordinator that leads cannot be asked: this is what was known last. Start coordinators until a majority of them \
                 is up.\n";
    }
    text.push('\n');
    text
}

fn summary(status: &Status) -> String {
    let partitions = &status.partitions;
    let mut text = format!(
        "Partitions: {} of {} in good health, {} led, {} changing. Replicas: {}, {} behind, {} on lost nodes. Leases: {}.\n",
        partitions.healthy,
        partitions.total,
        partitions.led,
        partitions.changing,
        partitions.replicas,
        partitions.replicas_behind,
        partitions.replicas_lost,
        status.leases,
    );
    // Who knows only what its disk remembers may have forgotten who joined last.
    if partitions.assigned < partitions.total && status.current {
        text += "Partitions are given to shard nodes when as many have joined as are expected (--expected-shards).\n";
    }
    text
}

fn state(node: &Node) -> String {
    let mut state = node.state.clone();
    if node.state != "lost" && node.lost_since.is_some() && !node.is_gone() {
        state += ", lost";
    }
    state
}

fn leads(node: &Node) -> String {
    match (node.leads_metadata, node.leads) {
        (true, 0) => "metadata".to_owned(),
        (true, partitions) => format!("metadata, {partitions}"),
        (false, partitions) => partitions.to_string(),
    }
}

fn disk(node: &Node) -> String {
    let Some(disk) = &node.disk else {
        return none();
    };
    let free = match disk.free_bytes / MIB {
        mib @ 0..10_240 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib / 1024),
    };
    match node.disk_full {
        Some(true) => format!("{free} (full: {} MiB needed)", disk.needed_bytes.div_ceil(MIB)),
        _ => free,
    }
}

fn row(partition: &Partition) -> [String; 3] {
    let leader = partition.leader.as_ref();
    let replicas: Vec<String> = partition.replicas.iter().map(replica).collect();
    let changing = if partition.changing { " (changing)" } else { "" };
    [
        format!("{}{changing}", partition.partition),
        leader.map_or_else(none, |leader| printable(&leader.name)),
        replicas.join(", "),
    ]
}

fn replica(replica: &Replica) -> String {
    let mut words = Vec::new();
    if replica.role != "voter" {
        words.push(replica.role.clone());
    }
    if replica.lost {
        words.push("lost".to_owned());
    }
    if let Some(entries) = replica.behind_entries.filter(|entries| *entries > BEHIND) {
        words.push(format!("{entries} behind"));
    }
    let name = printable(&replica.name);
    match words.is_empty() {
        true => name,
        false => format!("{name} ({})", words.join(", ")),
    }
}

fn jobs(status: &Status) -> String {
    if status.jobs.is_empty() {
        return "Jobs: none.\n".to_owned();
    }
    let mut rows = vec![["JOB", "INDEX", "STATE", "NODE", "ITEMS"].map(str::to_owned)];
    rows.extend(status.jobs.iter().map(|job| {
        [
            job.kind.clone(),
            printable(&job.index_name),
            job.state.clone(),
            job.node.as_ref().map_or_else(none, |node| printable(&node.name)),
            items(job),
        ]
    }));
    let mut text = lines(&rows);
    if status.jobs_total > status.jobs.len() {
        let _ = writeln!(text, "and {} more", status.jobs_total - status.jobs.len());
    }
    text
}

fn items(job: &Job) -> String {
    match job.items_total {
        0 => none(),
        total => format!("{} of {total}", job.items_done),
    }
}

fn none() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(current: bool) -> Value {
        json!({
            "deployment": "ab", "current": current, "answered_by": {"id": 2, "name": "c-2"},
            "metadata": {"leader": {"id": 1, "name": "c-1"}, "replicas": []},
            "nodes": {"total": 2},
            "partitions": {
                "total": 20, "assigned": 20, "led": 20, "healthy": 2, "changing": 1, "replicas": 60, "replicas_behind": 3,
                "replicas_lost": 4,
            },
            "disk_free_bytes_min": 7, "leases": 5,
            "jobs": [{
                "kind": "training", "index_name": "a\u{1b}b", "state": "running", "node": {"id": 1, "name": "c-1"}, "items_done": 3,
                "items_total": 9,
            }],
            "jobs_total": 4,
        })
    }

    fn node(state: &str, full: bool) -> Value {
        json!({
            "id": 4, "name": "s-1", "role": "shard", "zone": "", "address": "s-1:7000", "version": "1", "state": state,
            "lost_since": 77, "last_heard_seconds_ago": 12, "leads_metadata": false, "leads": 0, "replicas": 16,
            "behind_entries": 231, "disk": {"free_bytes": 100u64 << 20, "needed_bytes": 128u64 << 20}, "disk_full": full,
            "leases": null,
        })
    }

    fn partition(number: u16, healthy: bool) -> Value {
        let replica = |name, lost, behind| json!({"id": 1, "name": name, "role": "voter", "lost": lost, "behind_entries": behind});
        json!({
            "partition": number, "healthy": healthy, "changing": false, "leader": {"id": 5, "name": "s-2"},
            "replicas": [replica("s-1", true, Some(231)), replica("s-2", false, Some(0)), replica("s-3", false, None)],
        })
    }

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn trouble_is_on_the_screen() {
        let nodes: Vec<Node> = [node("decommissioning", true), node("replaced", false)]
            .map(read)
            .into();
        let partitions: Vec<Partition> = (0..20).map(|n| read(partition(n, n < 2))).collect();
        let text = screen(&read(status(true)), &nodes, &partitions, false);
        for part in [
            "metadata led by c-1, told by c-2",
            "decommissioning, lost",
            "100 MiB (full: 128 MiB needed)",
            "s-1 (lost, 231 behind), s-2, s-3",
            "2 of 20 in good health",
            "and 2 more; --partitions shows all",
            "training  a\u{fffd}b",
            "3 of 9",
            "and 3 more\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(
            !text.contains("replaced") && !text.contains("cannot be asked"),
            "{text}"
        );
        let all = screen(&read(status(false)), &nodes, &partitions, true);
        assert_eq!(all.matches("s-1 (lost, 231 behind)").count(), 20, "{all}");
        assert!(all.contains("cannot be asked"), "{all}");
    }

    #[test]
    fn nothing_is_lost_on_the_way_to_json() {
        for value in [status(true), status(false)] {
            let status: Status = read(value.clone());
            assert_eq!(serde_json::to_value(&status).unwrap(), value);
        }
        let node: Node = read(node("lost", false));
        assert_eq!(serde_json::to_value(&node).unwrap(), self::node("lost", false));
    }
}
