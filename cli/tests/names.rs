//! Names, and what of a folder is left out: with real files, as people and scripts see it.

mod common;

use common::{LOG, World, files, text};
use ibgib::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

fn mode(world: &World, path: &str) -> u32 {
    fs::symlink_metadata(world.path(path)).unwrap().permissions().mode() & 0o777
}

fn skipped(report: &Value) -> Vec<(&str, &str)> {
    let rows = report.get("skipped").and_then(Value::as_array).unwrap();
    rows.iter().map(|row| (text(row, "path"), text(row, "reason"))).collect()
}

#[test]
fn control_characters_are_escaped_wherever_a_person_reads_them() {
    let world = World::new();
    let server = world.with_alice();
    let (moves, forges) = ("x\u{1b}[1A\u{1b}[2Kharmless", "two\nwrote   fake.txt");
    for name in [moves, forges] {
        world.write(&format!("alice/{name}"), "1\n\u{1b}]0;title\u{7}\n");
    }
    let check = |what: &str, printed: &str| {
        assert!(!printed.contains('\u{1b}') && !printed.contains('\u{7}'), "{what}: {printed:?}");
        assert!(printed.lines().all(|line| line != "wrote   fake.txt" && !line.starts_with("wrote   fake.txt")));
    };
    let run = |args: &[&str]| {
        let done = world.run(args);
        check(&args.join(" "), &format!("{}{}", done.stdout, done.stderr));
        done
    };
    let status = run(&["-C", "alice", "status"]).ok().stdout;
    assert!(status.contains(r"added    x\u{1b}[1A\u{1b}[2Kharmless"), "{status}");
    assert!(status.contains(r"added    two\nwrote   fake.txt"), "{status}");
    run(&["-C", "alice", "-vv", "sync"]).ok();
    run(&["clone", &server.url, "bob"]).ok();
    world.write(&format!("bob/{moves}"), "2\n");
    let diff = run(&["-C", "bob", "diff"]).ok().stdout;
    assert!(diff.contains(r"-\u{1b}]0;title\u{7}"), "{diff}");
    world.write(&format!("alice/{moves}"), "3\n");
    run(&["-C", "alice", "sync"]).ok();
    run(&["-C", "bob", "sync"]).expect(3);
    assert!(run(&["-C", "bob", "conflicts"]).ok().stdout.contains(r"x\u{1b}[1A"));
    run(&["-C", "bob", "log", moves]).ok();
    run(&["-C", "bob", "log", "no\u{1b}[1Asuch"]).expect(5);
    run(&["-C", "bob", "no\u{1b}[1Asuch"]).expect(2);
    // Scripts get names as they are.
    fs::remove_file(world.path("bob").join(forges)).unwrap();
    let status = world.run(&["-C", "bob", "status", "--json"]).ok().json();
    let changes = status.get("changes").and_then(Value::as_array).unwrap();
    assert_eq!(changes.iter().map(|c| text(c, "path")).collect::<Vec<_>>(), [forges]);
}

#[test]
fn nobody_else_looks_into_a_device_or_a_store() {
    let world = World::new();
    world.with_alice();
    for dir in ["alice/.ibgib", "alice/.ibgib/space", "alice/.ibgib/tmp", "server"] {
        assert_eq!(mode(&world, dir), 0o700, "{dir}");
    }
    for file in ["alice/.ibgib/secret", "alice/.ibgib/config.toml", "alice/.ibgib/lock"] {
        assert_eq!(mode(&world, file), 0o600, "{file}");
    }
    for space in ["alice/.ibgib/space", "server"] {
        assert_eq!(mode(&world, &format!("{space}/log")), 0o700, "{space}");
        for file in [LOG, "index.redb"] {
            assert_eq!(mode(&world, &format!("{space}/{file}")), 0o600, "{space}");
        }
    }
}

#[test]
fn a_sync_tells_what_it_skipped_and_version_control_is_left_out() {
    let world = World::new();
    let server = world.with_alice();
    for dir in [".git", ".hg", ".jj", ".svn", ".bzr"] {
        world.write(&format!("alice/sub/{dir}/config"), "private\n");
    }
    assert!(Command::new("mkfifo").arg(world.path("alice/pipe")).status().unwrap().success());
    let synced = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    assert_eq!(skipped(&synced), [("pipe", "a special file")]);
    assert!(world.run(&["-C", "alice", "sync"]).ok().stdout.contains("skipped pipe: a special file"));
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(files(&world.path("bob")).into_keys().collect::<Vec<_>>(), ["notes.txt"]);
}

#[test]
fn times_and_permissions_travel_where_the_folder_says_so() {
    let world = World::new();
    let server = world.serve("server");
    world.run(&["init", "alice", "--remote", &server.url, "--keep", "times,modes"]).ok();
    world.write("alice/photo.txt", "of long ago\n");
    let photo = fs::File::options().append(true).open(world.path("alice/photo.txt")).unwrap();
    let taken = UNIX_EPOCH + Duration::from_millis(946_684_800_123);
    photo.set_modified(taken).unwrap();
    photo.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(fs::metadata(world.path("bob/photo.txt")).unwrap().modified().unwrap(), taken);
    assert_eq!(mode(&world, "bob/photo.txt"), 0o600);
    // Permissions alone are worth a sync, both ways.
    fs::set_permissions(world.path("bob/photo.txt"), fs::Permissions::from_mode(0o644)).unwrap();
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(mode(&world, "alice/photo.txt"), 0o644);
    assert_eq!(fs::metadata(world.path("alice/photo.txt")).unwrap().modified().unwrap(), taken);
    let quiet = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    assert_eq!(quiet.get("saga"), Some(&Value::Null), "{quiet}");
    // Whoever joins a folder does not decide what it keeps.
    world.run(&["init", "carol", "--join", "alice", "--keep", "times"]).expect(2);
}

#[test]
fn rules_from_elsewhere_take_nothing_from_this_device_until_somebody_agrees() {
    let world = World::new();
    let server = world.serve("server");
    world.write("alice/.ibgibignore", ".env\n");
    world.write("alice/.env", "key\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    assert!(world.run(&["-C", "alice", "ignore", "list"]).ok().stdout.contains("no rules wait"));

    world.write("bob/.ibgibignore", "# nothing\n");
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let synced = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    assert_eq!(skipped(&synced), [(".env", "ignore_widened")]);
    assert!(world.run(&["-C", "alice", "status"]).ok().stdout.contains("'ibgib ignore list'"));
    world.run(&["-C", "bob", "sync"]).ok();
    assert!(!world.path("bob/.env").exists());

    let listed = world.run(&["-C", "alice", "ignore", "list", "--json"]).ok().json();
    let rule = &listed.get("rules").and_then(Value::as_array).unwrap()[0];
    assert_eq!(
        (text(rule, "path"), text(rule, "accepted"), text(rule, "now")),
        (".ibgibignore", ".env\n", "# nothing\n")
    );
    assert_eq!(listed.get("files").unwrap().to_json(), r#"[".env"]"#);
    let told = world.run(&["-C", "alice", "ignore", "list"]).ok().stdout;
    assert!(told.contains("  -.env\n  +# nothing\nkept back .env\n"), "{told}");
    world.run(&["-C", "alice", "ignore", "accept"]).fails(1, "confirmation_needed");
    let synced = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    assert_eq!(skipped(&synced), [(".env", "ignore_widened")], "nothing was done");
    world.run(&["-C", "alice", "ignore", "accept", "--yes"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(world.read("bob/.env"), "key\n");
}

#[test]
fn untracked_files_stay_here_and_gitignore_counts_when_it_was_asked_for() {
    let world = World::new();
    let server = world.serve("server");
    world.write("alice/.gitignore", "*.o\n");
    for name in ["a.o", "a.c", "private"] {
        world.write(&format!("alice/{name}"), "x\n");
    }
    world.run(&["init", "alice", "--remote", &server.url, "--gitignore"]).ok();
    assert!(world.read("alice/.ibgib/config.toml").contains("gitignore = true"));
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(files(&world.path("bob")).into_keys().collect::<Vec<_>>(), [".gitignore", "a.c", "private"]);
    let done = world.run(&["-C", "alice", "untrack", "private", "--json"]).ok().json();
    assert_eq!(done.get("untracked").unwrap().to_json(), r#"["private"]"#);
    let synced = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    assert_eq!(skipped(&synced), [("private", "untracked")]);
    world.run(&["-C", "bob", "sync"]).ok();
    assert!(world.path("alice/private").exists() && !world.path("bob/private").exists());
    world.run(&["-C", "alice", "untrack", "private"]).fails(5, "no_entry");
}
