//! Wormholes in the form of 2015 over real sockets.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use ibgib_pairing::PairingError;
use ibgib_pairing::connect::{Schedule, Session};
use ibgib_pairing::error::Misuse;
use ibgib_pairing::first_form::{Form, Wormhole};
use ibgib_pairing::server::{MailboxDoor, MailboxOptions};
use ibgib_pairing::transcribe::WormholeError;
use ibgib_peer::{Host, HostOptions};
use ibgib_server::{Door, Mount, ServeOptions, Server};
use ibgib_spaces::{MemorySpace, Space};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const APP: &str = "example.com/test";
const SOON: Duration = Duration::from_millis(10);

async fn serve_at(space: Arc<dyn Space>, listen: SocketAddr) -> Server {
    let door = Arc::new(MailboxDoor::new(Arc::clone(&space), MailboxOptions::default(), true));
    serve_door(door, space, listen).await
}

async fn serve_door(door: Arc<dyn Door>, space: Arc<dyn Space>, listen: SocketAddr) -> Server {
    let doors = vec![Mount::here(door)];
    let host = Host::new(space, HostOptions::default());
    Server::start(host, ServeOptions { listen, doors, ..ServeOptions::default() }).await.unwrap()
}

fn relay(server: &Server) -> String {
    format!("http://{}/wormhole-relay/", server.address())
}

async fn serve() -> Server {
    serve_at(Arc::new(MemorySpace::new("relay")), ([127, 0, 0, 1], 0).into()).await
}

fn wormhole(form: Form, url: &str) -> Wormhole {
    let mut wormhole = Wormhole::start(form, APP, Session::remote(url).unwrap());
    wormhole.set_schedule(Schedule::new(vec![(Duration::ZERO, SOON)]).unwrap());
    wormhole
}

fn is<T>(result: &Result<T, WormholeError>, error: &PairingError) -> bool {
    matches!(result, Err(WormholeError::Pairing(got)) if got == error)
}

#[tokio::test]
async fn two_sides_give_each_other_a_message_and_nothing_is_left() {
    let server = serve().await;
    let url = relay(&server);
    for forms in [[Form::Initiator, Form::Receiver], [Form::Symmetric, Form::Symmetric]] {
        let [mut first, mut second] = forms.map(|form| wormhole(form, &url));
        assert!(is(&second.get_verifier().await, &Misuse::NoCode.into()));
        let code = first.get_code_of(3).await.unwrap();
        assert_eq!(second.numbers().await.unwrap(), [code.nameplate().as_str()]);
        second.set_code(code.as_str()).unwrap();
        let (verifier, other) = tokio::join!(first.get_verifier(), second.get_verifier());
        assert_eq!(verifier.unwrap(), other.unwrap());
        assert_eq!(first.derive_key("x", 16).unwrap(), second.derive_key("x", 16).unwrap());
        let (theirs, ours) = tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec()));
        assert_eq!((theirs.unwrap(), ours.unwrap()), (b"two".to_vec(), b"one".to_vec()));
        assert!(is(&first.get_data(Vec::new()).await, &Misuse::Closed.into()));
        assert!(wormhole(Form::Receiver, &url).numbers().await.unwrap().is_empty());
    }
    server.shutdown().await;
}

/// A relay that fails where it is asked which numbers are in use.
#[derive(Debug)]
struct NoList(MailboxDoor, StatusCode);

impl Door for NoList {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn routes(&self) -> Router {
        let status = self.1;
        self.0.routes().layer(from_fn(move |request: Request, next: Next| async move {
            match request.uri().path() {
                "/wormhole-relay/list" => status.into_response(),
                _ => next.run(request).await,
            }
        }))
    }
}

#[tokio::test]
async fn a_listing_that_fails_ends_nothing() {
    for status in [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK] {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("relay"));
        let door = MailboxDoor::new(Arc::clone(&space), MailboxOptions::default(), true);
        let server = serve_door(Arc::new(NoList(door, status)), space, ([127, 0, 0, 1], 0).into()).await;
        let [mut first, mut second] = [Form::Initiator, Form::Receiver].map(|form| wormhole(form, &relay(&server)));
        let code = first.get_code().await.unwrap();
        let failed = second.numbers().await;
        assert!(matches!(failed, Err(WormholeError::Pairing(_))), "{status}: {failed:?}");
        second.set_code(code.as_str()).unwrap();
        let (theirs, ours) = tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec()));
        assert_eq!((theirs.unwrap(), ours.unwrap()), (b"two".to_vec(), b"one".to_vec()), "{status}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn whoever_types_a_code_has_as_long_as_he_wants() {
    let server = serve().await;
    let [mut first, mut second] = [Form::Initiator, Form::Receiver].map(|form| wormhole(form, &relay(&server)));
    first.set_timeout(None);
    let code = first.get_code().await.unwrap();
    for _ in 0..2 {
        assert_eq!(second.numbers().await.unwrap(), [code.nameplate().as_str()]);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        tokio::time::resume();
    }
    second.set_code(code.as_str()).unwrap();
    let (theirs, ours) = tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec()));
    assert_eq!((theirs.unwrap(), ours.unwrap()), (b"two".to_vec(), b"one".to_vec()));
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_code_ends_both() {
    let server = serve().await;
    for forms in [[Form::Initiator, Form::Receiver], [Form::Symmetric, Form::Symmetric]] {
        let [mut first, mut second] = forms.map(|form| wormhole(form, &relay(&server)));
        first.set_code("7-right-words").unwrap();
        second.set_code("7-wrong-words").unwrap();
        let (first, second) = tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec()));
        assert!(is(&first, &PairingError::WrongCode) && is(&second, &PairingError::WrongCode));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_comes_in_time_and_nothing_is_left_open() {
    let server = serve().await;
    let mut alone = wormhole(Form::Initiator, &relay(&server));
    alone.get_code().await.unwrap();
    alone.set_timeout(Some(5 * SOON));
    assert!(is(&alone.get_data(Vec::new()).await, &PairingError::TimedOut));
    assert!(is(&alone.get_data(Vec::new()).await, &PairingError::TimedOut));
    assert!(wormhole(Form::Receiver, &relay(&server)).numbers().await.unwrap().is_empty());
    // A third one is sent away.
    let [mut a, mut b, mut c] =
        [Form::Initiator, Form::Receiver, Form::Symmetric].map(|f| wormhole(f, &relay(&server)));
    for side in [&mut a, &mut b, &mut c] {
        side.set_code("8-a-b").unwrap();
    }
    let met = tokio::join!(a.get_verifier(), b.get_verifier());
    assert_eq!(met.0.unwrap(), met.1.unwrap());
    assert!(is(&c.get_verifier().await, &PairingError::Crowded));
    server.shutdown().await;
}

/// The relay goes and comes back in the middle; one that never answered is an error.
#[tokio::test]
async fn a_relay_that_is_lost_is_asked_again() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("relay"));
    let server = serve_at(Arc::clone(&space), ([127, 0, 0, 1], 0).into()).await;
    let (url, at) = (relay(&server), server.address());
    let [mut first, mut second] = [Form::Initiator, Form::Receiver].map(|form| wormhole(form, &url));
    let code = first.get_code().await.unwrap();
    second.numbers().await.unwrap();
    server.shutdown().await;
    second.set_code(code.as_str()).unwrap();
    let never = wormhole(Form::Receiver, &url).numbers().await;
    assert!(matches!(never, Err(WormholeError::Server(_))), "{never:?}");
    let data = async { tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec())) };
    let again = async {
        tokio::time::sleep(5 * SOON).await;
        serve_at(space, at).await
    };
    let ((theirs, ours), server) = tokio::join!(data, again);
    assert_eq!((theirs.unwrap(), ours.unwrap()), (b"two".to_vec(), b"one".to_vec()));
    server.shutdown().await;
}

#[tokio::test]
async fn a_saved_side_goes_on_in_another_process() {
    let server = serve().await;
    let url = relay(&server);
    let mut first = wormhole(Form::Symmetric, &url);
    let code = first.get_code().await.unwrap();
    let saved = first.serialize().unwrap();
    drop(first);
    let mut second = wormhole(Form::Symmetric, &url);
    second.set_code(code.as_str()).unwrap();
    let mut first = Wormhole::from_serialized(&saved, Session::remote(&url).unwrap()).unwrap();
    let (theirs, ours) = tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec()));
    assert_eq!((theirs.unwrap(), ours.unwrap()), (b"two".to_vec(), b"one".to_vec()));
    assert_eq!(first.serialize().unwrap_err(), Misuse::NotNow);
    server.shutdown().await;
}
