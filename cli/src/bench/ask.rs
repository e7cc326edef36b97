//! Query requests, written out before the clock starts. It knows the contract's field names and no connection.

use super::api::{self, Index};
use super::args::Wire;
use super::rows::Rows;
use super::setting::Setting;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Everything about a query but its vector.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) wire: Wire,
    pub(super) k: usize,
    pub(super) n_probes: Setting,
    pub(super) rerank_mult: Setting,
    pub(super) filter: Option<Value>,
    /// Queries in one request.
    pub(super) per_request: usize,
}

impl Ask {
    /// The route that takes it.
    pub(super) fn path(&self) -> &'static str {
        match self.wire {
            Wire::Json => api::QUERY,
            Wire::Binary => api::QUERY_BINARY,
        }
    }

    /// One body per request; together they ask every query at least once, in order, and the first again to fill the
    /// last request.
    pub(super) fn bodies(&self, index: &Index, queries: &Rows<f32>) -> Vec<Bytes> {
        let rest = self.rest();
        let requests = queries.len().div_ceil(self.per_request);
        let vectors = |request: usize| {
            let numbers = (request * self.per_request..).take(self.per_request);
            numbers
                .map(|number| queries.row(number % queries.len()))
                .collect::<Vec<_>>()
        };
        (0..requests)
            .map(|request| {
                let mut body = index.open_request();
                body.push(b',');
                match self.wire {
                    Wire::Json => body.extend(json_vectors(&vectors(request))),
                    Wire::Binary => body.extend(binary_vectors(&vectors(request))),
                }
                body.extend_from_slice(&rest);
                body.into()
            })
            .collect()
    }

    /// The fields after the vectors, and the end of the object.
    fn rest(&self) -> Vec<u8> {
        let mut fields = Map::new();
        fields.insert("top_k".into(), self.k.into());
        fields.insert("include".into(), json!(["distance"]));
        for (name, setting) in [("n_probes", self.n_probes), ("rerank_mult", self.rerank_mult)] {
            if let Setting::Fixed(value) = setting {
                fields.insert(name.into(), value.into());
            }
        }
        if let Some(filter) = &self.filter {
            fields.insert("filters".into(), filter.clone());
        }
        let mut text = Value::Object(fields).to_string().into_bytes();
        text[0] = b',';
        text
    }
}

fn json_vectors(vectors: &[&[f32]]) -> Vec<u8> {
    let list = match vectors {
        [one] => serde_json::to_string(one),
        several => serde_json::to_string(several),
    };
    format!(
        "\"query_vectors\":{}",
        list.expect("numbers can always be written")
    )
    .into_bytes()
}

fn binary_vectors(vectors: &[&[f32]]) -> Vec<u8> {
    let (dimension, text) = (vectors[0].len(), base64_of(&vectors.concat()));
    format!("\"batch\":{{\"dimension\":{dimension},\"vectors_b64\":\"{text}\"}}").into_bytes()
}

/// Base64 of little-endian f32, as both binary routes take them.
pub(super) fn base64_of(values: &[f32]) -> String {
    let mut bytes = vec![0; values.len() * 4];
    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = value.to_le_bytes();
    }
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(wire: Wire, per_request: usize) -> Ask {
        let filter = Some(json!({"group": "g3"}));
        Ask {
            wire,
            k: 10,
            n_probes: Setting::Fixed(4),
            rerank_mult: Setting::Auto,
            filter,
            per_request,
        }
    }

    fn bodies(wire: Wire, per_request: usize) -> Vec<Value> {
        let index = Index::new(Some("x"), None).unwrap();
        let queries = Rows::new(2, vec![0.5, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let bodies = ask(wire, per_request).bodies(&index, &queries);
        bodies
            .iter()
            .map(|body| serde_json::from_slice(body).unwrap())
            .collect()
    }

    #[test]
    fn one_query_is_a_flat_list_and_several_are_nested() {
        let single = bodies(Wire::Json, 1);
        assert_eq!(single.len(), 3);
        assert_eq!(single[0]["query_vectors"], json!([0.5, 1.0]));
        assert_eq!(single[0]["top_k"], 10);
        assert_eq!(single[0]["n_probes"], 4);
        assert_eq!(single[0].get("rerank_mult"), None);
        assert_eq!(single[0]["filters"], json!({"group": "g3"}));
        let pairs = bodies(Wire::Json, 2);
        assert_eq!(pairs.len(), 2);
        assert_eq!(
            pairs[1]["query_vectors"],
            json!([[4.0, 5.0], [0.5, 1.0]]),
            "the first fills the last request"
        );
    }

    #[test]
    fn binary_vectors_are_little_endian_floats() {
        let body = &bodies(Wire::Binary, 1)[0];
        assert_eq!(body["batch"]["dimension"], 2);
        let bytes = STANDARD
            .decode(body["batch"]["vectors_b64"].as_str().unwrap())
            .unwrap();
        assert_eq!(bytes, [0.5f32.to_le_bytes(), 1.0f32.to_le_bytes()].concat());
    }
}
