//! Grants: who may do what in a space, stated by identities in frames of their own.
//!
//! A statement is a keystone's frame like any other: signed by the pool for `manage`, with the claim {verb `manage`, target
//! `grants`, audience the space's id} and in its details what is stated. So it binds whoever states it, is good for one space
//! alone, cannot be taken back without a trace, and is kept and shown with the identity's other frames. What a space makes of
//! it is its host's affair: a statement by somebody who may not make it says nothing there.

use ibgib::{Addr, IbGib, Map, Value, Verified, object, strings};
use ibgib_keystone::{Claim, VERB_MANAGE, is_bound};
use std::fmt;

/// What a claim with a statement is about.
pub(crate) const TARGET: &str = "grants";
/// The member of a frame's details with a statement.
const MEMBER: &str = "grant";

/// What somebody may do in a folder, or in everything; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Read it.
    Read,
    /// Change it.
    Write,
    /// Say who else may.
    Admin,
}

impl Rights {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// `read`, `write` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// All that it includes, as JSON.
    pub fn to_value(self) -> Value {
        strings(Self::ALL.into_iter().filter(|right| *right <= self).map(Self::as_str))
    }

    /// Reads what [`Rights::to_value`] writes.
    pub fn read(value: &Value) -> Option<Self> {
        let last = value.as_array()?.last()?.as_str()?;
        Self::ALL.into_iter().find(|right| right.as_str() == last && right.to_value() == *value)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an identity states about a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Whoever brings the token whose SHA-256 this is may come in.
    Invite {
        /// 64 hex digits.
        id: String,
        /// Into which folder; into everything without one.
        folder: Option<Addr>,
        /// To do what; never [`Rights::Admin`].
        rights: Rights,
        /// How many identities may bring it. None: it is for a program, which reads with its token and has no identity.
        uses: u32,
        /// Until when, in milliseconds since 1970.
        expires_ms: i64,
    },
    /// An identity's grants end, or an invite that is still open.
    Revoke {
        /// The identity's address, or the invite's id.
        who: String,
    },
    /// The space is to hold these frames no more, nor take them in again, and is left what does not stand on them. Told is
    /// then all that is dropped; naming none asks for that alone.
    Drop {
        /// Frames of living timelines or identities.
        frames: Vec<Addr>,
    },
    /// Frames that were dropped may come in again.
    Allow {
        /// Those frames.
        frames: Vec<Addr>,
    },
    /// Nothing; whoever states it wants to be told the grants there are.
    List,
    /// Nothing; whoever states it wants to be told the folders that he may read, and what they are called.
    Folders,
}

impl Statement {
    /// As a frame's details.
    pub(crate) fn to_details(&self) -> Value {
        let said = match self {
            Self::Invite { id, folder, rights, uses, expires_ms } => object([
                ("invite", id.as_str().into()),
                ("folder", folder.as_ref().map_or(Value::from("*"), Value::from)),
                ("rights", rights.to_value()),
                ("uses", Value::integer(*uses)),
                ("expiresMs", Value::integer(*expires_ms)),
            ]),
            Self::Revoke { who } => object([("revoke", who.as_str().into())]),
            Self::Drop { frames } => object([("drop", frames.iter().map(Value::from).collect::<Vec<_>>().into())]),
            Self::Allow { frames } => object([("allow", frames.iter().map(Value::from).collect::<Vec<_>>().into())]),
            Self::List => object([("list", true.into())]),
            Self::Folders => object([("folders", true.into())]),
        };
        object([(MEMBER, said)])
    }

    /// The claim of a frame with a statement.
    pub(crate) fn claim(space: &str) -> Claim {
        Claim {
            verb: VERB_MANAGE.to_owned(),
            target: TARGET.to_owned(),
            audience: Some(space.to_owned()),
            ..Claim::default()
        }
    }

    /// What a frame states about this space; what its signature does not bind states nothing.
    pub(crate) fn of(frame: &Verified<IbGib>, space: &str) -> Option<Self> {
        let claim = frame.datum("proofs")?.as_array()?.first()?.get("claim").and_then(Claim::parse)?;
        if !is_bound(frame) || claim != Self::claim(space) {
            return None;
        }
        Self::read(frame.datum("frameDetails")?.get(MEMBER)?.as_object()?)
    }

    fn read(said: &Map) -> Option<Self> {
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        if let Some(who) = text("revoke") {
            return Some(Self::Revoke { who: who.to_owned() });
        }
        if let Some(frames) = frames(said, "drop") {
            return Some(Self::Drop { frames });
        }
        if let Some(frames) = frames(said, "allow") {
            return Some(Self::Allow { frames });
        }
        if said.get("list") == Some(&Value::Bool(true)) {
            return Some(Self::List);
        }
        if said.get("folders") == Some(&Value::Bool(true)) {
            return Some(Self::Folders);
        }
        let number = |name: &str| said.get(name).and_then(Value::as_u53);
        let rights = said.get("rights").and_then(Rights::read).filter(|rights| *rights < Rights::Admin)?;
        let is_enough = |uses: &u32| *uses > 0 || rights == Rights::Read;
        Some(Self::Invite {
            id: text("invite").filter(|id| crate::invite::is_hex64(id))?.to_owned(),
            folder: match text("folder")? {
                "*" => None,
                folder => Some(folder.parse().ok()?),
            },
            rights,
            uses: number("uses").and_then(|uses| u32::try_from(uses).ok()).filter(is_enough)?,
            expires_ms: number("expiresMs").and_then(|ms| i64::try_from(ms).ok())?,
        })
    }
}

/// Frames that one statement names at most.
pub const FRAMES_MAX: usize = 64;

fn frames(said: &Map, name: &str) -> Option<Vec<Addr>> {
    let frames = said.get(name)?.as_array().filter(|frames| frames.len() <= FRAMES_MAX)?;
    frames.iter().map(|frame| frame.as_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read_as_they_are_written() {
        let folder = Addr::new("folder", &"AB".repeat(32)).unwrap();
        let with = |folder, rights, uses| Statement::Invite {
            id: "0a".repeat(32),
            folder,
            rights,
            uses,
            expires_ms: 1_767_225_600_000,
        };
        let invite = |folder, rights| with(folder, rights, 3);
        let read = |statement: &Statement| Statement::read(statement.to_details().get(MEMBER)?.as_object()?);
        for statement in [
            invite(None, Rights::Read),
            invite(Some(folder.clone()), Rights::Write),
            with(Some(folder), Rights::Read, 0),
            Statement::Revoke { who: "keystone^A".into() },
            Statement::Drop { frames: vec![Addr::new("note", &"C".repeat(64)).unwrap()] },
            Statement::Drop { frames: Vec::new() },
            Statement::Allow { frames: vec![Addr::new("note", &"C".repeat(64)).unwrap()] },
            Statement::List,
            Statement::Folders,
        ] {
            assert_eq!(read(&statement), Some(statement.clone()));
        }
        assert_eq!(read(&invite(None, Rights::Admin)), None, "nobody is invited to be admin");
        assert_eq!(read(&with(None, Rights::Write, 0)), None, "a program only reads");
    }
}
