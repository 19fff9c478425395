//! Text that others wrote, as people read it. A name, an ib or a line of a file may hold control characters: they could
//! move the cursor, rename the window or forge a line of a report. They are shown escaped, on a terminal or not, for
//! what is piped today may be read tomorrow. `--json` stays exact.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// Something that stands on one line: a path, an address, a reason, a message.
pub(crate) fn shown<T: Display>(what: T) -> Shown<T> {
    Shown(what)
}

/// What [`shown`] gives: every control character is escaped, ends of lines and tabs among them.
pub(crate) struct Shown<T>(T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Line<'a, 'f>(&'a mut fmt::Formatter<'f>);
        impl Write for Line<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write_str(&escaped(text, |_, _| 0))
            }
        }
        write!(Line(f), "{}", self.0)
    }
}

/// Lines of a file: ends of lines and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, plain)
}

/// A whole report, for one that forgot to escape what it shows: as [`lines`], and the command's own colours stay.
pub(crate) fn report(text: &str) -> Cow<'_, str> {
    escaped(text, |c, rest| if c == '\u{1b}' { colour(rest) } else { plain(c, rest) })
}

/// Bytes that stay at an end of a line or a tab: a return that no new line follows would write over the line.
fn plain(c: char, rest: &str) -> usize {
    match c {
        '\n' | '\t' => 1,
        '\r' if rest[1..].starts_with('\n') => 1,
        _ => 0,
    }
}

/// Bytes of the sequence at the start of `rest` that sets a colour; 0 if it does anything else.
fn colour(rest: &str) -> usize {
    let inside = rest.strip_prefix("\u{1b}[").unwrap_or_default();
    let digits = inside.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
    if inside[digits..].starts_with('m') { "\u{1b}[m".len() + digits } else { 0 }
}

/// Escapes each control character, but for as many bytes as `stays` says of it and what follows.
fn escaped(text: &str, stays: impl Fn(char, &str) -> usize) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(is_control) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(c) = rest.chars().next() else { break };
        let keep = stays(c, rest);
        if keep == 0 {
            out.extend(c.escape_default());
            rest = &rest[c.len_utf8()..];
        } else {
            out.push_str(&rest[..keep]);
            rest = &rest[keep..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Control characters, and those that turn the direction of writing or end a line without being one.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_and_moves_nothing() {
        assert_eq!(shown("plain ünï 🎉 a\\b").to_string(), "plain ünï 🎉 a\\b");
        let evil = "x\u{1b}[1A\u{1b}[2K\r\nwrote\tfake\u{7f}\u{9b}31m\u{202e}";
        assert_eq!(shown(evil).to_string(), "x\\u{1b}[1A\\u{1b}[2K\\r\\nwrote\\tfake\\u{7f}\\u{9b}31m\\u{202e}");
    }

    #[test]
    fn lines_keep_what_lines_are_made_of() {
        assert_eq!(lines("a\tb\r\nc\n"), "a\tb\r\nc\n");
        assert_eq!(lines("a\rb\u{1b}[31m\r"), "a\\rb\\u{1b}[31m\\r");
    }

    #[test]
    fn a_report_keeps_its_colours_and_no_other_sequence() {
        assert_eq!(report("\u{1b}[1;31mred\u{1b}[0m\u{1b}[m\n"), "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m\n");
        assert_eq!(report("\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}"), "\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{1b}");
    }
}
