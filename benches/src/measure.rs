//! What processes took, from `/proc` of Linux. CPU is counted in hundredths of a second.

use crate::Res;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ticks of CPU time in a second, the same on every Linux.
const TICKS: f64 = 100.0;
const POLL: Duration = Duration::from_millis(10);

/// The numbers of `/proc/PID/stat` after the process's name: the first is field 4, its parent.
fn stat(pid: &str) -> Option<Vec<i64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect())
}

/// Seconds of CPU that a process took, and those of its children that have ended.
pub(crate) fn cpu(pid: u32) -> Res<f64> {
    let stat = stat(&pid.to_string()).ok_or("a process is gone")?;
    Ok(stat.get(10..14).ok_or("no CPU times in /proc")?.iter().sum::<i64>() as f64 / TICKS)
}

/// Seconds of CPU of this program's children that have ended.
pub(crate) fn children_cpu() -> Res<f64> {
    let stat = stat("self").ok_or("there is no /proc here")?;
    Ok(stat.get(12..14).ok_or("no CPU times in /proc")?.iter().sum::<i64>() as f64 / TICKS)
}

/// Watches how much memory a process and its descendants have.
pub(crate) struct Memory {
    most: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Memory {
    pub(crate) fn watch(root: u32) -> Self {
        let (most, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&most), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                seen.fetch_max(resident(root), Ordering::Relaxed);
                std::thread::sleep(POLL);
            }
        });
        Self { most, ended, thread }
    }

    pub(crate) fn most(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.most.load(Ordering::Relaxed)
    }
}

/// Bytes of memory that a process and its descendants have now; a process alone tells the most that it ever had.
pub(crate) fn resident(root: u32) -> u64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = stat(&pid.to_string()).and_then(|stat| stat.first().copied()) {
            children.entry(parent as u32).or_default().push(pid);
        }
    }
    let (mut open, mut bytes, mut count) = (vec![root], 0, 0);
    while let Some(pid) = open.pop() {
        bytes += status(pid, "VmRSS:");
        count += 1;
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    if count == 1 { status(root, "VmHWM:") } else { bytes }
}

fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Bytes that a folder takes on disk.
pub(crate) fn disk(dir: &Path) -> Res<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = fs::symlink_metadata(entry.path())?;
        bytes += if about.is_dir() { disk(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(bytes)
}

/// Bytes in the files of a folder.
pub(crate) fn bytes(dir: &Path) -> Res<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { self::bytes(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_disk_are_seen() {
        let watch = Memory::watch(std::process::id());
        let full = vec![1_u8; 64 << 20];
        while watch.most.load(Ordering::Relaxed) < full.len() as u64 {
            std::thread::sleep(POLL);
        }
        assert!(watch.most() >= full.len() as u64);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("inner/file"), &full[..1 << 20]).unwrap();
        assert!(cpu(std::process::id()).is_ok() && children_cpu().is_ok());
        fs::File::open(dir.path().join("inner/file")).unwrap().sync_all().unwrap();
        assert!(disk(dir.path()).unwrap() >= 1 << 20);
    }
}
