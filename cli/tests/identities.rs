//! Identities that older versions made, whose signatures bind nothing: refused where they are new, brought over where
//! they are known.

mod common;

use common::{Server, World, text};
use ibgib::Value;
use ibgib_keystone::{Secret, config};
use ibgib_peer::entropy::OsEntropy;
use ibgib_peer::identity;
use ibgib_spaces::{Commit, durable};

/// Gives a device an identity as older versions made it.
fn with_an_old_identity(world: &World, device: &str) {
    let secret = Secret::new(hex::decode(world.read(&format!("{device}/.ibgib/secret"))).unwrap());
    let place = world.path(device).join(".ibgib/space");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let space = durable::open(&place).unwrap();
        let pools = config::identity_pools(&config::random_salts(&mut OsEntropy));
        let chain = identity::create_with_pools(&*space, &secret, &pools).await.unwrap();
        let records = vec![("device/identity".to_owned(), Some(chain.tjp().as_str().as_bytes().to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await.unwrap();
    });
}

#[test]
fn an_old_identity_is_refused_where_it_is_new_and_brought_over_where_it_is_known() {
    let world = World::new();
    let allowing = [
        "serve",
        "--space",
        "old",
        "--listen",
        "127.0.0.1:0",
        "--policy",
        "open",
        "--allow-strategy",
        "hash-reveal-v1",
    ];
    let (known, strict) = (Server::start(&world, &allowing), world.serve("strict"));
    world.run(&["init", "alice"]).ok();
    world.write("alice/notes.txt", "first\n");
    with_an_old_identity(&world, "alice");
    let strategy =
        || text(&world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json(), "strategy").to_owned();
    assert_eq!(strategy(), "hash-reveal-v1");
    assert!(world.run(&["-C", "alice", "identity", "show"]).ok().stdout.contains("ibgib identity rotate"));

    let refused = world.run(&["-C", "alice", "sync", &strict.url]).fails(7, "identity_strategy");
    assert!(refused.stderr.contains("--allow-strategy"), "{}", refused.stderr);
    world.run(&["-C", "alice", "sync", &known.url]).ok();

    // The original judges it as it did.
    let show = |addr: &str| world.run(&["-C", "alice", "show", addr, "--json"]).ok();
    let shown = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    let next = show(text(&shown, "tip"));
    let told = next.json();
    let past = told.get("rel8ns").and_then(|all| all.get("past")).and_then(Value::as_array).unwrap();
    world.write("prev.json", &show(past.last().unwrap().as_str().unwrap()).stdout);
    world.write("next.json", &next.stdout);
    world.run(&["keystone", "validate", "prev.json", "next.json", "--compat"]).ok();

    world.run(&["-C", "alice", "identity", "rotate"]).ok();
    assert_eq!(strategy(), "lms-v1");
    world.write("alice/notes.txt", "second\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "alice", "identity", "rotate"]).ok();
    world.run(&["clone", &known.url, "bob"]).ok();
    assert_eq!(world.read("bob/notes.txt"), "second\n");

    world.run(&["-C", "alice", "identity", "new"]).ok();
    world.run(&["-C", "alice", "sync", &strict.url]).ok();
    let unknown = [&allowing[..8], &["another"]].concat();
    world.run(&unknown).expect(2);
}
