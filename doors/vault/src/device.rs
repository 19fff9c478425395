//! A device's side of a vault: what it has, what it last shared with the server, and merging the two.
//!
//! The document is JSON as the original's wallets have it: `{"version": 1, "name": …, "preferences": {key: {"value": …,
//! "ts": seconds}}, "accounts": [...]}`. It merges by key against the last state that this device and the server had in
//! common; time stamps decide nothing. A [`Key`] that both sides changed differently (a deletion is a change) is a
//! [`Conflict`]: this device's value stands until somebody sets or unsets the key, and nothing is pushed before.
//!
//! People write a key as it is, `mail` or `/wifi/home`. A member of the document other than the preferences is written with
//! a `/` in front, `/accounts`, and merges as a whole. A key that reads like a member that is there has one `/` more.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The member that holds keys and values.
const PREFERENCES: &str = "preferences";

/// What in a document has a value of its own. [`Device::key`] reads what people write, [`Device::text`] writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// The key of a preference, whatever it begins with.
    Preference(String),
    /// Another member of the document.
    Member {
        /// Its name.
        member: String,
    },
}

/// A key that both sides changed; an absent value is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Which one.
    pub key: Key,
    /// What both had.
    pub base: Value,
    /// What this device made of it.
    pub mine: Value,
    /// What the server has.
    pub theirs: Value,
}

/// What came of looking at the server's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// The sequence that this device is at now.
    pub sequence: u64,
    /// Both sides had changes.
    pub merged: bool,
    /// Conflicts that are new.
    pub conflicts: Vec<Conflict>,
}

/// Why a state of the server is not taken, or a call cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The server's proof is not that of a device with our password.
    #[error("the server's document was not written by a device with this password")]
    BadHmac,
    /// The server went back to an older state, or shows another one under our sequence.
    #[error("the server shows sequence {theirs} where this device has seen {ours}")]
    RolledBack {
        /// What we have seen.
        ours: u64,
        /// What it shows.
        theirs: u64,
    },
    /// The server's document is not what this program can read.
    #[error("the document is no vault")]
    NotAVault,
    /// Conflicts wait to be settled.
    #[error("{} key(s) are in conflict: {}", .0.len(), .0.join(", "))]
    ConflictsOpen(Vec<String>),
    /// Local changes are not on the server.
    #[error("there are changes that were not pushed")]
    UnpushedChanges,
}

/// A state of the server, opened and proved by the caller ([`crate::derive::ClientKeys::verify`], [`crate::blob::open`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// Its sequence.
    pub sequence: u64,
    /// The encrypted text, for telling two states of one sequence apart.
    pub encrypted: String,
    /// The document.
    pub document: Value,
}

/// A member of the document that differs from what this device last shared with the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which one.
    key: Key,
    /// What both had, with its time stamp; none where it was not there.
    base: Option<Value>,
    /// What this device made of it.
    mine: Option<Value>,
}

/// What a device keeps of a vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The sequence last shared with the server; 0 before the first.
    sequence: u64,
    /// The encrypted text of that state.
    encrypted: String,
    /// The document of that state.
    base: Value,
    /// The document with this device's changes.
    mine: Value,
    conflicts: Vec<Conflict>,
}

impl Device {
    /// A device that has not seen the server's document.
    pub fn new(name: &str) -> Self {
        let empty = json!({"version": 1, "name": name, PREFERENCES: {}, "accounts": []});
        Self { sequence: 0, encrypted: String::new(), base: empty.clone(), mine: empty, conflicts: Vec::new() }
    }

    /// The sequence last shared with the server.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The document as it stands here.
    pub fn document(&self) -> &Value {
        &self.mine
    }

    /// Conflicts that nobody has settled.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// Whether something here is not on the server.
    pub fn is_changed(&self) -> bool {
        self.mine != self.base
    }

    /// The members of the document other than the preferences, here or in what was last shared.
    fn members(&self) -> impl Iterator<Item = String> + use<> {
        names(&[&self.base, &self.mine]).filter(|name| name != PREFERENCES)
    }

    /// The key that people mean by a text.
    pub fn key(&self, text: &str) -> Key {
        if let Some(name) = text.strip_prefix('/').filter(|name| self.members().any(|member| member == *name)) {
            return Key::Member { member: name.to_owned() };
        }
        let more = self.members().filter(|member| is_behind_slashes(text, member)).count();
        Key::Preference(text[more..].to_owned())
    }

    /// The text by which people mean a key: each key has one, and each text one key ([`Device::key`]).
    pub fn text(&self, key: &Key) -> String {
        match key {
            Key::Member { member } => format!("/{member}"),
            Key::Preference(key) => {
                let mut members: Vec<String> = self.members().collect();
                members.sort_by_key(String::len);
                members.iter().fold(key.clone(), |text, member| {
                    if is_behind_slashes(&text, member) { format!("/{text}") } else { text }
                })
            }
        }
    }

    /// What of this device's document is not on the server.
    pub fn changes(&self) -> Vec<Change> {
        let empty = Value::Null;
        let [base, mine] = [&self.base, &self.mine].map(|document| document.get(PREFERENCES).unwrap_or(&empty));
        let members = self.members().map(|member| Key::Member { member });
        let change = |key: Key| {
            let (base, mine) = (entry(&self.base, &key).cloned(), entry(&self.mine, &key).cloned());
            (base != mine).then_some(Change { key, base, mine })
        };
        members.chain(names(&[base, mine]).map(Key::Preference)).filter_map(change).collect()
    }

    /// A device that had seen `sequence` and made these changes since, when all that is left of its document are they:
    /// what did not change is taken from what the server has. [`Device::pull`] of that merges as ever, but
    /// [`Pulled::merged`] tells only whether a key that changed here changed there, too: of the others nobody knows.
    pub fn with_changes(sequence: u64, theirs: &Value, changes: &[Change], conflicts: Vec<Conflict>) -> Self {
        let with = |of: fn(&Change) -> &Option<Value>| {
            let mut document = theirs.clone();
            changes.iter().for_each(|change| put_entry(&mut document, &change.key, of(change).clone()));
            document
        };
        let (base, mine) = (with(|change| &change.base), with(|change| &change.mine));
        Self { sequence, encrypted: String::new(), base, mine, conflicts }
    }

    /// This device's document for a server that has nothing of it: all of it is a change that was not pushed. What was in
    /// conflict still is.
    #[must_use]
    pub fn begin_again(self, name: &str) -> Self {
        Self { mine: self.mine, conflicts: self.conflicts, ..Self::new(name) }
    }

    /// Takes another document in the place of this device's.
    ///
    /// # Errors
    /// [`DeviceError::NotAVault`].
    pub fn replace(&mut self, document: Value) -> Result<(), DeviceError> {
        if !document.get(PREFERENCES).is_some_and(Value::is_object) {
            return Err(DeviceError::NotAVault);
        }
        self.mine = document;
        self.conflicts.clear();
        Ok(())
    }

    /// The value here of the key that is meant by `text`; `None` where there is none.
    pub fn value(&self, text: &str) -> Option<&Value> {
        value(&self.mine, &self.key(text))
    }

    /// The keys of all preferences here.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.mine.get(PREFERENCES).and_then(Value::as_object).into_iter().flat_map(|p| p.keys().map(String::as_str))
    }

    /// Sets the key that is meant by `text`, or takes it out (`None`), at `ts` seconds since 1970. That settles a conflict
    /// of the key.
    pub fn set(&mut self, text: &str, value: Option<Value>, ts: i64) {
        let key = self.key(text);
        let value = value.map(|value| match key {
            Key::Preference(_) => json!({"value": value, "ts": ts}),
            Key::Member { .. } => value,
        });
        put_entry(&mut self.mine, &key, value);
        self.conflicts.retain(|conflict| conflict.key != key);
    }

    /// Takes the server's state in.
    ///
    /// # Errors
    /// [`DeviceError::RolledBack`], [`DeviceError::NotAVault`]; then nothing changed.
    pub fn pull(&mut self, theirs: Opened) -> Result<Pulled, DeviceError> {
        let is_same = theirs.sequence == self.sequence && theirs.encrypted == self.encrypted;
        if theirs.sequence <= self.sequence && !is_same {
            return Err(DeviceError::RolledBack { ours: self.sequence, theirs: theirs.sequence });
        }
        if !theirs.document.get(PREFERENCES).is_some_and(Value::is_object) {
            return Err(DeviceError::NotAVault);
        }
        if is_same {
            return Ok(Pulled { sequence: self.sequence, merged: false, conflicts: Vec::new() });
        }
        let merged = self.is_changed() && theirs.document != self.base;
        let (mine, conflicts) = merge(&self.base, &self.mine, &theirs.document);
        let known: Vec<Key> = self.conflicts.iter().map(|c| c.key.clone()).collect();
        // A conflict that was open stays so, against what the server has now, unless the sides have come to agree.
        self.conflicts.retain(|open| {
            conflicts.iter().all(|new| new.key != open.key)
                && value(&mine, &open.key) != value(&theirs.document, &open.key)
        });
        self.conflicts.extend(conflicts.iter().cloned());
        (self.sequence, self.encrypted, self.base, self.mine) =
            (theirs.sequence, theirs.encrypted, theirs.document, mine);
        let new = conflicts.into_iter().filter(|c| !known.contains(&c.key)).collect();
        Ok(Pulled { sequence: self.sequence, merged, conflicts: new })
    }

    /// The sequence under which this device's document goes to the server.
    ///
    /// # Errors
    /// [`DeviceError::ConflictsOpen`].
    pub fn next_sequence(&self) -> Result<u64, DeviceError> {
        if !self.conflicts.is_empty() {
            return Err(DeviceError::ConflictsOpen(self.conflicts.iter().map(|c| self.text(&c.key)).collect()));
        }
        Ok(self.sequence + 1)
    }

    /// The server took this device's document.
    pub fn pushed(&mut self, sequence: u64, encrypted: String) {
        (self.sequence, self.encrypted, self.base) = (sequence, encrypted, self.mine.clone());
    }

    /// Whether the password may be changed: everything is on the server, so that nothing has to be merged in between.
    ///
    /// # Errors
    /// [`DeviceError::UnpushedChanges`], [`DeviceError::ConflictsOpen`].
    pub fn may_change_password(&self) -> Result<(), DeviceError> {
        self.next_sequence()?;
        if self.is_changed() { Err(DeviceError::UnpushedChanges) } else { Ok(()) }
    }
}

/// Whether a text is the member's name with slashes in front, and nothing else: what is read as the member, or would be
/// with less of them.
fn is_behind_slashes(text: &str, member: &str) -> bool {
    text.strip_suffix(member).is_some_and(|front| !front.is_empty() && front.bytes().all(|byte| byte == b'/'))
}

/// A value's members; it is made an object if it is none.
fn members_of(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object just now")
}

/// What a document has under a key: of a preference its value and its time stamp.
fn entry<'a>(document: &'a Value, key: &Key) -> Option<&'a Value> {
    match key {
        Key::Preference(key) => document.get(PREFERENCES)?.get(key),
        Key::Member { member } => document.get(member),
    }
}

fn put_entry(document: &mut Value, key: &Key, entry: Option<Value>) {
    let (place, name) = match key {
        Key::Preference(key) => (members_of(members_of(document).entry(PREFERENCES).or_insert_with(|| json!({}))), key),
        Key::Member { member } => (members_of(document), member),
    };
    match entry {
        Some(entry) => drop(place.insert(name.clone(), entry)),
        None => drop(place.remove(name)),
    }
}

/// A key's value in a document.
fn value<'a>(document: &'a Value, key: &Key) -> Option<&'a Value> {
    match key {
        Key::Preference(_) => entry(document, key)?.get("value"),
        Key::Member { .. } => entry(document, key),
    }
}

/// The document with both sides' changes, and what both changed.
fn merge(base: &Value, mine: &Value, theirs: &Value) -> (Value, Vec<Conflict>) {
    let mut conflicts = Vec::new();
    let mut out = Map::new();
    for name in names(&[base, mine, theirs]).filter(|name| name != PREFERENCES) {
        let of = |document: &Value| document.get(&name).cloned();
        let key = Key::Member { member: name.clone() };
        if let Some(value) = merge_one(key, of(base), of(mine), of(theirs), &mut conflicts) {
            out.insert(name, value);
        }
    }
    let empty = Value::Null;
    let [b, m, t] = [base, mine, theirs].map(|document| document.get(PREFERENCES).unwrap_or(&empty));
    let mut merged = Map::new();
    for key in names(&[b, m, t]) {
        let value = |preferences: &Value| preferences.get(&key).and_then(|p| p.get("value")).cloned();
        let chosen = merge_one(Key::Preference(key.clone()), value(b), value(m), value(t), &mut conflicts);
        // Of two that agree in value the newer stamp stays, so that both devices write the same.
        let stamped = [m.get(&key), t.get(&key)].into_iter().flatten();
        let stamped = stamped.filter(|p| p.get("value") == chosen.as_ref());
        if let Some(newest) = stamped.max_by_key(|p| p.get("ts").and_then(Value::as_i64)) {
            merged.insert(key, newest.clone());
        }
    }
    out.insert(PREFERENCES.into(), Value::Object(merged));
    (Value::Object(out), conflicts)
}

/// Names of all members, sorted, each once.
fn names(of: &[&Value]) -> impl Iterator<Item = String> + use<> {
    let all = of.iter().filter_map(|value| value.as_object()).flat_map(|object| object.keys().cloned());
    all.collect::<std::collections::BTreeSet<String>>().into_iter()
}

fn merge_one(
    key: Key,
    base: Option<Value>,
    mine: Option<Value>,
    theirs: Option<Value>,
    conflicts: &mut Vec<Conflict>,
) -> Option<Value> {
    if mine == theirs || theirs == base {
        return mine;
    }
    if mine == base {
        return theirs;
    }
    conflicts.push(Conflict {
        key,
        base: base.unwrap_or_default(),
        mine: mine.clone().unwrap_or_default(),
        theirs: theirs.unwrap_or_default(),
    });
    mine
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A server that takes what follows its sequence.
    #[derive(Default)]
    struct Server(Option<Opened>);

    impl Server {
        fn push(&mut self, device: &mut Device) -> Result<(), DeviceError> {
            let sequence = device.next_sequence()?;
            assert_eq!(sequence, self.0.as_ref().map_or(0, |s| s.sequence) + 1, "the device is up to date");
            let state = Opened { sequence, encrypted: format!("e{sequence}"), document: device.document().clone() };
            device.pushed(sequence, state.encrypted.clone());
            self.0 = Some(state);
            Ok(())
        }

        fn pull(&self, device: &mut Device) -> Pulled {
            device.pull(self.0.clone().unwrap()).unwrap()
        }
    }

    fn preference(key: &str) -> Key {
        Key::Preference(key.to_owned())
    }

    fn set(device: &mut Device, key: &str, value: &str) {
        device.set(key, Some(value.into()), 1);
    }

    fn two() -> (Server, Device, Device) {
        let (mut server, mut one, mut two) = (Server::default(), Device::new("w"), Device::new("w"));
        set(&mut one, "animal", "cow");
        server.push(&mut one).unwrap();
        server.pull(&mut two);
        (server, one, two)
    }

    #[test]
    fn changes_of_different_keys_merge() {
        let (mut server, mut one, mut two) = two();
        set(&mut one, "car", "Audi");
        set(&mut two, "animal", "horse");
        server.push(&mut one).unwrap();
        assert_eq!(server.pull(&mut two), Pulled { sequence: 2, merged: true, conflicts: Vec::new() });
        server.push(&mut two).unwrap();
        assert_eq!(server.pull(&mut one), Pulled { sequence: 3, merged: false, conflicts: Vec::new() });
        assert_eq!(one.document(), two.document());
        assert_eq!((one.value("car"), one.value("animal")), (Some(&"Audi".into()), Some(&"horse".into())));
    }

    #[test]
    fn a_key_that_both_changed_waits_for_a_decision() {
        let (mut server, mut one, mut two) = two();
        set(&mut one, "animal", "horse");
        two.set("animal", None, 2);
        server.push(&mut one).unwrap();
        let pulled = server.pull(&mut two);
        let conflict =
            Conflict { key: preference("animal"), base: "cow".into(), mine: Value::Null, theirs: "horse".into() };
        assert_eq!(pulled.conflicts, [conflict]);
        assert_eq!(two.value("animal"), None, "mine stands");
        assert_eq!(two.next_sequence(), Err(DeviceError::ConflictsOpen(vec!["animal".into()])));
        assert_eq!(two.may_change_password(), Err(DeviceError::ConflictsOpen(vec!["animal".into()])));
        set(&mut two, "animal", "beaver");
        assert_eq!(two.may_change_password(), Err(DeviceError::UnpushedChanges));
        server.push(&mut two).unwrap();
        assert_eq!(two.may_change_password(), Ok(()));
    }

    #[test]
    fn the_same_change_on_both_is_no_conflict() {
        let (mut server, mut one, mut two) = two();
        one.set("animal", Some("horse".into()), 5);
        two.set("animal", Some("horse".into()), 9);
        server.push(&mut one).unwrap();
        assert_eq!(server.pull(&mut two).conflicts, []);
        assert_eq!(two.document()["preferences"]["animal"]["ts"], 9);
    }

    #[test]
    fn changes_alone_merge_as_the_document_would() {
        let (mut server, mut one, mut two) = two();
        two.set("mine", Some("new".into()), 3);
        two.set("animal", None, 3);
        set(&mut one, "car", "Audi");
        server.push(&mut one).unwrap();
        let theirs = server.0.clone().unwrap();
        let mut left = Device::with_changes(two.sequence(), &theirs.document, &two.changes(), Vec::new());
        let (few, all) = (server.pull(&mut left), server.pull(&mut two));
        assert_eq!((few.sequence, few.conflicts), (all.sequence, all.conflicts));
        assert_eq!((few.merged, all.merged), (false, true));
        assert_eq!(left, two);
        assert_eq!((left.value("mine"), left.value("animal")), (Some(&"new".into()), None));
        // Also where both sides changed the same.
        set(&mut one, "mine", "other");
        one.set("animal", Some("cat".into()), 4);
        server.0.as_mut().unwrap().document = one.document().clone();
        server.0.as_mut().unwrap().sequence += 1;
        let theirs = server.0.clone().unwrap();
        let mut left = Device::with_changes(two.sequence(), &theirs.document, &two.changes(), Vec::new());
        let pulled = server.pull(&mut left);
        let conflicts: Vec<&Key> = pulled.conflicts.iter().map(|c| &c.key).collect();
        assert_eq!(conflicts, [&preference("animal"), &preference("mine")]);
        assert_eq!(pulled, server.pull(&mut two));
    }

    #[test]
    fn a_server_that_goes_back_is_noticed() {
        let (server, mut one, _) = two();
        let old = server.0.clone().unwrap();
        assert_eq!(one.pull(old.clone()).unwrap().sequence, 1, "the same again is fine");
        let other = Opened { encrypted: "another".into(), ..old.clone() };
        assert_eq!(one.pull(other), Err(DeviceError::RolledBack { ours: 1, theirs: 1 }));
        let none = Opened { sequence: 9, document: json!([]), ..old };
        assert_eq!(one.pull(none), Err(DeviceError::NotAVault));
    }

    #[test]
    fn other_members_merge_as_wholes() {
        let base = json!({"name": "a", "accounts": [], "preferences": {}});
        let (mine, theirs) = (
            json!({"name": "b", "accounts": [], "preferences": {}}),
            json!({"name": "a", "accounts": [1], "preferences": {}}),
        );
        assert_eq!(merge(&base, &mine, &theirs).0, json!({"name": "b", "accounts": [1], "preferences": {}}));
        let theirs = json!({"name": "c", "accounts": [], "preferences": {}});
        assert_eq!(merge(&base, &mine, &theirs).1[0].key, Key::Member { member: "name".into() });
    }

    #[test]
    fn a_key_that_begins_with_a_slash_is_a_key_like_any_other() {
        let (mut server, mut one, mut two) = two();
        for key in ["/wifi/home", "//accounts", "/preferences"] {
            set(&mut two, key, "mine");
        }
        assert_eq!(two.document()["preferences"]["/accounts"]["value"], "mine");
        assert_eq!(two.document()["accounts"], json!([]));
        set(&mut one, "/wifi/home", "theirs");
        server.push(&mut one).unwrap();
        // Also when the changes are all that is left of the document.
        let theirs = server.0.clone().unwrap();
        let changes = serde_json::from_str::<Vec<Change>>(&serde_json::to_string(&two.changes()).unwrap()).unwrap();
        let mut left = Device::with_changes(two.sequence(), &theirs.document, &changes, Vec::new());
        assert_eq!(server.pull(&mut left).conflicts, server.pull(&mut two).conflicts);
        assert_eq!(left, two);
        assert_eq!(two.next_sequence(), Err(DeviceError::ConflictsOpen(vec!["/wifi/home".into()])));
        assert_eq!(two.value("//accounts"), Some(&"mine".into()));
        // What is in conflict stays so until somebody decides, whatever the server goes on to.
        set(&mut one, "car", "Audi");
        server.push(&mut one).unwrap();
        server.pull(&mut two);
        assert_eq!(two.next_sequence(), Err(DeviceError::ConflictsOpen(vec!["/wifi/home".into()])));
        two.set("/wifi/home", None, 9);
        server.push(&mut two).unwrap();
        server.pull(&mut one);
        assert_eq!((one.value("/wifi/home"), one.value("/preferences")), (None, Some(&"mine".into())));
    }

    #[test]
    fn a_member_that_both_changed_is_settled_by_the_name_that_it_is_told_by() {
        let (mut server, mut one, mut two) = two();
        one.set("/accounts", Some(json!(["theirs"])), 1);
        server.push(&mut one).unwrap();
        let mut document = two.document().clone();
        document["accounts"] = json!(["mine"]);
        two.replace(document).unwrap();
        server.pull(&mut two);
        assert_eq!(two.next_sequence(), Err(DeviceError::ConflictsOpen(vec!["/accounts".into()])));
        assert_eq!(two.value("/accounts"), Some(&json!(["mine"])));
        two.set("/accounts", Some(json!(["mine", "theirs"])), 1);
        server.push(&mut two).unwrap();
        server.pull(&mut one);
        assert_eq!(one.document()["accounts"], json!(["mine", "theirs"]));
        assert_eq!(one.keys().collect::<Vec<_>>(), ["animal"]);
    }

    proptest! {
        /// Each key has one text and each text means one key, whatever members a document has.
        #[test]
        fn texts_and_keys_belong_together(
            members in prop::collection::btree_set("/{0,3}x?", 0..4), text in "/{0,6}x?", key in "/{0,6}x?"
        ) {
            let mut document = json!({PREFERENCES: {}});
            members.iter().for_each(|member| document[member] = json!(1));
            let mut device = Device::new("w");
            device.replace(document).unwrap();
            prop_assert_eq!(device.text(&device.key(&text)), text);
            for key in members.into_iter().map(|member| Key::Member { member }).chain([Key::Preference(key)]) {
                prop_assert_eq!(device.key(&device.text(&key)), key);
            }
        }

        /// Whatever three devices do, no change is lost without a conflict that names it, and in the end all are equal.
        #[test]
        fn nothing_is_lost_in_silence(
            steps in prop::collection::vec((0..3_usize, 0..4_u8, prop::option::of(0..3_u8), any::<bool>()), 1..40)
        ) {
            let mut server = Server::default();
            let mut devices = vec![Device::new("w"), Device::new("w"), Device::new("w")];
            server.push(&mut devices[0]).unwrap();
            let mut ts = 0;
            let exchange = |server: &mut Server, device: &mut Device, ts: &mut i64| {
                let before = device.clone();
                let theirs = server.0.clone().unwrap();
                server.pull(device);
                for key in ["0", "1", "2", "3"] {
                    let of = |document| value(document, &preference(key));
                    let (b, m, t) = (of(&before.base), of(&before.mine), of(&theirs.document));
                    let named = device.conflicts().iter().any(|c| c.key == preference(key));
                    // Who alone changed a key has his way; what both changed is named.
                    if m == b { assert_eq!(device.value(key), t); }
                    else if t == b || t == m { assert_eq!(device.value(key), m); }
                    else { assert!(named); }
                }
                for conflict in device.conflicts().to_vec() {
                    *ts += 1;
                    let keep = Some(conflict.mine).filter(|v| !v.is_null());
                    device.set(&device.text(&conflict.key), keep, *ts);
                }
                if device.is_changed() { server.push(device).unwrap(); }
            };
            for (at, key, value, sync) in steps {
                ts += 1;
                devices[at].set(&key.to_string(), value.map(Value::from), ts);
                if sync { exchange(&mut server, &mut devices[at], &mut ts); }
            }
            for _ in 0..2 {
                for device in &mut devices { exchange(&mut server, device, &mut ts); }
            }
            prop_assert_eq!(devices[0].document(), devices[1].document());
            prop_assert_eq!(devices[1].document(), devices[2].document());
        }
    }
}
