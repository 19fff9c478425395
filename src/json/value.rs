//! JSON values with what addresses depend on: the order of members and exact numbers.

use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::fmt;

/// 2^53: below it every integer has a double of its own.
const INTEGERS_END: f64 = 9_007_199_254_740_992.0;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An IEEE-754 double; infinite only when compat text overflowed (`1e400`), never NaN.
    Number(f64),
    /// A string; lone surrogates cannot be represented and are refused on parsing.
    String(String),
    /// An array.
    Array(Vec<Self>),
    /// An object, its members in ECMAScript enumeration order.
    Object(Map),
}

impl Value {
    /// The number of a count or another integer: exact up to ±(2^53 − 1). What is beyond is the nearest double, which is
    /// beyond, too, so that [`Value::as_u53`], and with it every check of a number, refuses it instead of taking it for
    /// another one.
    pub fn integer(n: impl TryInto<i64>) -> Self {
        // Only what is above can be out of an i64's reach: counts are unsigned and have 64 bits at most.
        Self::Number(n.try_into().unwrap_or(i64::MAX) as f64)
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object().and_then(|m| m.get(key))
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(m) = self { Some(m) } else { None }
    }

    /// The object, if it is one.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(m) = self { Some(m) } else { None }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(a) = self { Some(a) } else { None }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) = self { Some(s) } else { None }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(n) = self { Some(*n) } else { None }
    }

    /// The number, if it is an integer from 0 to 2^53 − 1.
    pub fn as_u53(&self) -> Option<u64> {
        let n = self.as_f64()?;
        ((0.0..INTEGERS_END).contains(&n) && n.fract() == 0.0).then_some(n as u64)
    }

    /// Whether ECMAScript treats the value as true in a condition.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(b) => *b,
            Self::Number(n) => *n != 0.0 && !n.is_nan(),
            Self::String(s) => !s.is_empty(),
            Self::Array(_) | Self::Object(_) => true,
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::String(s.to_owned())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::String(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Self::Number(f64::from(n))
    }
}
impl From<Vec<Self>> for Value {
    fn from(a: Vec<Self>) -> Self {
        Self::Array(a)
    }
}
impl From<Map> for Value {
    fn from(m: Map) -> Self {
        Self::Object(m)
    }
}

/// Members of an object, unique by name, always in ECMAScript enumeration order: names that are canonical array
/// indices (`"0"`, or no leading zero, at most 4294967294) first and ascending, then the rest as inserted.
///
/// Most objects have few members, and one node may hold many such objects: those are a list of just that
/// length, without hashes.
#[derive(Clone)]
pub struct Map(Members);

#[derive(Clone)]
enum Members {
    /// In enumeration order, up to [`FEW`].
    Few(Vec<(Box<str>, Value)>),
    Many(Box<Many>),
}

#[derive(Clone, Default)]
struct Many {
    /// Members whose names are array indices, each with its name.
    indices: BTreeMap<u32, (Box<str>, Value)>,
    names: IndexMap<Box<str>, Value>,
}

/// Members that are looked for one after the other.
const FEW: usize = 16;

impl Default for Map {
    fn default() -> Self {
        Self(Members::Few(Vec::new()))
    }
}

/// The number, if `key` is a canonical array index.
pub fn array_index(key: &str) -> Option<u32> {
    let bytes = key.as_bytes();
    if bytes.is_empty() || bytes.len() > 10 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if bytes[0] == b'0' && bytes.len() > 1 {
        return None;
    }
    key.parse::<u32>().ok().filter(|n| *n != u32::MAX)
}

impl Map {
    /// No members.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Members::Few(few) => few.len(),
            Members::Many(many) => many.indices.len() + many.names.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match &self.0 {
            Members::Few(few) => few.iter().find(|(name, _)| **name == *key).map(|(_, value)| value),
            Members::Many(many) => match array_index(key) {
                Some(n) => many.indices.get(&n).map(|(_, value)| value),
                None => many.names.get(key),
            },
        }
    }

    /// The value of `key`.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        match &mut self.0 {
            Members::Few(few) => few.iter_mut().find(|(name, _)| **name == *key).map(|(_, value)| value),
            Members::Many(many) => match array_index(key) {
                Some(n) => many.indices.get_mut(&n).map(|(_, value)| value),
                None => many.names.get_mut(key),
            },
        }
    }

    /// Whether there is a member `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets `key`; an existing member keeps its place. Returns the old value.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value));
        }
        let key = key.into_boxed_str();
        let index = array_index(&key);
        if let Members::Few(few) = &mut self.0
            && few.len() == FEW
        {
            let mut many = Many::default();
            std::mem::take(few).into_iter().for_each(|(name, value)| many.add(array_index(&name), name, value));
            self.0 = Members::Many(Box::new(many));
        }
        match &mut self.0 {
            Members::Many(many) => many.add(index, key, value),
            Members::Few(few) => {
                let at = match index {
                    Some(n) => few.iter().take_while(|(name, _)| array_index(name).is_some_and(|m| m < n)).count(),
                    None => few.len(),
                };
                if few.len() == few.capacity() {
                    few.reserve_exact(few.len().max(1));
                }
                few.insert(at, (key, value));
            }
        }
        None
    }

    /// Removes `key`, the other members keeping their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        match &mut self.0 {
            Members::Few(few) => {
                let at = few.iter().position(|(name, _)| **name == *key)?;
                Some(few.remove(at).1)
            }
            Members::Many(many) => match array_index(key) {
                Some(n) => many.indices.remove(&n).map(|(_, old)| old),
                None => many.names.shift_remove(key),
            },
        }
    }

    /// Gives back what was set aside for more members.
    pub(super) fn shrink(&mut self) {
        match &mut self.0 {
            Members::Few(few) => few.shrink_to_fit(),
            Members::Many(many) => many.names.shrink_to_fit(),
        }
    }

    /// Members in enumeration order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        let (few, many) = match &self.0 {
            Members::Few(few) => (few.as_slice(), None),
            Members::Many(many) => (&[][..], Some(many)),
        };
        let indices = many.into_iter().flat_map(|many| many.indices.values().map(|(name, value)| (name, value)));
        let names = many.into_iter().flat_map(|many| &many.names);
        let all = few.iter().map(|(name, value)| (name, value)).chain(indices).chain(names);
        all.map(|(name, value)| (&**name, value))
    }

    /// Names in enumeration order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Values in enumeration order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.iter().map(|(_, value)| value)
    }
}

impl PartialEq for Map {
    /// Member order is part of a value.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let mut map = Self::new();
        for (k, v) in members {
            map.insert(k, v);
        }
        map
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        let owned = |(name, value): (Box<str>, Value)| (name.into_string(), value);
        let all: Vec<(String, Value)> = match self.0 {
            Members::Few(few) => few.into_iter().map(owned).collect(),
            Members::Many(many) => many.indices.into_values().chain(many.names).map(owned).collect(),
        };
        all.into_iter()
    }
}

impl Many {
    /// Adds a member that is not there.
    fn add(&mut self, index: Option<u32>, name: Box<str>, value: Value) {
        match index {
            Some(n) => drop(self.indices.insert(n, (name, value))),
            None => drop(self.names.insert(name, value)),
        }
    }
}

/// Builds an object value: `object([("a", 1u32.into()), ("b", "x".into())])`.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().collect())
}

/// Builds an array of strings.
pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Value {
    Value::Array(items.into_iter().map(|s| Value::String(s.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_small() {
        assert!(size_of::<Value>() <= 32, "{}", size_of::<Value>());
    }

    #[test]
    fn few_members_and_many_are_in_one_order() {
        for count in [3, FEW as u32, FEW as u32 + 1, 40] {
            let mut map = Map::new();
            let mut expected: Vec<String> = Vec::new();
            // Descending, so that each index goes before those that are there.
            for n in (0..count).rev() {
                assert_eq!(map.insert(format!("n{n}"), n), None);
                assert_eq!(map.insert(n.to_string(), n), None);
                expected.push(format!("n{n}"));
            }
            let indices = (0..count).map(|n| n.to_string());
            let expected: Vec<String> = indices.chain(expected).collect();
            assert_eq!(map.keys().collect::<Vec<_>>(), expected);
            assert_eq!(map.iter().rev().count(), expected.len());
            assert_eq!(map.insert("n1", 7u32), Some(1u32.into()), "keeps its place");
            assert_eq!(map.remove("0"), Some(0u32.into()));
            assert_eq!((map.get("0"), map.get("n1"), map.len()), (None, Some(&7u32.into()), expected.len() - 1));
            assert_eq!(map.clone().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), expected[1..]);
        }
    }

    #[test]
    fn integers_are_exact_or_taken_for_no_other() {
        assert_eq!(Value::integer(3usize), Value::from(3u32));
        assert_eq!(Value::integer(-3), Value::Number(-3.0));
        assert_eq!(Value::integer((1u64 << 53) - 1).as_u53(), Some((1 << 53) - 1));
        for beyond in [1 << 53, (1 << 53) + 1, u64::MAX] {
            assert_eq!(Value::integer(beyond).as_u53(), None);
        }
    }
}
