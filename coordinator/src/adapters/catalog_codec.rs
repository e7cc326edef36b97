//! The catalogue's stored form, in both directions; the only file that knows both its messages and its domain types.

use crate::domain::{Command, GenerationRecord, IndexRecord, KeyEnvelope, ModelRef};
use prost::Message;
use sealdex_core::{Dimension, Generation, IndexId, KeyEpoch, Metric, Precision};
use sealdex_proto::{ENTRY_VERSION, catalog as wire};

/// A record or entry that this version cannot read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("catalogue {0} cannot be read")]
pub(crate) struct Unreadable(&'static str);

pub(crate) fn encode_command(command: &Command) -> Vec<u8> {
    use wire::entry::Command as Wire;
    let command = match command.clone() {
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
        Command::ForgetGeneration { name, id, generation } => {
            Wire::ForgetGeneration(wire::ForgetGeneration {
                name,
                id: id.0,
                generation: generation.0,
            })
        }
    };
    wire::Entry {
        version: ENTRY_VERSION,
        command: Some(command),
    }
    .encode_to_vec()
}

pub(crate) fn decode_command(bytes: &[u8]) -> Result<Command, Unreadable> {
    use wire::entry::Command as Wire;
    let entry = wire::Entry::decode(bytes).map_err(|_| Unreadable("entry"))?;
    check_version(entry.version, "entry")?;
    Ok(match entry.command.ok_or(Unreadable("command"))? {
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
        Wire::ForgetGeneration(c) => Command::ForgetGeneration {
            name: c.name,
            id: IndexId(c.id),
            generation: Generation(c.generation),
        },
    })
}

pub(crate) fn encode_record(record: &IndexRecord) -> Vec<u8> {
    record_to_wire(record).encode_to_vec()
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<IndexRecord, Unreadable> {
    record_from_wire(wire::Index::decode(bytes).map_err(|_| Unreadable("record"))?)
}

fn check_version(version: u32, what: &'static str) -> Result<(), Unreadable> {
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
        key: Some(wire::KeyEnvelope {
            epoch: record.key.epoch.0,
            commitment: record.key.commitment.to_vec().into(),
            bundle: record.key.bundle.clone().into(),
        }),
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
    let key = record.key.ok_or(Unreadable("key envelope"))?;
    Ok(IndexRecord {
        name: record.name,
        id: IndexId(record.id),
        metric,
        precision,
        dimension,
        created_unix_seconds: record.created_unix_seconds,
        key: KeyEnvelope {
            epoch: KeyEpoch(key.epoch),
            commitment: key
                .commitment
                .as_ref()
                .try_into()
                .map_err(|_| Unreadable("commitment"))?,
            bundle: key.bundle.to_vec(),
        },
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
    }
}

fn generation_from_wire(info: wire::GenerationInfo) -> Result<GenerationRecord, Unreadable> {
    Ok(GenerationRecord {
        generation: Generation(info.generation),
        trained: info.trained,
        clusters: info.clusters,
        model: info.model.map(model_from_wire).transpose()?,
    })
}

fn model_to_wire(model: ModelRef) -> wire::ModelRef {
    wire::ModelRef {
        id: model.id.to_vec().into(),
        pieces: model.pieces,
    }
}

fn model_from_wire(model: wire::ModelRef) -> Result<ModelRef, Unreadable> {
    let id = model.id.as_ref().try_into().map_err(|_| Unreadable("model id"))?;
    Ok(ModelRef {
        id,
        pieces: model.pieces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(n: u32, model: Option<ModelRef>) -> GenerationRecord {
        GenerationRecord {
            generation: Generation(n),
            trained: n > 1,
            clusters: 7,
            model,
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
            key: KeyEnvelope {
                epoch: KeyEpoch(3),
                commitment: [5; 32],
                bundle: vec![1, 2, 3],
            },
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
            Command::ForgetGeneration {
                name,
                id,
                generation: generation_no,
            },
        ] {
            assert_eq!(decode_command(&encode_command(&command)).unwrap(), command);
        }
    }

    #[test]
    fn what_is_newer_than_us_is_refused() {
        let newer = wire::Entry {
            version: ENTRY_VERSION + 1,
            command: None,
        }
        .encode_to_vec();
        assert!(decode_command(&newer).is_err());
        let mut newer = record_to_wire(&record());
        newer.version = ENTRY_VERSION + 1;
        assert!(decode_record(&newer.encode_to_vec()).is_err());
        assert!(decode_record(b"\xff\xff").is_err());
    }
}
