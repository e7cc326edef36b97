//! Finds the configuration file and turns its `service:` section, and the peer's environment variables, into defaults of the
//! command line. Precedence: command line, `SEALDEX_*` variable, the peer's variable, file, built-in default. Knows which setting
//! is which option; how the file is read and what a slot is belongs to the coordinator.

use clap::{Arg, ArgAction, Command, error::ErrorKind};
use sealdex_coordinator::adapters::registry::{ConfigError, ConfigFile, Registry, Variables};
use sealdex_core::SecretText;
use std::path::{Path, PathBuf};

/// What was configured beside the command line. May hold the root key, so it cannot be printed.
#[derive(Default)]
pub(crate) struct Config {
    folder: PathBuf,
    path: Option<PathBuf>,
    file: ConfigFile,
}

/// Why the configuration cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file is not there, cannot be read, or is wrong.
    #[error("{0}")]
    File(#[from] ConfigError),
    /// A value does not fit its option.
    #[error("{place}: {name}: {reason}; correct it")]
    Value {
        /// The file and line, or the environment.
        place: String,
        /// The setting.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The server would have answered in the clear where encryption was asked for.
    #[error(
        "{place}: {name} is set, but this version does not serve HTTPS by itself; remove it, and let a proxy that ends TLS \
         stand in front"
    )]
    Tls {
        /// The file and line, or the environment.
        place: String,
        /// The setting.
        name: String,
    },
}

/// What is set of the keys that callers may be asked for.
pub(crate) struct Credentials {
    /// The root key.
    pub(crate) root: Option<Named>,
    /// One key for everything.
    pub(crate) api: Option<Named>,
    /// The peer's licence, which is also its API key where one is required, and nothing to us otherwise.
    pub(crate) licence: Option<Named>,
    /// Whether an API key is to be asked for; `None` if nothing is said.
    pub(crate) api_key_required: Option<bool>,
}

/// A key, and the setting that it stands under.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) key: SecretText,
}

/// A setting that has a value.
struct Found {
    name: String,
    text: SecretText,
    /// Where in the file, if not in the environment.
    line: Option<u64>,
}

impl Config {
    /// Reads the file that the environment names, or the first of the usual ones in or under `folder` that is there.
    pub(crate) fn load(folder: &Path, variables: Variables<'_>) -> Result<Self, LoadError> {
        let named = NAMING.iter().find_map(|name| of_environment(variables, name));
        let path = named
            .map(|path| folder.join(path.expose()))
            .or_else(|| usual_in(folder));
        let file = match &path {
            Some(path) => ConfigFile::read(path, variables)?,
            None => ConfigFile::default(),
        };
        let config = Self {
            folder: folder.to_owned(),
            path,
            file,
        };
        match config.found(&TLS, variables).into_iter().next() {
            None => Ok(config),
            Some(found) => Err(LoadError::Tls {
                place: config.place(&found),
                name: found.name,
            }),
        }
    }

    /// The file that was read.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Tells what to read on a reload: the file that was read at the start, else the first of the usual ones that is there by then.
    pub(crate) fn reloads(&self) -> impl Fn() -> Option<PathBuf> + use<> {
        let (path, folder) = (self.path.clone(), self.folder.clone());
        move || path.clone().or_else(|| usual_in(&folder))
    }

    /// The key registry.
    pub(crate) fn registry(&self) -> &Registry {
        &self.file.registry
    }

    /// The keys that callers may be asked for. There are no options for them: everyone on a machine can read its command lines.
    pub(crate) fn credentials(&self, variables: Variables<'_>) -> Result<Credentials, LoadError> {
        let of = |names: &[&str]| {
            let found = self.found(names, variables).into_iter().next()?;
            Some(Named {
                name: found.name,
                key: found.text,
            })
        };
        let wanted = self.found(&REQUIRE_API_KEY, variables).into_iter().next();
        let wanted = wanted.map(|found| {
            truth(found.text.expose()).map_err(|reason| LoadError::Value {
                place: self.place(&found),
                name: found.name.clone(),
                reason: reason.to_owned(),
            })
        });
        Ok(Credentials {
            root: of(&ROOT_KEY),
            api: of(&API_KEY),
            licence: of(&LICENCE),
            api_key_required: wanted.transpose()?,
        })
    }

    /// `command` with what is configured as defaults of its options. Its environment variables must have been read once, so that
    /// a value that does not fit is the file's.
    pub(crate) fn fill(&self, command: Command, variables: Variables<'_>) -> Result<Command, LoadError> {
        let options: Vec<Arg> = command.get_arguments().cloned().collect();
        let mut filled = command.clone();
        for option in options {
            let id = option.get_id().as_str();
            let ours = option.get_env().and_then(|name| name.to_str());
            let theirs = THEIRS
                .iter()
                .filter(|theirs| theirs.option == id)
                .map(|theirs| theirs.name);
            let names: Vec<&str> = ours.into_iter().chain(theirs).collect();
            for found in self.found(&names, variables) {
                if let Some(value) = self.value(&command, &option, &found)? {
                    filled = filled.mut_arg(id, |option| option.default_value(value));
                    break;
                }
            }
        }
        Ok(filled)
    }

    /// What a setting means to an option; `None` if it says nothing about it.
    fn value(&self, command: &Command, option: &Arg, found: &Found) -> Result<Option<String>, LoadError> {
        let wrong = |reason: String| LoadError::Value {
            place: self.place(found),
            name: found.name.clone(),
            reason,
        };
        let theirs = THEIRS.iter().find(|theirs| theirs.name == found.name);
        let read = theirs.map_or(as_it_stands as Read, |theirs| theirs.read);
        let Some(value) = read(found.text.expose()).map_err(|reason| wrong(reason.to_owned()))? else {
            return Ok(None);
        };
        if matches!(option.get_action(), ArgAction::SetTrue) {
            let flag = truth(&value).map_err(|reason| wrong(reason.to_owned()))?;
            return Ok(Some(flag.to_string()));
        }
        let given = format!("--{}={value}", option.get_long().unwrap_or_default());
        let tried = command.clone().no_binary_name(true).try_get_matches_from([given]);
        match tried {
            Err(error) if error.kind() == ErrorKind::ValueValidation => {
                let said = error.to_string();
                let said = said.lines().next().unwrap_or_default();
                Err(wrong(said.trim_start_matches("error: ").to_owned()))
            }
            _ => Ok(Some(value)),
        }
    }

    /// The values under any of `names`: those of the environment in that order, then those of the file.
    fn found(&self, names: &[&str], variables: Variables<'_>) -> Vec<Found> {
        let environment = names.iter().filter_map(|name| {
            Some(Found {
                name: (*name).to_owned(),
                text: of_environment(variables, name)?,
                line: None,
            })
        });
        let file = names.iter().filter_map(|name| {
            let setting = self.file.service.get(name)?;
            Some(Found {
                name: (*name).to_owned(),
                text: SecretText::new(setting.text.expose().to_owned()),
                line: Some(setting.line),
            })
        });
        environment.chain(file).collect()
    }

    fn place(&self, found: &Found) -> String {
        match (found.line, &self.path) {
            (Some(line), Some(path)) => format!("{}, line {line}", path.display()),
            _ => "environment".to_owned(),
        }
    }
}

/// An empty variable counts as none.
fn of_environment(variables: Variables<'_>, name: &str) -> Option<SecretText> {
    variables(name)
        .filter(|value| !value.is_empty())
        .map(SecretText::new)
}

/// What the text of a setting says to its option, if anything.
type Read = fn(&str) -> Result<Option<String>, &'static str>;

/// A setting of the peer, and the option of ours that it is.
struct Theirs {
    name: &'static str,
    option: &'static str,
    read: Read,
}

const fn theirs(name: &'static str, option: &'static str, read: Read) -> Theirs {
    Theirs { name, option, read }
}

/// Of two that fit one option, the first that says something counts.
const THEIRS: [Theirs; 7] = [
    theirs("PORT", "port", as_it_stands),
    theirs("CYBORGDB_DISK_PATH", "data_dir", path),
    theirs("CPU_THREADS", "threads", as_it_stands),
    theirs("AUTO_TRAIN_DISABLED", "auto_train_items", none_if_true),
    theirs("AUTO_TRAIN_MIN_VECTORS", "auto_train_items", as_it_stands),
    theirs("INDEX_KEK_CACHE_TTL_SECONDS", "key_cache_seconds", as_it_stands),
    theirs("CYBORGDB_SERVICE_LOG_LEVEL", "log", level),
];

fn as_it_stands(text: &str) -> Result<Option<String>, &'static str> {
    Ok(Some(text.to_owned()))
}

fn none_if_true(text: &str) -> Result<Option<String>, &'static str> {
    Ok(truth(text)?.then(|| "0".to_owned()))
}

fn truth(text: &str) -> Result<bool, &'static str> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("not true or false"),
    }
}

/// Python's levels.
fn level(text: &str) -> Result<Option<String>, &'static str> {
    let level = match text.to_uppercase().as_str() {
        "TRACE" => "trace",
        "DEBUG" => "debug",
        "INFO" => "info",
        "WARN" | "WARNING" => "warn",
        "ERROR" | "CRITICAL" | "FATAL" => "error",
        _ => return Err("not DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    };
    Ok(Some(level.to_owned()))
}

/// As the peer does, with `~/` for the home folder.
fn path(text: &str) -> Result<Option<String>, &'static str> {
    let Some(rest) = text.strip_prefix("~/") else {
        return as_it_stands(text);
    };
    let home = std::env::home_dir().ok_or("begins with ~/, but there is no home folder")?;
    let path = home.join(rest).into_os_string().into_string();
    path.map(Some).map_err(|_| "leads to a path that is not UTF-8")
}

const NAMING: [&str; 2] = ["SEALDEX_CONFIG_FILE", "CYBORGDB_CONFIG_FILE"];

/// The first of the usual files that is there, in or under `folder`.
fn usual_in(folder: &Path) -> Option<PathBuf> {
    let paths = USUAL.iter().map(|path| folder.join(path));
    paths.into_iter().find(|path| path.is_file())
}

const USUAL: [&str; 6] = [
    "sealdex.yaml",
    "sealdex.yml",
    "cyborgdb.yaml",
    "cyborgdb.yml",
    "/etc/sealdex/sealdex.yaml",
    "/etc/cyborgdb/cyborgdb.yaml",
];

const TLS: [&str; 4] = [
    "SEALDEX_SSL_CERT_PATH",
    "SEALDEX_SSL_KEY_PATH",
    "SSL_CERT_PATH",
    "SSL_KEY_PATH",
];

const API_KEY: [&str; 1] = ["SEALDEX_API_KEY"];

const LICENCE: [&str; 1] = ["CYBORGDB_API_KEY"];

const REQUIRE_API_KEY: [&str; 2] = ["SEALDEX_REQUIRE_API_KEY", "REQUIRE_API_KEY"];

const ROOT_KEY: [&str; 2] = ["SEALDEX_ROOT_KEY", "CYBORGDB_SERVICE_ROOT_KEY"];

#[cfg(test)]
mod tests;
