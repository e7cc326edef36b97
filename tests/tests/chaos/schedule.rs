//! What will be done to which nodes when. All of it follows from the seed and the nodes' names, so a run can be repeated.

use super::machine::Role;
use sealdex_tests::random::Random;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The faults of a run, one after another.
pub(crate) struct Schedule(pub Vec<Planned>);

/// A fault that will be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    /// What is done.
    pub(crate) fault: Fault,
    /// The nodes that it is done to.
    pub(crate) nodes: Vec<String>,
    /// What they are.
    pub(crate) roles: BTreeSet<Role>,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// How long all is well before it.
    pub(crate) after: Duration,
}

/// What can be done to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// They are killed, and started again with what is on their disks.
    Kill,
    /// They are held still, and go on where they were.
    Pause,
    /// Each other node is out of their reach.
    Cut,
    /// Every node is killed, and all are started.
    RestartAll,
    /// One node after another is stopped as an operator would, and started when it has ended.
    RollingRestart,
    /// They are killed, and started with empty disks.
    Wipe,
    /// A node joins, stays, and leaves as an operator has it leave.
    Guest,
    /// A node joins, stays, and is gone without a word, with its disk.
    Deserter,
}

/// What there is to strike.
pub(crate) struct Nodes {
    /// The nodes of a deployment by what they are.
    pub(crate) nodes: Vec<(String, Role)>,
    /// The name of a node that may join.
    pub(crate) guest: Option<String>,
    /// What alone is done; if it is empty, everything is.
    pub(crate) only: Vec<Fault>,
}

impl Nodes {
    fn of(&self, role: Role) -> Vec<&str> {
        let own = self.nodes.iter().filter(|(_, own)| *own == role);
        own.map(|(name, _)| name.as_str()).collect()
    }

    /// What a deployment of these nodes must survive.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = vec![
            Fault::Kill,
            Fault::Pause,
            Fault::RestartAll,
            Fault::RollingRestart,
        ];
        if self.nodes.len() > 1 {
            faults.push(Fault::Cut);
        }
        // With fewer, the disk that is emptied is the only one, or the majority cannot do without it.
        if self.of(Role::Shard).len() >= 3 {
            faults.push(Fault::Wipe);
        }
        if self.guest.is_some() {
            faults.extend([Fault::Guest, Fault::Deserter]);
        }
        if !self.only.is_empty() {
            faults.retain(|fault| self.only.contains(fault));
        }
        faults
    }

    /// A minority of each kind of node, at least one node in all. Where there is one node only, that one.
    fn some(&self, random: &mut Random) -> Vec<String> {
        let mut chosen = Vec::new();
        for role in [Role::Coordinator, Role::Shard] {
            let mut own = self.of(role);
            let count = random.below(own.len().saturating_sub(1) / 2 + 1);
            for _ in 0..count {
                chosen.push(own.swap_remove(random.below(own.len())).to_owned());
            }
        }
        if chosen.is_empty() {
            chosen.push(self.nodes[random.below(self.nodes.len())].0.clone());
        }
        chosen.sort();
        chosen
    }
}

impl Schedule {
    /// Faults for about `time`, each kind as often as any other.
    pub(crate) fn draw(nodes: &Nodes, time: Duration, random: &mut Random) -> Self {
        let mut planned = Vec::new();
        let mut left = time;
        let mut kinds = Vec::new();
        loop {
            if kinds.is_empty() {
                kinds = nodes.faults();
            }
            if kinds.is_empty() {
                return Self(planned);
            }
            let fault = kinds.swap_remove(random.below(kinds.len()));
            let next = Planned::draw(fault, nodes, random);
            match left.checked_sub(next.lasts + next.after) {
                Some(rest) => left = rest,
                None => return Self(planned),
            }
            planned.push(next);
        }
    }
}

impl Planned {
    fn draw(fault: Fault, all: &Nodes, random: &mut Random) -> Self {
        let nodes: Vec<String> = match fault {
            Fault::Kill | Fault::Pause | Fault::Cut => all.some(random),
            Fault::RestartAll | Fault::RollingRestart => {
                all.nodes.iter().map(|(name, _)| name.clone()).collect()
            }
            Fault::Wipe => {
                let shards = all.of(Role::Shard);
                vec![shards[random.below(shards.len())].to_owned()]
            }
            Fault::Guest | Fault::Deserter => all.guest.iter().cloned().collect(),
        };
        let milliseconds = match fault {
            // Some come back before anybody noticed.
            Fault::Kill | Fault::Wipe => 20 + random.below(5_000),
            Fault::Pause | Fault::Cut => 200 + random.below(8_000),
            // Long enough for some partitions to move there.
            Fault::Guest | Fault::Deserter => 5_000 + random.below(10_000),
            Fault::RestartAll | Fault::RollingRestart => 0,
        };
        let struck = all.nodes.iter().filter(|(name, _)| nodes.contains(name));
        Self {
            fault,
            roles: struck.map(|(_, role)| *role).collect(),
            nodes,
            lasts: Duration::from_millis(milliseconds as u64),
            after: Duration::from_millis(500 + random.below(2_500) as u64),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [
            Fault::Kill,
            Fault::Pause,
            Fault::Cut,
            Fault::RestartAll,
            Fault::RollingRestart,
            Fault::Wipe,
            Fault::Guest,
            Fault::Deserter,
        ];
        let found = all.into_iter().find(|fault| format!("{fault:?}") == name);
        found.ok_or_else(|| format!("'{name}' is none of {all:?}"))
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "after {:?} {:?} of {} for {:?}",
            self.after,
            self.fault,
            self.nodes.join(", "),
            self.lasts
        )
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.0 {
            writeln!(f, "  {planned}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six() -> Nodes {
        let names = |role, prefix: &'static str| (1..=3).map(move |i| (format!("{prefix}-{i}"), role));
        Nodes {
            nodes: names(Role::Coordinator, "coordinator")
                .chain(names(Role::Shard, "shard"))
                .collect(),
            guest: Some("shard-4".to_owned()),
            only: Vec::new(),
        }
    }

    fn drawn(nodes: &Nodes, seed: u64) -> Schedule {
        Schedule::draw(nodes, Duration::from_secs(300), &mut Random::new(seed))
    }

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        assert_eq!(drawn(&six(), 3).0, drawn(&six(), 3).0);
        assert_ne!(drawn(&six(), 3).0, drawn(&six(), 4).0);
    }

    #[test]
    fn every_kind_of_fault_comes_and_leaves_a_majority_of_each_kind_of_node() {
        for seed in 0..50 {
            let schedule = drawn(&six(), seed);
            for fault in six().faults() {
                assert!(
                    schedule.0.iter().any(|planned| planned.fault == fault),
                    "{fault:?}"
                );
            }
            let partial = schedule.0.iter().filter(|planned| planned.nodes.len() < 6);
            for planned in partial {
                for kind in ["coordinator", "shard"] {
                    let struck = planned.nodes.iter().filter(|name| name.starts_with(kind));
                    assert!(struck.count() <= 1, "{planned}");
                }
                assert!(!planned.nodes.is_empty());
            }
            let time: Duration = schedule
                .0
                .iter()
                .map(|planned| planned.lasts + planned.after)
                .sum();
            assert!(time <= Duration::from_secs(300));
        }
    }

    #[test]
    fn only_what_is_wanted_is_done() {
        let only = ["Pause", "Cut"].map(|name| name.parse().unwrap()).to_vec();
        let nodes = Nodes { only, ..six() };
        let schedule = drawn(&nodes, 1);
        assert!(schedule.0.len() > 10);
        assert!(
            schedule
                .0
                .iter()
                .all(|planned| matches!(planned.fault, Fault::Pause | Fault::Cut))
        );
        assert!("pause".parse::<Fault>().is_err());
    }

    #[test]
    fn a_lone_node_is_neither_cut_off_nor_emptied() {
        let nodes = Nodes {
            nodes: vec![("serve".to_owned(), Role::Embedded)],
            guest: None,
            only: Vec::new(),
        };
        let schedule = drawn(&nodes, 1);
        assert!(schedule.0.iter().all(|planned| planned.nodes == ["serve"]));
        assert!(
            schedule
                .0
                .iter()
                .all(|planned| !matches!(planned.fault, Fault::Cut | Fault::Wipe))
        );
    }
}
