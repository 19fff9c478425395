//! What is in a store, and what was brought into it or out of it.

use super::{Report, addr, list, number, text};
use crate::brief::Known;
use crate::config::Setting;
use crate::escape::shown;
use crate::screen::amount;
use ibgib::{Addr, Map, Mode, Value, object, strings};
use ibgib_keystone::Chain;
use ibgib_peer::Collected;
use ibgib_peer::identity::Evidence;
use ibgib_spaces::{Bundled, Fsck, Tip};
use std::path::PathBuf;

/// A device that was made.
pub(crate) struct Made {
    pub(crate) root: PathBuf,
    /// None while the server has not told which.
    pub(crate) folder: Option<Known>,
    /// What the device calls itself.
    pub(crate) device: String,
    pub(crate) identity: Addr,
    pub(crate) remote: Option<String>,
}

impl Report for Made {
    fn to_json(&self) -> Value {
        object([
            ("folder", addr(self.folder.as_ref().map(|folder| &folder.tjp))),
            ("identity", (&self.identity).into()),
            ("remote", text(self.remote.as_deref())),
            ("name", text(self.folder.as_ref().and_then(|folder| folder.name.as_deref()))),
            ("device", self.device.as_str().into()),
        ])
    }

    fn to_text(&self) -> String {
        let folder = self.folder.as_ref().map_or("none yet".to_owned(), Known::to_string);
        let (root, device) = (shown(self.root.display()), shown(&self.device));
        format!(
            "{root} is a device now\nfolder:   {folder}\ndevice:   {device}\nidentity: {}\nrecovery: {root}/.ibgib/recovery takes the identity back from a thief; move it to where none of this device finds it",
            self.identity
        )
    }
}

/// A device's identity.
pub(crate) struct IdentityReport {
    pub(crate) chain: Chain,
    /// Frames that prove that it was signed with elsewhere.
    pub(crate) evidence: Vec<Evidence>,
    /// Whether the recovery secret still lies on the device.
    pub(crate) recovery_here: bool,
}

fn strategy(chain: &Chain) -> &'static str {
    chain.strategy().map_or("unknown", |strategy| strategy.name())
}

impl Report for IdentityReport {
    fn to_json(&self) -> Value {
        let pools = list(&self.chain.pools(), |p| {
            object([
                ("id", p.id.as_str().into()),
                ("verbs", strings(p.verbs.iter().map(String::as_str))),
                ("left", number(p.left as u64)),
                ("used", number(p.used as u64)),
            ])
        });
        let mut value: Map = [
            ("identity", Value::from(self.chain.tjp())),
            ("tip", self.chain.tip().addr().into()),
            ("n", number(self.chain.n())),
            ("revoked", self.chain.is_revoked().into()),
            ("strategy", strategy(&self.chain).into()),
            ("recovery", self.chain.has_recovery().into()),
            ("pools", pools),
        ]
        .into_iter()
        .collect();
        if !self.evidence.is_empty() {
            let rows = list(&self.evidence, |e| {
                let ibgib = Value::parse(&e.ibgib, Mode::Strict).unwrap_or(Value::Null);
                object([("past", (&e.past).into()), ("frame", (&e.frame).into()), ("ibgib", ibgib)])
            });
            value.insert("evidence", rows);
        }
        Value::Object(value)
    }

    fn to_text(&self) -> String {
        let chain = &self.chain;
        let state = if chain.is_revoked() { ", revoked" } else { "" };
        let mut text = format!("identity {}\nnewest   {} (n {}{state})\n", chain.tjp(), chain.tip().addr(), chain.n());
        let binds = if chain.binds() { "" } else { ", which binds nothing: see 'ibgib identity rotate'" };
        text.push_str(&format!("strategy {}{binds}\n", strategy(chain)));
        let recovery = match (chain.has_recovery(), self.recovery_here) {
            (false, _) => "none: whoever gets the secret has the identity for good",
            (true, true) => "with .ibgib/recovery: move that file to where no thief of this device finds it",
            (true, false) => "with the secret that was made with the identity: 'ibgib identity recover'",
        };
        text.push_str(&format!("recovery {recovery}\n"));
        for p in chain.pools() {
            let verbs = if p.verbs.is_empty() { "any verb".to_owned() } else { p.verbs.join(", ") };
            text.push_str(&format!("pool     {}: {} left, {} used\n", shown(verbs), p.left, p.used));
        }
        for e in &self.evidence {
            text.push_str(&format!("FORKED   after {}: signed {}\n", e.past, e.frame));
        }
        text
    }
}

impl Report for Tip {
    fn to_json(&self) -> Value {
        object([
            ("tjp", (&self.tjp).into()),
            ("tip", (&self.addr).into()),
            ("n", self.n.map_or(Value::Null, number)),
            ("kind", self.kind.as_str().into()),
        ])
    }

    fn to_text(&self) -> String {
        let n = self.n.map_or("-".to_owned(), |n| n.to_string());
        format!("{:8} n {n:>4}  {}  {}", self.kind, shown(&self.tjp), shown(&self.addr))
    }
}

impl Report for Fsck {
    fn to_json(&self) -> Value {
        object([
            ("nodes", number(self.nodes)),
            ("timelines", number(self.timelines)),
            ("corrupt", strings(self.corrupt.iter().map(String::as_str))),
            (
                "missing",
                list(&self.missing, |(addr, from)| {
                    object([("addr", addr.as_str().into()), ("from", from.as_str().into())])
                }),
            ),
            ("unreachable", number(self.unreachable)),
            ("repaired", number(self.repaired)),
        ])
    }

    fn to_text(&self) -> String {
        let mut text = format!("{} nodes, {} timelines, {} unreachable", self.nodes, self.timelines, self.unreachable);
        if self.repaired > 0 {
            text.push_str(&format!(", {} repaired", self.repaired));
        }
        for addr in &self.corrupt {
            text.push_str(&format!("\ncorrupt: {}", shown(addr)));
        }
        for (addr, from) in &self.missing {
            text.push_str(&format!("\nmissing: {} (wanted by {})", shown(addr), shown(from)));
        }
        text + if self.is_clean() { "\nclean" } else { "\nDAMAGED" }
    }
}

fn bundled(told: &Bundled) -> Value {
    object([
        ("nodes", number(told.nodes)),
        ("timelines", number(told.timelines)),
        ("merges", number(told.merges)),
        ("conflicts", number(told.conflicts)),
        ("refused", list(&told.refused, |(tjp, why)| object([("tjp", tjp.into()), ("reason", why.as_str().into())]))),
    ])
}

/// A bundle that was written.
pub(crate) struct Exported {
    pub(crate) bundled: Bundled,
    pub(crate) file: PathBuf,
}

impl Report for Exported {
    fn to_json(&self) -> Value {
        bundled(&self.bundled)
    }

    fn to_text(&self) -> String {
        let Bundled { nodes, timelines, .. } = &self.bundled;
        format!("{nodes} nodes, {timelines} timelines in {}", shown(self.file.display()))
    }
}

/// A space that was copied.
pub(crate) struct BackedUp {
    pub(crate) bytes: u64,
    pub(crate) dir: PathBuf,
}

impl Report for BackedUp {
    fn to_json(&self) -> Value {
        object([("bytes", Value::integer(self.bytes))])
    }

    fn to_text(&self) -> String {
        format!("copied to {}, {}", shown(self.dir.display()), amount(self.bytes))
    }
}

/// What a space has forgotten.
pub(crate) struct Freed {
    pub(crate) collected: Collected,
    /// Bytes by which the store's files have become smaller.
    pub(crate) given_back: u64,
    pub(crate) dry_run: bool,
}

impl Report for Freed {
    fn to_json(&self) -> Value {
        object([("nodes", number(self.collected.nodes)), ("bytes", number(self.collected.bytes))])
    }

    fn to_text(&self) -> String {
        let Collected { sessions, nodes, bytes } = self.collected;
        let would = if self.dry_run { "would forget" } else { "forgot" };
        let mut text = format!("{would} {nodes} nodes of {sessions} sessions that are over, {}", amount(bytes));
        if self.given_back > 0 {
            text.push_str(&format!("; the store is {} smaller", amount(self.given_back)));
        }
        text
    }
}

/// A bundle that was read.
pub(crate) struct Imported {
    pub(crate) bundled: Bundled,
    pub(crate) dry_run: bool,
}

impl Report for Imported {
    fn to_json(&self) -> Value {
        bundled(&self.bundled)
    }

    fn to_text(&self) -> String {
        let done = if self.dry_run { "holds" } else { "imported" };
        let mut text = format!("{done} {} nodes, {} timelines", self.bundled.nodes, self.bundled.timelines);
        for (tjp, why) in &self.bundled.refused {
            text.push_str(&format!("\nleft as it is here: {}: {}", shown(tjp), shown(why)));
        }
        text
    }
}

/// The settings in force; what is not set has none.
pub(crate) struct Settings {
    pub(crate) all: Vec<(&'static str, Option<Setting>)>,
    /// Tell where each comes from, too.
    pub(crate) origin: bool,
}

impl Report for Settings {
    fn to_json(&self) -> Value {
        let row = |(key, setting): &(&'static str, Option<Setting>)| {
            let value = text(setting.as_ref().map(|s| s.value.as_str()));
            let from = setting.as_ref().map_or("default", |s| s.origin.as_str());
            (*key, if self.origin { object([("value", value), ("origin", from.into())]) } else { value })
        };
        Value::Object(self.all.iter().map(row).collect())
    }

    fn to_text(&self) -> String {
        let line = |(key, setting): &(&'static str, Option<Setting>)| {
            let (value, origin) = setting.as_ref().map_or(("", "default"), |s| (&s.value, &s.origin));
            let from = if self.origin { format!("  ({origin})") } else { String::new() };
            format!("{key} = {value:?}{from}\n")
        };
        self.all.iter().map(line).collect()
    }
}

/// An address on a line of its own.
pub(crate) struct Addressed(pub(crate) String);

impl Report for Addressed {
    fn to_json(&self) -> Value {
        object([("addr", self.0.as_str().into())])
    }

    fn to_text(&self) -> String {
        shown(&self.0).to_string()
    }
}

/// A rule that an ibgib breaks.
pub(crate) struct RuleError {
    pub(crate) rule: String,
    pub(crate) message: String,
}

/// The answer to a line that could not be worked on.
pub(crate) struct BadLine<'a>(pub(crate) &'a RuleError);

impl Report for BadLine<'_> {
    fn to_json(&self) -> Value {
        let error = object([("code", self.0.rule.as_str().into()), ("message", self.0.message.as_str().into())]);
        object([("error", error)])
    }

    fn to_text(&self) -> String {
        format!("error {}: {}", shown(&self.0.rule), shown(&self.0.message))
    }
}

/// What a check found: nothing when all holds.
pub(crate) struct Checked {
    pub(crate) errors: Vec<RuleError>,
    /// For people, every broken rule with its message instead of the first rule's name.
    pub(crate) full: bool,
}

impl Report for Checked {
    fn to_json(&self) -> Value {
        let errors = list(&self.errors, |bad| {
            object([("rule", bad.rule.as_str().into()), ("message", bad.message.as_str().into())])
        });
        object([("valid", self.errors.is_empty().into()), ("errors", errors)])
    }

    fn to_text(&self) -> String {
        match (&self.errors[..], self.full) {
            ([], true) => "valid".to_owned(),
            ([], false) => "ok".to_owned(),
            (all, true) => all.iter().map(|bad| format!("{}: {}\n", shown(&bad.rule), shown(&bad.message))).collect(),
            ([first, ..], false) => format!("bad {}", shown(&first.rule)),
        }
    }
}

/// Where a server listens, and where its doors are. For people each door has a line of its own.
pub(crate) struct Listening {
    pub(crate) url: String,
    /// Names and addresses.
    pub(crate) doors: Vec<(&'static str, String)>,
    /// What makes its bearer the owner, as long as there is none.
    pub(crate) owner_token: Option<String>,
}

impl Report for Listening {
    fn to_json(&self) -> Value {
        let doors = self.doors.iter().map(|(name, url)| (*name, url.as_str())).collect();
        let token = self.owner_token.as_ref().map(|token| ("ownerToken", Value::from(token.as_str())));
        let members = [("listening", self.url.as_str().into()), ("doors", Value::Object(doors))];
        Value::Object(members.into_iter().chain(token).collect())
    }

    fn to_text(&self) -> String {
        // The page has an address of its own to tell, with its token.
        let doors = self.doors.iter().filter(|(name, _)| *name != "dev-tools");
        let lines = doors.map(|(name, url)| format!("\ndoor {name} {url}")).collect::<String>();
        let token = self.owner_token.as_ref().map_or(String::new(), |token| format!("\nowner token {token}"));
        format!("listening {}{token}{lines}", self.url)
    }
}

/// Something that a server tells about itself when it is ready: its key, say.
pub(crate) struct Told {
    /// The JSON member.
    pub(crate) member: &'static str,
    /// The first word of the line.
    pub(crate) word: &'static str,
    pub(crate) text: String,
}

impl Report for Told {
    fn to_json(&self) -> Value {
        object([(self.member, self.text.as_str().into())])
    }

    fn to_text(&self) -> String {
        format!("{} {}", self.word, self.text)
    }
}

/// The key that is to follow the one of a server.
pub(crate) struct NewKey {
    pub(crate) before: String,
    pub(crate) key: String,
}

impl Report for NewKey {
    fn to_json(&self) -> Value {
        object([("before", self.before.as_str().into()), ("key", self.key.as_str().into())])
    }

    fn to_text(&self) -> String {
        format!(
            "key {}\nit takes the place of {} when the server starts the next time, or gets SIGHUP",
            self.key, self.before
        )
    }
}
