//! The modification times that frames of files tell: a member of `mtime` for each, named by its milliseconds since 1970.
//! When two devices edited a file, the merge has both members, nobody is asked, and the later time counts.

use ibgib::{IbGib, Map, Value, object};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The member of a file frame's data that holds times.
const MTIME: &str = "mtime";

/// Milliseconds around 1970 that a time may be away from it: a hundred thousand years.
pub(crate) const MS_MAX: u64 = 100_000 * 366 * 24 * 3_600_000;

/// The latest time that a frame of a file tells.
pub(crate) fn time_of(frame: &IbGib) -> Option<SystemTime> {
    let times = frame.datum(MTIME).and_then(Value::as_object)?;
    let ms = times.keys().filter_map(|key| key.parse::<i64>().ok()).filter(|ms| ms.unsigned_abs() <= MS_MAX).max()?;
    let away = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { UNIX_EPOCH.checked_sub(away) } else { UNIX_EPOCH.checked_add(away) }
}

/// Whether a frame of a file tells times.
pub(crate) fn tells_time(frame: &IbGib) -> bool {
    frame.datum(MTIME).is_some()
}

/// What an edit of a frame removes and patches so that it tells this time.
pub(crate) fn retime(src: &IbGib, time: Option<i64>, remove: &mut Map, patch: &mut Map) {
    let old = src.datum(MTIME);
    let Some(time) = time.map(|ms| ms.to_string()) else { return };
    match old {
        Some(Value::Object(old)) => {
            let gone: Map = old.keys().filter(|key| *key != time).map(|key| (key, "")).collect();
            if !gone.is_empty() {
                remove.insert(MTIME, gone);
            }
        }
        Some(_) => {
            remove.insert(MTIME, "");
        }
        None => {}
    }
    patch.insert(MTIME, object([(&time, true.into())]));
}
