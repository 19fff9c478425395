//! Servers with TLS, as clients meet them: a key that is remembered, and followed to another one; authorities; and servers that
//! are not the one that was met.

mod common;

use common::{Done, Server, World, damage, number, text};
use ibgib::Value;
use ibgib_peer::Invite;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A server with a certificate of its own, and its key as it prints it.
fn serve_own(world: &World, space: &str) -> (Server, String) {
    let args = ["serve", "--space", space, "--policy", "open", "--listen", "127.0.0.1:0", "--tls", "self"];
    let (server, mut printed) = Server::start_and_read(world, &args);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let key = line.trim().strip_prefix("key ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (server, key)
}

/// A server that lets in whom its owner invites, at this address: its key, and the token that makes somebody its owner.
fn serve_owned(world: &World, space: &str, listen: &str) -> (Server, String, String) {
    let args = ["serve", "--space", space, "--listen", listen, "--tls", "self"];
    let (server, printed) = Server::start_and_read(world, &args);
    let mut token = String::new();
    for line in printed.lines() {
        let line = line.unwrap();
        if let Some(told) = line.strip_prefix("owner token ") {
            told.clone_into(&mut token);
        }
        if let Some(key) = line.strip_prefix("key ") {
            return (server, key.to_owned(), token);
        }
    }
    panic!("no key was printed");
}

/// Makes the key that is to follow the one of a server: that one, and it.
fn renew(world: &World, space: &str) -> (String, String) {
    let made = world.run(&["new-tls-key", "--space", space, "--json"]).ok().json();
    (text(&made, "before").to_owned(), text(&made, "key").to_owned())
}

/// Syncs until the device was led to another key: a signal is handled some time after it was sent.
fn sync_until_led(world: &World, device: &str) -> Done {
    loop {
        let done = world.run(&["-C", device, "sync", "--json"]).ok();
        if done.json().get("serverKey") != Some(&Value::Null) {
            return done;
        }
    }
}

fn config(world: &World, device: &str) -> String {
    world.read(&format!("{device}/.ibgib/config.toml"))
}

/// A device that has synced one file with the server.
fn alice(world: &World, url: &str) {
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
}

/// Makes the device believe that the server it knows stands at another URL.
fn move_server(world: &World, device: &str, from: &str, to: &str) {
    let path = format!("{device}/.ibgib/config.toml");
    let config = world.read(&path);
    assert!(config.contains(from), "{config}");
    world.write(&path, &config.replace(from, to));
}

#[test]
fn a_server_signs_its_own_certificate_and_is_known_by_its_key_from_then_on() {
    let world = World::new();
    let (server, key) = serve_own(&world, "server");
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    alice(&world, &server.url);
    let config = world.read("alice/.ibgib/config.toml");
    assert!(config.contains(&key), "{config}");
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(world.read("bob/notes.txt"), "one\n");
    assert_eq!(world.tips("alice"), world.tips("bob"));

    // Started again it makes a new certificate around the same key.
    let before = server.url.clone();
    server.kill();
    let (server, again) = serve_own(&world, "server");
    assert_eq!(again, key);
    move_server(&world, "alice", &before, &server.url);
    world.run(&["-C", "alice", "sync"]).ok();

    // Another server in its place is refused before anything is sent.
    let (other, _) = serve_own(&world, "other");
    move_server(&world, "alice", &server.url, &other.url);
    world.write("alice/notes.txt", "two\n");
    let done = world.run(&["-C", "alice", "sync"]).fails(7, "server_changed");
    assert!(text(&done.error(), "hint").contains("config.toml"), "{}", done.stderr);
    drop(other);
    assert_eq!(world.run(&["--space", "other", "tips"]).ok().stdout, "");
}

#[test]
fn another_space_behind_a_known_url_is_refused() {
    let world = World::new();
    let server = world.serve("server");
    alice(&world, &server.url);
    let other = world.serve("other");
    move_server(&world, "alice", &server.url, &other.url);
    let done = world.run(&["-C", "alice", "sync"]).fails(7, "server_changed");
    assert!(text(&done.error(), "message").contains("space"), "{}", done.stderr);
    world.run(&["-C", "alice", "identity", "revoke", "--yes"]).fails(7, "server_changed");
    drop(other);
    assert_eq!(world.run(&["--space", "other", "tips", "--kind", "all"]).ok().stdout, "");
}

#[test]
fn an_authority_vouches_for_a_server_whose_certificate_is_read_again_at_a_signal() {
    let world = World::new();
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        world.write(name, &params.self_signed(&key).unwrap().pem());
        Issuer::new(params, key)
    };
    let ca = authority("ca.pem");
    authority("other-ca.pem");
    let issue = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        world.write("cert.pem", &params.signed_by(&key, &ca).unwrap().pem());
        world.write("key.pem", &key.serialize_pem());
    };
    issue(&["127.0.0.1"]);
    let args = ["serve", "--space", "server", "--policy", "open", "--listen", "127.0.0.1:0"];
    let files = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let (server, mut printed) = Server::start_and_read(&world, &[&args[..], &files].concat());
    let mut first = String::new();
    printed.read_line(&mut first).unwrap();

    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync", "--ca", "other-ca.pem"]).fails(7, "server_untrusted");
    world.run(&["-C", "alice", "sync", "--ca", "notes-not-there.pem"]).fails(5, "not_found");
    world.run(&["-C", "alice", "sync", "--ca", "alice/notes.txt"]).fails(2, "usage");
    world.run(&["-C", "alice", "sync", "--ca", "ca.pem"]).ok();
    // The authority is remembered, so that a new key under it is no other server.
    issue(&["127.0.0.1"]);
    server.signal("-HUP");
    world.write("alice/notes.txt", "two\n");
    world.run(&["-C", "alice", "sync"]).ok();
    // A certificate for another name is no certificate for this server. The signal is handled some time after it was
    // sent, and connections until then see the certificate before.
    issue(&["elsewhere.example"]);
    server.signal("-HUP");
    let refused = loop {
        let done = world.run(&["-C", "alice", "sync"]);
        if done.code != Some(0) {
            break done;
        }
    };
    refused.fails(7, "server_untrusted");
}

#[test]
fn options_of_tls_that_do_not_go_together_or_cannot_be_used_are_told() {
    let world = World::new();
    let serve = |more: &[&str]| {
        world.run(&[&["serve", "--space", "server", "--policy", "open", "--listen", "127.0.0.1:0"], more].concat())
    };
    serve(&["--tls-cert", "cert.pem"]).fails(2, "usage");
    serve(&["--tls", "self", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]).fails(2, "usage");
    let done = serve(&["--tls-cert", "cert.pem", "--tls-key", "key.pem"]).fails(1, "certificate");
    assert!(text(&done.error(), "subject").ends_with("cert.pem"), "{}", done.stderr);
    serve(&["--tls", "self", "--dev-tools"]).fails(2, "usage");
    // Beyond this machine nothing is listened on without encryption, unless that was asked for.
    world.run(&["serve", "--space", "server", "--policy", "open", "--listen", "0.0.0.0:0"]).fails(2, "plain_text");
    let args = ["serve", "--space", "server", "--policy", "open", "--listen", "0.0.0.0:0", "--tls", "self"];
    assert_eq!(Server::start(&world, &args).stop(), Some(0));
}

#[test]
fn plain_text_to_tls_and_tls_to_plain_text_are_told_with_the_way_out() {
    let world = World::new();
    let (tls, _) = serve_own(&world, "tls");
    let plain = world.serve("plain");
    for (name, url, code, way_out) in [
        ("alice", tls.url.replace("https", "http"), "tls_required", "https://"),
        ("bob", plain.url.replace("http", "https"), "no_tls", "http://"),
    ] {
        world.write(&format!("{name}/notes.txt"), "one\n");
        world.run(&["init", name]).ok();
        let done = world.run(&["-C", name, "sync", &url]).fails(1, code);
        assert!(text(&done.error(), "hint").contains(way_out), "{}", done.stderr);
        // What cannot be spoken to is not remembered.
        let told = world.run(&["-C", name, "status", "--json"]).ok().json();
        assert_eq!(told.get("remote").and_then(Value::as_str), None, "{url}");
        world.run(&["clone", &url, "carol"]).fails(1, code);
    }
}

#[test]
fn every_command_that_asks_a_server_speaks_tls() {
    let world = World::new();
    let (server, key) = serve_own(&world, "server");
    alice(&world, &server.url.replace("https", "wss"));
    world.run(&["clone", &server.url, "bob"]).ok();
    // Two ways to write one URL are one server, and a clone knows it, too.
    for device in ["alice", "bob"] {
        let config = world.read(&format!("{device}/.ibgib/config.toml"));
        assert!(config.contains(&format!("[servers.\"{}\"]", server.url)) && config.contains(&key), "{config}");
    }
    world.write("bob/notes.txt", "two\n");
    world.run(&["-C", "bob", "sync"]).ok();
    let told = world.run(&["-C", "alice", "status", "--fetch", "--json"]).ok().json();
    assert_eq!(number(&told, &["waiting"]), 1);
    world.run(&["init", "carol", "--join", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "carol", "sync"]).ok();
    assert_eq!(world.read("carol/notes.txt"), "two\n");

    let mut watcher = world.command(&["-C", "alice", "sync", "--watch", "--json"]);
    let mut watcher = watcher.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watcher.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"received\""), "{line}");
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    assert_eq!(world.read("alice/notes.txt"), "two\n");

    world.run(&["-C", "carol", "identity", "rotate"]).ok();
    world.run(&["-C", "carol", "identity", "revoke", "--yes"]).ok();
    // A good copy comes from the server.
    let tip = text(&world.run(&["-C", "bob", "log", "notes.txt", "--json"]).ok().lines()[0], "addr").to_owned();
    let forget = || damage(&world.path("bob/.ibgib/space"), &tip, |_| None);
    forget();
    let args = ["-C", "bob", "fsck", "--repair-from", &server.url, "--json"];
    assert_eq!(number(&world.run(&args).ok().json(), &["repaired"]), 1);

    // Another server in its place gets nothing from any of them.
    let (other, _) = serve_own(&world, "other");
    move_server(&world, "bob", &server.url, &other.url);
    let asking: [&[&str]; 5] = [
        &["sync"],
        &["sync", "--watch"],
        &["status", "--fetch"],
        &["fsck", "--repair-from", &other.url],
        &["identity", "revoke", "--yes"],
    ];
    for args in asking {
        if args[0] == "fsck" {
            forget();
        }
        let done = world.run(&[&["-C", "bob"], args].concat()).fails(7, "server_changed");
        assert!(text(&done.error(), "hint").contains("[servers]"), "{}", done.stderr);
    }
    assert_eq!(other.stop(), Some(0));
    assert_eq!(world.run(&["--space", "other", "tips", "--kind", "all"]).ok().stdout, "");
}

#[test]
fn devices_follow_a_server_to_another_key_that_its_space_has_signed_for_and_to_no_other() {
    let world = World::new();
    let (server, first, token) = serve_owned(&world, "server", "127.0.0.1:0");
    let listen = server.url.strip_prefix("https://").unwrap().to_owned();
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &server.url, "--token", &token]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let invite =
        || text(&world.run(&["-C", "alice", "invite", "--uses", "5", "--json"]).ok().json(), "invite").to_owned();
    let early = invite();
    world.run(&["clone", &early, "bob"]).ok();
    world.run(&["clone", &early, "carol"]).ok();
    let stolen = world.read("server/tls.key");

    // Nobody sees the new key before the server takes it.
    let (before, second) = renew(&world, "server");
    assert_eq!(before, first);
    let done = world.run(&["-C", "alice", "sync", "--json"]).ok();
    assert_eq!(done.json().get("serverKey"), Some(&Value::Null));
    server.signal("-HUP");
    let led = sync_until_led(&world, "alice");
    let told = led.json().get("serverKey").unwrap().clone();
    assert_eq!((text(&told, "before"), text(&told, "key")), (&*first, &*second));
    assert!(led.stderr.contains("has signed that it follows the known one"), "{}", led.stderr);
    let now = config(&world, "alice");
    assert!(now.contains(&second) && now.contains("key_number = \"1\"") && !now.contains(&first), "{now}");
    let done = world.run(&["-C", "alice", "sync", "--json"]).ok();
    assert_eq!((done.json().get("serverKey"), &*done.stderr), (Some(&Value::Null), ""));
    // With an invite of before the change, which carries the old key, and with one of now.
    world.run(&["clone", &early, "dave"]).ok();
    assert_eq!(world.read("dave/notes.txt"), "one\n");
    assert!(config(&world, "dave").contains(&second) && !config(&world, "dave").contains(&first));
    world.run(&["-C", "dave", "sync"]).ok();
    let late: Invite = invite().parse().unwrap();
    assert_eq!(late.key.unwrap().to_string(), second);

    // A watcher goes on over a restart that brings the next one; a device that was not there is led over both.
    let mut watching = world.command(&["-C", "bob", "sync", "--watch", "--json"]);
    let mut watcher = watching.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut printed = BufReader::new(watcher.stdout.take().unwrap()).lines();
    assert!(printed.next().unwrap().unwrap().contains(&second));
    let (_, third) = renew(&world, "server");
    assert_eq!(server.stop(), Some(0));
    let (server, key, _) = serve_owned(&world, "server", &listen);
    assert_eq!(key, third);
    let line = printed.next().unwrap().unwrap();
    assert!(line.contains(&second) && line.contains(&third), "{line}");
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    world.run(&["-C", "carol", "status", "--fetch"]).ok();
    world.run(&["-C", "alice", "devices"]).ok();
    for device in ["alice", "bob", "carol"] {
        let now = config(&world, device);
        assert!(now.contains(&third) && now.contains("key_number = \"2\""), "{device}: {now}");
    }
    // Who never met the keystone is not led.
    world.run(&["init", "erin", "--remote", &server.url]).ok();
    world.write("erin/.ibgib/config.toml", &config(&world, "alice").replace(&third, &first));
    let done = world.run(&["-C", "erin", "sync"]).fails(7, "server_changed");
    assert!(text(&done.error(), "hint").contains("config.toml"), "{}", done.stderr);

    // Whoever stole the first key is refused by those who were led on; and so is a server whose own keystone says that its key
    // follows: of the same key, and of another.
    assert_eq!(server.stop(), Some(0));
    let (thief, _, _) = serve_owned(&world, "thief", &listen);
    world.write("alice/notes.txt", "two\n");
    world.run(&["-C", "alice", "sync"]).fails(7, "server_changed");
    assert_eq!(thief.stop(), Some(0));
    world.write("thief/tls.key", &stolen);
    let (thief, key, _) = serve_owned(&world, "thief", &listen);
    assert_eq!(key, first);
    for args in [&["sync"][..], &["status", "--fetch"], &["identity", "revoke", "--yes"], &["devices"]] {
        world.run(&[&["-C", "alice"], args].concat()).fails(7, "server_changed");
    }
    assert_eq!(thief.stop(), Some(0));
    // Nobody brought anything: there is its own keystone and nothing else.
    assert_eq!(world.run(&["--space", "thief", "tips", "--kind", "all"]).ok().stdout.lines().count(), 1);
}

#[test]
fn another_pair_of_files_is_followed_as_a_key_of_the_servers_own_is() {
    let world = World::new();
    let certify = || {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        world.write("cert.pem", &params.self_signed(&key).unwrap().pem());
        world.write("key.pem", &key.serialize_pem());
    };
    certify();
    let args = ["serve", "--space", "server", "--policy", "open", "--listen", "127.0.0.1:0"];
    let files = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let server = Server::start(&world, &[&args[..], &files].concat());
    alice(&world, &server.url);
    certify();
    server.signal("-HUP");
    sync_until_led(&world, "alice");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["new-tls-key", "--space", "server"]).fails(1, "certificate");
    world.run(&["new-tls-key"]).fails(2, "usage");
    world.run(&["new-tls-key", "--space", "postgres://nobody@localhost/none"]).fails(2, "usage");
}
