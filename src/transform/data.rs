//! A node's data while a transform works on it.

use super::{Moment, TransformError, fail, flag};
use crate::json::{Map, Value, array_index, js};

/// As in ECMAScript, members of an array may be set like those of an object; only its items are printed in the end.
pub(super) struct Data {
    members: Map,
    /// How many items it had, when it is an array.
    items: Option<usize>,
    /// The text that it is instead: members of a text cannot be set.
    text: Option<String>,
}

/// An array does not grow further than this beyond what it had.
const GROWTH_MAX: usize = 10_000;

impl Data {
    pub(super) fn new(value: Option<Value>) -> Self {
        let (mut members, mut items, mut text) = (Map::new(), None, None);
        match value {
            Some(Value::Object(map)) => members = map,
            Some(Value::Array(list)) => {
                items = Some(list.len());
                members = list.into_iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect();
            }
            Some(Value::String(s)) => text = Some(s),
            _ => {}
        }
        Self { members, items, text }
    }

    pub(super) fn members(&mut self) -> Result<&mut Map, TransformError> {
        match &self.text {
            Some(text) => fail(format!("data is the text {text:?}, which has no members to set")),
            None => Ok(&mut self.members),
        }
    }

    /// The data made; `None` when there are no members.
    pub(super) fn finish(self) -> Result<Option<Value>, TransformError> {
        if self.text.is_none() && self.members.is_empty() { Ok(None) } else { self.whole().map(Some) }
    }

    /// The data made, also when it has no members.
    pub(super) fn whole(self) -> Result<Value, TransformError> {
        if let Some(text) = self.text {
            return Ok(Value::String(text));
        }
        let Some(had) = self.items else { return Ok(Value::Object(self.members)) };
        let last = self.members.keys().filter_map(array_index).map(|i| i as usize + 1).max().unwrap_or(0);
        let length = match self.members.get("length") {
            None => had.max(last),
            // Setting it makes the array shorter or longer.
            Some(set) => match js::number(Some(set)) {
                n if n.fract() == 0.0 && (0.0..4_294_967_296.0).contains(&n) => n as usize,
                _ => return fail(format!("an array cannot have {set} items")),
            },
        };
        if length > had + GROWTH_MAX {
            return fail(format!("an array would grow by more than {GROWTH_MAX} items"));
        }
        // Items that are not there print as null.
        let mut list = vec![Value::Null; length];
        for (key, value) in self.members {
            if let Some(item) = array_index(&key).and_then(|i| list.get_mut(i as usize)) {
                *item = value;
            }
        }
        Ok(Value::Array(list))
    }

    pub(super) fn stamp(&mut self, moment: &Moment) -> Result<(), TransformError> {
        let members = self.members()?;
        members.insert("timestamp", moment.timestamp());
        members.insert("timestampMs", Value::integer(moment.now_ms.rem_euclid(1000)));
        Ok(())
    }

    /// `n` after one more step.
    pub(super) fn count(&mut self, opts: &Map) -> Result<(), TransformError> {
        let next = match self.members.get("n") {
            None if !flag(opts, "nCounter") => return Ok(()),
            None => 0.0,
            // A negative one starts over.
            Some(Value::Number(n)) if n.is_finite() && n.fract() == 0.0 => (n + 1.0).max(0.0),
            Some(other) => return fail(format!("n is {other}, not an integer")),
        };
        self.members()?.insert("n", Value::Number(next));
        Ok(())
    }

    /// Whether it carries the mark of a first frame.
    pub(super) fn is_marked(&self) -> bool {
        js::truthy(self.members.get("isTjp"))
    }

    /// Takes the mark of a first frame away, if it is there.
    pub(super) fn unmark(&mut self) -> bool {
        let marked = self.is_marked();
        if marked {
            self.members.remove("isTjp");
        }
        marked
    }

    /// Walks an instruction map: texts act on their member, other values go down into the data.
    pub(super) fn edit(&mut self, info: &Value, how: Edit) -> Result<(), TransformError> {
        for (key, what) in js::entries(Some(info))? {
            if key == "timestamp" {
                return fail("timestamp cannot be renamed or removed");
            }
            if let Some(text) = &self.text {
                if js::entries(Some(&text.as_str().into()))?.iter().any(|(k, _)| *k == key) {
                    return fail(format!("{text:?} is a text, its parts cannot be changed"));
                }
                continue;
            }
            let members = self.members()?;
            let Some(value) = members.get(&key) else { continue };
            match what.as_str() {
                // The original asks this of what it removes, too.
                Some("timestamp") => return fail("nothing can be renamed to timestamp"),
                Some(to) => {
                    if how == Edit::Rename {
                        let value = value.clone();
                        js::set(members, to, value);
                    }
                    // Renaming a member to itself deletes it, as the original does.
                    members.remove(&key);
                }
                None => {
                    let edited = edited(value.clone(), &what, how)?;
                    members.insert(key, edited);
                }
            }
        }
        Ok(())
    }
}

/// What an instruction map does to the members it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// The value of an instruction is the new name.
    Rename,
    /// Whatever text the instruction has, the member goes.
    Remove,
}

/// What becomes of a member under the instructions for what is in it.
fn edited(value: Value, info: &Value, how: Edit) -> Result<Value, TransformError> {
    match value {
        Value::Null if !js::entries(Some(info))?.is_empty() => fail("null has no members to rename or remove"),
        Value::Object(_) | Value::Array(_) | Value::String(_) => {
            let mut data = Data::new(Some(value));
            data.edit(info, how)?;
            data.whole()
        }
        other => {
            // Nothing is in a number, but the original reads the instructions and may refuse them.
            Data::new(None).edit(info, how)?;
            Ok(other)
        }
    }
}

/// Adds members or patches objects member by member; everything else is replaced.
pub(super) fn patch(data: &mut Map, new: Vec<(String, Value)>) -> Result<(), TransformError> {
    for (key, value) in new {
        let inherited = key == "__proto__" && !data.contains_key(&key);
        match (data.get_mut(&key), &value) {
            (Some(Value::Object(_)), Value::Null) => return fail("null cannot be patched over an object"),
            _ if inherited && value == Value::Null => return fail("null cannot be patched over an object"),
            (Some(Value::Object(old)), Value::Object(_)) => patch(old, js::entries(Some(&value))?)?,
            _ => js::set(data, &key, value),
        }
    }
    Ok(())
}
