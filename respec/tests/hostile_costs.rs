//! What strangers can make a server do: little, and nothing that keeps others waiting.

use ibgib::{Addr, IbGib, Value, Verified};
use ibgib_keystone::{Chain, Claim, Secret, SignOpts};
use ibgib_peer::entropy::{OsEntropy, now_ms};
use ibgib_peer::{
    Host, HostEvent, HostLimits, HostOptions, Link, Remote, SecretSource, SenderIdentity, SyncPeer, WebSocketRemote,
    identity as identities,
};
use ibgib_saga::{Limits, Packet};
use ibgib_scenarios::faults::Simulated;
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::{Commit, MemorySpace, Space};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn host(space: &Arc<dyn Space>, host_limits: HostLimits) -> Arc<Host> {
    let allow_strategies = vec!["hash-reveal-v1".to_owned()];
    Host::new(Arc::clone(space), HostOptions { host_limits, allow_strategies, ..HostOptions::default() })
}

/// An identity's frames: the genesis and `count` more, and its state after the last.
fn identity(secret: &Secret, count: usize) -> (Vec<Verified<IbGib>>, Chain) {
    let pools = ibgib_keystone::config::identity_pools(&ibgib_keystone::config::random_salts(&mut OsEntropy));
    let born = ibgib_keystone::genesis(secret, &pools, None, now_ms(), &mut OsEntropy).unwrap();
    let (mut frames, mut chain) = (vec![born.frame], born.chain);
    for i in 0..count {
        let claim = Claim { verb: "sync".into(), target: format!("target {i}"), ..Claim::default() };
        let signed =
            ibgib_keystone::sign(&chain, secret, &claim, SignOpts::default(), now_ms(), &mut OsEntropy).unwrap();
        frames.push(signed.frame);
        chain = signed.chain;
    }
    (frames, chain)
}

/// A keystone frame that nobody signed.
fn junk(tjp: &Addr, past: &Addr, n: usize) -> Verified<IbGib> {
    let data = ibgib::object([("n", Value::integer(n))]);
    let rel8ns = ibgib::object([("past", ibgib::strings([past.as_str()])), ("tjp", ibgib::strings([tjp.as_str()]))]);
    IbGib { ib: "keystone".into(), data: Some(data), rel8ns: Some(rel8ns), ..IbGib::default() }.seal().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_do_not_fit_cost_no_replay() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("cheap"));
    let secret = Secret::new(b"a secret of the costs".to_vec());
    let (frames, chain) = identity(&secret, 8);
    let tjp = chain.tjp().clone();
    let first = host(&space, HostLimits::default());
    first.post_genesis_keystone(&frames[0]).await.unwrap();
    first.post_evolution(&tjp, &frames[1..], None).await.unwrap();

    // A host that has just started has no states in memory.
    let again = host(&space, HostLimits::default());
    // What follows the newest frame is told by the rule that it breaks.
    let cases = [(0, 1, "identity_stale"), (3, 4, "identity_stale"), (3, 99, "identity_stale"), (8, 9, "proofs")];
    for (past, n, code) in cases {
        let error = again.post_evolution(&tjp, &[junk(&tjp, frames[past].addr(), n)], None).await.unwrap_err();
        assert_eq!(error.code(), code, "after {past}: {error}");
    }
    let nowhere = format!("keystone^{}", "0".repeat(64)).parse().unwrap();
    let stale = again.post_evolution(&tjp, &[junk(&tjp, &nowhere, 1)], None).await.unwrap_err();
    assert_eq!(stale.code(), "identity_stale");
    assert_eq!((again.jobs_begun(), again.kept_identities_bytes()), (0, 0));
    // Who has the secret goes on.
    let claim = Claim { verb: "sync".into(), target: "the next".into(), ..Claim::default() };
    let next = ibgib_keystone::sign(&chain, &secret, &claim, SignOpts::default(), now_ms(), &mut OsEntropy).unwrap();
    assert_eq!(again.post_evolution(&tjp, std::slice::from_ref(&next.frame), None).await.unwrap(), *next.frame.addr());
    assert_eq!(again.jobs_begun(), 1);
}

/// Hands on what a sender says, but holds its proof back, and tells that it is there, until all may be given.
fn held_back(remote: WebSocketRemote, proven: mpsc::Sender<()>, go: tokio::sync::watch::Receiver<bool>) -> Simulated {
    let hands = move |Link { tx, rx, signs }: Link| {
        let (ours, mut theirs) = tokio::sync::mpsc::channel::<Packet>(16);
        let (proven, mut go) = (proven.clone(), go.clone());
        tokio::spawn(async move {
            while let Some(packet) = theirs.recv().await {
                if matches!(&packet, Packet::Text(text) if text.contains("\"connect_proof\"")) {
                    proven.send(()).unwrap();
                    go.wait_for(|go| *go).await.unwrap();
                }
                if tx.send(packet).await.is_err() {
                    return;
                }
            }
        });
        Link { tx: ours, rx, signs }
    };
    Simulated::between(Arc::new(remote), hands)
}

/// The server's threads for blocking work all stand still: nothing is checked where connections are served.
#[test]
fn proofs_are_checked_a_few_at_a_time_and_never_where_others_are_served() {
    const PEERS: usize = 12;
    const CHECKS: usize = 2;
    const THREADS: usize = 8;
    let clients = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("5".repeat(64)));
    let host = host(&space, HostLimits { checks_max: CHECKS, ..HostLimits::default() });
    let mut events = host.events();
    let listen = ([127, 0, 0, 1], 0).into();
    let options = ServeOptions { listen, ..ServeOptions::default() };
    let server = servers.block_on(Server::start(Arc::clone(&host), options)).unwrap();
    let (proven, proofs) = mpsc::channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let remote = WebSocketRemote::new(&server.url(), Limits::default().message_bytes_max).unwrap();
    let remote: Arc<dyn Remote> = Arc::new(held_back(remote, proven, gone));
    let mut peers = Vec::new();
    for i in 0..PEERS {
        let mut peer = clients.block_on(async {
            let device: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
            let secret = Secret::new(format!("secret {i}").into_bytes());
            let pools = ibgib_keystone::config::identity_pools(&ibgib_keystone::config::random_salts(&mut OsEntropy));
            let tjp = identities::create_with_pools(&*device, &secret, &pools).await.unwrap().tjp().clone();
            let who = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
            let mut peer = SyncPeer::new(device, Arc::clone(&remote), Some(who), Limits::default());
            peer.establish_session_identity().await.unwrap();
            peer
        });
        peers.push(clients.spawn(async move { peer.connect().await.map(|()| peer) }));
    }
    for _ in 0..PEERS {
        proofs.recv().unwrap();
    }
    let before = host.checks_begun();
    let (standing, stood) = mpsc::channel();
    let end: Vec<_> = (0..THREADS)
        .map(|_| {
            let (end, ended) = mpsc::channel::<()>();
            let standing = standing.clone();
            servers.spawn_blocking(move || {
                standing.send(()).unwrap();
                let _ = ended.recv();
            });
            end
        })
        .collect();
    for _ in 0..THREADS {
        stood.recv().unwrap();
    }
    go.send(true).unwrap();
    let mut came = 0;
    while came < PEERS {
        if let HostEvent::Message(message) = clients.block_on(events.recv()).unwrap() {
            came += usize::from(message.incoming && message.kind == "connect_proof");
        }
    }
    let health = "GET /api/v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for _ in 0..10 {
        assert!(clients.block_on(ask(&server, health)).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(host.checks_begun() - before, CHECKS as u64);
    drop(end);
    for peer in peers {
        clients.block_on(peer).unwrap().unwrap();
    }
    assert!(host.checks_begun() - before >= PEERS as u64);
    let metrics = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let metrics = clients.block_on(ask(&server, metrics));
    assert!(metrics.contains(&format!("ibgib_checks_total {}\n", host.checks_begun())), "{metrics}");
    clients.block_on(server.shutdown());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_identities_is_bounded_in_bytes() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("kept"));
    let (one, _) = identity(&Secret::new(b"measured".to_vec()), 0);
    let bytes = one[0].to_json().len();
    let limits = HostLimits {
        kept_identities_bytes_max: 200 * bytes,
        identity_frame_bytes_max: 2 * bytes,
        ..HostLimits::default()
    };
    let host = host(&space, limits.clone());
    let mut most = 0;
    for i in 0..30 {
        let (frames, chain) = identity(&Secret::new(format!("secret {i}").into_bytes()), 0);
        host.post_genesis_keystone(&frames[0]).await.unwrap();
        host.post_evolution(chain.tjp(), &[], None).await.unwrap();
        most = most.max(host.kept_identities_bytes());
        assert!(host.kept_identities_bytes() <= limits.kept_identities_bytes_max);
    }
    assert!(most > limits.kept_identities_bytes_max / 2, "the room is used");
    // A genesis may say anything beside its pools, but not at length.
    let details = ibgib::object([("z", Value::Array(vec![Value::from(0u32); bytes]))]);
    let pools = ibgib_keystone::config::identity_pools(&ibgib_keystone::config::random_salts(&mut OsEntropy));
    let secret = Secret::new(b"long".to_vec());
    let long = ibgib_keystone::genesis(&secret, &pools, Some(details), now_ms(), &mut OsEntropy).unwrap();
    let error = host.post_genesis_keystone(&long.frame).await.unwrap_err();
    assert!(error.code() == "limit" && error.to_string().contains("identity_frame_bytes_max"), "{error}");
}

async fn server(space: Arc<dyn Space>, options: ServeOptions) -> Server {
    let listen = ([127, 0, 0, 1], 0).into();
    Server::start(host(&space, HostLimits::default()), ServeOptions { listen, ..options }).await.unwrap()
}

/// The answer to a request written by hand.
async fn ask(server: &Server, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    read.expect("no answer").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_names_and_pages_are_refused_on_every_route() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("names"));
    let options = ServeOptions { names: vec!["notes.example".into()], ..ServeOptions::default() };
    let server = server(space, options).await;
    let routes = [
        ("GET", "/api/v1/health"),
        ("POST", "/api/v1/keystones"),
        ("POST", "/api/v1/keystones/x%5Egib/frames"),
        ("GET", "/api/v1/ibgibs/x%5Egib"),
        ("GET", "/api/v1/tips/x%5Egib"),
        ("GET", "/api/v1/tips?ib=file"),
        ("GET", "/api/v1/sync"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/metrics"),
    ];
    for (method, path) in routes {
        let request = |host: &str, more: &str| {
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n{more}\r\n")
        };
        let foreign = ask(&server, &request("evil.example:7070", "")).await;
        assert!(foreign.starts_with("HTTP/1.1 403 ") && foreign.contains("\"host\""), "{path}: {foreign}");
        let page = ask(&server, &request("localhost", "origin: https://evil.example\r\n")).await;
        assert!(page.starts_with("HTTP/1.1 403 ") && page.contains("\"foreign_origin\""), "{path}: {page}");
        for own in ["127.0.0.1:1", "notes.example", "Notes.Example:443"] {
            let answer = ask(&server, &request(own, "")).await;
            assert!(!answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        }
    }
    server.shutdown().await;
}

/// A message that never ends, announced as 1 MiB: the server does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_proven_who_he_is_fills_no_memory() {
    let limits = Limits { handshake_ms_max: 3_600_000, ..Limits::default() };
    let host = Host::new(Arc::new(MemorySpace::new("gate")), HostOptions { limits, ..HostOptions::default() });
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let handshake = "GET /api/v1/sync HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "RFC 6455, 1.3: {head}");
    let mut message = vec![0x01, 0xff];
    message.extend((1u64 << 20).to_be_bytes());
    message.extend([0; 4]);
    message.extend(vec![b'a'; 512 * 1024]);
    // It may be closed before all of it has left.
    let _ = stream.write_all(&message).await;
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut Vec::new())).await;
    assert!(read.is_ok(), "half a message is being waited for");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_registers_only_so_much() {
    let (frames, _) = identity(&Secret::new(b"one".to_vec()), 0);
    let body = frames[0].to_json();
    let options = ServeOptions {
        registered_bytes_max: body.len() as u64 + 100,
        registered_bytes_per_second: 1,
        ..ServeOptions::default()
    };
    let server = server(Arc::new(MemorySpace::new("rates")), options).await;
    let post = format!(
        "POST /api/v1/keystones HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(ask(&server, &post).await.starts_with("HTTP/1.1 201 "));
    let second = ask(&server, &post).await;
    assert!(second.starts_with("HTTP/1.1 429 ") && second.contains("\"too_many_requests\""), "{second}");
    let metrics = ask(&server, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(metrics.contains("ibgib_too_many_requests_total 1\n"), "{metrics}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_is_given_up() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("unread"));
    let leaves: Vec<Verified<IbGib>> = (0..64u32)
        .map(|i| {
            let data = ibgib::object([("i", i.into()), ("text", "x".repeat(1 << 20).into())]);
            IbGib { ib: "leaf".into(), data: Some(data), ..IbGib::default() }.seal().unwrap()
        })
        .collect();
    let rel8ns = ibgib::object([("leaf", ibgib::strings(leaves.iter().map(|l| l.addr().as_str())))]);
    let root = IbGib { ib: "root".into(), rel8ns: Some(rel8ns), ..IbGib::default() }.seal().unwrap();
    let nodes = leaves.iter().chain([&root]).cloned().collect();
    space.commit(Commit { nodes, ..Commit::default() }).await.unwrap();
    let options = ServeOptions { write_ms_max: 200, graphs_max: 1, ..ServeOptions::default() };
    let server = server(space, options).await;
    let addr = root.addr().as_str().replace('^', "%5E");
    let get = format!("GET /api/v1/ibgibs/{addr}?getGraph=true HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut unread = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    unread.write_all(get.as_bytes()).await.unwrap();
    // It has the place once its answer begins; without waiting for that, the next one could have it first.
    assert_eq!(unread.read_u8().await.unwrap(), b'H');
    // The only place is free again, so the next one gets its answer whole.
    let whole = get.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let last = ask(&server, &whole).await;
    assert!(last.starts_with("HTTP/1.1 200 ") && last.len() > 64 << 20, "{} bytes", last.len());
    let mut told = Vec::new();
    // It ended in the middle.
    let _ = unread.read_to_end(&mut told).await;
    assert!(told.len() < 64 << 20, "{} bytes", told.len());
    server.shutdown().await;
}

/// A server that answers every request with this head, and with the same bytes over and over for as long as they are taken.
async fn endless(head: &'static str, bytes: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4_096]).await;
                if stream.write_all(head.as_bytes()).await.is_ok() {
                    while stream.write_all(&bytes).await.is_ok() {}
                }
            });
        }
    });
    url
}

/// Would it not be so, the client would read for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_answer_is_read_up_to_its_limit_and_lists_line_by_line() {
    const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 422 Unprocessable Content\r\nconnection: close\r\n\r\n";
    let remote = |url: String| WebSocketRemote::new(&url, Limits::default().message_bytes_max).unwrap();
    let (frames, chain) = identity(&Secret::new(b"asked for".to_vec()), 0);
    let spaces = vec![b' '; 1 << 20];
    for head in [OK, REFUSED] {
        let remote = remote(endless(head, spaces.clone()).await);
        let error = match head {
            OK => remote.audience().await.unwrap_err(),
            _ => remote.post_genesis_keystone(&frames[0]).await.unwrap_err(),
        };
        assert!(error.code() == "limit" && error.to_string().contains("answer_bytes_max"), "{error}");
        // Of a list a line has a limit of its own, and an error's words are few.
        assert_eq!(remote.keystone_frames(chain.tjp()).await.unwrap_err().code(), "bad_answer");
    }
    // Frames that would do, one after the other.
    let line = format!("{}\n", frames[0].to_json()).repeat(16).into_bytes();
    let error = remote(endless(OK, line).await).keystone_frames(chain.tjp()).await.unwrap_err();
    assert!(error.code() == "limit" && error.to_string().contains("keystone_bytes_max"), "{error}");
    // Anything else among them.
    let note = IbGib { ib: "note".into(), ..IbGib::default() }.seal().unwrap();
    let line = format!("{}\n", note.to_json()).into_bytes();
    let error = remote(endless(OK, line).await).keystone_frames(chain.tjp()).await.unwrap_err();
    assert_eq!(error.code(), "bad_answer");
}
