//! The configuration file: reads YAML, replaces variables, and says of every mistake where it stands and how to put it right,
//! without a value in it. Knows which file it is told to read, not how that file is found.

use super::expand::{Unset, expand};
use super::service_section::{ServiceSection, Written};
use super::{Provider, Registry, SlotConfig, UnknownProvider, Variables};
use serde::Deserialize;
use serde_saphyr::{RenderOptions, SnippetMode, Spanned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a configuration file says to us.
#[derive(Default)]
pub struct ConfigFile {
    /// `kms.registry`.
    pub registry: Registry,
    /// `service`.
    pub service: ServiceSection,
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(
        "cannot read the configuration file {path}: {cause}; check that it exists, its permissions, and that it is UTF-8"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It does not say what it should.
    #[error("{path}, {fault}", path = path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong where.
        fault: ConfigFault,
    },
}

/// A mistake in the text of a configuration file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct ConfigFault {
    /// Where it stands, from 1.
    pub line: u64,
    /// What it is and how to put it right.
    pub text: String,
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path, variables: Variables<'_>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|cause| ConfigError::Unreadable {
                path: path.to_owned(),
                cause,
            })?;
        Self::parse(&text, variables).map_err(|fault| ConfigError::Wrong {
            path: path.to_owned(),
            fault,
        })
    }

    /// Reads the text of a file.
    pub fn parse(text: &str, variables: Variables<'_>) -> Result<Self, ConfigFault> {
        let document: Option<Document> = serde_saphyr::from_str(text).map_err(|error| not_yaml(&error))?;
        let document = document.unwrap_or_default();
        let mut registry = Registry::default();
        let slots = document.kms.and_then(|kms| kms.registry).unwrap_or_default();
        for (name, written) in slots {
            let slot = slot(&name, &written, variables)?;
            registry.slots.insert(name, slot);
        }
        Ok(Self {
            registry,
            service: ServiceSection::from_written(document.service, variables)?,
        })
    }
}

impl ConfigFault {
    fn new(line: u64, text: impl Into<String>) -> Self {
        Self {
            line,
            text: text.into(),
        }
    }

    pub(super) fn unset(line: u64, Unset(name): Unset) -> Self {
        Self::new(
            line,
            format!("the environment variable {name} is not set; set it, or write ${{{name}:-a default}}"),
        )
    }
}

/// What is not named is left to whoever it is for.
#[derive(Default, Deserialize)]
struct Document {
    kms: Option<Kms>,
    #[serde(default)]
    service: Written,
}

#[derive(Deserialize)]
struct Kms {
    registry: Option<BTreeMap<String, Spanned<WrittenSlot>>>,
}

/// As text, whatever it looks like: an external id of `007` is not seven.
type WrittenSlot = Option<BTreeMap<String, Option<Spanned<String>>>>;

fn slot(
    name: &str,
    written: &Spanned<WrittenSlot>,
    variables: Variables<'_>,
) -> Result<SlotConfig, ConfigFault> {
    let line = written.referenced.line();
    if name.is_empty() || name.len() > SLOT_NAME_BYTES_MAX {
        let text =
            format!("a slot of kms.registry has a name of 1 to {SLOT_NAME_BYTES_MAX} bytes; rename it");
        return Err(ConfigFault::new(line, text));
    }
    let mut slot = SlotConfig::new(Provider::Local);
    let mut provider = None;
    for (key, value) in written.value.iter().flatten() {
        let at = value.as_ref().map_or(line, |value| value.referenced.line());
        let text = value
            .as_ref()
            .map(|value| expand(&value.value, variables))
            .transpose();
        let text = text.map_err(|unset| ConfigFault::unset(at, unset))?;
        let text = text.filter(|text| !text.is_empty());
        match key.as_str() {
            "provider" => provider = text.map(|text| (text, at)),
            "key_id" => slot.key_id = text,
            "region" => slot.region = text,
            "role_arn" => slot.role_arn = text,
            "external_id" => slot.external_id = text,
            "role_session_name" => slot.role_session_name = text,
            "key_file" => slot.key_file = text.map(PathBuf::from),
            _ => return Err(ConfigFault::new(at, unknown_key(name, key))),
        }
    }
    let (provider, at) = provider.ok_or_else(|| {
        ConfigFault::new(
            line,
            format!("kms.registry.{name} has no provider; {UnknownProvider}"),
        )
    })?;
    slot.provider = provider.parse().map_err(|_| {
        let text = if provider == "none" {
            format!(
                "kms.registry.{name} has provider 'none', which is no slot: indexes whose key clients send need none; \
                 remove the slot"
            )
        } else {
            format!("kms.registry.{name} has an unknown provider; {UnknownProvider}")
        };
        ConfigFault::new(at, text)
    })?;
    Ok(slot)
}

fn unknown_key(slot: &str, key: &str) -> String {
    format!(
        "kms.registry.{slot} has the unknown key '{key}'; a slot takes provider, key_id, region, role_arn, external_id, \
         role_session_name and key_file"
    )
}

/// What the parser says of the structure, in its words. What it says of values holds them, and a value may be a secret.
fn not_yaml(error: &serde_saphyr::Error) -> ConfigFault {
    use serde_saphyr::Error;
    let line = error.location().map_or(1, |location| location.line());
    let error = error.without_snippet();
    let said = match error {
        Error::ExternalMessage { .. }
        | Error::Eof { .. }
        | Error::MultipleDocuments { .. }
        | Error::DuplicateMappingKey { .. }
        | Error::ContainerEndMismatch { .. }
        | Error::UnknownAnchor { .. } => {
            let mut options = RenderOptions::default();
            options.snippets = SnippetMode::Off;
            error.render_with_options(options)
        }
        _ => "this does not belong here: kms.registry holds slots by name; a slot, and service, hold names and plain values"
            .to_owned(),
    };
    ConfigFault::new(line, format!("{said}; correct the YAML there"))
}

/// A slot's name stands in every envelope and in every call to its provider.
const SLOT_NAME_BYTES_MAX: usize = 128;
