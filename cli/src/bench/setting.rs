//! A parameter of a query as the command line and the report write it: `auto` or a number.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A parameter that may be left to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Setting {
    /// Not sent.
    Auto,
    /// Sent as it is.
    Fixed(u32),
}

/// A setting that is neither `auto` nor a number.
#[derive(Debug, thiserror::Error)]
#[error("wanted auto or a number of at least 1")]
pub(super) struct NotSetting;

impl FromStr for Setting {
    type Err = NotSetting;

    fn from_str(text: &str) -> Result<Self, NotSetting> {
        match text {
            "auto" => Ok(Setting::Auto),
            _ => text
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .map(Setting::Fixed)
                .ok_or(NotSetting),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Auto => f.write_str("auto"),
            Setting::Fixed(value) => write!(f, "{value}"),
        }
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Setting::Auto => serializer.serialize_str("auto"),
            Setting::Fixed(value) => serializer.serialize_u32(*value),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Number(u32),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) => word.parse().map_err(D::Error::custom),
            Written::Number(number) => Ok(Setting::Fixed(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        for setting in [Setting::Auto, Setting::Fixed(16)] {
            let written = serde_json::to_value(setting).unwrap();
            assert_eq!(serde_json::from_value::<Setting>(written).unwrap(), setting);
            assert_eq!(setting.to_string().parse::<Setting>().unwrap(), setting);
        }
        assert!(serde_json::from_str::<Setting>("\"many\"").is_err());
    }
}
