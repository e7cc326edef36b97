//! The vectors of a query: one, or a list of them.

use super::Fault;
use super::vector::Component;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use std::fmt::{self, Display};

/// Query vectors as they were sent, one after the other; they may differ in length.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueryVectors {
    /// All numbers of all vectors.
    pub(crate) values: Vec<f32>,
    /// The length of each vector.
    pub(crate) lengths: Vec<usize>,
}

impl<'de> Deserialize<'de> for QueryVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = QueryVectors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fault::NotAList.fmt(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<QueryVectors, A::Error> {
        let mut read = QueryVectors::default();
        let mut single = None;
        while let Some(element) = seq.next_element_seed(ElementSeed {
            values: &mut read.values,
        })? {
            // A list is one vector or a list of vectors: its first element says which.
            match (element, *single.get_or_insert(matches!(element, Element::Number))) {
                (Element::Number, true) => {}
                (Element::Vector(length), false) => read.lengths.push(length),
                (Element::Number, false) => return Err(A::Error::custom(Fault::NotAList)),
                (Element::Vector(_), true) => return Err(A::Error::custom(Fault::NotANumber)),
            }
        }
        if single == Some(true) {
            read.lengths.push(read.values.len());
        }
        Ok(read)
    }
}

/// One element of the list; its numbers have been appended.
#[derive(Clone, Copy)]
enum Element {
    Number,
    Vector(usize),
}

struct ElementSeed<'a> {
    values: &'a mut Vec<f32>,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ElementSeed<'_> {
    fn number<E: Error>(self, value: f32) -> Result<Element, E> {
        self.values.push(value);
        Ok(Element::Number)
    }
}

impl<'de> Visitor<'de> for ElementSeed<'_> {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fault::NotANumber.fmt(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Element, E> {
        self.number(f32::from(u8::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Element, E> {
        self.number(value as f32)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Element, E> {
        self.number(value as f32)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Element, E> {
        self.number(value as f32)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Element, E> {
        let Component(value) = Component::of_text(value).map_err(E::custom)?;
        self.number(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
        let before = self.values.len();
        while let Some(Component(value)) = seq.next_element()? {
            self.values.push(value);
        }
        Ok(Element::Vector(self.values.len() - before))
    }
}
