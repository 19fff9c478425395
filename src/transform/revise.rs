//! The next frame of a timeline, from what its data shall be: for callers that change a value rather than write
//! instructions.

use super::{Moment, Mut8Opts, TransformError, Transformed, linked, mut8};
use crate::ibgib::{IbGib, Verified};
use crate::json::{Map, Value};

/// Members of a frame's data that the transforms keep themselves.
pub const OWN_DATA: [&str; 5] = ["n", "timestamp", "timestampMs", "uuid", "isTjp"];

/// A frame's data without the members that the transforms keep ([`OWN_DATA`]).
pub fn content(frame: &IbGib) -> Map {
    let members = frame.data.as_ref().and_then(Value::as_object);
    let members = members.into_iter().flat_map(Map::iter).filter(|(name, _)| !OWN_DATA.contains(name));
    members.map(|(name, value)| (name, value.clone())).collect()
}

/// The frame after `frame` whose [`content`] is `new`, with dna, made with the smallest [`mut8`] that does it; `None`
/// when it is that already. The order of members is no content: the hash does not see it.
///
/// # Errors
/// [`TransformError::OwnData`] when `new` names a member of [`OWN_DATA`]; what [`mut8`] refuses.
pub fn revise(frame: &Verified<IbGib>, new: &Map, moment: &Moment) -> Result<Option<Transformed>, TransformError> {
    if let Some(name) = new.keys().find(|name| OWN_DATA.contains(name)) {
        return Err(TransformError::OwnData(name.to_owned()));
    }
    let old = content(frame);
    let mut edit = Edit::default();
    edit.compare(&old, new);
    if edit.remove.is_empty() && edit.patch.is_empty() {
        return Ok(None);
    }
    let some = |map: Map| (!map.is_empty()).then_some(map);
    let opts = Mut8Opts {
        remove: some(edit.remove),
        patch: some(edit.patch),
        dna: true,
        n_counter: true,
        linked_rel8ns: linked(),
        ..Mut8Opts::default()
    };
    mut8(frame, &opts, moment).map(Some)
}

/// Instructions for [`mut8`].
#[derive(Default)]
struct Edit {
    remove: Map,
    patch: Map,
}

impl Edit {
    /// Gathers what leads from `old` to `new`. Answers whether instructions can say it: they remove nothing at or below
    /// a member `timestamp`, wherever it stands; the object that holds it is replaced whole then.
    fn compare(&mut self, old: &Map, new: &Map) -> bool {
        for name in old.keys().filter(|name| !new.contains_key(name)) {
            self.remove.insert(name, "");
        }
        for (name, value) in new.iter() {
            match (old.get(name), value) {
                (Some(before), value) if same(before, value) => {}
                (Some(Value::Object(before)), Value::Object(after)) => {
                    let mut inner = Self::default();
                    if !inner.compare(before, after) {
                        self.replace(name, value);
                        continue;
                    }
                    if !inner.remove.is_empty() {
                        self.remove.insert(name, inner.remove);
                    }
                    if !inner.patch.is_empty() {
                        self.patch.insert(name, inner.patch);
                    }
                }
                // Patching null over an object is refused: it goes first.
                (Some(Value::Object(_)), value) => self.replace(name, value),
                _ => {
                    self.patch.insert(name, value.clone());
                }
            }
        }
        !self.remove.contains_key("timestamp")
    }

    fn replace(&mut self, name: &str, value: &Value) {
        self.remove.insert(name, "");
        self.patch.insert(name, value.clone());
    }
}

/// Whether two values are the same but for the order of members.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Mode;
    use crate::transform::{ForkOpts, fork};
    use proptest::prelude::*;

    const MOMENT: Moment = Moment { now_ms: 1_767_225_600_123, random: [7; 16] };

    fn map(text: &str) -> Map {
        Value::parse(text, Mode::Strict).unwrap().as_object().unwrap().clone()
    }

    fn first() -> Verified<IbGib> {
        let opts = ForkOpts { dest_ib: Some("note".into()), n_counter: true, dna: true, ..ForkOpts::default() };
        fork(&IbGib::primitive("note").unwrap(), &opts, &MOMENT).unwrap().frame
    }

    fn next(frame: &Verified<IbGib>, new: &Map) -> Option<Verified<IbGib>> {
        let made = revise(frame, new, &MOMENT).unwrap().map(|made| made.frame);
        if let Some(made) = &made {
            assert!(same(&content(made).into(), &new.clone().into()), "{} is not {new:?}", made.to_json());
        }
        made
    }

    #[test]
    fn what_instructions_are_particular_about() {
        let steps = [
            r#"{"a":{"timestamp":1,"x":2},"b":{"c":1}}"#,
            r#"{"a":{"x":2},"b":null}"#,
            r#"{"a":{},"b":{}}"#,
            r#"{"a":{"":{}},"b":[{"x":1}]}"#,
            r#"{"a":{"":{"timestamp":{}}},"b":[{"y":1}]}"#,
            r#"{"a":"text","":1}"#,
            "{}",
        ];
        let mut frame = first();
        for step in steps {
            frame = next(&frame, &map(step)).unwrap();
            assert!(next(&frame, &map(step)).is_none());
        }
        assert_eq!(frame.n(), Some(steps.len() as u64));
        let own = revise(&frame, &map(r#"{"n":1}"#), &MOMENT).unwrap_err();
        assert_eq!(own, TransformError::OwnData("n".into()));
        for proto in [r#"{"__proto__":1}"#, r#"{"a":{"__proto__":1}}"#] {
            let Ok(Value::Object(proto)) = Value::parse(proto, Mode::Compat) else { panic!("{proto}") };
            // Written over an object, it would be dropped without a word; the dna holds it and is refused.
            assert!(matches!(revise(&frame, &proto, &MOMENT), Err(TransformError::Product(_))));
        }
        let swapped = next(&frame, &map(r#"{"a":1,"b":{"c":1,"d":2}}"#)).unwrap();
        assert!(next(&swapped, &map(r#"{"b":{"d":2,"c":1},"a":1}"#)).is_none());
    }

    #[test]
    fn one_member_changed_is_one_member_written() {
        let frame = next(&first(), &map(r#"{"items":{"milk":"open","bread":"open"},"title":"shop"}"#)).unwrap();
        let made = revise(&frame, &map(r#"{"items":{"milk":"done"},"title":"shop"}"#), &MOMENT).unwrap().unwrap();
        assert_eq!(made.dnas[0].datum("dataToRemove").unwrap().to_json(), r#"{"items":{"bread":""}}"#);
        assert_eq!(made.dnas[0].datum("dataToAddOrPatch").unwrap().to_json(), r#"{"items":{"milk":"done"}}"#);
    }

    fn value() -> impl Strategy<Value = Value> {
        let names = || prop_oneof!["[a-c]", Just("timestamp".into()), Just("0".into())];
        let leaf = prop_oneof![Just(Value::Null), Just("x".into()), Just(1u32.into()), Just(Value::Bool(false))];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::vec((names(), inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_content_follows_any_other(values in proptest::collection::vec(value(), 1..5)) {
            let mut frame = first();
            for value in values {
                let new = Map::from_iter([("v", value)]);
                if let Some(made) = next(&frame, &new) {
                    frame = made;
                }
            }
        }
    }
}
