//! Folders that keep modification times and permissions of their files.

mod common;

use common::{Device, assert_same, moments};
use ibgib_folder::Keeping;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BOTH: Keeping = Keeping { times: true, modes: true };

fn time(ms: i64) -> SystemTime {
    let away = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { UNIX_EPOCH - away } else { UNIX_EPOCH + away }
}

fn set_time(device: &Device, path: &str, ms: i64) {
    File::options().append(true).open(device.at(path)).unwrap().set_modified(time(ms)).unwrap();
}

fn time_of(device: &Device, path: &str) -> SystemTime {
    device.at(path).metadata().unwrap().modified().unwrap()
}

fn mode_of(device: &Device, path: &str) -> u32 {
    device.at(path).metadata().unwrap().mode() & 0o777
}

async fn two(keeping: Keeping) -> (Device, Device) {
    let a = Device::new().await;
    if keeping != Keeping::default() {
        a.folder.set_keeping(keeping, &mut moments()).await.unwrap();
    }
    let b = a.joined().await;
    assert_eq!(b.folder.keeping().await.unwrap(), keeping);
    (a, b)
}

#[tokio::test]
async fn times_arrive_with_what_is_new_and_with_what_changes() {
    let (a, b) = two(BOTH).await;
    // Photos, files of before 1970, of the year 2100, and what is no text.
    let times = [
        ("old.jpg", 0_i64),
        ("older.txt", -86_400_001),
        ("later.txt", 4_102_444_800_123),
        ("now.txt", 1_700_000_000_999),
    ];
    for (path, ms) in times {
        a.put(path, if path.ends_with("jpg") { b"\0\xff".as_slice() } else { b"text" });
        set_time(&a, path, ms);
    }
    a.sync(&b).await;
    for (path, ms) in times {
        assert_eq!(time_of(&b, path), time(ms), "{path}");
        assert_eq!(time_of(&a, path), time(ms), "{path}");
    }
    // Nothing that a checkout set looks like an edit.
    assert!(b.snapshot().await.is_clean() && a.snapshot().await.is_clean());
    b.put("now.txt", "edited");
    set_time(&b, "now.txt", 1_600_000_000_000);
    a.sync(&b).await;
    assert_eq!((a.read("now.txt").as_str(), time_of(&a, "now.txt")), ("edited", time(1_600_000_000_000)));
    // A file that is only touched has nothing to tell.
    set_time(&a, "now.txt", 1_500_000_000_000);
    assert!(a.snapshot().await.is_clean());
    assert_same(&a, &b);
}

#[tokio::test]
async fn of_two_edits_the_later_time_counts_and_nobody_is_asked() {
    let (a, b) = two(BOTH).await;
    a.put("note.txt", "one\ntwo\nthree\n");
    a.sync(&b).await;
    a.put("note.txt", "ONE\ntwo\nthree\n");
    set_time(&a, "note.txt", 1_700_000_000_000);
    b.put("note.txt", "one\ntwo\nTHREE\n");
    set_time(&b, "note.txt", 1_600_000_000_000);
    a.put("new.txt", "same");
    set_time(&a, "new.txt", 1_200_000_000_000);
    b.put("new.txt", "same");
    set_time(&b, "new.txt", 1_300_000_000_000);
    a.sync(&b).await;
    a.sync(&b).await;
    for device in [&a, &b] {
        assert_eq!(device.read("note.txt"), "ONE\ntwo\nTHREE\n");
        assert_eq!(time_of(device, "note.txt"), time(1_700_000_000_000));
        assert_eq!(ibgib_folder::conflicts(&*device.space).await.unwrap(), []);
    }
    assert_same(&a, &b);
    // The next edit tells its own time alone.
    b.put("note.txt", "ONE\n");
    set_time(&b, "note.txt", 1_000_000_000_000);
    a.sync(&b).await;
    assert_eq!(time_of(&a, "note.txt"), time(1_000_000_000_000));
}

#[tokio::test]
async fn permissions_arrive_but_nobody_else_may_write() {
    let (a, b) = two(BOTH).await;
    for (path, mode) in [("secret", 0o600), ("open", 0o666), ("run", 0o700), ("read", 0o440)] {
        a.put(path, path);
        a.chmod(path, mode);
    }
    a.sync(&b).await;
    for (path, mode) in [("secret", 0o600), ("open", 0o644), ("run", 0o700), ("read", 0o440)] {
        assert_eq!(mode_of(&b, path), mode, "{path}");
    }
    assert!(b.snapshot().await.is_clean());
    // Permissions alone are a change here, and an edit of the content elsewhere keeps them.
    b.chmod("secret", 0o640);
    b.chmod("run", 0o600);
    a.put("secret", "longer");
    a.sync(&b).await;
    for device in [&a, &b] {
        assert_eq!((mode_of(device, "secret"), mode_of(device, "run")), (0o640, 0o600));
        assert_eq!(device.read("secret"), "longer");
    }
    assert_same(&a, &b);
    assert!(a.snapshot().await.is_clean() && b.snapshot().await.is_clean());
}

#[tokio::test]
async fn a_folder_that_does_not_say_so_keeps_neither() {
    let (a, b) = two(Keeping::default()).await;
    a.put("note.txt", "one");
    set_time(&a, "note.txt", 0);
    a.chmod("note.txt", 0o600);
    a.sync(&b).await;
    assert!(time_of(&b, "note.txt") > time(1_700_000_000_000));
    a.chmod("note.txt", 0o640);
    assert!(a.snapshot().await.is_clean());
    // From the moment on that it says so it does.
    a.folder.set_keeping(Keeping { times: true, modes: false }, &mut moments()).await.unwrap();
    a.put("note.txt", "two");
    set_time(&a, "note.txt", 0);
    a.sync(&b).await;
    assert_eq!(time_of(&b, "note.txt"), time(0));
    // And no longer: a time of before does not come back with a later edit.
    b.folder.set_keeping(Keeping::default(), &mut moments()).await.unwrap();
    b.put("note.txt", "three");
    a.sync(&b).await;
    assert!(time_of(&a, "note.txt") > time(1_700_000_000_000));
}
