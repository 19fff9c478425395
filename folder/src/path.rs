//! Paths as entries spell them, and which of them may be written to a disk.
//!
//! An entry's key is `/` and the path relative to the folder, `/`-separated. `%` is written `%25` and each byte that
//! is not part of valid UTF-8 `%XX` (uppercase hex), so that any Unix name fits into JSON. A path has exactly one
//! spelling: [`EntryPath::from_key`] refuses every other.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// Bytes that one component of a path may have: what common file systems take.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes that a whole path may have.
pub const PATH_BYTES_MAX: usize = 4_096;

/// A path of the folder, relative, in its one spelling. Nothing is said about whether writing it is safe: that is
/// what [`EntryPath::check`] tells.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(String);

/// Why a path is not written to disk. The text is meant for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathProblem {
    /// The key does not start with `/`, or is not the one spelling of its path.
    #[error("not the spelling of a path")]
    Spelling,
    /// An empty component: an absolute path, `//`, or a trailing `/`.
    #[error("an empty component")]
    Empty,
    /// `.` or `..`.
    #[error("a component is {0:?}")]
    Dots(String),
    /// A NUL byte.
    #[error("a NUL byte")]
    Nul,
    /// `.ibgib`, `.ibgib.new` or a directory of a version control system, or what some file system takes for it.
    #[error("{0:?} leads into a directory that is never touched")]
    Control(String),
    /// Longer than any common file system takes.
    #[error("too long: {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes it has.
        bytes: usize,
        /// [`COMPONENT_BYTES_MAX`] or [`PATH_BYTES_MAX`].
        limit: usize,
    },
    /// A name that other systems read as something else: a backslash, a drive letter, a device name, a dot or space
    /// at the end.
    #[error("{0:?} is a name that some systems read as something else")]
    Unportable(String),
}

impl PathProblem {
    /// Whether this system can hold the name, and it only is something else on another kind of system.
    pub fn is_unportable(&self) -> bool {
        matches!(self, Self::Unportable(_))
    }
}

impl EntryPath {
    /// From an entry's key.
    ///
    /// # Errors
    /// [`PathProblem::Spelling`].
    pub fn from_key(key: &str) -> Result<Self, PathProblem> {
        let path = Self(key.strip_prefix('/').ok_or(PathProblem::Spelling)?.to_owned());
        let bytes = path.decode().ok_or(PathProblem::Spelling)?;
        if encode(&bytes) == path.0 { Ok(path) } else { Err(PathProblem::Spelling) }
    }

    /// Of text that is spelled as parts of other entries are.
    pub(crate) fn spelled(text: String) -> Self {
        Self(text)
    }

    /// From a path relative to the folder, as the file system has it.
    pub fn from_relative(path: &Path) -> Self {
        Self(encode(path.as_os_str().as_bytes()))
    }

    /// The key in a shard's entries.
    pub fn key(&self) -> String {
        format!("/{}", self.0)
    }

    /// The path without the leading slash, as reports spell it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components as the file system spells them.
    pub fn components(&self) -> Vec<OsString> {
        // The constructors admit decodable text only.
        let bytes = self.decode().unwrap_or_default();
        bytes.split(|b| *b == b'/').map(|c| OsString::from_vec(c.to_vec())).collect()
    }

    /// The directory it lies in; `None` at the top.
    pub(crate) fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(dir, _)| Self(dir.to_owned()))
    }

    /// Whether the path lies in the directory `dir`, or is `dir`.
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.0.is_empty() || self.0.strip_prefix(&dir.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What must hold before the path is read or written, and (last) what should hold so that every system can.
    ///
    /// # Errors
    /// The first problem; those that are no more than unportable come last.
    pub fn check(&self) -> Result<(), PathProblem> {
        // Almost every path is spelled as the file system has it.
        let bytes = match self.0.contains('%') {
            true => Cow::Owned(self.decode().unwrap_or_default()),
            false => Cow::Borrowed(self.0.as_bytes()),
        };
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathProblem::TooLong { bytes: bytes.len(), limit: PATH_BYTES_MAX });
        }
        let components = || std::iter::zip(bytes.split(|b| *b == b'/'), self.0.split('/'));
        for (component, text) in components() {
            check_component(component, text)?;
        }
        match components().find(|(_, text)| is_unportable(text)) {
            Some((_, text)) => Err(PathProblem::Unportable(text.to_owned())),
            None => Ok(()),
        }
    }

    /// For the path and each directory it lies in: what it is on a file system that folds case and Unicode forms,
    /// and how it is spelled here.
    pub fn folded_prefixes(&self) -> impl Iterator<Item = (String, &str)> {
        let ends = self.0.match_indices('/').map(|(i, _)| i).chain([self.0.len()]);
        ends.map(|end| (fold(&self.0[..end]), &self.0[..end]))
    }

    fn decode(&self) -> Option<Vec<u8>> {
        decode(&self.0)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPath({:?})", self.0)
    }
}

/// Directories in which version control systems keep their state, with hooks and settings that run programs: never
/// shared, and never written because a peer says so. Without the dot.
const CONTROL: [&str; 5] = ["git", "hg", "jj", "svn", "bzr"];

/// Whether a walk stays out of a file or directory of this name without a word: ours, also half made, and those of
/// version control systems.
pub(crate) fn is_control(name: &OsStr) -> bool {
    let dotted = |of: &[u8]| of.strip_prefix(b".").is_some_and(|of| CONTROL.iter().any(|c| c.as_bytes() == of));
    name == ".ibgib" || name == ".ibgib.new" || dotted(name.as_bytes())
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        for b in chunk.invalid() {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// The bytes that [`encode`] gives this text for, and others; `None` if a `%` is followed by no two digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digits = rest.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    Some(out)
}

/// What a name is on file systems that ignore case and Unicode forms. Up and down again, because `ß` and `ſ` only
/// meet `ss` and `s` in capitals.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Of a component as the file system has it, and as it is spelled.
fn check_component(bytes: &[u8], text: &str) -> Result<(), PathProblem> {
    if bytes.is_empty() {
        return Err(PathProblem::Empty);
    }
    if bytes.contains(&0) {
        return Err(PathProblem::Nul);
    }
    if bytes == b"." || bytes == b".." {
        return Err(PathProblem::Dots(text.to_owned()));
    }
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(PathProblem::TooLong { bytes: bytes.len(), limit: COMPONENT_BYTES_MAX });
    }
    // Backslashes separate on Windows, so each part is looked at.
    if text.split('\\').any(looks_like_control) { Err(PathProblem::Control(text.to_owned())) } else { Ok(()) }
}

/// What HFS+, NTFS or FAT would open as one of the names of [`is_control`]: code points HFS+ ignores, trailing dots and spaces,
/// streams, short names.
fn looks_like_control(name: &str) -> bool {
    // Each of them begins with a dot, and a short name has a tilde.
    if name.is_ascii() && !name.starts_with('.') && !name.contains('~') {
        return false;
    }
    let ignored = |c: &char| matches!(*c as u32, 0x200c..=0x200f | 0x202a..=0x202e | 0x206a..=0x206f | 0xfeff);
    let name: String = name.chars().filter(|c| !ignored(c)).collect();
    let name = fold(name.split(':').next().unwrap_or_default());
    let name = name.trim_end_matches(['.', ' ']);
    let ours = name.strip_suffix(".new").unwrap_or(name);
    let is = |name: &str, control: &str| {
        name.strip_prefix('.') == Some(control) || name.strip_prefix(control).is_some_and(is_short)
    };
    is(ours, "ibgib") || CONTROL.iter().any(|control| is(name, control))
}

/// Whether this is what follows in the short name that FAT gives a longer one.
fn is_short(rest: &str) -> bool {
    rest.strip_prefix('~').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Bytes of the longest name that Windows gives to a device.
const DEVICE_BYTES_MAX: usize = 7;

fn is_unportable(name: &str) -> bool {
    // Windows knows these as separators, drives, streams, wildcards and redirections.
    if name.contains(['\\', ':', '?', '*', '<', '>', '|', '"']) || name.ends_with(['.', ' ']) {
        return true;
    }
    if name.bytes().any(|byte| byte < b' ') {
        return true;
    }
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end();
    // The names of devices are short.
    if stem.len() > DEVICE_BYTES_MAX {
        return false;
    }
    let stem = stem.to_ascii_lowercase();
    match stem.as_str() {
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" => true,
        _ => ["com", "lpt"].iter().any(|p| {
            let digit = stem.strip_prefix(p).map(|d| d.chars().collect::<Vec<_>>());
            matches!(digit.as_deref(), Some(['1'..='9' | '¹' | '²' | '³']))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(key: &str) -> Result<(), PathProblem> {
        EntryPath::from_key(key)?.check()
    }

    #[test]
    fn ordinary_names_pass() {
        for key in [
            "/a",
            "/src/main.rs",
            "/__proto__",
            "/100%25.txt",
            "/%FF%FE",
            "/a b/ü",
            "/.gitignore",
            "/.github/x",
            "/console.log",
            "/com10",
            "/git~",
            "/.ibgibignore",
            "/.git.new",
        ] {
            assert_eq!(check(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for key in ["", "a", "/%41", "/%2e%2e/x", "/%ff", "/%", "/%C3%A4"] {
            assert_eq!(check(key), Err(PathProblem::Spelling), "{key}");
        }
        for key in ["/", "//etc/passwd", "/a//b", "/a/"] {
            assert_eq!(check(key), Err(PathProblem::Empty), "{key}");
        }
        for key in ["/../x", "/a/../../x", "/.", "/a/./b"] {
            assert!(matches!(check(key), Err(PathProblem::Dots(_))), "{key}");
        }
        assert_eq!(check("/a\0b"), Err(PathProblem::Nul));
        for key in [
            "/.git/config",
            "/a/.GIT/hooks/x",
            "/.git",
            "/.ibgib/secret",
            "/.Ibgib./x",
            "/sub/.ibgib.new/secret",
            "/.IBGIB.NEW/x",
            "/IBGIB~1.NEW/x",
            "/.git /x",
            "/.g\u{200c}it/x",
            "/git~1/x",
            "/IBGIB~2/x",
            "/.hg/hgrc",
            "/a/.JJ/repo",
            "/.svn./wc.db",
            "/.bzr",
            "/HG~1/hgrc",
            "/.git::$INDEX_ALLOCATION/x",
            "/a\\.git\\x",
        ] {
            assert!(matches!(check(key), Err(PathProblem::Control(_))), "{key}");
        }
        for key in ["/C:", "/c:x/y", "/a\\b", "/..\\x", "/CON", "/aux.c", "/x/com1.txt", "/end.", "/end ", "/nul .txt"]
        {
            assert!(check(key).is_err_and(|p| p.is_unportable()), "{key}");
        }
        for key in ["/12:30", "/what?", "/a*", "/<b", "/b>", "/a|b", "/\"said\"", "/tab\tbed", "/line\nbreak"] {
            assert!(check(key).is_err_and(|p| p.is_unportable()), "{key}");
        }
        assert!(matches!(check(&format!("/{}", "x".repeat(256))), Err(PathProblem::TooLong { .. })));
        assert!(matches!(check(&format!("/{}", "x/".repeat(3000))), Err(PathProblem::TooLong { .. })));
    }

    #[test]
    fn twins_fold_to_one() {
        let folded = |key: &str| EntryPath::from_key(key).unwrap().folded_prefixes().last().unwrap().0;
        assert_eq!(folded("/README"), folded("/readme"));
        assert_eq!(folded("/é"), folded("/e\u{301}"));
        assert_eq!(folded("/Straße"), folded("/STRASSE"));
        assert_ne!(folded("/a"), folded("/а")); // Latin and Cyrillic
    }

    proptest! {
        #[test]
        fn every_unix_path_has_one_key(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let path = EntryPath::from_relative(Path::new(OsStr::from_bytes(&bytes)));
            prop_assert_eq!(path.decode().unwrap(), bytes);
            prop_assert_eq!(EntryPath::from_key(&path.key()).unwrap(), path);
        }
    }
}
