//! What cannot be met from outside: a client that goes away at one exact moment, and guesses while no time passes.

use super::*;
use crate::sockets::tell_since;
use async_trait::async_trait;
use axum::body::Body;
use ibgib::{IbGib, Verified};
use ibgib_spaces::store::{Batch, Written};
use ibgib_spaces::{MemorySpace, SpaceError, Store, View};
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::oneshot;

const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const JOE: &str = "joe@example.com";

/// What a store waits for after its next write.
#[derive(Debug)]
struct Pause {
    written: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
    gone_on: oneshot::Sender<()>,
}

/// A store whose writer can be held up when everything is written.
#[derive(Debug)]
struct Slow {
    inner: MemorySpace,
    next: Mutex<Option<Pause>>,
}

#[async_trait]
impl Store for Slow {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        self.inner.view().await
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        let done = self.inner.write(batch).await;
        let next = self.next.lock().unwrap().take();
        if let Some(Pause { written, go_on, gone_on }) = next {
            written.send(()).unwrap();
            go_on.await.unwrap();
            gone_on.send(()).unwrap();
        }
        done
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.inner.stage(owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.inner.unstage(owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.inner.lease(name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.inner.give_up(name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.inner.changed(since).await
    }
}

fn post(body: Value) -> Request {
    Request::builder().method(Method::POST).body(Body::from(body.to_string())).unwrap()
}

async fn told(answer: Answer) -> (u16, Value) {
    let response = answer.into_response();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), READ_BYTES_MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// An account of Joe's, and the token of a device.
async fn joe(shared: &Arc<Shared>) -> String {
    let (joe, from) =
        (json!({"email": JOE, "password": "12345678", "clientSaltSeed": "ab".repeat(32)}), ConnectInfo(FROM));
    assert_eq!(told(sign_up(State(Arc::clone(shared)), from, post(joe)).await).await.0, 201);
    let (status, token) = told(log_in(State(Arc::clone(shared)), from, post(guess("12345678"))).await).await;
    assert_eq!(status, 200);
    token["token"].as_str().unwrap().to_owned()
}

fn guess(password: &str) -> Value {
    json!({"email": JOE, "password": password, "deviceId": "laptop"})
}

fn options() -> VaultOptions {
    VaultOptions { admission: Admission::All, ..VaultOptions::default() }
}

#[tokio::test]
async fn what_follows_a_commit_is_done_when_the_client_has_gone() {
    let slow = Arc::new(Slow { inner: MemorySpace::new("slow"), next: Mutex::default() });
    let space: Arc<dyn Space> = slow.clone();
    let shared = Vault::new(space, options()).shared;
    let token = joe(&shared).await;
    let mut seat = shared.hall.enter(JOE.into()).unwrap();
    let state = || State(Arc::clone(&shared));
    // The connection ends, and with it the request, when everything is written and nobody was told.
    let hang_up = async |request: BoxFuture<'static, Answer>| {
        let ((written, is_written), (go, go_on), (gone_on, went_on)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        *slow.next.lock().unwrap() = Some(Pause { written, go_on, gone_on });
        let request = tokio::spawn(request);
        is_written.await.unwrap();
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        let _ = go.send(());
        went_on.await.expect("the work went on without its client");
    };
    let first = json!({"token": token, "encryptedWallet": "w1", "sequence": 1, "hmac": "h1"});
    hang_up(Box::pin(wallet(state(), post(first)))).await;
    assert_eq!(seat.told().await, Some(Notice::Sequence(1)));
    let change = json!({
        "email": JOE, "oldPassword": "12345678", "newPassword": "abcdefgh", "clientSaltSeed": "cd".repeat(32),
        "encryptedWallet": "w2", "sequence": 2, "hmac": "h2"
    });
    hang_up(Box::pin(change_password(state(), ConnectInfo(FROM), post(change)))).await;
    assert_eq!(seat.told().await, None);
}

/// Sockets at one server look at their tokens again when the password was changed at another one.
#[tokio::test]
async fn a_password_that_was_changed_at_another_server_is_told() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
    let [here, there] = [(), ()].map(|()| Vault::new(Arc::clone(&space), options()).shared);
    joe(&here).await;
    let (mut seat, mut other) =
        (here.hall.enter(JOE.into()).unwrap(), here.hall.enter("ann@example.com".into()).unwrap());
    let before = here.ledger.revision().await.unwrap();
    let change = json!({
        "email": JOE, "oldPassword": "12345678", "newPassword": "abcdefgh", "clientSaltSeed": "cd".repeat(32)
    });
    let changed = change_password(State(there), ConnectInfo(FROM), post(change)).await;
    assert_eq!(told(changed).await.0, 200);
    let newest = tell_since(&here.ledger, &here.hall, before).await.unwrap();
    assert_eq!(newest, here.ledger.revision().await.unwrap());
    here.hall.clear(JOE);
    here.hall.clear("ann@example.com");
    assert_eq!((seat.told().await, seat.told().await), (Some(Notice::Check), None));
    assert_eq!(other.told().await, None);
}

#[tokio::test]
async fn guessing_at_a_password_ends() {
    // No time passes for the limits, however long the guesses take.
    let shared = Vault::limited(Arc::new(MemorySpace::new("guesses")), options(), Attempts::at_speed(0.0)).shared;
    joe(&shared).await;
    let ask = async |password: &str| {
        told(log_in(State(Arc::clone(&shared)), ConnectInfo(FROM), post(guess(password))).await).await.0
    };
    for _ in 0..20 {
        let at_once = futures_util::future::join_all((0..5).map(|_| ask("87654321"))).await;
        assert_eq!(at_once, [401; 5]);
    }
    for _ in 0..5 {
        assert_eq!(ask("87654321").await, 429);
    }
    assert_eq!(ask("12345678").await, 429);
}
