//! Numbers of requests, checked by name.

use crate::api::rest::json::Int;
use crate::service::{ServiceError, Vectors};
use sealdex_core::{Dimension, limits};

/// A number that may be left out; what is given is at least `min`.
pub(super) fn at_least(name: &str, min: i64, given: Option<Int>) -> Result<Option<usize>, ServiceError> {
    match given {
        None => Ok(None),
        Some(Int(number)) if number >= min => Ok(usize::try_from(number).ok()),
        Some(Int(number)) => Err(ServiceError::invalid(format!(
            "{name} must be at least {min}, not {number}."
        ))),
    }
}

/// A number of which 0 means as much as leaving it out.
pub(super) fn zero_is_auto(name: &str, given: Option<Int>) -> Result<Option<usize>, ServiceError> {
    Ok(at_least(name, 0, given)?.filter(|&number| number > 0))
}

/// A dimension.
pub(super) fn dimension(Int(given): Int) -> Result<Dimension, ServiceError> {
    match u64::try_from(given) {
        Ok(given) => Ok(Dimension::new(given)?),
        Err(_) => Err(ServiceError::invalid(format!(
            "dimension must be between 1 and {}, not {given}",
            limits::DIMENSION_MAX
        ))),
    }
}

/// Rows of one length.
pub(super) fn vectors(dimension: Dimension, values: Vec<f32>) -> Result<Vectors, ServiceError> {
    Vectors::new(dimension, values).map_err(|error| ServiceError::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_by_name() {
        assert_eq!(at_least("top_k", 1, None), Ok(None));
        assert_eq!(at_least("top_k", 1, Some(Int(1))), Ok(Some(1)));
        assert_eq!(
            at_least("top_k", 1, Some(Int(0))).unwrap_err().detail(),
            "top_k must be at least 1, not 0."
        );
        assert_eq!(zero_is_auto("n_probes", Some(Int(0))), Ok(None));
        assert_eq!(zero_is_auto("n_probes", Some(Int(3))), Ok(Some(3)));
        assert!(zero_is_auto("n_probes", Some(Int(-1))).is_err());
        assert_eq!(dimension(Int(4)).unwrap().get(), 4);
        for outside in [-1, 0, 16_385, i64::MAX] {
            let error = dimension(Int(outside)).unwrap_err();
            assert_eq!(
                error.detail(),
                format!("dimension must be between 1 and 16384, not {outside}")
            );
        }
    }
}
