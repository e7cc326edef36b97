//! Vectors, read number by number into `f32`: no tree of JSON values is built on the way.

use super::Fault;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt::{self, Display};

/// A list of numbers. One beyond the range of `f32` becomes infinite, which whoever takes the vector refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Vector(pub(crate) Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(VectorVisitor)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fault::NotAList.fmt(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vector, A::Error> {
        let mut values = Vec::new();
        while let Some(Component(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Vector(values))
    }
}

/// One number of a vector.
pub(super) struct Component(pub(super) f32);

impl Component {
    pub(super) fn of_text(text: &str) -> Result<Self, Fault> {
        text.trim().parse().map(Self).map_err(|_| Fault::UnreadableNumber)
    }
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ComponentVisitor)
    }
}

struct ComponentVisitor;

impl Visitor<'_> for ComponentVisitor {
    type Value = Component;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fault::NotANumber.fmt(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Component, E> {
        Ok(Component(f32::from(u8::from(value))))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Component, E> {
        Ok(Component(value as f32))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Component, E> {
        Ok(Component(value as f32))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Component, E> {
        Ok(Component(value as f32))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Component, E> {
        Component::of_text(value).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        let json = r#"[1, -2, 0.1, 1e3, "1.5", true, 18446744073709551615, 1e39]"#;
        let Vector(values) = serde_json::from_str(json).unwrap();
        assert_eq!(
            values,
            [1.0, -2.0, 0.1, 1000.0, 1.5, 1.0, 1.844_674_4e19, f32::INFINITY]
        );
        assert_eq!(serde_json::from_str::<Vector>("[]").unwrap(), Vector(Vec::new()));
    }

    #[test]
    fn what_is_no_vector() {
        let cases = [
            ("3", Fault::NotAList),
            ("\"[1]\"", Fault::NotAList),
            ("{}", Fault::NotAList),
            ("null", Fault::NotAList),
            ("[null]", Fault::NotANumber),
            ("[[1]]", Fault::NotANumber),
            ("[{}]", Fault::NotANumber),
            ("[\"x\"]", Fault::UnreadableNumber),
        ];
        for (json, expected) in cases {
            let error = serde_json::from_str::<Vector>(json).unwrap_err();
            assert_eq!(Fault::recognise(&error.to_string()), Some(expected), "{json}");
        }
    }

    #[test]
    fn every_f32_survives_its_shortest_notation() {
        let mut bits = 0u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            if value.is_finite() {
                let json = serde_json::to_string(&[value]).unwrap();
                assert_eq!(
                    serde_json::from_str::<Vector>(&json).unwrap().0,
                    [value],
                    "{json}"
                );
            }
        }
    }
}
