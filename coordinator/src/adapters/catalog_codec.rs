//! The catalogue's stored form, in both directions; the only file that knows both its messages and its domain types.

use super::key_codec::{envelope_from_wire, envelope_to_wire, user_from_wire, user_to_wire};
use crate::domain::{Command, Epochs, GenerationRecord, IndexRecord, ModelRef};
use prost::Message;
use sealdex_core::{Dimension, Generation, IndexId, KeyEpoch, Metric, Precision, UserId};
use sealdex_proto::{ENTRY_VERSION, catalog as wire};

/// A record or entry that this version cannot read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("catalogue {0} cannot be read")]
pub(crate) struct Unreadable(pub(super) &'static str);

pub(super) fn command_to_wire(command: &Command) -> wire::entry::Command {
    use wire::entry::Command as Wire;
    match command.clone() {
        Command::Create(record) => Wire::CreateIndex(record_to_wire(&record)),
        Command::Delete { name, id } => Wire::DeleteIndex(wire::DeleteIndex { name, id: id.0 }),
        Command::SetUntrainedModel {
            name,
            id,
            dimension,
            model,
        } => Wire::SetUntrainedModel(wire::SetUntrainedModel {
            name,
            id: id.0,
            dimension: dimension.get() as u32,
            model: Some(model_to_wire(model)),
        }),
        Command::FixDimension { name, id, dimension } => Wire::FixDimension(wire::FixDimension {
            name,
            id: id.0,
            dimension: dimension.get() as u32,
        }),
        Command::BeginTraining { name, id, building } => Wire::BeginTraining(wire::BeginTraining {
            name,
            id: id.0,
            building: Some(generation_to_wire(&building)),
        }),
        Command::FinishTraining { name, id, generation } => Wire::FinishTraining(wire::FinishTraining {
            name,
            id: id.0,
            generation: generation.0,
        }),
        Command::AbortTraining { name, id, generation } => Wire::AbortTraining(wire::AbortTraining {
            name,
            id: id.0,
            generation: generation.0,
        }),
        Command::ReviseModel {
            name,
            id,
            generation,
            replaces,
            model,
            clusters,
        } => Wire::ReviseModel(wire::ReviseModel {
            name,
            id: id.0,
            generation: generation.0,
            replaces: Some(model_to_wire(replaces)),
            model: Some(model_to_wire(model)),
            clusters,
        }),
        Command::ForgetModel {
            name,
            id,
            generation,
            model,
        } => Wire::ForgetModel(wire::ForgetModel {
            name,
            id: id.0,
            generation: generation.0,
            model: Some(model_to_wire(model)),
        }),
        Command::AddUser {
            name,
            id,
            epochs,
            user,
        } => Wire::AddUser(wire::AddUser {
            name,
            id: id.0,
            user: Some(user_to_wire(&user)),
            epoch: epochs.sealing.0,
            other_epoch: epochs.other.map(|epoch| epoch.0),
        }),
        Command::RemoveUser { name, id, user } => Wire::RemoveUser(wire::RemoveUser {
            name,
            id: id.0,
            user: user.0.to_vec().into(),
        }),
        Command::Rewrap {
            name,
            id,
            replaces,
            key,
        } => Wire::Rewrap(wire::Rewrap {
            name,
            id: id.0,
            replaces: replaces.to_vec().into(),
            key: Some(envelope_to_wire(&key)),
        }),
        Command::BeginEpoch {
            name,
            id,
            replaces,
            key,
            users,
        } => Wire::BeginEpoch(wire::BeginEpoch {
            name,
            id: id.0,
            replaces: replaces.to_vec().into(),
            key: Some(envelope_to_wire(&key)),
            users: users.iter().map(user_to_wire).collect(),
        }),
        Command::SwitchEpoch { name, id, epoch } => Wire::SwitchEpoch(wire::SwitchEpoch {
            name,
            id: id.0,
            epoch: epoch.0,
        }),
        Command::FinishEpoch { name, id, epoch } => Wire::FinishEpoch(wire::FinishEpoch {
            name,
            id: id.0,
            epoch: epoch.0,
        }),
        Command::ForgetGeneration { name, id, generation } => {
            Wire::ForgetGeneration(wire::ForgetGeneration {
                name,
                id: id.0,
                generation: generation.0,
            })
        }
    }
}

/// Reads what concerns the catalogue.
pub(super) fn command_from_wire(command: wire::entry::Command) -> Result<Command, Unreadable> {
    use wire::entry::Command as Wire;
    Ok(match command {
        Wire::CreateIndex(record) => Command::Create(Box::new(record_from_wire(record)?)),
        Wire::DeleteIndex(c) => Command::Delete {
            name: c.name,
            id: IndexId(c.id),
        },
        Wire::SetUntrainedModel(c) => Command::SetUntrainedModel {
            name: c.name,
            id: IndexId(c.id),
            dimension: Dimension::new(c.dimension.into()).map_err(|_| Unreadable("dimension"))?,
            model: model_from_wire(c.model.ok_or(Unreadable("model"))?)?,
        },
        Wire::FixDimension(c) => Command::FixDimension {
            name: c.name,
            id: IndexId(c.id),
            dimension: Dimension::new(c.dimension.into()).map_err(|_| Unreadable("dimension"))?,
        },
        Wire::BeginTraining(c) => Command::BeginTraining {
            name: c.name,
            id: IndexId(c.id),
            building: generation_from_wire(c.building.ok_or(Unreadable("generation"))?)?,
        },
        Wire::FinishTraining(c) => Command::FinishTraining {
            name: c.name,
            id: IndexId(c.id),
            generation: Generation(c.generation),
        },
        Wire::AbortTraining(c) => Command::AbortTraining {
            name: c.name,
            id: IndexId(c.id),
            generation: Generation(c.generation),
        },
        Wire::ReviseModel(c) => Command::ReviseModel {
            name: c.name,
            id: IndexId(c.id),
            generation: Generation(c.generation),
            replaces: model_from_wire(c.replaces.ok_or(Unreadable("model"))?)?,
            model: model_from_wire(c.model.ok_or(Unreadable("model"))?)?,
            clusters: c.clusters,
        },
        Wire::ForgetModel(c) => Command::ForgetModel {
            name: c.name,
            id: IndexId(c.id),
            generation: Generation(c.generation),
            model: model_from_wire(c.model.ok_or(Unreadable("model"))?)?,
        },
        Wire::AddUser(c) => Command::AddUser {
            name: c.name,
            id: IndexId(c.id),
            epochs: Epochs {
                sealing: KeyEpoch(c.epoch),
                other: c.other_epoch.map(KeyEpoch),
            },
            user: Box::new(user_from_wire(c.user.ok_or(Unreadable("user"))?)?),
        },
        Wire::RemoveUser(c) => Command::RemoveUser {
            name: c.name,
            id: IndexId(c.id),
            user: UserId::from_slice(&c.user).ok_or(Unreadable("user id"))?,
        },
        Wire::Rewrap(c) => Command::Rewrap {
            name: c.name,
            id: IndexId(c.id),
            replaces: fixed(&c.replaces, "commitment")?,
            key: Box::new(envelope_from_wire(c.key.ok_or(Unreadable("key envelope"))?)?),
        },
        Wire::BeginEpoch(c) => Command::BeginEpoch {
            name: c.name,
            id: IndexId(c.id),
            replaces: fixed(&c.replaces, "commitment")?,
            key: Box::new(envelope_from_wire(c.key.ok_or(Unreadable("key envelope"))?)?),
            users: c
                .users
                .into_iter()
                .map(user_from_wire)
                .collect::<Result<_, _>>()?,
        },
        Wire::SwitchEpoch(c) => Command::SwitchEpoch {
            name: c.name,
            id: IndexId(c.id),
            epoch: KeyEpoch(c.epoch),
        },
        Wire::FinishEpoch(c) => Command::FinishEpoch {
            name: c.name,
            id: IndexId(c.id),
            epoch: KeyEpoch(c.epoch),
        },
        Wire::ForgetGeneration(c) => Command::ForgetGeneration {
            name: c.name,
            id: IndexId(c.id),
            generation: Generation(c.generation),
        },
        Wire::Deployment(_) => return Err(Unreadable("command of the deployment")),
    })
}

pub(crate) fn encode_record(record: &IndexRecord) -> Vec<u8> {
    record_to_wire(record).encode_to_vec()
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<IndexRecord, Unreadable> {
    record_from_wire(wire::Index::decode(bytes).map_err(|_| Unreadable("record"))?)
}

/// Bytes of a length that is fixed.
pub(super) fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Unreadable> {
    bytes.try_into().map_err(|_| Unreadable(what))
}

pub(super) fn check_version(version: u32, what: &'static str) -> Result<(), Unreadable> {
    if (1..=ENTRY_VERSION).contains(&version) {
        Ok(())
    } else {
        Err(Unreadable(what))
    }
}

fn record_to_wire(record: &IndexRecord) -> wire::Index {
    wire::Index {
        version: ENTRY_VERSION,
        name: record.name.clone(),
        id: record.id.0,
        metric: match record.metric {
            Metric::Euclidean => wire::Metric::Euclidean,
            Metric::SquaredEuclidean => wire::Metric::SquaredEuclidean,
            Metric::Cosine => wire::Metric::Cosine,
        }
        .into(),
        precision: match record.precision {
            Precision::Float32 => wire::Precision::Float32,
            Precision::Float16 => wire::Precision::Float16,
        }
        .into(),
        dimension: record.dimension.map_or(0, |d| d.get() as u32),
        created_unix_seconds: record.created_unix_seconds,
        key: Some(envelope_to_wire(&record.key)),
        users: record.users.iter().map(user_to_wire).collect(),
        without_inbox: record.without_inbox,
        active: Some(generation_to_wire(&record.active)),
        building: record.building.as_ref().map(generation_to_wire),
        retiring: record.retiring.iter().map(|g| g.0).collect(),
        next_generation: record.next_generation.0,
    }
}

fn record_from_wire(record: wire::Index) -> Result<IndexRecord, Unreadable> {
    check_version(record.version, "record")?;
    let metric = match record.metric() {
        wire::Metric::Euclidean => Metric::Euclidean,
        wire::Metric::SquaredEuclidean => Metric::SquaredEuclidean,
        wire::Metric::Cosine => Metric::Cosine,
        wire::Metric::Unspecified => return Err(Unreadable("metric")),
    };
    let precision = match record.precision() {
        wire::Precision::Float32 => Precision::Float32,
        wire::Precision::Float16 => Precision::Float16,
        wire::Precision::Unspecified => return Err(Unreadable("precision")),
    };
    let dimension = match record.dimension {
        0 => None,
        d => Some(Dimension::new(d.into()).map_err(|_| Unreadable("dimension"))?),
    };
    Ok(IndexRecord {
        name: record.name,
        id: IndexId(record.id),
        metric,
        precision,
        dimension,
        created_unix_seconds: record.created_unix_seconds,
        key: envelope_from_wire(record.key.ok_or(Unreadable("key envelope"))?)?,
        users: record
            .users
            .into_iter()
            .map(user_from_wire)
            .collect::<Result<_, _>>()?,
        without_inbox: record.without_inbox,
        active: generation_from_wire(record.active.ok_or(Unreadable("generation"))?)?,
        building: record.building.map(generation_from_wire).transpose()?,
        retiring: record.retiring.into_iter().map(Generation).collect(),
        next_generation: Generation(record.next_generation),
    })
}

fn generation_to_wire(record: &GenerationRecord) -> wire::GenerationInfo {
    wire::GenerationInfo {
        generation: record.generation.0,
        trained: record.trained,
        clusters: record.clusters,
        model: record.model.map(model_to_wire),
        former: record.former.iter().copied().map(model_to_wire).collect(),
    }
}

fn generation_from_wire(info: wire::GenerationInfo) -> Result<GenerationRecord, Unreadable> {
    Ok(GenerationRecord {
        generation: Generation(info.generation),
        trained: info.trained,
        clusters: info.clusters,
        model: info.model.map(model_from_wire).transpose()?,
        former: info
            .former
            .into_iter()
            .map(model_from_wire)
            .collect::<Result<_, _>>()?,
    })
}

fn model_to_wire(model: ModelRef) -> wire::ModelRef {
    wire::ModelRef {
        id: model.id.to_vec().into(),
        pieces: model.pieces,
    }
}

fn model_from_wire(model: wire::ModelRef) -> Result<ModelRef, Unreadable> {
    Ok(ModelRef {
        id: fixed(&model.id, "model id")?,
        pieces: model.pieces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        EpochKeys, Grants, KeyEnvelope, KeySource, Provider, PublicKeys, UserRecord, WrappedKey,
    };

    fn generation(n: u32, model: Option<ModelRef>) -> GenerationRecord {
        GenerationRecord {
            generation: Generation(n),
            trained: n > 1,
            clusters: 7,
            former: model.into_iter().collect(),
            model,
        }
    }

    fn kms() -> KeySource {
        KeySource::Kms(WrappedKey {
            slot: "prod".into(),
            provider: Provider::AwsKms,
            key_id: "alias/sealdex".into(),
            region: "eu-central-1".into(),
            wrapped: vec![4, 5, 6],
            version: 1,
            created_unix_seconds: 1_800_000_000,
        })
    }

    fn envelope(source: KeySource) -> KeyEnvelope {
        KeyEnvelope {
            epoch: KeyEpoch(3),
            commitment: [5; 32],
            bundle: vec![1, 2, 3],
            public: PublicKeys {
                admin: [1; 32],
                write: [2; 32],
                inbox: [3; 32],
            },
            source,
            other: Some(EpochKeys {
                epoch: KeyEpoch(4),
                bundle: vec![4, 5],
                public: PublicKeys {
                    admin: [4; 32],
                    write: [5; 32],
                    inbox: [6; 32],
                },
            }),
        }
    }

    fn user(n: u8) -> UserRecord {
        UserRecord {
            id: UserId([n; 16]),
            public_key: [n; 32],
            grants: grants(n),
            other: n.is_multiple_of(3).then(|| grants(n + 1)),
        }
    }

    fn grants(n: u8) -> Grants {
        Grants {
            read: n.is_multiple_of(2).then(|| vec![n; 3]),
            write: (!n.is_multiple_of(2)).then(Vec::new),
            signature: [n; 64],
        }
    }

    fn record() -> IndexRecord {
        IndexRecord {
            name: "a/b ü".into(),
            id: IndexId(u64::MAX),
            metric: Metric::SquaredEuclidean,
            precision: Precision::Float16,
            dimension: Some(Dimension::new(16_384).unwrap()),
            created_unix_seconds: 1_800_000_000,
            key: envelope(KeySource::Client),
            users: vec![user(1), user(2), user(3)],
            without_inbox: false,
            active: generation(
                1,
                Some(ModelRef {
                    id: [1; 16],
                    pieces: 2,
                }),
            ),
            building: Some(generation(4, None)),
            retiring: vec![Generation(2), Generation(3)],
            next_generation: Generation(5),
        }
    }

    #[test]
    fn records_survive_a_round_trip() {
        let plain = IndexRecord {
            key: KeyEnvelope {
                other: None,
                ..envelope(kms())
            },
            users: vec![],
            without_inbox: true,
            dimension: None,
            building: None,
            retiring: vec![],
            ..record()
        };
        for record in [record(), plain] {
            assert_eq!(decode_record(&encode_record(&record)).unwrap(), record);
        }
    }

    #[test]
    fn commands_survive_a_round_trip() {
        let (name, id, generation_no) = (String::from("x"), IndexId(9), Generation(2));
        let model = ModelRef {
            id: [7; 16],
            pieces: 1,
        };
        for command in [
            Command::Create(Box::new(record())),
            Command::Delete {
                name: name.clone(),
                id,
            },
            Command::SetUntrainedModel {
                name: name.clone(),
                id,
                dimension: Dimension::new(3).unwrap(),
                model,
            },
            Command::FixDimension {
                name: name.clone(),
                id,
                dimension: Dimension::new(3).unwrap(),
            },
            Command::BeginTraining {
                name: name.clone(),
                id,
                building: generation(2, Some(model)),
            },
            Command::FinishTraining {
                name: name.clone(),
                id,
                generation: generation_no,
            },
            Command::AbortTraining {
                name: name.clone(),
                id,
                generation: generation_no,
            },
            Command::ReviseModel {
                name: name.clone(),
                id,
                generation: generation_no,
                replaces: model,
                model: ModelRef {
                    id: [8; 16],
                    pieces: 3,
                },
                clusters: 12,
            },
            Command::ForgetModel {
                name: name.clone(),
                id,
                generation: generation_no,
                model,
            },
            Command::AddUser {
                name: name.clone(),
                id,
                epochs: Epochs {
                    sealing: KeyEpoch(3),
                    other: Some(KeyEpoch(2)),
                },
                user: Box::new(user(3)),
            },
            Command::BeginEpoch {
                name: name.clone(),
                id,
                replaces: [6; 32],
                key: Box::new(envelope(kms())),
                users: vec![user(3), user(4)],
            },
            Command::SwitchEpoch {
                name: name.clone(),
                id,
                epoch: KeyEpoch(4),
            },
            Command::FinishEpoch {
                name: name.clone(),
                id,
                epoch: KeyEpoch(4),
            },
            Command::RemoveUser {
                name: name.clone(),
                id,
                user: UserId([8; 16]),
            },
            Command::Rewrap {
                name: name.clone(),
                id,
                replaces: [6; 32],
                key: Box::new(envelope(kms())),
            },
            Command::ForgetGeneration {
                name,
                id,
                generation: generation_no,
            },
        ] {
            assert_eq!(command_from_wire(command_to_wire(&command)).unwrap(), command);
        }
    }

    #[test]
    fn what_is_newer_than_us_is_refused() {
        let mut newer = record_to_wire(&record());
        newer.version = ENTRY_VERSION + 1;
        assert!(decode_record(&newer.encode_to_vec()).is_err());
        assert!(decode_record(b"\xff\xff").is_err());
    }
}
