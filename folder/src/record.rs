//! What this device knows about the files it has on disk: kept in the space's local records, never synced.

use crate::path::EntryPath;
use crate::tree::{OnDisk, Stat};
use ibgib::{Addr, Mode, Value, strings};

/// Records of files are under this prefix and the entry's key.
pub(crate) const PREFIX: &str = "folder/file";

/// A frame, and what its file looked like on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The frame whose content the file had: what the next edit builds on.
    pub(crate) addr: Addr,
    /// The file then; `None` when the frame says that it is deleted.
    pub(crate) stat: Option<Stat>,
}

/// One file's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) base: Base,
    /// Where the file stands on disk, when it is not under its own name ([`crate::names`]).
    pub(crate) at: Option<EntryPath>,
    /// Set before a checkout renames this frame's content in: after a kill, the inode tells which of the two is
    /// there, so that an edit made later builds on the right frame.
    pub(crate) next: Option<Base>,
}

impl From<Base> for Record {
    fn from(base: Base) -> Self {
        Self { base, at: None, next: None }
    }
}

impl Record {
    pub(crate) fn key(path: &EntryPath) -> String {
        format!("{PREFIX}{}", path.key())
    }

    pub(crate) fn path(key: &str) -> Option<EntryPath> {
        EntryPath::from_key(key.strip_prefix(PREFIX)?).ok()
    }

    /// Where the file at `path` stands on disk.
    pub(crate) fn on_disk<'r>(&'r self, path: &'r EntryPath) -> &'r EntryPath {
        self.at.as_ref().unwrap_or(path)
    }

    /// The record of a file that stands at `at`.
    pub(crate) fn standing(mut self, path: &EntryPath, at: &EntryPath) -> Self {
        self.at = (path != at).then(|| at.clone());
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let bases = [Some(&self.base), self.next.as_ref()].into_iter().flatten().map(Base::to_value);
        let at = self.at.iter().map(|at| Value::from(at.key()));
        Value::Array(bases.chain(at).collect()).to_json().into_bytes()
    }

    /// `None` when the bytes are not a record; the file is then as good as unknown.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value = Value::parse(std::str::from_utf8(bytes).ok()?, Mode::Strict).ok()?;
        let mut items = value.as_array()?.iter().peekable();
        let base = Base::from_value(items.next()?)?;
        let next = match items.next_if(|item| item.as_array().is_some()) {
            Some(next) => Some(Base::from_value(next)?),
            None => None,
        };
        let at = match items.next() {
            Some(at) => Some(EntryPath::from_key(at.as_str()?).ok()?),
            None => None,
        };
        Some(Self { base, at, next })
    }

    /// Settles a checkout that was cut: which of the two frames is on disk. In doubt it is the old one: building on
    /// it repeats a change that the new one has too, building on the new one could undo it.
    pub(crate) fn settle(&mut self, found: OnDisk) -> bool {
        let Some(next) = self.next.take() else { return false };
        let arrived = match (found, next.stat) {
            (OnDisk::File(now), Some(stat)) => now.inode == stat.inode,
            (OnDisk::Nothing, None) => true,
            _ => false,
        };
        if arrived {
            self.base = next;
        }
        true
    }
}

impl Base {
    /// Whether the file certainly still has this frame's content.
    pub(crate) fn is_clean(&self, found: OnDisk) -> bool {
        match (found, self.stat) {
            // Other permissions would show in the ctime; an earlier version's record does not tell them.
            (OnDisk::File(now), Some(then)) => Stat { mode: then.mode, ..now } == then,
            (OnDisk::Nothing, None) => true,
            _ => false,
        }
    }

    fn to_value(&self) -> Value {
        let mut items = vec![self.addr.to_string()];
        if let Some(s) = self.stat {
            let numbers = [s.size.to_string(), s.mtime.to_string(), s.ctime.to_string(), s.inode.to_string()];
            items.extend(numbers);
            let kind = match s {
                Stat { link: true, .. } => "l",
                Stat { exec: true, .. } => "x",
                _ => "-",
            };
            items.push(kind.into());
            if !s.link {
                items.push(format!("{:03o}", s.mode));
            }
        }
        strings(items)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let items: Vec<&str> = value.as_array()?.iter().filter_map(Value::as_str).collect();
        let (addr, rest) = items.split_first()?;
        let stat = match *rest {
            [] => None,
            [size, mtime, ctime, inode, exec, ref mode @ ..] => Some(Stat {
                size: size.parse().ok()?,
                mtime: mtime.parse().ok()?,
                ctime: ctime.parse().ok()?,
                inode: inode.parse().ok()?,
                exec: exec == "x",
                // Records of earlier versions tell no permissions: the usual ones.
                mode: match (mode, exec) {
                    ([mode], _) => u16::from_str_radix(mode, 8).ok()?,
                    ([], "x") => 0o755,
                    ([], "-") => 0o644,
                    ([], _) => 0,
                    _ => return None,
                },
                link: exec == "l",
            }),
            _ => return None,
        };
        Some(Self { addr: addr.parse().ok()?, stat })
    }
}

impl Stat {
    /// The stat to remember for a content that was read after `now` ([`crate::tree::Tree::now`]): a file that changed
    /// in the same tick could change again without a trace, so it is remembered such that it never looks clean.
    pub(crate) fn settled(mut self, now: i128) -> Self {
        if self.mtime.max(self.ctime) >= now {
            self.mtime = -1;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(n: u8, inode: Option<u64>) -> Base {
        let addr = Addr::new("file", &format!("{n:064X}")).unwrap();
        Base {
            addr,
            stat: inode.map(|inode| Stat {
                size: 3,
                mtime: 5,
                ctime: 6,
                inode,
                exec: inode != 9,
                mode: if inode == 9 { 0 } else { 0o750 },
                link: inode == 9,
            }),
        }
    }

    #[test]
    fn records_round_trip() {
        for record in [
            Record { base: base(1, Some(u64::MAX)), at: None, next: None },
            Record { base: base(1, None), at: None, next: Some(base(2, Some(7))) },
            Record { base: base(1, Some(1)), at: None, next: Some(base(2, None)) },
            Record { base: base(1, Some(1)), at: EntryPath::from_key("/a b").ok(), next: Some(base(2, None)) },
            Record { base: base(1, Some(1)), at: EntryPath::from_key("/b").ok(), next: None },
            Record { base: base(1, Some(9)), at: None, next: None },
        ] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        }
        let old = br#"[["file^0000000000000000000000000000000000000000000000000000000000000001","3","5","6","1","x"]]"#;
        assert_eq!(Record::from_bytes(old).unwrap().base.stat.unwrap().mode, 0o755);
        for bad in ["", "[]", "[[]]", "[[\"x\"]]", "{}", "[[1,2]]", "[\"/a\"]"] {
            assert_eq!(Record::from_bytes(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_inode_settles_a_cut_checkout() {
        let found =
            |inode| OnDisk::File(Stat { size: 9, mtime: 9, ctime: 9, inode, exec: false, mode: 0o644, link: false });
        let settled = |inode| {
            let mut record = Record { next: Some(base(2, Some(2))), ..Record::from(base(1, Some(1))) };
            assert!(record.settle(inode));
            record.base
        };
        assert_eq!(settled(found(2)), base(2, Some(2)));
        assert_eq!(settled(found(1)), base(1, Some(1)));
        assert_eq!(settled(found(3)), base(1, Some(1)));
        assert_eq!(settled(OnDisk::Nothing), base(1, Some(1)));
    }

    #[test]
    fn a_change_in_the_same_tick_is_never_clean() {
        let stat = Stat { size: 3, mtime: 5, ctime: 6, inode: 1, exec: false, mode: 0o644, link: false };
        assert_eq!(stat.settled(7), stat);
        let addr = base(1, None).addr;
        assert!(!Base { addr, stat: Some(stat.settled(6)) }.is_clean(OnDisk::File(stat)));
    }
}
