//! Doors for pairing, and what goes through them.

mod common;

use common::{Server, World};
use std::io::BufRead;

#[test]
fn serve_tells_where_its_doors_stand() {
    let world = World::new();
    let serve = ["serve", "--space", "s", "--policy", "open", "--listen", "127.0.0.1:0"];
    let with = |more: &[&'static str]| [&serve[..], more].concat();
    let (server, mut printed) =
        Server::start_and_read(&world, &with(&["--door", "mailbox", "--door", "transit@127.0.0.1:0"]));
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, format!("door mailbox ws://127.0.0.1:{}/v1\n", server.port()));
    line.clear();
    printed.read_line(&mut line).unwrap();
    let at = line.trim_end().strip_prefix("door transit tcp:").unwrap_or_else(|| panic!("{line:?}"));
    let taken = format!("transit@{at}");
    world
        .run(&["serve", "--space", "t", "--policy", "open", "--listen", "127.0.0.1:0", "--door", &taken])
        .fails(1, "port_in_use");
    assert_eq!(server.stop(), Some(0));
    for wrong in [
        &["--door", "dance"][..],
        &["--door", "mailbox", "--door", "mailbox@127.0.0.1:0"],
        &["--door", "mailbox@nowhere"],
        &["--mailbox-no-list"],
    ] {
        world.run(&with(wrong)).fails(2, "usage");
    }
}
