//! JSON text to [`Value`], without recursion: depth is a limit, not a stack overflow.

use super::print::write_number;
use super::value::{Map, Value};
use std::fmt;

/// Levels of nesting that a value may have. Deeper text is refused with [`JsonErrorKind::TooDeep`].
pub const DEPTH_MAX: usize = 1_024;

/// Values that one text may hold, members' values included. Each takes memory beside its text, so that 16 MiB of text
/// may not become gigabytes.
pub const VALUES_MAX: usize = 1 << 20;

/// How strictly input is read; see the crate documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reproduces the original implementation bit for bit, its leniencies included.
    Compat,
    /// The default: refuses whatever could make two readers disagree about an address.
    Strict,
}

/// Why text is not a JSON value that we take, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct JsonError {
    /// Byte offset in the text.
    pub offset: usize,
    /// What is wrong there.
    pub kind: JsonErrorKind,
}

/// What is wrong with JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// Not JSON (RFC 8259); the word says what was expected.
    Expected(&'static str),
    /// The text goes on after the value.
    Trailing,
    /// More than [`DEPTH_MAX`] levels.
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    TooMany,
    /// A `\u` escape that is half of a surrogate pair.
    LoneSurrogate,
    /// Strict: a member twice in one object.
    DuplicateMember(String),
    /// Strict: a member `__proto__` outside arrays, which the hash would not see.
    ProtoMember,
    /// Strict: a number that prints as another one; with the literal and its print.
    InexactNumber(String, String),
    /// Strict: `-0`, which prints as `0`.
    NegativeZero,
}

impl fmt::Display for JsonErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Trailing => write!(f, "text after the value"),
            Self::TooDeep => write!(f, "nested deeper than {DEPTH_MAX} levels"),
            Self::TooMany => write!(f, "more than {VALUES_MAX} values"),
            Self::LoneSurrogate => write!(f, "lone surrogate in a string"),
            Self::DuplicateMember(k) => write!(f, "member {k:?} twice in one object"),
            Self::ProtoMember => write!(f, "member \"__proto__\", which the hash does not cover"),
            Self::InexactNumber(lit, print) => write!(f, "number {lit} would be read as {print}"),
            Self::NegativeZero => write!(f, "number -0 would be read as 0"),
        }
    }
}

impl Value {
    /// Reads JSON text.
    ///
    /// # Errors
    /// [`JsonError`] with the byte offset and what is wrong there.
    pub fn parse(text: &str, mode: Mode) -> Result<Self, JsonError> {
        let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, mode, open: Vec::new(), arrays: 0, values: 0 };
        let value = reader.document()?;
        reader.skip_space();
        if reader.at != reader.bytes.len() {
            return reader.fail(JsonErrorKind::Trailing);
        }
        Ok(value)
    }
}

/// A container whose end was not read yet.
enum Open {
    Array(Vec<Value>),
    Object(Map, String),
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    mode: Mode,
    open: Vec<Open>,
    /// How many of `open` are arrays.
    arrays: usize,
    /// Values begun.
    values: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, kind: JsonErrorKind) -> Result<T, JsonError> {
        Err(JsonError { offset: self.at, kind })
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    fn document(&mut self) -> Result<Value, JsonError> {
        loop {
            // A value starts here; containers that open are pushed and the loop goes on inside them.
            self.values += 1;
            if self.values > VALUES_MAX {
                return self.fail(JsonErrorKind::TooMany);
            }
            let mut value = match self.peek() {
                Some(b'{') => {
                    self.descend()?;
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                        Value::Object(Map::new())
                    } else {
                        let key = self.key(&Map::new())?;
                        self.open.push(Open::Object(Map::new(), key));
                        continue;
                    }
                }
                Some(b'[') => {
                    self.descend()?;
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        Value::Array(Vec::new())
                    } else {
                        self.open.push(Open::Array(Vec::new()));
                        self.arrays += 1;
                        continue;
                    }
                }
                Some(b'"') => Value::String(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true", Value::Bool(true))?,
                Some(b'f') => self.word("false", Value::Bool(false))?,
                Some(b'n') => self.word("null", Value::Null)?,
                _ => return self.fail(JsonErrorKind::Expected("a value")),
            };
            // The value is whole; close every container that it ends.
            loop {
                match self.open.pop() {
                    None => return Ok(value),
                    Some(Open::Array(mut items)) => {
                        items.push(value);
                        match self.peek() {
                            Some(b',') => {
                                self.at += 1;
                                self.open.push(Open::Array(items));
                                break;
                            }
                            Some(b']') => {
                                self.at += 1;
                                self.arrays -= 1;
                                items.shrink_to_fit();
                                value = Value::Array(items);
                            }
                            _ => return self.fail(JsonErrorKind::Expected("',' or ']'")),
                        }
                    }
                    Some(Open::Object(mut map, key)) => {
                        map.insert(key, value);
                        match self.peek() {
                            Some(b',') => {
                                self.at += 1;
                                let key = self.key(&map)?;
                                self.open.push(Open::Object(map, key));
                                break;
                            }
                            Some(b'}') => {
                                self.at += 1;
                                map.shrink();
                                value = Value::Object(map);
                            }
                            _ => return self.fail(JsonErrorKind::Expected("',' or '}'")),
                        }
                    }
                }
            }
        }
    }

    fn descend(&mut self) -> Result<(), JsonError> {
        if self.open.len() >= DEPTH_MAX {
            return self.fail(JsonErrorKind::TooDeep);
        }
        self.at += 1;
        Ok(())
    }

    fn key(&mut self, map: &Map) -> Result<String, JsonError> {
        if self.peek() != Some(b'"') {
            return self.fail(JsonErrorKind::Expected("a member name"));
        }
        let start = self.at;
        let key = self.string()?;
        if self.mode == Mode::Strict {
            let kind = if map.contains_key(&key) {
                Some(JsonErrorKind::DuplicateMember(key.clone()))
            } else if key == "__proto__" && self.arrays == 0 {
                Some(JsonErrorKind::ProtoMember)
            } else {
                None
            };
            if let Some(kind) = kind {
                return Err(JsonError { offset: start, kind });
            }
        }
        if self.peek() != Some(b':') {
            return self.fail(JsonErrorKind::Expected("':'"));
        }
        self.at += 1;
        Ok(key)
    }

    fn word(&mut self, word: &'static str, value: Value) -> Result<Value, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail(JsonErrorKind::Expected("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fail(JsonErrorKind::Expected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let literal = &self.text[start..self.at];
        let Ok(number) = literal.parse::<f64>() else {
            return Err(JsonError { offset: start, kind: JsonErrorKind::Expected("a number") });
        };
        if self.mode == Mode::Strict {
            if number == 0.0 && literal.starts_with('-') {
                return Err(JsonError { offset: start, kind: JsonErrorKind::NegativeZero });
            }
            let mut print = String::new();
            write_number(number, &mut print);
            // Almost every number in real data is written the way it prints.
            if print != literal && (number.is_infinite() || decimal(literal) != decimal(&print)) {
                let kind = JsonErrorKind::InexactNumber(literal.to_owned(), print);
                return Err(JsonError { offset: start, kind });
            }
        }
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.bytes.get(self.at).is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                Some(_) => return self.fail(JsonErrorKind::Expected("no control character in a string")),
                None => return self.fail(JsonErrorKind::Expected("the end of the string")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), JsonError> {
        let plain = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let start = self.at - 1;
                let first = self.unit()?;
                let c = match first {
                    0xd800..=0xdbff if self.text[self.at..].starts_with("\\u") => {
                        self.at += 1;
                        let second = self.unit()?;
                        char::decode_utf16([first, second]).next().and_then(Result::ok)
                    }
                    _ => char::from_u32(u32::from(first)),
                };
                let Some(c) = c else {
                    return Err(JsonError { offset: start, kind: JsonErrorKind::LoneSurrogate });
                };
                out.push(c);
                return Ok(());
            }
            _ => return self.fail(JsonErrorKind::Expected("an escape")),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    /// Reads `uXXXX`, the reader standing on the `u`.
    fn unit(&mut self) -> Result<u16, JsonError> {
        let digits = self.bytes.get(self.at + 1..self.at + 5).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(unit) = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u16::from_str_radix(d, 16).ok())
        else {
            return self.fail(JsonErrorKind::Expected("four hex digits"));
        };
        self.at += 5;
        Ok(unit)
    }
}

/// Sign, significant digits and decimal exponent of a literal; equal exactly when the values are.
fn decimal(literal: &str) -> (bool, String, i64) {
    let (negative, rest) = literal.strip_prefix('-').map_or((false, literal), |r| (true, r));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_end_matches('0');
    // An exponent too long for i64 belongs to a number that overflowed or underflowed: it never equals its print.
    let exponent = exponent.trim_start_matches('+').parse::<i64>().unwrap_or(i64::MAX / 2);
    let exponent = exponent.saturating_sub(fraction.len() as i64).saturating_add((digits.len() - trimmed.len()) as i64);
    let significant = trimmed.trim_start_matches('0').to_owned();
    if significant.is_empty() { (false, significant, 0) } else { (negative, significant, exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> Result<Value, JsonErrorKind> {
        Value::parse(text, Mode::Strict).map_err(|e| e.kind)
    }

    #[test]
    fn numbers_that_print_as_another_value_are_refused() {
        for ok in ["0", "1.0", "1e2", "0.1", "100000000000000000000", "1e21", "1.5e-7", "9007199254740991", "0.0e5"] {
            assert!(strict(ok).is_ok(), "{ok}");
        }
        for bad in [
            "9007199254740993",
            "1e400",
            "1e-400",
            "0.1000000000000000055",
            "1e999999999999999999999",
            "10e9223372036854775807",
            "1.5e-9223372036854775808",
            "1e-999999999999999999999",
        ] {
            assert!(matches!(strict(bad), Err(JsonErrorKind::InexactNumber(..))), "{bad}");
        }
        assert_eq!(strict("-0"), Err(JsonErrorKind::NegativeZero));
        assert_eq!(strict("-0.0e3"), Err(JsonErrorKind::NegativeZero));
    }

    #[test]
    fn depth_has_a_limit_and_no_overflow() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(strict(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(strict(&nested(DEPTH_MAX + 1)), Err(JsonErrorKind::TooDeep));
        assert_eq!(strict(&"[".repeat(10_000_000)), Err(JsonErrorKind::TooDeep));
        let zeros = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
        assert!(strict(&zeros(VALUES_MAX)).is_ok());
        assert_eq!(strict(&zeros(VALUES_MAX + 1)), Err(JsonErrorKind::TooMany));
    }

    #[test]
    fn proto_and_duplicates() {
        assert_eq!(strict(r#"{"a":{"__proto__":1}}"#), Err(JsonErrorKind::ProtoMember));
        assert!(strict(r#"[{"__proto__":1}]"#).is_ok());
        assert_eq!(strict(r#"{"a":1,"a":1}"#), Err(JsonErrorKind::DuplicateMember("a".into())));
        let v = Value::parse(r#"{"b":1,"a":2,"b":3,"10":0,"9":0}"#, Mode::Compat).unwrap();
        assert_eq!(v.to_json(), r#"{"9":0,"10":0,"b":3,"a":2}"#);
    }

    #[test]
    fn garbage_is_an_error() {
        for bad in [
            "",
            "{",
            "[1,]",
            "01",
            "1.",
            ".5",
            "+1",
            "nul",
            "\"\\x\"",
            "\"a",
            "{\"a\"}",
            "1 2",
            "\"\\ud800\"",
            "\"\t\"",
        ] {
            assert!(Value::parse(bad, Mode::Compat).is_err(), "{bad}");
        }
        assert_eq!(Value::parse(r#""\ud83d\ude00""#, Mode::Strict).unwrap(), Value::from("😀"));
    }
}
