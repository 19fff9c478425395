//! Doors: where they stand, what they answer, how they begin and end.

use axum::Router;
use axum::routing::get;
use futures_util::future::BoxFuture;
use ibgib_peer::{Host, HostOptions, Policy};
use ibgib_server::rows::{Edits, Rows, Table};
use ibgib_server::{Door, Mount, ServeError, ServeOptions, Server};
use ibgib_spaces::{Kind, MemorySpace, Space};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Echo {
    name: &'static str,
    /// What it lacks to start.
    lacks: Option<&'static str>,
    ended: AtomicBool,
}

impl Echo {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, lacks: None, ended: AtomicBool::new(false) })
    }
}

impl Door for Echo {
    fn name(&self) -> &'static str {
        self.name
    }

    fn routes(&self) -> Router {
        let name = self.name;
        Router::new().route(&format!("/{name}"), get(move || async move { format!("this is {name}") }))
    }

    fn start(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.lacks.map_or(Ok(()), |what| Err(what.to_owned())) })
    }

    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            stop.cancelled().await;
            self.ended.store(true, Ordering::Release);
        })
    }

    fn metrics(&self) {
        metrics::counter!("door_total", "door" => self.name).absolute(7);
    }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn host() -> Arc<Host> {
    Host::new(Arc::new(MemorySpace::new("doors")), HostOptions::default())
}

async fn answer(url: &str, path: &str) -> (u16, String) {
    let at = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

#[tokio::test]
async fn doors_stand_on_the_servers_listener_or_on_their_own() {
    let (here, apart) = (Echo::new("here"), Echo::new("apart"));
    let doors = vec![Mount::here(here.clone()), Mount { door: apart.clone(), listen: Some(anywhere()) }];
    let server = Server::start(host(), ServeOptions { listen: anywhere(), doors, ..ServeOptions::default() });
    let server = server.await.unwrap();
    let (main, own) = (server.url(), server.doors()[1].1.clone());
    assert_eq!(server.doors()[0], ("here", main.clone()));
    assert_ne!(main, own);

    assert!(answer(&main, "/here").await.1.ends_with("this is here"));
    assert!(answer(&own, "/apart").await.1.ends_with("this is apart"));
    for (url, path) in [(&main, "/apart"), (&own, "/here"), (&own, "/api/v1/health")] {
        let (status, text) = answer(url, path).await;
        assert!(status == 404 && text.contains("not_found"), "{path}: {text}");
    }
    assert_eq!(answer(&main, "/api/v1/health").await.0, 200);
    for url in [&main, &own] {
        let (_, text) = answer(url, "/metrics").await;
        for line in ["ibgib_sagas_total 0", "door_total{door=\"here\"} 7", "door_total{door=\"apart\"} 7"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
    server.shutdown().await;
    assert!(here.ended.load(Ordering::Acquire) && apart.ended.load(Ordering::Acquire));
}

#[tokio::test]
async fn a_door_that_cannot_start_stops_the_server() {
    let taken = TcpListener::bind(anywhere()).unwrap();
    let listen = taken.local_addr().unwrap();
    let doors = vec![Mount { door: Echo::new("echo"), listen: Some(listen) }];
    let started = Server::start(host(), ServeOptions { listen: anywhere(), doors, ..ServeOptions::default() }).await;
    let error = started.unwrap_err();
    assert!(
        matches!(&error, ServeError::Door { name: "echo", why } if matches!(**why, ServeError::PortInUse(at) if at == listen))
    );
}

#[tokio::test]
async fn a_door_that_lacks_what_it_needs_says_so_and_nothing_is_served() {
    let doors: Vec<Mount> = ["fine", "lacking"]
        .map(|name| Echo { name, lacks: (name == "lacking").then_some("the chain"), ended: AtomicBool::new(false) })
        .map(|echo| Mount::here(Arc::new(echo)))
        .into();
    let listen = TcpListener::bind(anywhere()).unwrap().local_addr().unwrap();
    let error = Server::start(host(), ServeOptions { listen, doors, ..ServeOptions::default() }).await.unwrap_err();
    assert!(
        matches!(&error, ServeError::Door { name: "lacking", why } if matches!(&**why, ServeError::Start(what) if what == "the chain"))
    );
    assert_eq!(error.to_string(), "the door lacking cannot start: the chain");
    assert!(TcpStream::connect(listen).await.is_err());
}

#[tokio::test]
async fn what_a_door_keeps_is_read_by_nobody_else() {
    const ACCOUNTS: Table = Table::history("account");
    // Where everybody may read everything.
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("doors"));
    let host = Host::new(Arc::clone(&space), HostOptions { policy: Policy::Open, ..HostOptions::default() });
    let rows = Rows::new(Arc::clone(&space), "hello");
    let mut edits = Edits::default();
    edits.set(&rows.one::<String>(ACCOUNTS, "a").await.unwrap(), "secret").unwrap();
    assert!(rows.write(edits).await.unwrap());
    let server = Server::start(host, ServeOptions { listen: anywhere(), ..ServeOptions::default() }).await.unwrap();

    let tip = space.tips(None).await.unwrap().remove(0);
    assert_eq!(tip.kind, Kind::Door);
    for addr in [&tip.tjp, &tip.addr] {
        let addr = addr.as_str().replace(' ', "%20").replace('^', "%5E");
        for path in ["ibgibs/{}", "ibgibs/{}?getGraph=true", "tips/{}"] {
            let (status, text) = answer(&server.url(), &format!("/api/v1/{}", path.replace("{}", &addr))).await;
            assert_eq!(status, 404, "{path}: {text}");
        }
    }
    let (status, text) = answer(&server.url(), "/api/v1/tips?ib=door_row%20hello%20account").await;
    assert!(status == 200 && !text.contains(tip.tjp.gib()), "{text}");
    server.shutdown().await;
}
