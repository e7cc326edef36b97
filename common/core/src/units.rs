//! Units that are checked once, where they enter, and trusted from there on.

use crate::limits;
use std::fmt;
use std::str::FromStr;

/// A value outside what its unit allows. The text says what is allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnitError {
    /// Zero, or above [`limits::DIMENSION_MAX`].
    #[error("dimension must be between 1 and {max}, not {given}", max = limits::DIMENSION_MAX)]
    Dimension {
        /// What was asked for.
        given: u64,
    },
    /// Not one of the three metrics.
    #[error("metric must be one of euclidean, squared_euclidean, cosine")]
    Metric,
    /// Not one of the two precisions.
    #[error("storage_precision must be float32 or float16")]
    Precision,
}

/// How many numbers a vector of an index has: 1 to [`limits::DIMENSION_MAX`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dimension(u32);

impl Dimension {
    /// Checks a dimension.
    pub fn new(given: u64) -> Result<Self, UnitError> {
        match u32::try_from(given) {
            Ok(d) if (1..=limits::DIMENSION_MAX).contains(&d) => Ok(Self(d)),
            _ => Err(UnitError::Dimension { given }),
        }
    }

    /// The dimension as a length.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How far apart two vectors are; smaller is nearer for all three.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Metric {
    /// The square root of the sum of squared differences.
    Euclidean,
    /// The sum of squared differences.
    SquaredEuclidean,
    /// One minus the cosine of the angle, in 0..=2; 1 if either vector is zero.
    Cosine,
}

impl Metric {
    /// The name that clients use.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Euclidean => "euclidean",
            Metric::SquaredEuclidean => "squared_euclidean",
            Metric::Cosine => "cosine",
        }
    }
}

impl FromStr for Metric {
    type Err = UnitError;

    fn from_str(name: &str) -> Result<Self, UnitError> {
        match name {
            "euclidean" => Ok(Metric::Euclidean),
            "squared_euclidean" => Ok(Metric::SquaredEuclidean),
            "cosine" => Ok(Metric::Cosine),
            _ => Err(UnitError::Metric),
        }
    }
}

/// How an item's original vector is stored.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Precision {
    /// Bit for bit as it was given.
    Float32,
    /// Rounded to half precision.
    Float16,
}

impl Precision {
    /// The name that clients use.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::Float32 => "float32",
            Precision::Float16 => "float16",
        }
    }
}

impl FromStr for Precision {
    type Err = UnitError;

    fn from_str(name: &str) -> Result<Self, UnitError> {
        match name {
            "float32" => Ok(Precision::Float32),
            "float16" => Ok(Precision::Float16),
            _ => Err(UnitError::Precision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        for metric in [Metric::Euclidean, Metric::SquaredEuclidean, Metric::Cosine] {
            assert_eq!(metric.as_str().parse::<Metric>().unwrap(), metric);
        }
        for precision in [Precision::Float32, Precision::Float16] {
            assert_eq!(precision.as_str().parse::<Precision>().unwrap(), precision);
        }
        assert_eq!("Cosine".parse::<Metric>(), Err(UnitError::Metric));
    }

    #[test]
    fn dimensions_have_two_ends() {
        assert!(Dimension::new(0).is_err());
        assert_eq!(Dimension::new(1).unwrap().get(), 1);
        assert_eq!(Dimension::new(16_384).unwrap().get(), 16_384);
        assert!(Dimension::new(16_385).is_err());
        assert!(Dimension::new(u64::MAX).is_err());
    }
}
