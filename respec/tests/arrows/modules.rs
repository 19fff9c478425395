//! The modules of a crate and which of them refer to which, read from the text.
//!
//! Comments, literals and test modules are taken out; then every path that begins with `crate::`, `self::` or `super::`
//! counts, in `use` and elsewhere, followed as far as it names modules and, by one step, through what a module re-exports
//! from its children. Not seen: names that macros put together, and paths that begin with a child's name outside `use`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Names from the crate's root down.
pub(crate) type ModulePath = Vec<String>;

/// One module's file.
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// The text without comments, literals and test modules.
    code: String,
    children: Vec<String>,
    /// Names re-exported from children, and from which.
    exports: BTreeMap<String, String>,
}

/// The modules of one crate.
pub(crate) struct Modules(pub(crate) BTreeMap<ModulePath, Module>);

impl Modules {
    /// Reads a crate from its root file.
    pub(crate) fn read(root: &Path) -> Self {
        let mut all = BTreeMap::new();
        let mut rest = vec![(ModulePath::new(), root.to_owned(), root.parent().unwrap().to_owned())];
        while let Some((path, file, folder)) = rest.pop() {
            let code = code_of(&fs::read_to_string(&file).unwrap());
            let children = declared(&code);
            for child in &children {
                let beside = folder.join(format!("{child}.rs"));
                let file = if beside.exists() { beside } else { folder.join(child).join("mod.rs") };
                rest.push(([&path[..], std::slice::from_ref(child)].concat(), file, folder.join(child)));
            }
            let exports = exports(&code, &children);
            all.insert(path, Module { file, code, children, exports });
        }
        Self(all)
    }

    /// Every reference between modules neither of which contains the other, as the two siblings that it goes through.
    pub(crate) fn arrows(&self) -> BTreeMap<(ModulePath, ModulePath), PathBuf> {
        let mut out = BTreeMap::new();
        for (from, module) in &self.0 {
            for to in self.targets(from, module) {
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if common < from.len() && common < to.len() {
                    let pair = (from[..=common].to_vec(), to[..=common].to_vec());
                    out.entry(pair).or_insert_with(|| module.file.clone());
                }
            }
        }
        out
    }

    /// Modules that refer to each other in a circle, if there are any.
    pub(crate) fn circle(&self) -> Option<String> {
        let arrows = self.arrows();
        // What nothing refers to any more is in no circle; neither is what refers to nothing.
        let mut left: BTreeSet<&(ModulePath, ModulePath)> = arrows.keys().collect();
        loop {
            let before = left.len();
            let (froms, tos): (BTreeSet<_>, BTreeSet<_>) = left.iter().map(|(a, b)| (a, b)).unzip();
            left.retain(|(a, b)| tos.contains(a) && froms.contains(b));
            if left.is_empty() {
                return None;
            }
            if left.len() == before {
                let lines = left.iter().map(|pair| {
                    format!("{} -> {} ({})", pair.0.join("::"), pair.1.join("::"), arrows[*pair].display())
                });
                return Some(lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }

    fn targets(&self, from: &ModulePath, module: &Module) -> BTreeSet<ModulePath> {
        let mut out = BTreeSet::new();
        for start in ["crate", "self", "super"] {
            for path in paths(&module.code, start) {
                let mut at = match start {
                    "crate" => ModulePath::new(),
                    "self" => from.clone(),
                    _ => from[..from.len().saturating_sub(1)].to_vec(),
                };
                for name in &path {
                    let here = &self.0[&at];
                    if name == "super" {
                        at.pop();
                    } else if let Some(child) = here.children.iter().find(|c| *c == name) {
                        at.push(child.clone());
                    } else {
                        at.extend(here.exports.get(name).cloned());
                        break;
                    }
                }
                out.insert(at);
            }
        }
        out
    }

    /// Paths of the standard library that the crate names, two names deep: `std::fs`.
    pub(crate) fn std_names(&self) -> BTreeSet<(String, PathBuf)> {
        let paths =
            |m: &Module| ["std", "core", "alloc"].into_iter().flat_map(|s| paths(&m.code, s)).collect::<Vec<_>>();
        let named = |m: &Module| paths(m).into_iter().filter_map(|p| p.into_iter().next()).collect::<Vec<_>>();
        self.0.values().flat_map(|m| named(m).into_iter().map(|name| (name, m.file.clone()))).collect()
    }
}

/// Modules that a file declares and that stand in files of their own.
fn declared(code: &str) -> Vec<String> {
    let names = code.split_inclusive(';').filter_map(|statement| {
        let mut words = statement.strip_suffix(';')?.split_whitespace().rev();
        let name = words.next()?;
        (words.next() == Some("mod")).then(|| name.to_owned())
    });
    names.collect()
}

/// What `pub use child::…` makes of the children's names.
fn exports(code: &str, children: &[String]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit(['\n', ';', '}']).next().unwrap_or_default();
        if line.trim_start().starts_with("pub") {
            let statement = code[at..].split_inclusive(';').next().unwrap_or_default();
            for child in children {
                let names = paths(statement, child).into_iter().filter_map(|mut path| path.pop());
                out.extend(names.map(|name| (name, child.clone())));
            }
        }
    }
    out
}

/// What follows `start::` wherever it stands, groups taken apart and renamed things under their new name.
fn paths(code: &str, start: &str) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for (at, _) in code.match_indices(start) {
        let before = code[..at].chars().next_back();
        let rest = code[at + start.len()..].strip_prefix("::");
        if let Some(rest) = rest.filter(|_| !before.is_some_and(|c| is_name(c) || c == ':')) {
            tree(rest, &mut Vec::new(), &mut out);
        }
    }
    out
}

/// Reads one path or group; answers what is left of the text.
fn tree<'a>(text: &'a str, so_far: &mut Vec<String>, out: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            let length = so_far.len();
            rest = tree(rest, so_far, out).trim_start();
            so_far.truncate(length);
            rest = match rest.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            };
            if let Some(end) = rest.strip_prefix('}') {
                return end;
            }
        }
    }
    let length = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    if !name.is_empty() && name != "self" {
        so_far.push(name.to_owned());
    }
    if let Some(more) = rest.strip_prefix("::").filter(|more| more.starts_with(|c| is_name(c) || c == '{')) {
        return tree(more, so_far, out);
    }
    let mut rest = rest.trim_start_matches("::*");
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        let length = renamed.find(|c| !is_name(c)).unwrap_or(renamed.len());
        // Followed by its own name inside the crate, re-exported under the new one: both count.
        out.push(so_far.clone());
        so_far.pop();
        so_far.push(renamed[..length].to_owned());
        rest = &renamed[length..];
    }
    out.push(so_far.clone());
    rest
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text without comments, without what stands in literals, and without test modules.
fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest).filter(|_| !out.ends_with(is_name)) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = rest.find('"').unwrap() + 1;
            rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
        } else if c == '"' {
            literal(rest, '"')
        } else if c == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            literal(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skip..];
    }
    without_tests(&out)
}

/// How many `#` a raw string that begins here has.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The bytes of a literal that begins here.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Takes `#[cfg(test)] mod tests { … }` out.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let after = &rest[at + "#[cfg(test)]".len()..];
        out.push_str(&rest[..at]);
        let (end, brace) = (after.find(';'), after.find('{'));
        let Some(brace) = brace.filter(|brace| end.is_none_or(|end| *brace < end)) else {
            // An item without a body, such as `mod attacks;`.
            rest = &after[end.map_or(after.len(), |end| end + 1)..];
            continue;
        };
        let mut depth = 0;
        let close = after[brace..].find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        rest = &after[close.map_or(after.len(), |close| brace + close + 1)..];
    }
    out + rest
}
