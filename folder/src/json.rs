//! JSON documents as earlier versions kept them: as values. They are read as the text that they print as, and the next
//! edit keeps them as text, like every other file.
//!
//! A frame holds such a document in three members of `data`:
//! * `json`: the object itself;
//! * `order`: for each object outside arrays, under `#` and its JSON pointer, the names of its members, one a line
//!   as JSON strings;
//! * `format`: the indentation (`min`, `2`, `4`, `tab`, or `line`: all on one line, spaces after `:` and `,`),
//!   followed by `+nl` when a newline ends the file.

use ibgib::json::js::compare_utf16;
use ibgib::json::{Spacing, pointer};
use ibgib::{Map, Mode, Value};

/// The text of the document in a frame's `data`; `None` when there is none. A merge may have left it without its order
/// or its format.
pub(crate) fn text_of(data: &Value) -> Option<String> {
    let json = data.get("json")?.as_object()?;
    let order = data.get("order").and_then(Value::as_object).cloned().unwrap_or_default();
    let format = data.get("format").and_then(Value::as_str).unwrap_or("2+nl");
    Some(Document { json, order, format }.print())
}

/// A document and what its bytes need besides the value.
struct Document<'d> {
    json: &'d Map,
    order: Map,
    format: &'d str,
}

impl Document<'_> {
    /// The document's text.
    fn print(&self) -> String {
        let (indent, newline) = self.format.strip_suffix("+nl").map_or((self.format, false), |f| (f, true));
        let spacing = match indent {
            "2" => Spacing::Indented("  "),
            "4" => Spacing::Indented("    "),
            "tab" => Spacing::Indented("\t"),
            "line" => Spacing::OneLine,
            _ => Spacing::Compact,
        };
        let mut out = Value::Object(self.ordered(self.json, "#")).to_json_as(spacing);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data: &str) -> Option<String> {
        text_of(&Value::parse(data, Mode::Strict).unwrap())
    }

    #[test]
    fn documents_print_back_to_their_bytes() {
        let order = r##""order":{"#":"\"b\"\n\"a\"\n","#/a":"\"y\"\n\"x\"\n"}"##;
        let with = |format: &str| {
            text(&format!(r#"{{"json":{{"a":{{"x":[1,{{}}],"y":1}},"b":null}},{order},"format":"{format}"}}"#)).unwrap()
        };
        assert_eq!(with("min"), r#"{"b":null,"a":{"y":1,"x":[1,{}]}}"#);
        assert_eq!(with("line+nl"), "{\"b\": null, \"a\": {\"y\": 1, \"x\": [1, {}]}}\n");
        let lines = "{\n\t\"b\": null,\n\t\"a\": {\n\t\t\"y\": 1,\n\t\t\"x\": [\n\t\t\t1,\n\t\t\t{}\n\t\t]\n\t}\n}";
        assert_eq!(with("tab"), lines);
        assert_eq!(with("4"), lines.replace('\t', "    "));
        assert_eq!(text(r#"{"json":{"b":1,"a":2}}"#).as_deref(), Some("{\n  \"a\": 2,\n  \"b\": 1\n}\n"));
        assert_eq!(text(r#"{"text":"x"}"#), None);
    }
}
