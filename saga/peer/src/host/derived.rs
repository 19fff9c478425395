//! Timelines whose first frame anybody can make who knows a folder: its files by their paths, its shards by their numbers.

use ibgib::transform::Moment;
use ibgib::{Addr, IbGib, Value, Verified};
use sha2::{Digest, Sha256};

/// Whether anybody who knows a folder and a path can make a timeline's first frame: then having it says nothing of whose it
/// is.
pub(super) fn is_derived(first: &Verified<IbGib>) -> bool {
    matches!(first.addr().ib(), "file" | "shard")
}

/// Whether a timeline that a frame of a folder leads to is one that the folder derives: its shards by their numbers, its
/// files by the paths under which they are entered. Otherwise somebody could bring the file of another's folder as one of
/// his own, and read what is written into it afterwards.
pub(super) fn derives(folder: &Addr, leader: &Verified<IbGib>, first: &Verified<IbGib>) -> bool {
    let uuid = first.datum("uuid").and_then(Value::as_str);
    let is_of = |name: &str| {
        let hash: [u8; 32] = Sha256::digest(format!("{folder}{name}")).into();
        let mut random = [0; 16];
        random.copy_from_slice(&hash[..16]);
        uuid == Some(&*Moment { now_ms: 0, random }.uuid())
    };
    let named = |entry: &Value| entry.get("file").and_then(Value::as_str) == Some(first.addr().as_str());
    match first.addr().ib() {
        "shard" => (0..=u8::MAX).any(|number| is_of(&format!("#{number}"))),
        _ => {
            let entries = leader.datum("entries").and_then(Value::as_object);
            entries.into_iter().flat_map(|entries| entries.iter()).any(|(path, entry)| named(entry) && is_of(path))
        }
    }
}
