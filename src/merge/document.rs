//! JSON documents as merging reads them: every token as it is written, and what stands between the tokens.
//!
//! White space and comments (`//…`, `/*…*/`) are *layout*. A piece of layout belongs to the child that follows it
//! (*lead*), to the name that it stands around (*key*), to the comma that follows it (*trail*) or to the closing
//! bracket (*close*). Values are equal when they agree without layout: strings decoded, numbers as written, members in
//! any order, elements in theirs. A name that repeats in an object is the second, third … of that name.

use super::lcs::TooBig;
use std::borrow::Cow;
use std::collections::HashMap;

/// Levels of a document; what is deeper is one value, compared as written.
pub(super) const DEPTH_MAX: usize = 64;

/// Names of the members that name an element of a list.
pub(super) const ID_NAMES: [&str; 3] = ["id", "uuid", "key"];

/// Values of one document.
const VALUES_MAX: usize = 500_000;

/// Numbers for values and names: the same number exactly when they are equal. One table serves one merge.
#[derive(Default)]
pub(super) struct Ids(HashMap<Key, u32>);

#[derive(PartialEq, Eq, Hash)]
enum Key {
    /// A number, `true`, `false`, `null`, or what is too deep, as written.
    Word(Box<str>),
    /// A string or a name, decoded.
    Text(Box<[u8]>),
    List(Box<[u32]>),
    /// Members by name, sorted.
    Object(Box<[(Name, u32)]>),
}

impl Ids {
    fn id(&mut self, key: Key) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(key).or_insert(next)
    }

    /// The number of a name, if it was met.
    pub(super) fn of_name(&self, name: &str) -> Option<u32> {
        self.0.get(&Key::Text(name.as_bytes().into())).copied()
    }
}

/// What names a child: the number of its name (of its id, for an element of a list), and how often that name stood
/// before it in the same object.
pub(super) type Name = (u32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Object,
    List,
}

/// A value.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) kind: Kind,
    /// All of it, as written.
    pub(super) source: &'t str,
    pub(super) kids: Box<[Kid<'t>]>,
    pub(super) close: &'t str,
    pub(super) id: u32,
}

/// A member of an object or an element of a list.
#[derive(Debug)]
pub(super) struct Kid<'t> {
    /// Of an element: unused.
    pub(super) name: Name,
    pub(super) lead: &'t str,
    /// `"name" : ` as written; of an element nothing.
    pub(super) key: &'t str,
    pub(super) node: Node<'t>,
    pub(super) trail: &'t str,
}

impl Kid<'_> {
    /// The member's name.
    pub(super) fn key_text(&self) -> String {
        let end = string_end(self.key, 0).unwrap_or(0);
        String::from_utf8_lossy(&decode(&self.key[..end])).into_owned()
    }
}

impl Node<'_> {
    pub(super) fn is_scalar(&self) -> bool {
        self.kind == Kind::Scalar
    }

    /// The string, if it is one of whole characters.
    pub(super) fn string(&self) -> Option<String> {
        let is_string = self.is_scalar() && self.source.starts_with('"');
        is_string.then(|| String::from_utf8(decode(self.source).into_owned()).ok())?
    }
}

/// A document: a byte order mark and layout, the value, layout.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub(super) lead: &'t str,
    pub(super) root: Node<'t>,
    pub(super) tail: &'t str,
}

/// Reads a text; `None` when it is no JSON with an object or a list at the root.
pub(super) fn parse<'t>(text: &'t str, ids: &mut Ids) -> Result<Option<Document<'t>>, TooBig> {
    Ok(parse_value(text, ids)?.filter(|document| !document.root.is_scalar()))
}

/// As [`parse`], with any value at the root.
pub(super) fn parse_value<'t>(text: &'t str, ids: &mut Ids) -> Result<Option<Document<'t>>, TooBig> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, ids, left: VALUES_MAX };
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    reader.gap();
    let lead = &text[..reader.at];
    let root = match reader.value(1) {
        Ok(root) => root,
        Err(Bad::NoJson) => return Ok(None),
        Err(Bad::TooBig) => return Err(TooBig),
    };
    let tail = reader.gap();
    Ok((reader.at == text.len()).then_some(Document { lead, root, tail }))
}

enum Bad {
    NoJson,
    TooBig,
}

type Read<T> = Result<T, Bad>;

struct Reader<'t, 'i> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    ids: &'i mut Ids,
    /// How many more values there may be.
    left: usize,
}

impl<'t> Reader<'t, '_> {
    /// Passes layout. A comment that does not end is none.
    fn gap(&mut self) -> &'t str {
        let from = self.at;
        loop {
            let rest = &self.bytes[self.at..];
            self.at += match rest {
                [b' ' | b'\t' | b'\r' | b'\n', ..] => 1,
                [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |end| end + 1),
                [b'/', b'*', ..] => match self.text[self.at + 2..].find("*/") {
                    Some(end) => end + 4,
                    None => break,
                },
                _ => break,
            };
        }
        &self.text[from..self.at]
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.peek() != Some(byte) {
            return Err(Bad::NoJson);
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Read<&'t str> {
        let from = self.at;
        self.at = string_end(self.text, from).ok_or(Bad::NoJson)?;
        Ok(&self.text[from..self.at])
    }

    /// A string, a number or a word.
    fn scalar(&mut self) -> Read<&'t str> {
        let rest = &self.bytes[self.at..];
        let length = match rest.first() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => number_length(rest).ok_or(Bad::NoJson)?,
            _ => {
                let words: [&[u8]; 3] = [b"true", b"false", b"null"];
                words.iter().find(|word| rest.starts_with(word)).ok_or(Bad::NoJson)?.len()
            }
        };
        self.at += length;
        Ok(&self.text[self.at - length..self.at])
    }

    fn value(&mut self, depth: usize) -> Read<Node<'t>> {
        self.left = self.left.checked_sub(1).ok_or(Bad::TooBig)?;
        let from = self.at;
        let (kind, end) = match self.peek() {
            Some(b'{') => (Kind::Object, b'}'),
            Some(b'[') => (Kind::List, b']'),
            _ => {
                let source = self.scalar()?;
                let key = match source.as_bytes()[0] {
                    b'"' => Key::Text(decode(source).into()),
                    _ => Key::Word(source.into()),
                };
                return Ok(leaf(source, self.ids.id(key)));
            }
        };
        if depth > DEPTH_MAX {
            self.pass()?;
            let source = &self.text[from..self.at];
            return Ok(leaf(source, self.ids.id(Key::Word(source.into()))));
        }
        self.at += 1;
        let (mut kids, mut seen) = (Vec::new(), HashMap::new());
        let mut close = self.gap();
        if self.peek() == Some(end) {
            self.at += 1;
        } else {
            let mut lead = close;
            loop {
                let (start, mut name) = (self.at, (0, 0));
                if kind == Kind::Object {
                    let text = self.string()?;
                    let id = self.ids.id(Key::Text(decode(text).into()));
                    let times: &mut u32 = seen.entry(id).or_default();
                    name = (id, *times);
                    *times += 1;
                    self.gap();
                    self.expect(b':')?;
                    self.gap();
                }
                let key = &self.text[start..self.at];
                let node = self.value(depth + 1)?;
                let gap = self.gap();
                let more = self.peek() == Some(b',');
                let trail = if more { gap } else { "" };
                kids.push(Kid { name, lead, key, node, trail });
                if !more {
                    close = gap;
                    self.expect(end)?;
                    break;
                }
                self.at += 1;
                lead = self.gap();
            }
        }
        let key = if kind == Kind::Object {
            let mut members: Vec<(Name, u32)> = kids.iter().map(|kid| (kid.name, kid.node.id)).collect();
            members.sort_unstable();
            Key::Object(members.into())
        } else {
            Key::List(kids.iter().map(|kid| kid.node.id).collect())
        };
        let id = self.ids.id(key);
        Ok(Node { kind, source: &self.text[from..self.at], kids: kids.into(), close, id })
    }

    /// Passes a value that is deeper than what is read, however deep it is.
    fn pass(&mut self) -> Read<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    let end = if bracket == b'{' { b'}' } else { b']' };
                    open.push(end);
                    self.gap();
                    if self.peek() != Some(end) {
                        self.pass_name(end)?;
                        continue;
                    }
                }
                _ => drop(self.scalar()?),
            }
            // A value has ended, or an empty one is about to.
            loop {
                let Some(end) = open.last().copied() else { return Ok(()) };
                self.gap();
                if self.peek() == Some(b',') {
                    self.at += 1;
                    self.gap();
                    self.pass_name(end)?;
                    break;
                }
                self.expect(end)?;
                open.pop();
            }
        }
    }

    /// Passes a member's name, in an object.
    fn pass_name(&mut self, end: u8) -> Read<()> {
        if end == b'}' {
            self.string()?;
            self.gap();
            self.expect(b':')?;
            self.gap();
        }
        Ok(())
    }
}

fn leaf(source: &str, id: u32) -> Node<'_> {
    Node { kind: Kind::Scalar, source, kids: Box::new([]), close: "", id }
}

/// Where the string that begins at `from` ends; `None` when it is none.
fn string_end(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(from) != Some(&b'"') {
        return None;
    }
    let mut at = from + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => match bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match bytes.get(at)? {
        b'0' => 1,
        b'1'..=b'9' => digits(at),
        _ => return None,
    };
    if bytes.get(at) == Some(&b'.') && digits(at + 1) > 0 {
        at += 1 + digits(at + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        if digits(at + 1 + sign) > 0 {
            at += 1 + sign + digits(at + 1 + sign);
        }
    }
    Some(at)
}

/// The characters of a string in quotes, as UTF-8; half of a surrogate pair as the three bytes that it would have.
fn decode(quoted: &str) -> Cow<'_, [u8]> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner.as_bytes());
    }
    let bytes = inner.as_bytes();
    let unit = |at: usize| {
        let hex = bytes.get(at..at + 6).filter(|hex| hex.starts_with(b"\\u"))?;
        u32::from_str_radix(std::str::from_utf8(&hex[2..]).ok()?, 16).ok()
    };
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let Some(first) = unit(at) else {
            out.push(match bytes.get(at + 1) {
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'f') => 12,
                Some(b'r') => b'\r',
                other => other.copied().unwrap_or(b'\\'),
            });
            at += 2;
            continue;
        };
        at += 6;
        let second = unit(at).filter(|second| (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(second));
        let code = second.map_or(first, |second| 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        at += if second.is_some() { 6 } else { 0 };
        match char::from_u32(code) {
            Some(c) => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            None => out.extend([0xe0 | (code >> 12) as u8, 0x80 | (code >> 6) as u8 & 0x3f, 0x80 | code as u8 & 0x3f]),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_document(text: &str) -> bool {
        parse(text, &mut Ids::default()).unwrap().is_some()
    }

    fn equal(x: &str, y: &str) -> bool {
        let ids = &mut Ids::default();
        parse_value(x, ids).unwrap().unwrap().root.id == parse_value(y, ids).unwrap().unwrap().root.id
    }

    #[test]
    fn what_is_a_document() {
        for text in ["{}", " [1, -0.5e+3] ", "\u{feff}{\"a\":1}\r\n", "// c\n[ /* d */ ] //", r#"["\ud800\/"]"#] {
            assert!(is_document(text), "{text}");
        }
        for text in
            ["", "1", "\"a\"", "[1,]", "{\"a\"}", "[01]", "[1.]", "[\"\t\"]", "[1] x", "[/* ]", "{a:1}", "[nul]"]
        {
            assert!(!is_document(text), "{text}");
        }
    }

    #[test]
    fn values_are_equal_without_layout() {
        assert!(equal("{ \"a\":1, \"b\":[ 2 ] }", "{\"b\":[2],/**/\"\\u0061\":1}"));
        assert!(equal(r#""\ud83d\ude00""#, "\"😀\""));
        assert!(!equal("1", "1.0") && !equal("[1,2]", "[2,1]") && !equal("{}", "[]") && !equal("\"1\"", "1"));
        assert!(!equal(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#));
        assert!(!equal(r#"{"a":1,"a":2,"a\u00002":3}"#, r#"{"a":1,"a":3,"a\u00002":2}"#));
    }

    #[test]
    fn depth_is_no_matter() {
        let nested = |n: usize, inner: &str| format!("{}{inner}{}", "[".repeat(n), "]".repeat(n));
        assert!(is_document(&nested(1_000_000, "")) && is_document(&nested(1_000, "{\"a\":1}, 2")));
        assert!(!is_document(&nested(1_000, "{\"a\" 1}")) && !is_document(&nested(1_000, "1 2")));
        assert!(!is_document(&"[".repeat(1_000_000)) && !is_document(&nested(1_000, "1,")));
        assert!(equal(&nested(60, "{ }"), &nested(60, "{}")) && !equal(&nested(70, "{ }"), &nested(70, "{}")));
    }

    #[test]
    fn too_many_values_are_told() {
        let many = format!("[{}1]", "1,".repeat(VALUES_MAX));
        assert_eq!(parse(&many, &mut Ids::default()).unwrap_err(), TooBig);
    }
}
