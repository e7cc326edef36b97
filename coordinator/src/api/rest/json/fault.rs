//! What can be wrong with a value that is well-formed JSON.
//!
//! Clients know these cases by the names that pydantic gives them. All texts are constants: nothing that a client sent
//! can come back in one, which is why serde's own messages, which quote the value, are only ever looked up here.

use std::fmt;

/// One way in which a value is not what its field takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Missing,
    Repeated,
    NotAnObject,
    NotAString,
    NotAnInt,
    UnreadableInt,
    Fraction,
    NotANumber,
    UnreadableNumber,
    NotABool,
    UnreadableBool,
    NotAList,
    NotADict,
    NotAPrecision,
}

impl Fault {
    const ALL: [Fault; 14] = [
        Fault::Missing,
        Fault::Repeated,
        Fault::NotAnObject,
        Fault::NotAString,
        Fault::NotAnInt,
        Fault::UnreadableInt,
        Fault::Fraction,
        Fault::NotANumber,
        Fault::UnreadableNumber,
        Fault::NotABool,
        Fault::UnreadableBool,
        Fault::NotAList,
        Fault::NotADict,
        Fault::NotAPrecision,
    ];

    /// The `type` of the error, as clients know it.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Fault::Missing => "missing",
            Fault::Repeated => "repeated_field",
            Fault::NotAnObject => "model_attributes_type",
            Fault::NotAString => "string_type",
            Fault::NotAnInt => "int_type",
            Fault::UnreadableInt => "int_parsing",
            Fault::Fraction => "int_from_float",
            Fault::NotANumber => "float_type",
            Fault::UnreadableNumber => "float_parsing",
            Fault::NotABool => "bool_type",
            Fault::UnreadableBool => "bool_parsing",
            Fault::NotAList => "list_type",
            Fault::NotADict => "dict_type",
            Fault::NotAPrecision => "literal_error",
        }
    }

    /// The `msg` of the error.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Fault::Missing => "Field required",
            Fault::Repeated => "Field given more than once",
            Fault::NotAnObject => "Input should be a JSON object",
            Fault::NotAString => "Input should be a valid string",
            Fault::NotAnInt => "Input should be a valid integer",
            Fault::UnreadableInt => "Input should be a valid integer, unable to parse string as an integer",
            Fault::Fraction => "Input should be a valid integer, got a number with a fractional part",
            Fault::NotANumber => "Input should be a valid number",
            Fault::UnreadableNumber => "Input should be a valid number, unable to parse string as a number",
            Fault::NotABool => "Input should be a valid boolean",
            Fault::UnreadableBool => "Input should be a valid boolean, unable to interpret input",
            Fault::NotAList => "Input should be a valid list",
            Fault::NotADict => "Input should be a valid dictionary",
            Fault::NotAPrecision => "Input should be 'float32' or 'float16'",
        }
    }

    /// How the fault stands in a serde message: visitors of ours say its code, serde's own say theirs.
    fn phrase(self) -> &'static str {
        match self {
            Fault::Missing => "missing field",
            Fault::Repeated => "duplicate field",
            Fault::NotAString => "a string",
            Fault::NotAList => "a sequence",
            Fault::NotADict => "a map",
            own => own.code(),
        }
    }

    /// Recognises the fault that a serde message tells of. What serde quotes of the value stands before the last
    /// `, expected `, so it is never looked at.
    pub(super) fn recognise(message: &str) -> Option<Fault> {
        let said = message
            .rsplit_once(", expected ")
            .map_or(message, |(_, expected)| expected);
        Fault::ALL
            .into_iter()
            .find(|fault| said.starts_with(fault.phrase()))
    }
}

/// As a visitor says it, to be recognised again.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_recognised_by_what_it_says() {
        for fault in Fault::ALL {
            assert_eq!(
                Fault::recognise(&format!("{fault} at line 1 column 2")),
                Some(fault)
            );
            let quoting =
                format!("invalid type: string \"int_type, expected a map\", expected {fault} at line 1");
            assert_eq!(Fault::recognise(&quoting), Some(fault));
        }
    }
}
