//! TLS as a client meets it on the wire: which versions are spoken, what reading the certificate again changes, who is
//! followed from one key to another, and what comes of plain text.

use ibgib::{Addr, Mode, Value};
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, HostOptions, Remote, ServerKey, Trust, WebSocketRemote};
use ibgib_server::{Certificate, ServeOptions, Server, renew_key};
use ibgib_spaces::MemorySpace;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MESSAGE_MAX: usize = 1024 * 1024;

/// Writes a certificate for 127.0.0.1 that signs itself, and its key.
fn certify(dir: &Path) {
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(dir.join("key.pem"), pair.serialize_pem()).unwrap();
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

async fn start(dir: &TempDir) -> Server {
    certify(dir.path());
    let file = |name| dir.path().join(name);
    let tls = Some(Certificate::Files { chain: file("cert.pem"), key: file("key.pem") });
    let host = Host::new(Arc::new(MemorySpace::new("7".repeat(64))), HostOptions::default());
    Server::start(host, ServeOptions { listen: anywhere(), tls, ..ServeOptions::default() }).await.unwrap()
}

fn knowing(url: &str, key: ServerKey) -> WebSocketRemote {
    WebSocketRemote::trusting(url, Trust::key(key), MESSAGE_MAX).unwrap()
}

#[tokio::test]
async fn connections_go_on_when_the_certificate_is_read_again_and_new_ones_see_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let url = server.url();
    let before = server.key().unwrap().unwrap();
    let early = knowing(&url, before);
    let space = early.audience().await.unwrap();
    let link = early.open().await.unwrap();
    certify(dir.path());
    assert!(server.reload_certificate().await.unwrap());
    let after = server.key().unwrap().unwrap();
    assert_ne!(before, after);
    // Over the connection that was made before.
    assert_eq!(early.audience().await.unwrap(), space);
    assert!(!link.tx.is_closed(), "the WebSocket was cut");
    assert_eq!(knowing(&url, after).audience().await.unwrap(), space);
    let late = knowing(&url, before);
    let refused = [late.audience().await.unwrap_err(), late.open().await.unwrap_err()];
    for error in refused {
        let SagaError::PeerChanged { what: "key", known, shown, .. } = &error else { panic!("{error:?}") };
        assert_eq!((known.as_str(), shown.as_str()), (&*before.to_string(), &*after.to_string()));
    }
    // What cannot be read changes nothing.
    fs::write(dir.path().join("cert.pem"), "broken").unwrap();
    assert!(server.reload_certificate().await.is_err());
    assert_eq!(knowing(&url, after).audience().await.unwrap(), space);
    server.shutdown().await;
}

#[tokio::test]
async fn the_first_key_is_the_only_one_that_a_client_takes() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let remote = WebSocketRemote::new(&server.url(), MESSAGE_MAX).unwrap();
    assert_eq!(remote.trust().first_seen(), None);
    remote.audience().await.unwrap();
    assert_eq!(remote.trust().first_seen(), server.key().unwrap());
    certify(dir.path());
    server.reload_certificate().await.unwrap();
    // The WebSocket is a connection of its own.
    assert!(matches!(remote.open().await, Err(SagaError::PeerChanged { what: "key", .. })));
    server.shutdown().await;
}

/// What a client of TLS 1.2 says first: no extension tells of a newer version.
fn hello_1_2() -> Vec<u8> {
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    let extensions = [&groups[..], &signatures[..]].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session; two suites of TLS 1.2; no compression.
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(&hello_1_2()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // An alert: fatal, protocol_version.
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{answer:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn plain_text_to_tls_and_tls_to_plain_text_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let plain = WebSocketRemote::new(&format!("http://{}", server.address()), MESSAGE_MAX).unwrap();
    for error in [plain.audience().await.unwrap_err(), plain.open().await.unwrap_err()] {
        assert_eq!(error.code(), "tls_required", "{error}");
    }
    server.shutdown().await;

    let host = Host::new(Arc::new(MemorySpace::new("8".repeat(64))), HostOptions::default());
    let server = Server::start(host, ServeOptions { listen: anywhere(), ..ServeOptions::default() }).await.unwrap();
    assert!(server.key().unwrap().is_none() && !server.reload_certificate().await.unwrap());
    let tls = WebSocketRemote::new(&format!("wss://{}", server.address()), MESSAGE_MAX).unwrap();
    for error in [tls.audience().await.unwrap_err(), tls.open().await.unwrap_err()] {
        assert_eq!(error.code(), "no_tls", "{error}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_sends_elsewhere_is_no_server_and_nobody_goes_there() {
    let [from, to] = [TcpListener::bind(anywhere()).await.unwrap(), TcpListener::bind(anywhere()).await.unwrap()];
    let [url, elsewhere] = [&from, &to].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let answering = tokio::spawn(async move {
        let (mut stream, _) = from.accept().await.unwrap();
        let mut asked = [0; 1024];
        assert!(stream.read(&mut asked).await.unwrap() > 0);
        let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}/\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Until the client has gone.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let remote = WebSocketRemote::new(&url, MESSAGE_MAX).unwrap();
    assert!(matches!(remote.audience().await, Err(SagaError::PeerNoServer(_))));
    drop(remote);
    answering.await.unwrap();
    let to = to.into_std().unwrap();
    assert!(to.accept().is_err(), "somebody came");
}

/// Somebody with a key of his own, who answers everything alike and writes down what he hears.
struct Between {
    url: String,
    key: ServerKey,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// With the certificate in this directory.
    async fn start(dir: &Path, status: u16, body: Vec<u8>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pem = |name| fs::read(dir.join(name)).unwrap();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem("cert.pem")).map(Result::unwrap).collect();
        let key = ServerKey::of(&chain[0]).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(&pem("key.pem")).unwrap())
            .unwrap();
        let listener = TcpListener::bind(anywhere()).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (writing, acceptor) = (Arc::clone(&heard), tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let (mut said, mut piece) = (Vec::new(), [0; 4_096]);
                while !said.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece).await {
                        Ok(n) if n > 0 => said.extend_from_slice(&piece[..n]),
                        _ => break,
                    }
                }
                writing.lock().unwrap().push(String::from_utf8_lossy(&said).into_owned());
                let head =
                    format!("HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                // Whoever asked may not want it.
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, key, heard }
    }

    /// What he heard, by its first lines.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().drain(..).map(|said| said.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

const SPACE: &str = "7777777777777777777777777777777777777777777777777777777777777777";

/// A client that knows a server of the space by this key, and was led to it by the succession with this number.
fn led(url: &str, key: ServerKey, keystone: &Addr, seen: u64) -> WebSocketRemote {
    knowing(url, key).expecting(Some(SPACE.into())).knowing(Some(keystone.clone()), seen)
}

fn host() -> Arc<Host> {
    Host::new(Arc::new(MemorySpace::new(SPACE)), HostOptions::default())
}

async fn serve_own(host: &Arc<Host>, dir: &Path) -> Server {
    let tls = Some(Certificate::Own { dir: dir.to_owned() });
    Server::start(Arc::clone(host), ServeOptions { listen: anywhere(), tls, ..ServeOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn clients_follow_a_server_from_key_to_key_over_http_and_websockets_alike() {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let server = serve_own(&host, dir.path()).await;
    let url = server.url();
    let first = server.key().unwrap().unwrap();
    let keystone = host.keystone().await.unwrap();
    let clients = || led(&url, first, &keystone, 0);
    let (asking, opening, reading) = (clients(), clients(), clients());
    asking.audience().await.unwrap();
    let (_, second) = renew_key(dir.path()).unwrap();
    assert!(server.reload_certificate().await.unwrap());
    assert_eq!(server.key().unwrap(), Some(second));
    // Over the connection that was made before nothing changed; those after it are led on.
    asking.open().await.unwrap();
    drop(opening.open().await.unwrap());
    assert!(!reading.keystone_frames(&keystone).await.unwrap().is_empty());
    for client in [&asking, &opening, &reading] {
        let followed = client.followed().unwrap();
        assert_eq!((followed.before, followed.key, followed.number), (first, second, 1));
        assert_eq!((client.news_of_key(), client.news_of_key()), (Some(followed), None), "it is told once");
        assert_eq!(client.audience().await.unwrap(), SPACE);
    }
    // Whoever has missed one is led over it, also when he begins with both at once.
    let (_, third) = renew_key(dir.path()).unwrap();
    assert!(server.reload_certificate().await.unwrap());
    let late = clients();
    let (answer, link) = tokio::join!(late.audience(), late.open());
    assert_eq!(answer.unwrap(), SPACE);
    link.unwrap();
    drop(asking.open().await.unwrap());
    for client in [late, asking] {
        assert_eq!(client.followed().map(|followed| (followed.key, followed.number)), Some((third, 2)));
    }
    // A client that took the first key that it saw has met the keystone since; one that has not is told so.
    let unknowing = knowing(&url, first).expecting(Some(SPACE.into()));
    assert_eq!(unknowing.audience().await.unwrap_err().code(), "server_changed");
    // A door elsewhere is the same server.
    let door = WebSocketRemote::trusting(&format!("{url}/v1"), Trust::key(first), MESSAGE_MAX).unwrap();
    let door = door.expecting(Some(SPACE.into())).knowing(Some(keystone.clone()), 0).standing_at(&url).unwrap();
    assert_eq!(door.call("/api", None).await.unwrap().0, 404);
    assert!(door.followed().is_some());
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_who_stands_between_is_followed_and_he_hears_nothing_that_not_everybody_may_hear() {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let server = serve_own(&host, dir.path()).await;
    let key = || server.key().unwrap().unwrap();
    let keystone = host.keystone().await.unwrap();
    let first = key();
    renew_key(dir.path()).unwrap();
    server.reload_certificate().await.unwrap();
    let (second, to_second) = (key(), host.succession().await.unwrap().unwrap());
    // The second key was stolen before the third one followed it.
    let stolen = tempfile::tempdir().unwrap();
    let pair = KeyPair::from_pem(&fs::read_to_string(dir.path().join("tls.key")).unwrap()).unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    fs::write(stolen.path().join("cert.pem"), params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(stolen.path().join("key.pem"), pair.serialize_pem()).unwrap();
    renew_key(dir.path()).unwrap();
    server.reload_certificate().await.unwrap();
    let (third, to_third) = (key(), host.succession().await.unwrap().unwrap());
    let between = tempfile::tempdir().unwrap();
    certify(between.path());
    let shown = Between::start(between.path(), 404, Vec::new()).await.key;
    // A keystone of his own, for the same space.
    let forging = self::host();
    forging.serves_with(first).await.unwrap();
    forging.serves_with(shown).await.unwrap();
    let forged = forging.succession().await.unwrap().unwrap();
    let (line, frames) = to_third.split_once('\n').unwrap();
    let (forged_line, forged_frames) = forged.split_once('\n').unwrap();
    let renamed = line.replace(&third.to_string(), &shown.to_string());
    let of_his_frames = forged_line.replace(&text(forged_line, "frame"), &text(line, "frame"));
    let not_found = r#"{"error":{"code":"not_found","message":"not here"}}"#.to_owned();
    let mine = between.path();
    // Who it is, whom he meets, and what he shows.
    let attempts = [
        (mine, first, 0, "he shows nothing", (404, not_found)),
        (mine, first, 0, "an empty answer", (200, String::new())),
        (mine, first, 0, "what the server tells", (200, to_third.clone())),
        (mine, first, 0, "the same about his key", (200, format!("{renamed}\n{frames}"))),
        (mine, first, 0, "what a keystone of his own has signed", (200, forged.clone())),
        (mine, first, 0, "the same under the right frame", (200, format!("{of_his_frames}\n{frames}"))),
        (mine, first, 0, "and with his frames", (200, format!("{of_his_frames}\n{forged_frames}"))),
        (mine, first, 0, "an endless line", (200, "x".repeat(8 * 1024 * 1024))),
        (mine, first, 0, "frames without end", (200, format!("{renamed}\n{}", frames.repeat(4_000)))),
        (mine, first, 0, "no text", (200, "\u{0}\n".into())),
        (mine, first, 0, "a redirect", (302, "elsewhere".into())),
        // Whoever has been led to the third key, and whoever knows that one since he first met the server.
        (stolen.path(), third, 2, "what led to the stolen key", (200, to_second.clone())),
        (stolen.path(), third, 0, "the same", (200, to_second.clone())),
        (stolen.path(), third, 0, "what leads away from it", (200, to_third.clone())),
        // Whoever has seen what led to the third one is not led to the second one, whatever key he knows.
        (stolen.path(), first, 2, "what led to the stolen key", (200, to_second.clone())),
    ];
    for (with, known, seen, what, (status, body)) in attempts {
        let he = Between::start(with, status, body.into_bytes()).await;
        let client = led(&he.url, known, &keystone, seen);
        let secret = Some("a secret".to_owned());
        let refused = [
            client.call("/api/v1/grants/accept", secret).await.unwrap_err(),
            client.open().await.unwrap_err(),
            client.keystone_frames(&keystone).await.unwrap_err(),
        ];
        for error in refused {
            let SagaError::PeerChanged { what: "key", shown, .. } = &error else { panic!("{what}: {error:?}") };
            assert_eq!(*shown, he.key.to_string(), "{what}");
        }
        assert_eq!(he.heard(), ["GET /api/v1/succession HTTP/1.1"; 3], "{what}");
        assert_eq!(client.followed(), None, "{what}");
    }
    // Whoever was not led on yet cannot know that a key was stolen and given up: that the space's words are not signed, he
    // sees next.
    let he = Between::start(stolen.path(), 200, to_second.into_bytes()).await;
    assert_eq!(led(&he.url, first, &keystone, 0).call("/", None).await.unwrap().0, 200);
    assert_eq!(he.key, second);
    // Whoever does not know the keystone, or the space, asks nothing at all.
    let he = Between::start(mine, 200, forged.into_bytes()).await;
    let strangers = [knowing(&he.url, first), knowing(&he.url, first).knowing(Some(keystone.clone()), 0)];
    for stranger in strangers {
        assert_eq!(stranger.call("/", None).await.unwrap_err().code(), "server_changed");
    }
    assert_eq!(he.heard(), [] as [&str; 0]);
    // One who cannot answer now may be asked again.
    let busy = r#"{"error":{"code":"too_many_connections","message":"later"}}"#;
    let he = Between::start(mine, 503, busy.into()).await;
    let error = led(&he.url, first, &keystone, 0).call("/", None).await.unwrap_err();
    assert_eq!(error.code(), "too_many_connections");
    server.shutdown().await;
}

/// A member of a line of JSON.
fn text(line: &str, member: &str) -> String {
    Value::parse(line, Mode::Strict).unwrap().get(member).unwrap().as_str().unwrap().to_owned()
}
