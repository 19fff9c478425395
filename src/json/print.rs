//! [`Value`] to JSON text. [`Spacing::Compact`] is what `JSON.stringify` prints and what hashes are made of.

use super::value::{Map, Value};
use std::fmt;

/// Where white space stands between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// None at all, as `JSON.stringify(value)` prints.
    Compact,
    /// One line, with a space after each `:` and `,`.
    OneLine,
    /// A line for each member and item, as `JSON.stringify(value, null, indent)` prints with this indentation.
    Indented(&'static str),
}

impl Value {
    /// The text that `JSON.stringify` gives: members in enumeration order, no white space.
    pub fn to_json(&self) -> String {
        self.to_json_as(Spacing::Compact)
    }

    /// The text with other white space.
    pub fn to_json_as(&self, spacing: Spacing) -> String {
        let mut out = String::new();
        write_value(self, spacing, 0, &mut out);
        out
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// Prints a number as ECMAScript's `Number::toString` does; infinities as `null`, as `JSON.stringify` does.
pub fn write_number(number: f64, out: &mut String) {
    if !number.is_finite() {
        out.push_str("null");
    } else if number == 0.0 {
        out.push('0');
    } else {
        out.push_str(ryu_js::Buffer::new().format_finite(number));
    }
}

/// Prints a string as `JSON.stringify` does.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    // Nearly no text has anything to escape, and whether it has is found out many bytes at a time.
    if !text.bytes().fold(false, |found, b| found | (b < 0x20) | (b == b'"') | (b == b'\\')) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut from = 0;
    for (i, b) in text.bytes().enumerate() {
        let escape: &str = match b {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            8 => "\\b",
            9 => "\\t",
            10 => "\\n",
            12 => "\\f",
            13 => "\\r",
            0..=0x1f => {
                out.push_str(&text[from..i]);
                out.push_str("\\u00");
                out.push(char::from(b"0123456789abcdef"[usize::from(b >> 4)]));
                out.push(char::from(b"0123456789abcdef"[usize::from(b & 15)]));
                from = i + 1;
                continue;
            }
            _ => continue,
        };
        out.push_str(&text[from..i]);
        out.push_str(escape);
        from = i + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Prints compactly.
pub(crate) fn write_json(value: &Value, out: &mut String) {
    write_value(value, Spacing::Compact, 0, out);
}

/// Prints members compactly in the order given, their values as `write` does: the hash sorts them its own way.
pub(crate) fn write_members<'a>(
    members: impl Iterator<Item = (&'a str, &'a Value)>,
    write: fn(&Value, &mut String),
    out: &mut String,
) {
    out.push('{');
    for (i, (key, value)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

fn write_value(value: &Value, spacing: Spacing, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => write_number(*n, out),
        Value::String(s) => write_string(s, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                separate(i, spacing, depth, out);
                write_value(item, spacing, depth + 1, out);
            }
            break_line(spacing, depth, out);
            out.push(']');
        }
        Value::Object(map) => write_object(map, spacing, depth, out),
    }
}

fn write_object(map: &Map, spacing: Spacing, depth: usize, out: &mut String) {
    out.push('{');
    for (i, (key, value)) in map.iter().enumerate() {
        separate(i, spacing, depth, out);
        write_string(key, out);
        out.push_str(if spacing == Spacing::Compact { ":" } else { ": " });
        write_value(value, spacing, depth + 1, out);
    }
    break_line(spacing, depth, out);
    out.push('}');
}

/// What stands before item or member `i`.
fn separate(i: usize, spacing: Spacing, depth: usize, out: &mut String) {
    if i > 0 {
        out.push_str(if spacing == Spacing::OneLine { ", " } else { "," });
    }
    break_line(spacing, depth + 1, out);
}

fn break_line(spacing: Spacing, depth: usize, out: &mut String) {
    if let Spacing::Indented(indent) = spacing {
        out.push('\n');
        (0..depth).for_each(|_| out.push_str(indent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Mode;

    #[test]
    fn spacings_differ_in_white_space_only() {
        let value = Value::parse(r#"{"a":[1,{"b":null}],"c":{},"d":[]}"#, Mode::Strict).unwrap();
        assert_eq!(value.to_json(), r#"{"a":[1,{"b":null}],"c":{},"d":[]}"#);
        assert_eq!(value.to_json_as(Spacing::OneLine), r#"{"a": [1, {"b": null}], "c": {}, "d": []}"#);
        let lines = "{\n\t\"a\": [\n\t\t1,\n\t\t{\n\t\t\t\"b\": null\n\t\t}\n\t],\n\t\"c\": {},\n\t\"d\": []\n}";
        assert_eq!(value.to_json_as(Spacing::Indented("\t")), lines);
    }
}
