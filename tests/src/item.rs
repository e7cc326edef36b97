//! An item as a client sees it.

use serde_json::{Map, Value, json};

/// What a client writes and reads back under one id.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The name the client chose.
    pub id: String,
    /// The original vector.
    pub vector: Vec<f32>,
    /// A JSON object.
    pub metadata: Map<String, Value>,
    /// Text; empty when there is none.
    pub contents: String,
}

impl Item {
    /// An item with a vector alone.
    pub fn bare(id: impl Into<String>, vector: Vec<f32>) -> Self {
        Self {
            id: id.into(),
            vector,
            metadata: Map::new(),
            contents: String::new(),
        }
    }

    /// The same item with this metadata, an object.
    pub fn with_metadata(mut self, metadata: Value) -> Self {
        self.metadata = metadata.as_object().expect("metadata is an object").clone();
        self
    }

    /// The same item with these contents.
    pub fn with_contents(mut self, contents: impl Into<String>) -> Self {
        self.contents = contents.into();
        self
    }

    /// The item as `vectors/upsert` takes it.
    pub fn to_json(&self) -> Value {
        let mut object = json!({"id": self.id, "vector": self.vector});
        if !self.metadata.is_empty() {
            object["metadata"] = Value::Object(self.metadata.clone());
        }
        if !self.contents.is_empty() {
            object["contents"] = json!(self.contents);
        }
        object
    }

    /// The item as `vectors/get` returns it with every field; `None` if a field is missing or of another type.
    pub fn from_json(row: &Value) -> Option<Self> {
        Some(Self {
            id: row.get("id")?.as_str()?.to_owned(),
            vector: vector_from_json(row.get("vector")?)?,
            metadata: row.get("metadata")?.as_object()?.clone(),
            contents: row.get("contents")?.as_str()?.to_owned(),
        })
    }

    /// True if vectors agree bit for bit and the rest is equal.
    pub fn is_same_as(&self, other: &Item) -> bool {
        bits(&self.vector).eq(bits(&other.vector))
            && self.id == other.id
            && self.metadata == other.metadata
            && self.contents == other.contents
    }
}

/// A JSON list of numbers as float32; `None` if it is anything else.
pub fn vector_from_json(value: &Value) -> Option<Vec<f32>> {
    value
        .as_array()?
        .iter()
        .map(|x| x.as_f64().map(|x| x as f32))
        .collect()
}

/// The bits of every number, by which -0.0 differs from 0.0.
pub fn bits(vector: &[f32]) -> impl Iterator<Item = u32> {
    vector.iter().map(|x| x.to_bits())
}
