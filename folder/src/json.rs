//! JSON documents tracked as values, so that edits to different members on two devices merge member by member.
//!
//! Only a document that can be printed back to exactly its bytes is tracked so; every other `.json` file is text.
//! A frame holds it in three members of `data`:
//! * `json`: the object itself;
//! * `order`: for each object outside arrays, under `#` and its JSON pointer, the names of its members, one a line
//!   as JSON strings. The hash does not see member order and a merge sorts members, so the order is kept as text,
//!   which merges by lines;
//! * `format`: the indentation (`min`, `2`, `4`, `tab`, or `line`: all on one line, spaces after `:` and `,`),
//!   followed by `+nl` when a newline ends the file.

use ibgib::json::js::compare_utf16;
use ibgib::json::{Spacing, pointer, write_string};
use ibgib::{Map, Mode, Value};

/// Levels of nesting a document may have to be tracked as a value; deeper ones are text.
const DEPTH_MAX: usize = 64;

/// A document and what its bytes need besides the value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) json: Map,
    pub(crate) order: Map,
    pub(crate) format: String,
}

impl Document {
    /// Reads a document; `None` when it would not print back to `text`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Ok(Value::Object(json)) = Value::parse(text, Mode::Strict) else { return None };
        let format = guess_format(text);
        let mut order = Map::new();
        note_order(&json, "#", &mut order, 0)?;
        let document = Self { json, order, format };
        (document.print() == text).then_some(document)
    }

    /// From a frame's `data`; `None` when it does not hold a whole document.
    pub(crate) fn from_data(data: &Value) -> Option<Self> {
        let json = data.get("json")?.as_object()?.clone();
        let format = data.get("format")?.as_str()?.to_owned();
        let order = data.get("order").and_then(Value::as_object).cloned().unwrap_or_default();
        Some(Self { json, order, format })
    }

    /// The document's text.
    pub(crate) fn print(&self) -> String {
        let (indent, newline) = self.format.strip_suffix("+nl").map_or((&*self.format, false), |f| (f, true));
        let spacing = match indent {
            "2" => Spacing::Indented("  "),
            "4" => Spacing::Indented("    "),
            "tab" => Spacing::Indented("\t"),
            "line" => Spacing::OneLine,
            _ => Spacing::Compact,
        };
        let mut out = Value::Object(self.ordered(&self.json, "#")).to_json_as(spacing);
        if newline {
            out.push('\n');
        }
        out
    }

    /// The object with its members as `order` lists them; members it does not list follow in the hash's order.
    fn ordered(&self, map: &Map, at: &str) -> Map {
        let listed = self.order.get(at).and_then(Value::as_str).unwrap_or_default();
        let listed = listed.lines().filter_map(|line| match Value::parse(line, Mode::Strict) {
            Ok(Value::String(key)) => Some(key),
            _ => None,
        });
        let mut rest: Vec<&str> = map.keys().collect();
        rest.sort_by(|a, b| compare_utf16(a, b));
        let mut out = Map::new();
        for key in listed.chain(rest.into_iter().map(str::to_owned)) {
            if out.contains_key(&key) {
                continue;
            }
            match map.get(&key) {
                Some(Value::Object(inner)) => {
                    let inner = self.ordered(inner, &pointer::join(at, &key));
                    out.insert(key, inner);
                }
                Some(value) => {
                    out.insert(key, value.clone());
                }
                None => {}
            }
        }
        out
    }
}

/// Puts the members of `over` on top of `under`, objects member by member.
pub(crate) fn overlay(under: &mut Map, over: &Map) {
    for (key, value) in over.iter() {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value.clone());
            }
        }
    }
}

/// `None` when the document is too deep.
fn note_order(map: &Map, at: &str, order: &mut Map, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut lines = String::new();
    for key in map.keys() {
        write_string(key, &mut lines);
        lines.push('\n');
    }
    if !map.is_empty() {
        order.insert(at, lines);
    }
    for (key, value) in map.iter() {
        match value {
            Value::Object(inner) => note_order(inner, &pointer::join(at, key), order, depth + 1)?,
            Value::Array(_) if depth_of(value, DEPTH_MAX) > DEPTH_MAX - depth => return None,
            _ => {}
        }
    }
    Some(())
}

fn depth_of(value: &Value, limit: usize) -> usize {
    if limit == 0 {
        return 1;
    }
    match value {
        Value::Array(items) => 1 + items.iter().map(|v| depth_of(v, limit - 1)).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(|v| depth_of(v, limit - 1)).max().unwrap_or(0),
        _ => 0,
    }
}

fn guess_format(text: &str) -> String {
    let indent = match text.strip_prefix("{\n") {
        Some(rest) if rest.starts_with('\t') => "tab",
        Some(rest) if rest.starts_with("    ") => "4",
        Some(_) => "2",
        None if text.contains("\": ") => "line",
        None => "min",
    };
    format!("{indent}{}", if text.ends_with('\n') { "+nl" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_print_back_to_their_bytes_or_stay_text() {
        for text in [
            r#"{"b":1,"a":[{"z":1,"y":{}},[]],"c":{}}"#,
            "{\"b\":1,\"a\":2}\n",
            "{\n  \"name\": \"x\",\n  \"deps\": {\n    \"z\": \"1\",\n    \"a/b~\": []\n  },\n  \"list\": [\n    1,\n    {\n      \"q\": null\n    }\n  ]\n}\n",
            "{\n    \"a\": 1.5\n}",
            "{\n\t\"a\": \"\\u0001 \u{2028} ü\"\n}\n",
            "{}",
            "{\"a\": 1}",
            "{\"b\": [1, {\"x\": {}}, []], \"a\": {\"y\": null}}\n",
        ] {
            let document = Document::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(document.print(), text);
        }
        for text in [
            "",
            "[]",
            "[1]",
            "null",
            "{ }",
            "{\"a\": 1,\"b\": 2}",
            "{\"a\":1.0}",
            "{\"a\":1,\"a\":2}",
            "{\"b\":1,\"1\":2}",
            "{\"a\":-0}",
            "{\"a\":1}\r\n",
            "{\"a\":\"\\/\"}",
            "\u{feff}{}",
            "{\"__proto__\":1}",
            "{\"a\":1}\n\n",
            "{\n   \"a\": 1\n}",
        ] {
            assert_eq!(Document::parse(text), None, "{text}");
        }
        let deep = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Document::parse(&deep(20)).is_some());
        assert!(Document::parse(&deep(80)).is_none());
        assert!(Document::parse(&format!("{}1{}", "{\"a\":".repeat(80), "}".repeat(80))).is_none());
    }

    #[test]
    fn order_survives_sorted_members() {
        let mut document = Document::parse("{\"b\":1,\"a\":{\"y\":1,\"x\":2}}").unwrap();
        document.json = Map::from_iter([
            ("a", ibgib::object([("n", 3.into()), ("x", 2.into()), ("y", 1.into())])),
            ("b", 1.into()),
        ]);
        assert_eq!(document.print(), "{\"b\":1,\"a\":{\"y\":1,\"x\":2,\"n\":3}}");
    }
}
