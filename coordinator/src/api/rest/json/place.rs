//! Where in a body something is wrong.

use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_path_to_error::{Path, Segment};
use std::fmt;

/// The way from the body to a value: names of fields and positions in lists.
///
/// Only names of the contract are kept. The first other one ends the place, so that a key of a client's own object
/// cannot come back in an error.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place(Vec<Step>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// Every field of a request that may be at fault; that none is missing is tested beside the OpenAPI document.
const FIELDS: [&str; 32] = [
    "index_name",
    "index_key",
    "kms_name",
    "new_index_key",
    "new_kms_name",
    "epoch",
    "permissions",
    "dimension",
    "metric",
    "embedding_model",
    "storage_precision",
    "n_lists",
    "batch_size",
    "max_iters",
    "tolerance",
    "max_memory",
    "items",
    "id",
    "vector",
    "contents",
    "metadata",
    "batch",
    "ids",
    "vectors_b64",
    "query_vectors",
    "query_contents",
    "top_k",
    "n_probes",
    "rerank_mult",
    "greedy",
    "filters",
    "include",
];

/// Fields whose value is an object of the client's own.
const CLIENTS_OWN: [&str; 2] = ["metadata", "filters"];

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        let mut place = Self::default();
        for segment in path {
            let within_clients_own = place
                .0
                .iter()
                .any(|step| matches!(step, Step::Field(f) if CLIENTS_OWN.contains(f)));
            match segment {
                Segment::Map { key } if !within_clients_own && place.push_field(key) => {}
                Segment::Seq { index } => place.0.push(Step::Index(*index)),
                _ => break,
            }
        }
        place
    }

    /// The same place and then `field`, if the contract has such a field.
    pub(crate) fn then(mut self, field: &str) -> Self {
        self.push_field(field);
        self
    }

    fn push_field(&mut self, name: &str) -> bool {
        let known = FIELDS.into_iter().find(|field| *field == name);
        self.0.extend(known.map(Step::Field));
        known.is_some()
    }
}

/// As in `items.3.vector.7`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("body")?;
        self.0.iter().try_for_each(|step| match step {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, ".{index}"),
        })
    }
}

/// As in `["body", "items", 3, "vector", 7]`.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut loc = serializer.serialize_seq(Some(self.0.len() + 1))?;
        loc.serialize_element("body")?;
        for step in &self.0 {
            match step {
                Step::Field(name) => loc.serialize_element(name)?,
                Step::Index(index) => loc.serialize_element(index)?,
            }
        }
        loc.end()
    }
}
