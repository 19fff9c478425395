//! What people see: the command on a real pseudo-terminal.

mod common;
#[path = "common/pty.rs"]
mod pty;

use common::{World, text};
use ibgib::Value;

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
