//! The secrets of one proof: drawn at random, so that nothing but this proof can have written them anywhere.

use crate::connect::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealdex_canary::Scanner;
use sealdex_core::SecretText;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Numbers per vector: enough that every stage of an index is gone through.
pub(super) const DIMENSION: usize = 64;

/// Items whose every part is looked for. Of the others, which make up the numbers, it is a part of the vector.
const WHOLE_CANARIES: usize = 200;

/// Letters of a text that is looked for.
const LETTERS: usize = 24;

/// An item with nothing in it that anybody else has.
pub(super) struct Canary {
    pub(super) id: String,
    pub(super) vector: Vec<f32>,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) nested: String,
    pub(super) contents: String,
}

/// Everything that is written and looked for.
pub(super) struct Canaries {
    pub(super) items: Vec<Canary>,
    /// Items that fill the index.
    pub(super) others: Vec<Vec<f32>>,
    pub(super) query: Vec<f32>,
    /// Stands in no item, but in a filter.
    pub(super) operand: String,
    pub(super) index_key: SecretText,
    key_bytes: Zeroizing<Vec<u8>>,
    pub(super) index_name: String,
}

impl Canaries {
    /// For an index of `items` items.
    pub(super) fn draw(items: usize) -> std::io::Result<Self> {
        let mut random = Random;
        let whole = WHOLE_CANARIES.min(items);
        let mut canaries = Vec::with_capacity(whole);
        for _ in 0..whole {
            canaries.push(Canary {
                id: random.text()?,
                vector: random.vector()?,
                key: random.text()?,
                value: random.text()?,
                nested: random.text()?,
                contents: random.text()?,
            });
        }
        let mut others = Vec::with_capacity(items - whole);
        for _ in whole..items {
            others.push(random.vector()?);
        }
        let mut key_bytes = Zeroizing::new(vec![0; 32]);
        random.fill(&mut key_bytes)?;
        Ok(Self {
            items: canaries,
            others,
            query: random.vector()?,
            operand: random.text()?,
            index_key: hex(&key_bytes),
            key_bytes,
            index_name: format!("sealdex-prove-{}", random.text()?),
        })
    }

    /// A scanner that knows all of it.
    pub(super) fn scanner(&self) -> Scanner {
        let mut scanner = Scanner::default();
        for item in &self.items {
            for (what, text) in item.texts() {
                scanner.add_text(what, text.as_bytes());
            }
            scanner.add_vector("vector", &item.vector);
            // As clients send it: text of the bytes.
            scanner.add_text("vector's bytes", &bytes(&item.vector));
        }
        for vector in &self.others {
            // Any part of it would do. A whole one for each would take memory without telling more.
            scanner.add_vector("vector", &vector[..8]);
        }
        scanner.add_vector("query", &self.query);
        scanner.add_text("filter", self.operand.as_bytes());
        scanner.add_text("index key", &self.key_bytes);
        scanner
    }

    /// One text of each kind, for whoever plants them.
    pub(super) fn sample_texts(&self) -> Vec<(&'static str, &[u8])> {
        let mut texts = vec![
            ("index key", self.key_bytes.as_slice()),
            ("filter", self.operand.as_bytes()),
        ];
        let first = self.items.iter().take(1);
        texts.extend(first.flat_map(|item| item.texts().map(|(what, text)| (what, text.as_bytes()))));
        texts
    }

    /// One vector of each kind, likewise.
    pub(super) fn sample_vectors(&self) -> Vec<(&'static str, &[f32])> {
        let first = self
            .items
            .iter()
            .take(1)
            .map(|item| ("vector", item.vector.as_slice()));
        first.chain([("query", self.query.as_slice())]).collect()
    }
}

impl Canary {
    fn texts(&self) -> [(&'static str, &str); 5] {
        [
            ("id", &self.id),
            ("metadata key", &self.key),
            ("metadata value", &self.value),
            ("nested metadata value", &self.nested),
            ("contents", &self.contents),
        ]
    }

    pub(super) fn metadata(&self) -> Value {
        json!({"kind": "canary", &self.key: self.value, "nested": {"list": [1, self.nested]}})
    }
}

/// Little-endian float32, row-major, in standard base64, as `upsert_binary` takes it.
pub(super) fn base64_of<'a>(vectors: impl Iterator<Item = &'a Vec<f32>>) -> String {
    STANDARD.encode(vectors.flat_map(|vector| bytes(vector)).collect::<Vec<u8>>())
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The system's random numbers.
pub(super) struct Random;

impl Random {
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(bytes).map_err(std::io::Error::other)
    }

    /// Letters that no log line holds by chance.
    pub(super) fn text(&mut self) -> std::io::Result<String> {
        const ALPHABET: &[u8; 32] = b"ghijkmnopqrstuvwxyzGHJKLMNPQRSTU";
        let mut bytes = [0; LETTERS];
        self.fill(&mut bytes)?;
        let letters = bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        Ok(letters.collect())
    }

    /// Numbers between -4 and 4 with all bits of their fraction in use.
    fn vector(&mut self) -> std::io::Result<Vec<f32>> {
        let mut bytes = [0; 4 * DIMENSION];
        self.fill(&mut bytes)?;
        let numbers = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&four| u32::from_le_bytes(four));
        Ok(numbers
            .map(|n| (f64::from(n) / f64::from(1u32 << 29) - 4.0) as f32)
            .collect())
    }
}
