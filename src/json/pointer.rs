//! JSON pointers (RFC 6901): `/data/items/0` names a place in a value.

use super::{Map, Value, array_index};

/// The pointer to member `name` of what `pointer` points to.
///
/// ```
/// assert_eq!(ibgib::json::pointer::join("/data", "a/b~c"), "/data/a~1b~0c");
/// ```
pub fn join(pointer: &str, name: &str) -> String {
    let mut out = pointer.to_owned();
    push(&mut out, name);
    out
}

/// Leads a pointer on to member `name`.
pub fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// The names that a pointer leads through; `None` when the text does not begin with a slash. The empty pointer, which
/// means the whole value, has no names, and is `None`, too.
///
/// ```
/// use ibgib::json::pointer::names;
/// assert_eq!(names("/data/a~1b~0c"), Some(vec!["data".to_owned(), "a/b~c".to_owned()]));
/// assert_eq!(names("data"), None);
/// ```
pub fn names(pointer: &str) -> Option<Vec<String>> {
    let rest = pointer.strip_prefix('/')?;
    Some(rest.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect())
}

/// Puts `value` where `names` lead from the object `map`, making objects where nothing is on the way; `None` takes away
/// what stands there. Answers whether the way leads through objects only; nothing is changed otherwise.
pub fn put(map: &mut Map, names: &[impl AsRef<str>], value: Option<Value>) -> bool {
    let Some((name, rest)) = names.split_first() else { return false };
    let name = name.as_ref();
    match (value, rest.is_empty(), map.get_mut(name)) {
        (Some(value), true, _) => {
            map.insert(name, value);
            true
        }
        (None, true, _) => {
            map.remove(name);
            true
        }
        (value, false, Some(Value::Object(inner))) => put(inner, rest, value),
        (_, false, Some(_)) => false,
        (None, false, None) => true,
        (value, false, None) => {
            let mut inner = Map::new();
            let done = put(&mut inner, rest, value);
            map.insert(name, inner);
            done
        }
    }
}

impl Value {
    /// What stands below this value under `names`, one after the other: members of objects, items of arrays by their
    /// index.
    pub fn down(&self, names: &[impl AsRef<str>]) -> Option<&Self> {
        names.iter().map(AsRef::as_ref).try_fold(self, |value, name| match value {
            Self::Object(members) => members.get(name),
            Self::Array(items) => items.get(array_index(name)? as usize),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Mode;

    #[test]
    fn the_examples_of_rfc_6901() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let value = Value::parse(text, Mode::Strict).unwrap();
        let at = |pointer: &str| value.down(&names(pointer)?).map(Value::to_json);
        assert_eq!(at("/foo").as_deref(), Some(r#"["bar","baz"]"#));
        assert_eq!(at("/foo/0").as_deref(), Some(r#""bar""#));
        for (number, name) in ["", "a/b", "c%d", "e^f", "g|h", "i\\j", "k\"l", " ", "m~n"].into_iter().enumerate() {
            assert_eq!(at(&join("", name)).as_deref(), Some(&*number.to_string()), "{name}");
        }
        for nothing in ["/foo/2", "/foo/00", "/foo/-", "/bar", "/foo/0/x", "foo"] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
    }
    #[test]
    fn values_are_put_through_objects() {
        let mut map = Map::new();
        let mut at = |pointer: &str, value: Option<Value>| {
            let done = put(&mut map, &names(pointer).unwrap(), value);
            (done, Value::from(map.clone()).to_json())
        };
        let told = |text: &str| (true, text.to_owned());
        assert_eq!(at("/a/b", Some(1u32.into())), told(r#"{"a":{"b":1}}"#));
        assert_eq!(at("/a/c", Some(2u32.into())), told(r#"{"a":{"b":1,"c":2}}"#));
        assert_eq!(at("/a/b", None), told(r#"{"a":{"c":2}}"#));
        assert_eq!(at("/x/y", None), told(r#"{"a":{"c":2}}"#));
        assert_eq!(at("/a/c/d", Some(1u32.into())), (false, r#"{"a":{"c":2}}"#.to_owned()));
        assert_eq!(at("/a", None), told("{}"));
    }
}
