//! What was cut short can be repeated, and what is there already is not destroyed.

mod common;

use common::{Random, World, files, text};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

#[test]
fn a_clone_killed_at_any_moment_is_repeated_or_finished_by_a_sync() {
    let mut random = Random::new();
    let world = World::new();
    let server = world.serve("server");
    world.run(&["init", "a", "--remote", &server.url]).ok();
    for i in 0..40 {
        world.write(&format!("a/dir {}/{i}.txt", i % 5), &format!("line of {i}\n").repeat(400));
    }
    world.run(&["-C", "a", "sync"]).ok();
    for round in 0..common::times("IBGIB_KILLS", 12) {
        let device = format!("b{round}");
        let mut child = world.command(&["clone", &server.url, &device]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(random.below(400) as u64));
        // It may be done already.
        let _ = child.kill();
        let killed = child.wait().unwrap().code().is_none();
        let made = world.path(&device).join(".ibgib").exists();
        if made && round % 2 == 1 {
            world.run(&["-C", &device, "sync"]).ok();
        } else if killed && (!made || world.path(&device).join(".ibgib/cloning").exists()) {
            world.run(&["clone", &server.url, &device]).ok();
        }
        assert_eq!(files(&world.path(&device)), files(&world.path("a")), "{device}");
        world.fsck(&["-C", &device]);
        // A clone that is complete is not repeated.
        world.run(&["clone", &server.url, &device]).fails(1, "exists");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_clone_that_was_begun_is_told_from_one_of_another_server() {
    let world = World::new();
    let server = world.with_alice();
    // What is left of one that was killed while it made the device.
    fs::create_dir_all(world.path("b/.ibgib.new/space")).unwrap();
    world.run(&["clone", &server.url, "b"]).ok();
    fs::write(world.path("b/.ibgib/cloning"), "http://127.0.0.1:1").unwrap();
    let error = world.run(&["clone", &server.url, "b"]).fails(1, "exists").error();
    assert!(text(&error, "message").contains("http://127.0.0.1:1"));
    fs::write(world.path("b/.ibgib/cloning"), &server.url).unwrap();
    world.run(&["clone", &server.url, "b"]).ok();
    world.run(&["clone", &server.url, "b"]).fails(1, "exists");
}

#[test]
fn a_secret_that_can_be_had_only_once_is_enough_for_a_clone() {
    let world = World::new();
    let server = world.with_alice();
    let secret = "7".repeat(64);
    world.feed(&["clone", &server.url, "b", "--secret-file", "-"], secret.as_bytes()).ok();
    assert_eq!(files(&world.path("b")), files(&world.path("alice")));
    assert!(!world.path("b/.ibgib/secret").exists());
    world.write("b/more.txt", "more\n");
    world.feed(&["-C", "b", "sync", "--secret-file", "-"], secret.as_bytes()).ok();
    // Whoever is asked by the command is asked once.
    let asking = format!("echo asked >> {}; echo a passphrase", world.path("asked").display());
    let mut command = world.command(&["clone", &server.url, "c"]);
    let done = command.env("IBGIB_SECRET_COMMAND", asking).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(world.read("asked"), "asked\n");
}

#[test]
fn an_import_makes_the_space_and_an_export_destroys_nothing() {
    let world = World::new();
    let server = world.with_alice();
    assert_eq!(server.stop(), Some(0));
    let export = |more: &[&str]| world.run(&[&["-C", "alice", "export", "all.bundle"], more].concat());
    export(&[]).ok();
    let bundle = fs::read(world.path("all.bundle")).unwrap();
    fs::write(world.path("all.bundle"), "precious").unwrap();
    let error = export(&[]).fails(1, "file_exists").error();
    assert!(text(&error, "hint").contains("--force"));
    assert_eq!(world.read("all.bundle"), "precious");
    export(&["--force"]).ok();
    assert_eq!(fs::read(world.path("all.bundle")).unwrap(), bundle);

    let import = |space: &str, file: &str, more: &[&str]| {
        world.run(&[&["--space", space, "import", file, "--json"], more].concat())
    };
    import("new", "all.bundle", &["--dry-run"]).ok();
    assert!(!world.path("new").exists());
    import("new", "nothing.bundle", &[]).fails(5, "not_found");
    fs::write(world.path("bad.bundle"), &bundle[..bundle.len() / 2]).unwrap();
    import("new", "bad.bundle", &[]).fails(4, "damaged_bundle");
    assert!(!world.path("new").exists());
    import("new", "all.bundle", &[]).ok();
    world.fsck(&["--space", "new"]);
    let tips = |store: &[&str]| world.run(&[store, &["tips", "--json"]].concat()).ok().stdout;
    assert_eq!(tips(&["--space", "new"]), tips(&["-C", "alice"]));
}

#[test]
fn a_log_level_comes_from_a_file_and_a_frame_goes_with_a_path() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let config = world.read("a/.ibgib/config.toml");
    fs::write(world.path("a/.ibgib/config.toml"), format!("{config}log = \"ibgib=trace,redb=off\"\n")).unwrap();
    let shown = world.run(&["-C", "a", "config", "show", "--origin", "--json"]).ok().stdout;
    assert!(shown.contains("ibgib=trace") && shown.contains("config.toml"), "{shown}");
    fs::write(world.path("a/.ibgib/config.toml"), format!("{config}log = \"ibgib=loud\"\n")).unwrap();
    world.run(&["-C", "a", "status"]).fails(1, "bad_config");
    fs::write(world.path("a/.ibgib/config.toml"), format!("{config}log = 3\n")).unwrap();
    let error = world.run(&["-C", "a", "status"]).fails(1, "bad_config").error();
    assert!(text(&error, "message").contains("line 1: 'log' is an integer"), "{error}");
    fs::write(world.path("a/.ibgib/config.toml"), config).unwrap();
    world.run(&["-C", "a", "checkout", "--at", "12345678"]).fails(2, "usage");
}

#[test]
fn a_server_whose_disk_is_full_says_so_while_it_is_still_sent_to() {
    let world = World::new();
    let serve = world.command(&["serve", "--space", "server", "--policy", "open", "--listen", "127.0.0.1:0", "--json"]);
    // No file of the server may grow beyond 8 MiB; being told so by a signal is switched off.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\""]).arg(serve.get_program());
    command.args(serve.get_args()).current_dir(world.dir.path()).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split('"').nth(3).unwrap_or_else(|| panic!("{line:?}")).to_owned();
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..30_000_000).map(|_| next()).collect();
    fs::create_dir(world.path("a")).unwrap();
    fs::write(world.path("a/large.bin"), bytes).unwrap();
    world.run(&["init", "a", "--remote", &url]).ok();
    let error = world.run(&["-C", "a", "sync"]).fails(1, "disk_full").error();
    assert!(text(&error, "hint").contains("the server's disk"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
}
