//! TLS as a client meets it on the wire: which versions are spoken, what reading the certificate again changes, and what
//! comes of plain text.

use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, HostOptions, Remote, ServerKey, Trust, WebSocketRemote};
use ibgib_server::{Certificate, ServeOptions, Server};
use ibgib_spaces::MemorySpace;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
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
    assert!(server.reload_certificate().unwrap());
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
    assert!(server.reload_certificate().is_err());
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
    server.reload_certificate().unwrap();
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
    assert!(server.key().unwrap().is_none() && !server.reload_certificate().unwrap());
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
