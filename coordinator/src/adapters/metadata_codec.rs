//! Entries of the metadata group's log: commands of the catalogue, as they always were, and of the deployment.

use super::catalog_codec::{self, Unreadable, check_version};
use super::deployment_command_codec;
use crate::domain::MetadataCommand;
use prost::Message;
use sealdex_proto::{ENTRY_VERSION, catalog as wire};

/// An entry's bytes.
pub(super) fn encode_metadata_command(command: &MetadataCommand) -> Vec<u8> {
    let command = match command {
        MetadataCommand::Catalog(command) => catalog_codec::command_to_wire(command),
        MetadataCommand::Deployment(command) => {
            wire::entry::Command::Deployment(deployment_command_codec::command_to_wire(command))
        }
    };
    wire::Entry {
        version: ENTRY_VERSION,
        command: Some(command),
    }
    .encode_to_vec()
}

/// Reads an entry of this version or any before.
pub(super) fn decode_metadata_command(bytes: &[u8]) -> Result<MetadataCommand, Unreadable> {
    let entry = wire::Entry::decode(bytes).map_err(|_| Unreadable("entry"))?;
    check_version(entry.version, "entry")?;
    match entry.command.ok_or(Unreadable("command"))? {
        wire::entry::Command::Deployment(command) => {
            deployment_command_codec::command_from_wire(command).map(MetadataCommand::Deployment)
        }
        command => catalog_codec::command_from_wire(command).map(MetadataCommand::Catalog),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Command;
    use crate::domain::deployment::{
        self, Begin, Bootstrap, Claim, Group, InstallId, JobKind, JobName, NewNode, NodeChange, Role,
        Settings, Step,
    };
    use sealdex_core::{DeploymentId, IndexId, NodeId, PartitionId};

    fn node(role: Role) -> NewNode {
        NewNode {
            name: "node-1".into(),
            role,
            address: "h:7000".into(),
            zone: "z".into(),
            version: "1".into(),
            install: InstallId([1; 16]),
        }
    }

    fn commands() -> Vec<deployment::Command> {
        use deployment::Command as C;
        let job = |kind| JobName {
            kind,
            index: IndexId(u64::MAX),
        };
        let group = Group::Partition(PartitionId(u16::MAX));
        let set = |to| C::SetNode { node: NodeId(3), to };
        let begin = |begin| C::BeginChange {
            group,
            table_version: 5,
            begin,
        };
        let step = |step| C::AdvanceChange {
            group: Group::Metadata,
            version: 6,
            step,
        };
        let add = |replaces| Begin::Add {
            node: NodeId(4),
            replaces,
        };
        let update = |lease_key| C::UpdateNode {
            node: NodeId(1),
            address: "h:1".into(),
            zone: String::new(),
            version: "2".into(),
            lease_key,
        };
        let mut commands = vec![
            C::Bootstrap(Bootstrap {
                deployment: DeploymentId([2; 16]),
                partitions: 16,
                settings: Settings::default(),
                node: node(Role::Embedded),
            }),
            update(None),
            update(Some([3; 32])),
            C::MakeTable(vec![vec![NodeId(1), NodeId(2)], vec![]]),
            begin(add(None)),
            begin(add(Some(NodeId(0)))),
            begin(Begin::Remove { node: NodeId(9) }),
            C::AdvanceJob {
                job: job(JobKind::Training),
                claim: Claim(8),
                stage: 2,
            },
            C::FinishJob {
                job: job(JobKind::Training),
                claim: Claim(8),
            },
            C::Configure(Settings {
                balance: false,
                ..Settings::default()
            }),
            set(NodeChange::Lost { since: 12 }),
        ];
        commands.extend([Role::Coordinator, Role::Shard].map(|role| C::RegisterNode(node(role))));
        let changes = [
            NodeChange::Found,
            NodeChange::Decommission,
            NodeChange::Recommission,
            NodeChange::Remove,
        ];
        commands.extend(changes.map(set));
        commands.extend([Step::Promote, Step::Abandon, Step::Retreat, Step::Settle].map(step));
        let kinds = [
            JobKind::Training,
            JobKind::Rotation,
            JobKind::Promotion,
            JobKind::Fold,
            JobKind::Tidying,
        ];
        commands.extend(kinds.map(|kind| C::ClaimJob {
            job: job(kind),
            owner: NodeId(2),
        }));
        commands
    }

    #[test]
    fn commands_survive_a_round_trip() {
        for command in commands().into_iter().map(MetadataCommand::Deployment) {
            let read = decode_metadata_command(&encode_metadata_command(&command));
            assert_eq!(read.unwrap(), command);
        }
    }

    /// An entry as it was written before there were deployments: deletes index 9, named `x`.
    const BEFORE: &[u8] = b"\x08\x01\x1a\x0c\x0a\x01x\x11\x09\0\0\0\0\0\0\0";

    #[test]
    fn entries_of_before_are_read_and_written_as_they_were() {
        let command = MetadataCommand::Catalog(Command::Delete {
            name: "x".into(),
            id: IndexId(9),
        });
        assert_eq!(decode_metadata_command(BEFORE).unwrap(), command);
        assert_eq!(encode_metadata_command(&command), BEFORE);
    }

    #[test]
    fn what_is_newer_than_us_is_refused() {
        let newer = wire::Entry {
            version: ENTRY_VERSION + 1,
            command: Some(catalog_codec::command_to_wire(&Command::Delete {
                name: "x".into(),
                id: IndexId(9),
            })),
        };
        assert!(decode_metadata_command(&newer.encode_to_vec()).is_err());
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let entry = |command| {
            let command = Some(wire::entry::Command::Deployment(wire::DeploymentCommand {
                command,
            }));
            wire::Entry {
                version: ENTRY_VERSION,
                command,
            }
            .encode_to_vec()
        };
        use wire::deployment_command::Command as Wire;
        let empty = [
            None,
            Some(Wire::SetNode(wire::SetNode::default())),
            Some(Wire::BeginChange(wire::BeginChange::default())),
            Some(Wire::AdvanceChange(wire::AdvanceChange::default())),
            Some(Wire::ClaimJob(wire::ClaimJob::default())),
        ];
        for command in empty {
            assert!(decode_metadata_command(&entry(command)).is_err());
        }
    }
}
