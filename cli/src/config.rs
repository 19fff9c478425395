//! Settings: flag > environment > the device's `config.toml` > the user's.

use crate::codes::Code;
use crate::error::CliError;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table, value};

/// One setting and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    pub(crate) origin: String,
}

/// A `config.toml`.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
}

impl ConfigFile {
    /// Reads a file; one that is not there has no settings.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(CliError::io(path, &error)),
        };
        let document = text.parse::<DocumentMut>().map_err(|error| {
            let why = error.to_string();
            CliError::new(Code::BadConfig, format!("{}: {}", path.display(), why.lines().last().unwrap_or(&why)))
                .about(path.display().to_string())
                .hint("mend the file; it is TOML")
        })?;
        Ok(Self { path: path.to_owned(), document })
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.document.get(key).and_then(Item::as_str).map(str::to_owned)
    }

    pub(crate) fn number(&self, table: &str, key: &str) -> Option<u32> {
        self.document.get(table)?.get(key)?.as_integer().and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn in_table(&self, table: &str, key: &str) -> Option<String> {
        self.document.get(table)?.get(key)?.as_str().map(str::to_owned)
    }

    pub(crate) fn set(&mut self, key: &str, text: &str) {
        self.document[key] = value(text);
    }

    pub(crate) fn set_table(&mut self, name: &str, members: &[(&str, toml_edit::Value)]) {
        let mut table = Table::new();
        for (key, member) in members {
            table[*key] = Item::Value(member.clone());
        }
        self.document[name] = Item::Table(table);
    }

    /// Writes the file aside and renames it in.
    pub(crate) fn write(&self) -> Result<(), CliError> {
        let fresh = self.path.with_extension("toml.new");
        let options = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        let written = options
            .and_then(|mut file| file.write_all(self.document.to_string().as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&fresh, &self.path));
        written.map_err(|error| CliError::io(&self.path, &error))
    }
}

/// The user's settings.
pub(crate) fn user_path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("ibgib").join("config.toml"))
}

/// An environment variable that is set and not empty.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Finds a setting in the layers below the flags.
pub(crate) fn setting(
    key: &str,
    variable: &str,
    device: Option<&ConfigFile>,
    user: Option<&ConfigFile>,
) -> Option<Setting> {
    if let Some(value) = env(variable) {
        return Some(Setting { value, origin: format!("environment {variable}") });
    }
    [device, user].into_iter().flatten().find_map(|file| {
        let value = file.get(key)?;
        Some(Setting { value, origin: file.path.display().to_string() })
    })
}
