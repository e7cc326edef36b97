//! The `service:` section of the configuration file: values for options of the server, by the peer's names or by ours. Says which
//! names are read; what they mean is the command line's affair. May hold the root key, so it cannot be printed.

use super::Variables;
use super::expand::expand;
use super::file::ConfigFault;
use sealdex_core::SecretText;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

/// The peer's names that mean something to us. All names that begin with `SEALDEX_` are read as well; others are ignored.
pub const SERVICE_NAMES: [&str; 10] = [
    "AUTO_TRAIN_DISABLED",
    "AUTO_TRAIN_MIN_VECTORS",
    "CPU_THREADS",
    "CYBORGDB_DISK_PATH",
    "CYBORGDB_SERVICE_LOG_LEVEL",
    "CYBORGDB_SERVICE_ROOT_KEY",
    "INDEX_KEK_CACHE_TTL_SECONDS",
    "PORT",
    "SSL_CERT_PATH",
    "SSL_KEY_PATH",
];

/// Values by upper-case name.
#[derive(Default)]
pub struct ServiceSection(BTreeMap<String, Setting>);

/// One value, its variables replaced.
pub struct Setting {
    /// The value.
    pub text: SecretText,
    /// Where it stands.
    pub line: u64,
}

impl ServiceSection {
    /// The value under `name`, which is written in upper case.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// The names that have a value.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn from_written(written: Written, variables: Variables<'_>) -> Result<Self, ConfigFault> {
        let mut settings = BTreeMap::new();
        for (name, value) in written.0 {
            let line = value.referenced.line();
            let text =
                expand(value.value.expose(), variables).map_err(|unset| ConfigFault::unset(line, unset))?;
            if !text.is_empty() {
                let text = SecretText::new(text);
                settings.insert(name, Setting { text, line });
            }
        }
        Ok(Self(settings))
    }
}

/// The section as it is parsed: values that are read as the text they are written as, `0017` as `0017`.
#[derive(Default)]
pub(super) struct Written(BTreeMap<String, Spanned<SecretText>>);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Section;

        impl<'de> Visitor<'de> for Section {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and values")
            }

            fn visit_unit<E>(self) -> Result<Written, E> {
                Ok(Written::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
                let mut values = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let name = name.to_uppercase();
                    if !SERVICE_NAMES.contains(&name.as_str()) && !name.starts_with("SEALDEX_") {
                        map.next_value::<IgnoredAny>()?;
                    } else if let Some(value) = map.next_value::<Option<Spanned<String>>>()? {
                        let at = (value.referenced, value.defined);
                        values.insert(name, Spanned::new(SecretText::new(value.value), at.0, at.1));
                    }
                }
                Ok(Written(values))
            }
        }

        deserializer.deserialize_any(Section)
    }
}
