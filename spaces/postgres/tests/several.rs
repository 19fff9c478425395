//! Several servers on one database, connections that break, and what is in a database that should not be.

mod common;

use async_trait::async_trait;
use common::{database, fresh, raw};
use futures_util::future::join_all;
use ibgib::{Addr, IbGib, Verified, object, strings};
use ibgib_postgres::PostgresSpace;
use ibgib_spaces::store::{Batch, Nodes, Written};
use ibgib_spaces::{Commit, CommitError, Space, SpaceError, Store, View, contract, fsck};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const FOR_EVER: Duration = Duration::from_secs(60);

fn stone(text: &str, to: &[&Addr]) -> Verified<IbGib> {
    let mut node = IbGib { ib: "stone".into(), data: Some(object([("text", text.into())])), ..IbGib::default() };
    if !to.is_empty() {
        node.rel8ns = Some(object([("to", strings(to.iter().map(|a| a.as_str())))]));
    }
    node.seal().unwrap()
}

fn nodes(nodes: &[&Verified<IbGib>]) -> Commit {
    Commit { nodes: nodes.iter().map(|n| (*n).clone()).collect(), ..Commit::default() }
}

/// Two servers, asked in turn: what one was told, the other has to know.
#[derive(Debug)]
struct Turns([PostgresSpace; 2], AtomicUsize);

impl Turns {
    /// In a database without a space.
    async fn over(url: &str) -> Arc<dyn Space> {
        let open = async || PostgresSpace::open_or_create(url).await.unwrap();
        Arc::new(Self([open().await, open().await], AtomicUsize::new(0)))
    }

    fn next(&self) -> &PostgresSpace {
        &self.0[self.1.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[async_trait]
impl Store for Turns {
    fn id(&self) -> &str {
        self.next().id()
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        self.next().view().await
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.next().write(batch).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.next().stage(owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.next().unstage(owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.next().lease(name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.next().give_up(name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.next().changed(since).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_are_one_space() {
    // To make a database takes longer than to keep most promises: each has a space of its own in the same one.
    let url = database().await;
    let client = raw(&url).await;
    let fresh = || async {
        client.batch_execute("DROP SCHEMA IF EXISTS ibgib CASCADE").await.unwrap();
        Turns::over(&url).await
    };
    contract::all(fresh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_servers_that_start_at_once_one_makes_the_space() {
    let url = database().await;
    assert!(matches!(PostgresSpace::open(&url).await, Err(SpaceError::NotFound(_))));
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { PostgresSpace::open_or_create(&url).await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for server in starting {
        ids.push(server.await.unwrap().id().to_owned());
    }
    ids.dedup();
    assert_eq!((ids.len(), ids[0].len()), (1, 64));
    assert_eq!(PostgresSpace::open(&url).await.unwrap().id(), ids[0]);
}

#[tokio::test]
async fn what_is_no_space_of_ours_is_told() {
    let url = database().await;
    let missing = PostgresSpace::open_or_create(&format!("{url}_not_there")).await.unwrap_err();
    assert!(matches!(missing, SpaceError::NotFound(_)), "{missing:?}");
    let nobody = PostgresSpace::open("postgres://ibgib@127.0.0.1:1/notes").await.unwrap_err();
    assert!(matches!(nobody, SpaceError::Unavailable(_)), "{nobody:?}");
    drop(PostgresSpace::open_or_create(&url).await.unwrap());
    raw(&url).await.batch_execute("INSERT INTO ibgib.migrations (version) VALUES (9)").await.unwrap();
    for newer in [PostgresSpace::open(&url).await, PostgresSpace::open_or_create(&url).await] {
        assert_eq!(newer.unwrap_err(), SpaceError::Newer { found: 9, known: 5 });
    }
}

/// What reads a database that an older program made leaves it to that program; what writes brings it up to date.
#[tokio::test]
async fn an_older_schema_is_read_as_it_is_and_changed_by_who_writes() {
    let url = database().await;
    let node = stone("from before", &[]);
    PostgresSpace::open_or_create(&url).await.unwrap().commit(nodes(&[&node])).await.unwrap();
    let client = raw(&url).await;
    let older = "DROP TABLE ibgib.leases; DROP FUNCTION ibgib.note_swept CASCADE;
        ALTER TABLE ibgib.space DROP COLUMN swept; DELETE FROM ibgib.migrations WHERE version > 1";
    client.batch_execute(older).await.unwrap();
    let version = async || {
        let row = client.query_one("SELECT max(version) FROM ibgib.migrations", &[]).await.unwrap();
        row.get::<_, i32>(0)
    };
    let space = PostgresSpace::open_read_only(&url).await.unwrap();
    assert_eq!(space.node(node.addr()).await.unwrap(), Some(node.clone()));
    assert!(fsck(&space).await.unwrap().is_clean());
    let refused = |error: &SpaceError| matches!(error, SpaceError::Permission(_));
    assert!(space.commit(nodes(&[&node])).await.is_err_and(|e| matches!(e, CommitError::Space(e) if refused(&e))));
    assert!(space.stage("owner", std::slice::from_ref(&node)).await.is_err_and(|e| refused(&e)));
    assert!(space.lease("work", "holder", FOR_EVER).await.is_err_and(|e| refused(&e)));
    assert_eq!(version().await, 1);
    let space = PostgresSpace::open(&url).await.unwrap();
    assert!(space.lease("work", "holder", FOR_EVER).await.unwrap());
    assert_eq!(version().await, 5);
    // Of a database without a space, reading makes none.
    let empty = database().await;
    assert!(matches!(PostgresSpace::open_read_only(&empty).await, Err(SpaceError::NotFound(_))));
}

/// Nodes that a server has read it does not ask for again, unless some were removed, by whomever.
#[tokio::test]
async fn what_was_read_is_kept_until_something_is_removed() {
    let url = database().await;
    let (one, other) = (stone("one", &[]), stone("other", &[]));
    let space = PostgresSpace::open_or_create(&url).await.unwrap();
    space.commit(nodes(&[&one, &other])).await.unwrap();
    let before = space.view().await.unwrap();
    let late = stone("late", &[]);
    space.commit(nodes(&[&late])).await.unwrap();
    let all = [one.addr().clone(), other.addr().clone(), late.addr().clone()];
    let there = async || -> Vec<bool> { space.get(&all).await.unwrap().iter().map(Option::is_some).collect() };
    assert_eq!(there().await, [true, true, true]);
    let seen = before.nodes(Nodes::Committed(&all)).await.unwrap();
    assert_eq!(seen, [Some(one.clone()), Some(other), None], "a view shows what was there when it began");
    drop(before);
    let client = raw(&url).await;
    let remove = async |node: &Verified<IbGib>| {
        let hash = &node.addr().key().unwrap()[..];
        assert_eq!(client.execute("DELETE FROM ibgib.nodes WHERE hash = $1", &[&hash]).await.unwrap(), 1);
    };
    client.batch_execute("ALTER TABLE ibgib.nodes DISABLE TRIGGER swept").await.unwrap();
    remove(&one).await;
    assert_eq!(there().await, [true, true, true], "it is asked for although it was read");
    client.batch_execute("ALTER TABLE ibgib.nodes ENABLE TRIGGER swept").await.unwrap();
    remove(&late).await;
    assert_eq!(there().await, [false, true, false]);
}

/// Servers whose clocks are wrong by hours agree on who has a lease: it runs out by the database's clock.
#[tokio::test]
async fn a_lease_goes_by_the_clock_of_the_database() {
    let url = database().await;
    let servers = [PostgresSpace::open_or_create(&url).await.unwrap(), PostgresSpace::open(&url).await.unwrap()];
    assert!(servers[0].lease("work", "one", FOR_EVER).await.unwrap());
    assert!(!servers[1].lease("work", "other", FOR_EVER).await.unwrap());
    let client = raw(&url).await;
    client.batch_execute("UPDATE ibgib.leases SET until = now() - interval '1 second'").await.unwrap();
    assert!(servers[1].lease("work", "other", FOR_EVER).await.unwrap());
    assert!(!servers[0].lease("work", "one", FOR_EVER).await.unwrap());
    // Whoever is refused asks all the time, and writes nothing.
    let row = async || {
        let row = client.query_one("SELECT ctid::text || xmin || ' ' || xmax FROM ibgib.leases", &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    let before = row().await;
    for _ in 0..3 {
        assert!(!servers[0].lease("work", "one", FOR_EVER).await.unwrap());
    }
    assert_eq!(row().await, before);
}

/// The connection that listens is cut again and again; whoever waits at the other server hears of every commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_notification_loses_no_change() {
    let url = database().await;
    let (a, b) = (PostgresSpace::open_or_create(&url).await.unwrap(), PostgresSpace::open(&url).await.unwrap());
    let client = raw(&url).await;
    for i in 0..5 {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query IN ('LISTEN ibgib', 'SELECT revision FROM ibgib.space')";
        client.query(cut, &[]).await.unwrap();
        let revision = a.commit(nodes(&[&stone(&format!("{i}"), &[])])).await.unwrap();
        let told = timeout(FOR_EVER, b.changed(revision - 1)).await.expect("the change was never told").unwrap();
        assert_eq!(told, revision);
    }
}

#[tokio::test]
async fn a_damaged_node_is_told_and_a_good_copy_takes_its_place() {
    let url = database().await;
    let space = PostgresSpace::open_or_create(&url).await.unwrap();
    let (ground, other) = (stone("ground", &[]), stone("other", &[]));
    space.commit(nodes(&[&ground, &other])).await.unwrap();
    let client = raw(&url).await;
    let damages = [
        "text = '\\x00'",
        "text = substr(text, 1, length(text) - 4)",
        "size = -1",
        "size = 7",
        "text = (SELECT text FROM ibgib.nodes WHERE hash <> $1)",
        "addr = '\\x6e6f'",
    ];
    for (i, damage) in damages.iter().enumerate() {
        let sql = format!("UPDATE ibgib.nodes SET {damage} WHERE hash = $1");
        let key = ground.addr().key().unwrap();
        // The size that the other node has, too, so that only the hash tells.
        assert_eq!(client.execute(&sql, &[&&key[..]]).await.unwrap(), 1);
        let found = space.node(ground.addr()).await;
        assert!(
            matches!(&found, Err(SpaceError::Corrupt { addr, .. }) if *addr == ground.addr().to_string()),
            "{found:?}"
        );
        let report = fsck(&space).await.unwrap();
        assert_eq!((report.nodes, report.corrupt.len()), (1, 1), "{report:?}");
        match i % 2 {
            0 => drop(space.commit(nodes(&[&ground])).await.unwrap()),
            _ => space.stage("owner", std::slice::from_ref(&ground)).await.unwrap(),
        }
        assert_eq!(space.node(ground.addr()).await.unwrap().as_ref(), Some(&ground));
        assert_eq!(space.staged_addrs("owner").await.unwrap(), []);
        assert!(fsck(&space).await.unwrap().is_clean());
        assert_eq!(space.count().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn keys_and_owners_are_any_text() {
    let space = fresh().await;
    let long = "é".repeat(2_000);
    let keys = ["", "a\0b", "a", "a\u{10ffff}", &long, &format!("{long}1"), &format!("{long}2")];
    let records: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), Some(key.as_bytes().to_vec()))).collect();
    space.commit(Commit { records, ..Commit::default() }).await.unwrap();
    for key in keys {
        assert_eq!(space.record(key).await.unwrap().as_deref(), Some(key.as_bytes()));
    }
    for prefix in ["", "a", "a\0", "b", "é", &long, &format!("{long}1")] {
        let mut expected: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        let found: Vec<String> = space.records(prefix).await.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, expected, "{prefix:?}");
    }
    let node = stone("staged", &[]);
    for owner in ["", "a\0b", &long] {
        space.stage(owner, std::slice::from_ref(&node)).await.unwrap();
        assert_eq!(space.staged_addrs(owner).await.unwrap(), [node.addr().clone()]);
        space.unstage(owner).await.unwrap();
        assert_eq!(space.staged_addrs(owner).await.unwrap(), []);
    }
}

/// Many nodes at once, which are copied and not inserted one by one; and large ones.
#[tokio::test]
async fn many_nodes_and_large_ones_are_written_at_once() {
    let space = fresh().await;
    let many: Vec<_> = (0..5_000).map(|i| stone(&format!("stone {i}"), &[])).collect();
    let large = stone(&"x\u{7}é".repeat(1_000_000), &[many[0].addr()]);
    space.stage("owner", &many).await.unwrap();
    space.stage("owner", &many[..100]).await.unwrap();
    let addrs: Vec<Addr> = many.iter().map(|n| n.addr().clone()).collect();
    let publish = Some(("owner".to_owned(), addrs.clone()));
    space.commit(Commit { publish, ..nodes(&[&large]) }).await.unwrap();
    space.commit(Commit { nodes: many.clone(), ..Commit::default() }).await.unwrap();
    assert_eq!(space.count().await.unwrap(), 5_001);
    assert!(space.has(&addrs).await.unwrap().into_iter().all(|has| has));
    assert_eq!(space.node(large.addr()).await.unwrap(), Some(large));
    assert_eq!(space.staged_addrs("owner").await.unwrap(), []);
    assert!(fsck(&space).await.unwrap().is_clean());
}

/// Forwards connections to the server, until one of them commits: that one it cuts, before the server hears of the
/// commit or before its client hears of the answer.
struct Cut {
    /// How many commits are still to be cut.
    armed: AtomicUsize,
    forwarded: AtomicBool,
    cuts: AtomicUsize,
}

impl Cut {
    fn takes_one(&self) -> bool {
        self.armed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |armed| armed.checked_sub(1)).is_ok()
    }
}

/// Answers the URL to come in by.
async fn cutting(url: &str, cut: &Arc<Cut>) -> String {
    let (head, database) = url.rsplit_once('/').unwrap();
    let (user, server) = head.rsplit_once('@').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (server, cut) = (server.to_owned(), Arc::clone(cut));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(forward(client, server, Arc::clone(&cut)));
        }
    });
    format!("{user}@127.0.0.1:{port}/{database}")
}

async fn forward(client: TcpStream, server: TcpStream, cut: Arc<Cut>) -> Option<()> {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let (mut sent, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = from_client.read(&mut sent) => {
                let said = &sent[..read.ok().filter(|n| *n > 0)?];
                if said == b"Q\0\0\0\x0bCOMMIT\0" && cut.takes_one() {
                    if cut.forwarded.load(Ordering::Relaxed) {
                        to_server.write_all(said).await.ok()?;
                        let answer = from_server.read(&mut answered).await.ok()?;
                        assert!(answer > 0, "the server ended the connection by itself");
                    }
                    cut.cuts.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                to_server.write_all(said).await.ok()?;
            }
            read = from_server.read(&mut answered) => {
                to_client.write_all(&answered[..read.ok().filter(|n| *n > 0)?]).await.ok()?;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_lost_in_a_commit_neither_loses_nor_repeats_it() {
    let cut = Arc::new(Cut { armed: 0.into(), forwarded: false.into(), cuts: 0.into() });
    let url = database().await;
    let space = PostgresSpace::open_or_create(&cutting(&url, &cut).await).await.unwrap();
    for i in 0..10 {
        cut.forwarded.store(i % 2 == 0, Ordering::Relaxed);
        cut.armed.store(1, Ordering::Relaxed);
        let before = (i > 0).then(|| vec![i - 1]);
        let commit = Commit {
            records: vec![("count".into(), Some(vec![i]))],
            // Written twice, it would find its own record and be refused.
            expect: vec![("count".into(), before)],
            ..nodes(&[&stone(&format!("{i}"), &[])])
        };
        assert_eq!(space.commit(commit).await.unwrap(), u64::from(i) + 1);
        assert_eq!(cut.cuts.load(Ordering::Relaxed), usize::from(i) + 1);
        assert_eq!(space.revision().await.unwrap(), u64::from(i) + 1);
    }
    assert_eq!(space.count().await.unwrap(), 10);
}

/// A database that breaks at each commit does not hold its caller for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_breaks_each_time_ends() {
    let cut = Arc::new(Cut { armed: 0.into(), forwarded: false.into(), cuts: 0.into() });
    let space = PostgresSpace::open_or_create(&cutting(&database().await, &cut).await).await.unwrap();
    cut.armed.store(usize::MAX, Ordering::Relaxed);
    let commit = || nodes(&[&stone("never", &[])]);
    let refused = timeout(FOR_EVER, space.commit(commit())).await.expect("it is still trying");
    assert!(matches!(refused, Err(CommitError::Space(SpaceError::Unavailable(_)))), "{refused:?}");
    assert!(cut.cuts.load(Ordering::Relaxed) > 1);
    cut.armed.store(0, Ordering::Relaxed);
    space.commit(commit()).await.unwrap();
}

/// Whoever is no longer waited for leaves no half transaction behind, for whoever gets his connection next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_given_up_leave_nothing() {
    let space = Arc::new(fresh().await);
    for i in 0..200u64 {
        let node = stone(&format!("{i}"), &[]);
        let commit = Commit { records: vec![(format!("{i}"), Some(vec![]))], ..nodes(&[&node]) };
        let given_up = timeout(Duration::from_micros(i * 20), space.commit(commit)).await;
        drop(timeout(Duration::from_micros(i * 10), space.node(node.addr())).await);
        let written = space.record(&format!("{i}")).await.unwrap().is_some();
        assert!(given_up.is_err() || written);
    }
    // Commits that were given up may still be on their way; the next one comes after all of them.
    space.commit(Commit::default()).await.unwrap();
    let records = space.records("").await.unwrap();
    assert_eq!(space.count().await.unwrap(), records.len() as u64);
    assert_eq!(space.revision().await.unwrap(), records.len() as u64 + 1);
    assert!(fsck(&*space).await.unwrap().is_clean());
}

/// Somebody stands in the way of each of three calls, which stand in his: the database ends the calls, and they are done on
/// their next try.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_ended_for_a_deadlock_is_done_again() {
    let url = database().await;
    let space = Arc::new(PostgresSpace::open_or_create(&url).await.unwrap());
    let mut two = [stone("one", &[]), stone("two", &[])];
    two.sort_unstable_by_key(|node| node.addr().key());
    let keys = [0, 1].map(|at: usize| two[at].addr().key().unwrap());
    let addrs: Vec<Addr> = two.iter().map(|node| node.addr().clone()).collect();
    let mut calls = Vec::new();
    for owner in ["stage", "unstage", "publish"] {
        // In this order they lie in the table.
        for node in &two {
            space.stage(owner, std::slice::from_ref(node)).await.unwrap();
        }
        let (url, space, two, addrs) = (url.clone(), Arc::clone(&space), two.to_vec(), addrs.clone());
        calls.push(tokio::spawn(async move {
            let other = raw(&url).await;
            // He notices nothing before the call does, after the second that is usual.
            other.batch_execute("SET deadlock_timeout = '1min'; BEGIN").await.unwrap();
            let lock = "SELECT FROM ibgib.staged WHERE owner = sha256($1) AND hash = $2 FOR UPDATE";
            other.query(lock, &[&owner.as_bytes(), &&keys[1][..]]).await.unwrap();
            let call = tokio::spawn(async move {
                match owner {
                    "stage" => space.stage(owner, &two).await,
                    "unstage" => space.unstage(owner).await,
                    _ => {
                        let publish = Some((owner.to_owned(), addrs));
                        match space.commit(Commit { publish, ..Commit::default() }).await {
                            Ok(_) => Ok(()),
                            Err(CommitError::Space(error)) => Err(error),
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
            let watcher = raw(&url).await;
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
            let ours: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
            while watcher.query_one(waits, &[&ours]).await.unwrap().get::<_, i64>(0) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other.query(lock, &[&owner.as_bytes(), &&keys[0][..]]).await.unwrap();
            other.batch_execute("COMMIT").await.unwrap();
            timeout(FOR_EVER, call).await.expect("it still waits").unwrap()
        }));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(fsck(&*space).await.unwrap().is_clean());
    assert_eq!(space.count().await.unwrap(), 2);
}

/// Each of eight writers, four at each of two servers, takes the number that is there one further until he has won so often.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[allow(clippy::disallowed_methods, reason = "the environment chooses how long it runs")]
async fn of_writers_that_race_at_two_servers_every_win_counts() {
    const WRITERS: u64 = 8;
    let each: u64 = std::env::var("IBGIB_RACES").map_or(10, |told| told.parse().expect("IBGIB_RACES is a number"));
    let url = database().await;
    let open = async || Arc::new(PostgresSpace::open_or_create(&url).await.unwrap());
    let servers = [open().await, open().await];
    let race = async |space: Arc<PostgresSpace>| {
        let mut lost = 0;
        for _ in 0..each {
            loop {
                let now = space.record("count").await.unwrap();
                let count = now.as_deref().map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
                let next = vec![("count".to_owned(), Some((count + 1).to_be_bytes().to_vec()))];
                let commit = Commit { records: next, expect: vec![("count".to_owned(), now)], ..Commit::default() };
                match space.commit(commit).await {
                    Ok(_) => break,
                    Err(CommitError::RecordsChanged(_)) => lost += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        lost
    };
    let all = (0..WRITERS as usize).map(|writer| race(Arc::clone(&servers[writer % 2])));
    let lost: u64 = join_all(all).await.into_iter().sum();
    assert!(lost > 0, "nobody raced");
    for space in &servers {
        let count = space.record("count").await.unwrap().unwrap();
        assert_eq!(u64::from_be_bytes(count.try_into().unwrap()), WRITERS * each);
        assert_eq!(space.revision().await.unwrap(), WRITERS * each);
    }
}
