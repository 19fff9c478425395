//! Settings: flag > environment > the device's `config.toml` > the user's.

use crate::codes::Code;
use crate::error::CliError;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml_edit::{Document, DocumentMut, Item, Table, value};

/// Keys that are read from a `config.toml`, and what they hold. Others are somebody else's, and left alone.
const KEYS: &[(&str, Kind)] = &[
    ("remote", Kind::Text),
    ("log", Kind::Text),
    ("passphrase.salt", Kind::Text),
    ("passphrase.memory_kib", Kind::Number),
    ("passphrase.passes", Kind::Number),
    ("passphrase.lanes", Kind::Number),
];

/// The table of a `config.toml` with what is known of servers: a table of each, by its URL.
pub(crate) const SERVERS: &str = "servers";

/// What is known of a server.
const SERVER_KEYS: [&str; 5] = ["key", "key_number", "space", "ca", "rights"];

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

impl Kind {
    fn takes(self, item: &Item) -> bool {
        match self {
            Self::Text => item.is_str(),
            Self::Number => item.as_integer().is_some_and(|n| u32::try_from(n).is_ok()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number from 0 to 4294967295",
        }
    }
}

/// With its article.
fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {kind}")
}

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
        let bad = |at: Option<Range<usize>>, why: &str| {
            let line = at.map_or(1, |at| 1 + text.as_bytes().iter().take(at.start).filter(|b| **b == b'\n').count());
            CliError::new(Code::BadConfig, format!("{}, line {line}: {why}", path.display()))
                .about(path.display().to_string())
                .hint("mend the file; it is TOML")
        };
        let document = Document::parse(text.as_str()).map_err(|error| bad(error.span(), error.message()))?;
        for (name, kind) in KEYS {
            let (table, key) = name.split_once('.').map_or((None, *name), |(table, key)| (Some(table), key));
            let item = match table {
                None => document.get(key),
                Some(table) => match document.get(table) {
                    Some(item) if !item.is_table_like() => {
                        return Err(bad(item.span(), &format!("'{table}' is {}, not a table", a(item.type_name()))));
                    }
                    item => item.and_then(|item| item.get(key)),
                },
            };
            if let Some(item) = item
                && !kind.takes(item)
            {
                let why = format!("'{name}' is {}, not {}", a(item.type_name()), kind.name());
                return Err(bad(item.span(), &why));
            }
        }
        let wrong = |name: &str, item: &Item, wanted: &str| {
            Err(bad(item.span(), &format!("'{name}' is {}, not {wanted}", a(item.type_name()))))
        };
        if let Some(servers) = document.get(SERVERS) {
            let Some(table) = servers.as_table_like() else { return wrong(SERVERS, servers, "a table") };
            for (url, server) in table.iter() {
                let name = format!("{SERVERS}.\"{url}\"");
                let Some(members) = server.as_table_like() else { return wrong(&name, server, "a table") };
                for key in SERVER_KEYS {
                    if let Some(item) = members.get(key).filter(|item| !item.is_str()) {
                        return wrong(&format!("{name}.{key}"), item, "a string");
                    }
                }
            }
        }
        Ok(Self { path: path.to_owned(), document: document.into_mut() })
    }

    /// Where it stands.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.document.get(key).and_then(Item::as_str).map(str::to_owned)
    }

    /// A setting that is on or off; off when it is not there.
    pub(crate) fn is_on(&self, key: &str) -> bool {
        self.document.get(key).and_then(Item::as_bool).unwrap_or(false)
    }

    pub(crate) fn turn_on(&mut self, key: &str) {
        self.document[key] = value(true);
    }

    pub(crate) fn number(&self, table: &str, key: &str) -> Option<u32> {
        self.document.get(table)?.get(key)?.as_integer().and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn in_table(&self, table: &str, key: &str) -> Option<String> {
        self.document.get(table)?.get(key)?.as_str().map(str::to_owned)
    }

    /// The tables `[outer."…"]`, by their names.
    pub(crate) fn tables(&self, outer: &str) -> Vec<String> {
        let outer = self.document.get(outer).and_then(Item::as_table_like);
        outer.map_or_else(Vec::new, |outer| outer.iter().map(|(name, _)| name.to_owned()).collect())
    }

    /// A member of the table `[outer."inner"]`.
    pub(crate) fn in_tables(&self, outer: &str, inner: &str, key: &str) -> Option<String> {
        self.document.get(outer)?.get(inner)?.get(key)?.as_str().map(str::to_owned)
    }

    /// Sets a member of the table `[outer."inner"]`.
    pub(crate) fn set_in_tables(&mut self, outer: &str, inner: &str, key: &str, text: &str) {
        let mut implicit = Table::new();
        implicit.set_implicit(true);
        let outer = self.document.entry(outer).or_insert(Item::Table(implicit));
        if outer.get(inner).is_none() {
            outer[inner] = Item::Table(Table::new());
        }
        outer[inner][key] = value(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_servers_are_kept_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for text in ["", "remote = 'a'\n", "[servers]\n", "servers = { 'http://a' = { space = 'x' } }\n"] {
            fs::write(&path, text).unwrap();
            let mut config = ConfigFile::read(&path).unwrap();
            for (url, key) in [("http://a", "key"), ("https://b:1", "ca")] {
                config.set_in_tables(SERVERS, url, key, "told");
            }
            config.write().unwrap();
            let config = ConfigFile::read(&path).unwrap();
            assert_eq!(config.in_tables(SERVERS, "http://a", "key").as_deref(), Some("told"), "{text}");
            assert_eq!(config.in_tables(SERVERS, "https://b:1", "ca").as_deref(), Some("told"), "{text}");
            let before = text.contains("space").then_some("x");
            assert_eq!(config.in_tables(SERVERS, "http://a", "space").as_deref(), before, "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_with_line_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            ConfigFile::read(&path)
        };
        assert!(read("other = 3\nremote = 'http://a'\n[passphrase]\nlanes = 4\n").is_ok());
        for (text, line, what) in [
            ("remote = 'a'\nlog = 3\n", "line 2:", "'log' is an integer, not a string"),
            ("\n\nremote = ['a']\n", "line 3:", "'remote' is an array, not a string"),
            ("passphrase = 'a'\n", "line 1:", "'passphrase' is a string, not a table"),
            ("[passphrase]\nlanes = -1\n", "line 2:", "'passphrase.lanes' is an integer, not a number from 0"),
            ("remote = 'a'\nlog = \n", "line 2:", ""),
            ("remote\n", "line 1:", ""),
            ("servers = 3\n", "line 1:", "'servers' is an integer, not a table"),
            ("[servers]\n'http://a' = 3\n", "line 2:", "'servers.\"http://a\"' is an integer, not a table"),
            ("[servers.'http://a']\nkey = 3\n", "line 2:", "'servers.\"http://a\".key' is an integer, not a string"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(line) && error.message.contains(what), "{text:?}: {}", error.message);
            assert_eq!(error.code, "bad_config");
        }
    }
}
