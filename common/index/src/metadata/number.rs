//! Numbers as JSON means them: 1 and 1.0 are equal, and no comparison loses a digit.

use std::cmp::Ordering;

/// A finite number in the form it was written in, ordered by value.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Uint(u64),
    Negative(i64),
    Double(f64),
}

impl Number {
    pub(crate) fn from_json(number: &serde_json::Number) -> Self {
        if let Some(value) = number.as_u64() {
            Number::Uint(value)
        } else if let Some(value) = number.as_i64() {
            Number::Negative(value)
        } else {
            Number::Double(
                number
                    .as_f64()
                    .expect("a number of serde_json's is one of the three"),
            )
        }
    }

    pub(crate) fn to_json(self) -> serde_json::Number {
        match self {
            Number::Uint(value) => value.into(),
            Number::Negative(value) => value.into(),
            Number::Double(value) => {
                serde_json::Number::from_f64(value).expect("only finite doubles are read")
            }
        }
    }

    fn integer(self) -> Result<i128, f64> {
        match self {
            Number::Uint(value) => Ok(value.into()),
            Number::Negative(value) => Ok(value.into()),
            Number::Double(value) => Err(value),
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.integer(), other.integer()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Err(a), Err(b)) => a.partial_cmp(&b).expect("finite"),
            (Ok(a), Err(b)) => integer_to_double(a, b),
            (Err(a), Ok(b)) => integer_to_double(b, a).reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Number {}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

/// Compares by the double's whole part, which is exact where an `i64` or `u64` can be, then by its fraction.
/// The cast saturates, and the ends of an `i128` are beyond every `i64` and `u64`.
fn integer_to_double(integer: i128, double: f64) -> Ordering {
    let whole = double.floor();
    integer.cmp(&(whole as i128)).then(if double > whole {
        Ordering::Less
    } else {
        Ordering::Equal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_exact_across_forms() {
        let ascending = [
            Number::Double(f64::MIN),
            Number::Negative(i64::MIN),
            Number::Double(-1.5),
            Number::Negative(-1),
            Number::Double(-0.5),
            Number::Uint(0),
            Number::Double(f64::MIN_POSITIVE),
            Number::Uint(1),
            Number::Double(1.5),
            Number::Double(9_007_199_254_740_992.0),
            Number::Uint(9_007_199_254_740_993),
            Number::Uint(u64::MAX),
            Number::Double(18_446_744_073_709_551_616.0),
            Number::Double(f64::MAX),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{i} {j}");
            }
        }
    }

    #[test]
    fn forms_of_one_value_are_equal() {
        assert!(Number::Double(1.0) == Number::Uint(1));
        assert!(Number::Double(-0.0) == Number::Uint(0));
        assert!(Number::Double(0.0) == Number::Double(-0.0));
        assert!(Number::Double(-3.0) == Number::Negative(-3));
        assert!(Number::Double(9_223_372_036_854_775_808.0) == Number::Uint(1 << 63));
        assert!(Number::Double(-9_223_372_036_854_775_808.0) == Number::Negative(i64::MIN));
    }
}
