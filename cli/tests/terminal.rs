//! What people see: the command on a real pseudo-terminal.

mod common;
#[path = "common/pty.rs"]
mod pty;

use common::{Server, World, text};
use ibgib::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn is_revoked(world: &World) -> bool {
    let shown = world.run(&["-C", "a", "identity", "show", "--json"]).ok().json();
    shown.get("revoked") == Some(&Value::Bool(true))
}

#[test]
fn revoking_asks_on_a_terminal_and_only_yes_is_a_yes() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let revoke = ["-C", "a", "identity", "revoke"];
    let identity = world.run(&["-C", "a", "identity", "show", "--json"]).ok().json();
    for (answer, done) in [("\n", false), ("n\n", false), ("yes please\n", false), ("\u{4}", false), ("y\n", true)] {
        let mut terminal = world.terminal(50, &revoke, |_| {});
        terminal.until("[y/N] ");
        assert!(terminal.written.contains(text(&identity, "identity")));
        terminal.type_in(answer);
        let seen = terminal.wait();
        assert_eq!(seen.code, Some(i32::from(!done)), "{answer:?}: {}", seen.written);
        assert_eq!(seen.written.contains("nothing was done"), !done, "{}", seen.written);
        assert_eq!(is_revoked(&world), done, "{answer:?}");
    }
}

#[test]
fn who_cannot_be_asked_says_yes_beforehand() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let refused = world.run(&["-C", "a", "identity", "revoke"]).fails(1, "confirmation_needed");
    assert!(text(&refused.error(), "hint").contains("--yes"));
    // An answer that nobody typed is none, and with --json nobody is asked.
    world.feed(&["-C", "a", "identity", "revoke"], b"y\n").fails(1, "confirmation_needed");
    let seen = world.on_terminal(80, &["-C", "a", "identity", "revoke", "--json"]);
    assert_eq!(seen.code, Some(1), "{}", seen.written);
    assert!(seen.lines.concat().contains("confirmation_needed") && !is_revoked(&world));
    world.run(&["-C", "a", "identity", "revoke", "--yes"]).ok();
    assert!(is_revoked(&world));
}

#[test]
fn a_code_is_typed_with_completion() {
    let world = World::new();
    let serve = ["serve", "--space", "s", "--policy", "open", "--listen", "127.0.0.1:0", "--door", "mailbox"];
    let server = Server::start(&world, &serve);
    let today = (server.url.replace("http", "ws") + "/v1", &[][..]);
    let relay = (server.url.clone() + "/wormhole-relay/", &["--seed", "symmetric"][..]);
    for (url, form) in [today, relay] {
        for fixed in [&["--code", "7-crossover-clockwork"][..], &[]] {
            let send = ["wormhole", "send", "hello there", "--server", &url];
            let mut sending = world.command(&[&send[..], form, fixed].concat()).stdout(Stdio::piped()).spawn().unwrap();
            let mut code = String::new();
            BufReader::new(sending.stdout.as_mut().unwrap()).read_line(&mut code).unwrap();
            let code = code.trim_end();
            let (number, words) = code.split_once('-').unwrap();
            // A number that was given out is in use by now, one that is fixed perhaps not yet.
            let keys = if fixed.is_empty() { format!("{number}\t{words}\r") } else { "7-crosso\tcloc\t\r".into() };
            let mut terminal = world.terminal(80, &[&["wormhole", "receive", "--server", &url], form].concat(), |_| {});
            terminal.until("code: ");
            terminal.type_in(&keys);
            let seen = terminal.wait();
            assert_eq!(seen.code, Some(0), "{}", seen.written);
            assert_eq!(seen.lines, [&format!("code: {code}"), "hello there"]);
            assert!(sending.wait().unwrap().success());
        }
    }
    for (key, code) in [("\u{3}", 130), ("\u{4}", 2)] {
        let url = server.url.replace("http", "ws") + "/v1";
        let mut terminal = world.terminal(80, &["wormhole", "receive", "--server", &url], |_| {});
        terminal.until("code: ");
        terminal.type_in(key);
        let seen = terminal.wait();
        assert_eq!(seen.code, Some(code), "{}", seen.written);
    }
    drop(server);
}

/// A folder with enough in it that reading and sending take a while.
fn large(world: &World, device: &str) {
    for i in 0..60 {
        world.write(&format!("{device}/dir {}/file {i}.txt", i % 7), &format!("line of {i}\n").repeat(2_000));
    }
    // Binary, in many chunks.
    let bytes: Vec<u8> = (0..6_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(world.path(&format!("{device}/large.bin")), bytes).unwrap();
}

#[test]
fn progress_goes_away_before_a_result_is_printed_however_narrow_the_terminal_is() {
    for columns in [80, 50, 20] {
        let world = World::new();
        let server = world.serve("server");
        world.run(&["init", "a", "--remote", &server.url]).ok();
        large(&world, "a");
        let seen = world.on_terminal(columns, &["-C", "a", "sync"]);
        assert_eq!(seen.code, Some(0), "{}", seen.written);
        assert!(seen.written.contains("reading "), "{}", seen.written);
        assert!(seen.written.contains("comparing"), "{}", seen.written);
        let text = seen.lines.concat();
        assert!(text.contains(" sent, 0 files received"), "{columns}: {:?}", seen.lines);
        for word in ["reading", "comparing", "sending", "committing", "connecting"] {
            assert!(!text.contains(word), "{columns}: {word} stays on the screen: {:?}", seen.lines);
        }
        let seen = world.on_terminal(columns, &["clone", &server.url, "b"]);
        assert_eq!(seen.code, Some(0), "{}", seen.written);
        let text = seen.lines.concat();
        for word in ["receiving", "writing", "waiting"] {
            assert!(!text.contains(word), "{columns}: {word} stays on the screen: {:?}", seen.lines);
        }
        // Every line of the result stands there, wrapped where the terminal is narrow.
        for i in 0..60 {
            let line = format!("received dir {}/file {i}.txt", i % 7);
            assert!(text.contains(&line), "{columns}: {line} is lost: {:?}", seen.lines);
        }
        assert!(text.contains("received large.bin") && text.contains("identity: "), "{columns}: {:?}", seen.lines);
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn there_is_no_progress_where_nobody_sees_it() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    large(&world, "a");
    let done = world.run(&["-C", "a", "snapshot"]).ok();
    assert_eq!(done.stderr, "");
    assert!(!done.stdout.contains('\u{1b}') && !done.stdout.contains('\r'), "{}", done.stdout);
    world.write("a/more.txt", "more\n");
    let seen = world.on_terminal(80, &["-C", "a", "-q", "snapshot"]);
    assert_eq!((seen.code, seen.written.as_str()), (Some(0), ""));
}

#[test]
fn every_error_is_told_once_as_text_to_people_and_as_an_object_to_programs() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let told = |text: &str| text.matches("nothing.txt").count();
    let lines = |args: &[&str]| {
        let seen = world.on_terminal(200, args);
        assert_eq!(seen.code, Some(5), "{}", seen.written);
        seen.lines
    };
    let people = lines(&["-C", "a", "log", "nothing.txt"]);
    assert!(people[0].starts_with("ibgib: ") && told(&people.concat()) == 1, "{people:?}");
    assert!(!people.concat().contains('{'), "{people:?}");
    let programs = lines(&["-C", "a", "log", "nothing.txt", "--json"]);
    assert!(programs.len() == 1 && programs[0].starts_with("{\"error\":"), "{programs:?}");
    // Not on a terminal: whoever reads it is a program.
    let done = world.run(&["-C", "a", "log", "nothing.txt"]).fails(5, "not_found");
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    // Mistakes on the command line alike.
    let done = world.run(&["nonsense"]).fails(2, "usage");
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    let done = world.run(&[]).fails(2, "usage");
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
}

#[test]
fn colours_are_for_terminals_unless_somebody_says_otherwise() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    world.write("a/f.txt", "one\ntwo\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    world.write("a/f.txt", "one\nthree\n");
    world.write("a/new.txt", "new\n");
    let (red, green) = ("\u{1b}[31m", "\u{1b}[32m");
    let diff = world.on_terminal(80, &["-C", "a", "diff"]).written;
    assert!(diff.contains(&format!("{red}-two\u{1b}[m")), "{diff:?}");
    assert!(diff.contains(&format!("{green}+three\u{1b}[m")), "{diff:?}");
    let status = world.on_terminal(80, &["-C", "a", "status"]).written;
    assert!(status.contains(&format!("{green}added    new.txt\u{1b}[m")), "{status:?}");
    let log = world.on_terminal(80, &["-C", "a", "log", "f.txt"]).written;
    assert!(log.contains("\u{1b}[33m"), "{log:?}");
    for args in [["-C", "a", "diff"], ["-C", "a", "status"]] {
        let plain = world.run(&args).ok().stdout;
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        let never = world.on_terminal(80, &[&args[..], &["--color", "never"]].concat()).written;
        assert!(!never.contains("\u{1b}[3"), "{never:?}");
        let no_color = world
            .terminal(80, &args, |c| {
                c.env("NO_COLOR", "1");
            })
            .wait()
            .written;
        assert!(!no_color.contains("\u{1b}[3"), "{no_color:?}");
        let always = world.run(&[&args[..], &["--color", "always"]].concat()).ok().stdout;
        assert!(always.contains('\u{1b}'), "{always:?}");
        assert_eq!(strip(&always), plain);
        let json = world.run(&[&args[..], &["--color", "always", "--json"]].concat()).ok().stdout;
        assert!(!json.contains('\u{1b}'), "{json:?}");
    }
}

/// Without colours.
fn strip(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    out + rest
}

#[test]
fn what_is_longer_than_the_terminal_goes_through_a_pager() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let text: String = (0..300).map(|i| format!("line {i}\n")).collect();
    world.write("a/long.txt", &text);
    world.write("a/short.txt", "one\n");
    // The terminal has 200 rows.
    let pager = format!("cat > {}; echo it was paged", world.path("paged").display());
    let paged = |args: &[&str], name: &str, pager: &str| {
        world
            .terminal(80, args, |command| {
                command.env(name, pager);
            })
            .wait()
    };
    for name in ["PAGER", "IBGIB_PAGER"] {
        let seen = paged(&["-C", "a", "--color", "never", "diff", "long.txt"], name, &pager);
        assert_eq!(seen.code, Some(0), "{}", seen.written);
        assert_eq!(seen.lines, ["it was paged"]);
        assert!(world.read("paged").ends_with("+line 299\n"));
        std::fs::remove_file(world.path("paged")).unwrap();
        let seen = paged(&["-C", "a", "diff", "short.txt"], name, &pager);
        assert!(seen.lines.concat().contains("+one") && !world.path("paged").exists(), "{:?}", seen.lines);
        for nobody in ["", "cat", "no-such-pager-here", "/no/such/pager"] {
            let seen = paged(&["-C", "a", "diff", "long.txt"], name, nobody);
            assert!(seen.written.contains("+line 299"), "{nobody:?}");
        }
    }
    // Who leaves it before its end has seen enough.
    let seen = paged(&["-C", "a", "diff", "long.txt"], "PAGER", "head -n 1");
    assert_eq!(seen.code, Some(0), "{}", seen.written);
    // Not on a terminal there is none.
    let mut command = world.command(&["-C", "a", "diff", "long.txt"]);
    let done = command.env("PAGER", &pager).output().unwrap();
    assert!(String::from_utf8(done.stdout).unwrap().ends_with("+line 299\n") && !world.path("paged").exists());
}

#[test]
fn help_is_told_for_every_command_and_written_as_manual_pages() {
    let world = World::new();
    let all = world.run(&["help"]).ok().stdout;
    for command in ["sync", "identity", "help", "Exit codes"] {
        assert!(all.contains(command), "{command}: {all}");
    }
    assert!(world.run(&["help", "sync"]).ok().stdout.contains("--dry-run"));
    assert!(world.run(&["help", "identity", "revoke"]).ok().stdout.contains("--yes"));
    let error = world.run(&["help", "identity", "nonsense"]).fails(2, "usage").error();
    assert!(text(&error, "message").contains("identity nonsense") && text(&error, "hint").contains("revoke"));
    assert!(text(&world.run(&["help", "sync", "--json"]).ok().json(), "help").contains("--dry-run"));

    world.run(&["help", "--man", "man/man1"]).ok();
    for (page, what) in [("ibgib", "ENVIRONMENT"), ("ibgib-sync", "dry"), ("ibgib-identity-revoke", "yes")] {
        let text = world.read(&format!("man/man1/{page}.1"));
        assert!(
            text.starts_with(".ie") && text.contains(".TH") && text.to_uppercase().contains(&what.to_uppercase()),
            "{page}: {text}"
        );
    }
}

#[test]
fn completions_know_where_paths_are_wanted() {
    let world = World::new();
    let zsh = world.run(&["completions", "zsh"]).ok().stdout;
    for wanted in ["PATH|ADDR:_files", "target -- A path", "--secret-file=", ":_files"] {
        assert!(zsh.contains(wanted), "{wanted}");
    }
    assert!(world.run(&["completions", "fish"]).ok().stdout.contains(" -r -F"));
    assert!(world.run(&["completions", "bash"]).ok().stdout.contains("compgen -f"));
    world.run(&["completions", "nonsense"]).fails(2, "usage");
}

#[test]
fn a_command_that_ends_while_it_asks_for_a_password_shows_typing_again() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let register = ["-C", "a", "vault", "register", "--vault-url", "http://127.0.0.1:1", "--email", "joe@example.com"];
    for signal in ["-INT", "-TERM"] {
        let mut terminal = world.terminal(80, &register, |_| {});
        terminal.until("New password: ");
        assert!(!terminal.echoes());
        terminal.signal(signal);
        terminal.until("interrupted");
        assert!(terminal.echoes(), "{signal}");
        assert_eq!(terminal.wait().code, Some(130), "{signal}");
    }
    // Typed and read, and never shown.
    let mut terminal = world.terminal(80, &register, |_| {});
    terminal.until("New password: ");
    terminal.type_in("secret\n");
    terminal.until("The same again: ");
    terminal.type_in("other\n");
    terminal.until("not the same");
    assert!(terminal.echoes() && !terminal.written.contains("secret"));
    assert_eq!(terminal.wait().code, Some(2));
}
