//! One line of an ignore file, matched as git matches it.
//!
//! The matching is git's own (`wildmatch.c`, `dir.c`), byte by byte, since libraries for it differ where people notice:
//! braces as alternatives, no POSIX classes, sets that match a slash.

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Without `!`, and without the slash at the end.
    text: Vec<u8>,
    /// Where it matches, nothing is ignored.
    pub(crate) negative: bool,
    /// It matches directories only.
    directory: bool,
    /// It has no slash, so it matches names at any depth.
    name_only: bool,
    /// Bytes before the first wildcard.
    literal: usize,
}

impl Pattern {
    /// Of a line without its end; `None` if it says nothing.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        if line.first() == Some(&b'#') {
            return None;
        }
        let line = without_spaces_at_end(line);
        let (negative, line) = line.strip_prefix(b"!").map_or((false, line), |rest| (true, rest));
        let (directory, text) = line.strip_suffix(b"/").map_or((false, line), |rest| (true, rest));
        if text.is_empty() {
            return None;
        }
        let name_only = !text.contains(&b'/');
        let text = text.strip_prefix(b"/").unwrap_or(text).to_vec();
        let literal = text.iter().position(|b| is_special(*b)).unwrap_or(text.len());
        Some(Self { text, negative, directory, name_only, literal })
    }

    /// Whether it matches `path`, which is relative to the ignore file's directory.
    pub(crate) fn matches(&self, path: &[u8], directory: bool) -> bool {
        if self.directory && !directory {
            return false;
        }
        if self.name_only {
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
            return wild(&self.text, name, false) == Found::Match;
        }
        // What comes before the first wildcard is compared first, and no context for what follows, as git does it.
        let (before, after) = self.text.split_at(self.literal);
        path.strip_prefix(before).is_some_and(|rest| wild(after, rest, true) == Found::Match)
    }

    /// Why the line can match nothing, if it is no pattern.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let mut rest = &self.text[..];
        while let Some((&b, tail)) = rest.split_first() {
            rest = tail;
            match b {
                b'\\' if rest.is_empty() => return Some("it ends with a backslash"),
                b'\\' => rest = &rest[1..],
                b'[' => match set(rest, 0) {
                    Ok((_, after)) => rest = after,
                    Err(problem) => return Some(problem),
                },
                _ => {}
            }
        }
        None
    }
}

/// Spaces at the end do not count, but for one after a backslash.
fn without_spaces_at_end(line: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while at < line.len() {
        if line[at] == b'\\' {
            at = (at + 2).min(line.len());
            end = at;
        } else {
            at += 1;
            if line[at - 1] != b' ' {
                end = at;
            }
        }
    }
    &line[..end]
}

fn is_special(b: u8) -> bool {
    matches!(b, b'*' | b'?' | b'[' | b'\\')
}

/// How a comparison ended. The last two tell the stars that are still open that going on is of no use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Match,
    No,
    /// Nor at any later place of the text.
    Never,
    /// Nor before a `**`.
    NotInHere,
}

/// Whether the pattern matches the whole text; with `path`, wildcards match no slash, but for `**` between slashes.
fn wild(pattern: &[u8], text: &[u8], path: bool) -> Found {
    let (mut p, mut t) = (0, 0);
    while p < pattern.len() {
        let here = text.get(t).copied();
        if here.is_none() && pattern[p] != b'*' {
            return Found::Never;
        }
        match pattern[p] {
            b'*' => return stars(pattern, p, &text[t..], path),
            b'?' if path && here == Some(b'/') => return Found::No,
            b'?' => p += 1,
            b'[' => {
                let c = here.unwrap_or_default();
                match set(&pattern[p + 1..], c) {
                    Err(_) => return Found::Never,
                    Ok((false, _)) => return Found::No,
                    Ok((true, _)) if path && c == b'/' => return Found::No,
                    Ok((true, after)) => p = pattern.len() - after.len(),
                }
            }
            b'\\' => {
                if here != pattern.get(p + 1).copied() {
                    return Found::No;
                }
                p += 2;
            }
            c => {
                if here != Some(c) {
                    return Found::No;
                }
                p += 1;
            }
        }
        t += 1;
    }
    if t == text.len() { Found::Match } else { Found::No }
}

/// Matches from the star at `p` on.
fn stars(pattern: &[u8], p: usize, text: &[u8], path: bool) -> Found {
    let mut next = p;
    while pattern.get(next) == Some(&b'*') {
        next += 1;
    }
    let rest = &pattern[next..];
    let mut any = !path;
    if path && next - p > 1 {
        let after = rest.is_empty() || rest[0] == b'/' || rest.starts_with(b"\\/");
        if (p == 0 || pattern[p - 1] == b'/') && after {
            // `**/` may be nothing.
            if rest.first() == Some(&b'/') && wild(&rest[1..], text, path) == Found::Match {
                return Found::Match;
            }
            any = true;
        }
    }
    if rest.is_empty() {
        return if any || !text.contains(&b'/') { Found::Match } else { Found::NotInHere };
    }
    if !any && rest[0] == b'/' {
        // One star and a slash match the next directory.
        return match text.iter().position(|b| *b == b'/') {
            Some(slash) => wild(&rest[1..], &text[slash + 1..], path),
            None => Found::Never,
        };
    }
    for (at, here) in text.iter().enumerate() {
        match wild(rest, &text[at..], path) {
            Found::No if !any && *here == b'/' => return Found::NotInHere,
            Found::No => {}
            Found::NotInHere if any => {}
            done => return done,
        }
    }
    Found::Never
}

/// Whether the set that begins after its bracket contains `c`, and what follows it.
fn set(pattern: &[u8], c: u8) -> Result<(bool, &[u8]), &'static str> {
    const OPEN: &str = "a bracket is not closed";
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let (mut contains, mut before) = (false, None);
    let mut first = true;
    loop {
        let b = *pattern.get(at).ok_or(OPEN)?;
        if b == b']' && !first {
            return Ok((contains != negated, &pattern[at + 1..]));
        }
        first = false;
        let follows = pattern.get(at + 1).copied();
        match (b, before) {
            (b'\\', _) => {
                let literal = follows.ok_or(OPEN)?;
                contains |= literal == c;
                before = Some(literal);
                at += 2;
            }
            (b'-', Some(from)) if follows.is_some_and(|b| b != b']') => {
                at += 1;
                if pattern[at] == b'\\' {
                    at += 1;
                }
                let to = *pattern.get(at).ok_or(OPEN)?;
                contains |= (from..=to).contains(&c);
                before = None;
                at += 1;
            }
            (b'[', _) if follows == Some(b':') => {
                let name = &pattern[at + 2..];
                let close = name.iter().position(|b| *b == b']').ok_or(OPEN)?;
                match name[..close].strip_suffix(b":") {
                    Some(name) => {
                        contains |= class(name, c).ok_or("it names a class of characters that there is not")?;
                        before = None;
                        at += 2 + close + 1;
                    }
                    // No class, so the bracket is a character like any other.
                    None => {
                        contains |= c == b'[';
                        before = Some(b'[');
                        at += 1;
                    }
                }
            }
            _ => {
                contains |= b == c;
                before = Some(b);
                at += 1;
            }
        }
    }
}

/// Whether the POSIX class contains `c`; `None` if there is no such class.
fn class(name: &[u8], c: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => c.is_ascii_alphanumeric(),
        b"alpha" => c.is_ascii_alphabetic(),
        b"blank" => matches!(c, b' ' | b'\t'),
        b"cntrl" => c.is_ascii_control(),
        b"digit" => c.is_ascii_digit(),
        b"graph" => c.is_ascii_graphic(),
        b"lower" => c.is_ascii_lowercase(),
        b"print" => c.is_ascii_graphic() || c == b' ',
        b"punct" => c.is_ascii_punctuation(),
        b"space" => c.is_ascii_whitespace() || c == 0x0b,
        b"upper" => c.is_ascii_uppercase(),
        b"xdigit" => c.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_match_nothing_say_why() {
        let problem = |line: &str| Pattern::of(line.as_bytes()).unwrap().problem();
        for bad in ["a[b", "x\\", "[[:letters:]]", "[!]", "a[b\\"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
        for good in ["a", "[]]", "[!]a]", "{a,b}", "[[:alpha:]-]", "[a\\]]", "\\[", "[[:x]"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for nothing in ["", "# x", "   ", "/", "!", "!/"] {
            assert_eq!(Pattern::of(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
