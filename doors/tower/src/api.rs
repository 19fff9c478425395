//! What users ask over HTTP, in the words of both generations. The requests have one form; what is refused and how it is
//! answered follows the user's dialect as soon as he is known, and the tower's own before.

mod python;
mod rust;

use crate::chain_monitor::{ChainMonitor, NotDecided};
use crate::engine::{Engine, Failure};
use crate::gatekeeper::Subscription;
use crate::sealed::{Dialect, Locator};
use crate::signature::{self, GET_SUBSCRIPTION_INFO_MESSAGE, SecretKey, UserId};
use crate::tower::{Accepted, AppointmentState};
use crate::transaction::Txid;
use crate::watcher::{Refusal, Request as Handed};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use ibgib_server::Rate;
use ibgib_server::address::{is_here, of_client};
use serde_json::{Map, Value};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What the routes need.
pub(crate) struct Api {
    pub(crate) monitor: Arc<ChainMonitor>,
    pub(crate) engine: Engine,
    pub(crate) dialect: Dialect,
    /// The least `to_self_delay` of the Python dialect.
    pub(crate) delay_min: u32,
    pub(crate) key: Arc<SecretKey>,
    pub(crate) body_bytes_max: usize,
    /// Registrations of each address.
    pub(crate) registrations: Arc<Rate<IpAddr>>,
}

/// What an address is told that registers too often.
const TOO_MANY: &str = "too many registrations came from your address; try again later";

pub(crate) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/register", post(register))
        .route("/add_appointment", post(add_appointment))
        .route("/get_appointment", post(get_appointment))
        .route("/get_subscription_info", post(get_subscription_info))
        .route("/ping", get(|| async {}))
        .with_state(api)
}

/// Which question: refusals of one kind are worded for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Register,
    Add,
    Get,
    Info,
}

/// Why a request is not done.
enum Refused {
    /// What was sent is not what is asked for.
    Inspected(Inspected),
    /// The tower refuses.
    Tower(Refusal),
    /// The tower does not follow the chain now.
    Unavailable,
    /// This address registers too often.
    TooMany,
}

/// What is wrong with a request, in the words and the number of a dialect.
struct Inspected {
    error: String,
    code: i64,
}

impl Inspected {
    fn new(code: i64, error: impl Into<String>) -> Self {
        Self { error: error.into(), code }
    }
}

impl From<Inspected> for Refused {
    fn from(inspected: Inspected) -> Self {
        Self::Inspected(inspected)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotBegun | Failure::Store | Failure::Stopped => Self::Unavailable,
        }
    }
}

/// An appointment as its user sees it.
enum Seen {
    Watched { locator: Locator, sealed: Vec<u8>, to_self_delay: u32 },
    Responded { locator: Locator, dispute_txid: Txid, penalty_txid: Txid, penalty: Vec<u8> },
}

fn json(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A body; what is longer than allowed is refused as the original's framework does.
async fn body(request: Request, bytes_max: usize) -> Result<Vec<u8>, Response> {
    let read = axum::body::to_bytes(request.into_body(), bytes_max).await;
    read.map(Vec::from).map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "The request payload is too large").into_response())
}

impl Api {
    /// Bytes of a body: the second generation knows how long each can be.
    fn body_bytes_max(&self, question: Question) -> usize {
        match (self.dialect, question) {
            (_, Question::Add) | (Dialect::Python, _) => self.body_bytes_max,
            (Dialect::Rust, Question::Register) => 87,
            (Dialect::Rust, Question::Get) => 178,
            (Dialect::Rust, Question::Info) => 127,
        }
    }

    /// Each registration is written, a user's next one, too. Behind this machine's own address may stand everybody.
    fn may_register(&self, address: IpAddr) -> Result<(), Refused> {
        let may = is_here(address) || self.registrations.take(of_client(address), 1);
        if may { Ok(()) } else { Err(Refused::TooMany) }
    }

    /// Only while the chain is followed.
    fn available(&self) -> Result<(), Refused> {
        if self.monitor.is_reachable() { Ok(()) } else { Err(Refused::Unavailable) }
    }

    /// The dialect of whoever signed, if he is a user.
    async fn dialect_of(&self, message: Vec<u8>, signature: &str) -> Dialect {
        let default = self.dialect;
        let Some(user) = signature::signer(&message, signature) else { return default };
        let asked = self.engine.ask(move |kept| kept.tower.watcher().subscription(&user).map(|s| s.dialect));
        asked.await.ok().flatten().unwrap_or(default)
    }

    fn refuse(dialect: Dialect, question: Question, refused: &Refused, locator: &Value) -> Response {
        let (status, body) = match dialect {
            Dialect::Rust => rust::refuse(question, refused),
            Dialect::Python => python::refuse(question, refused, locator),
        };
        json(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &body)
    }

    fn registered(&self, user: &UserId, it: &Subscription) -> Value {
        let receipt = signature::registration_receipt(user, it.slots, it.start, it.expiry, it.dialect);
        let signature = self.key.sign(&receipt);
        match it.dialect {
            Dialect::Rust => rust::registered(user, it, signature),
            Dialect::Python => python::registered(user, it, signature),
        }
    }

    fn accepted(&self, handed: &Handed, it: &Accepted) -> Value {
        let receipt = signature::appointment_receipt(&handed.signature, it.start_block, it.dialect);
        let signature = receipt.map(|receipt| self.key.sign(&receipt));
        let members = [
            ("locator", handed.locator.to_string().into()),
            ("start_block", it.start_block.into()),
            ("signature", signature.into()),
            ("available_slots", it.slots.into()),
            ("subscription_expiry", it.expiry.into()),
        ];
        object(members)
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

async fn register(
    State(api): State<Arc<Api>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let is_json = python::is_json(&request);
    let bytes = match body(request, api.body_bytes_max(Question::Register)).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    // The member by which a user calls himself tells which protocol he speaks.
    let told: Option<Value> = serde_json::from_slice(&bytes).ok();
    let has = |name: &str| told.as_ref().is_some_and(|told| told.get(name).is_some());
    let dialect = match (has("user_id"), has("public_key")) {
        (true, false) => Dialect::Rust,
        (false, true) => Dialect::Python,
        _ => api.dialect,
    };
    let done = async {
        let user = match dialect {
            Dialect::Rust => rust::user(&bytes)?,
            Dialect::Python => python::user(&python::members(is_json, &bytes)?)?,
        };
        api.available()?;
        api.may_register(peer.ip())?;
        let registered = api.engine.ask(move |kept| kept.tower.register(user, dialect)).await?;
        let subscription = registered.map_err(Refused::Tower)?;
        Ok(api.registered(&user, &subscription))
    };
    match done.await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refused) => Api::refuse(dialect, Question::Register, &refused, &Value::Null),
    }
}

async fn add_appointment(State(api): State<Arc<Api>>, request: Request) -> Response {
    let is_json = python::is_json(&request);
    let bytes = match body(request, api.body_bytes_max(Question::Add)).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let read = match api.dialect {
        Dialect::Rust => rust::appointment(&bytes),
        Dialect::Python => {
            python::members(is_json, &bytes).and_then(|members| python::appointment(&members, api.delay_min))
        }
    };
    let handed = match read {
        Ok(handed) => handed,
        Err(inspected) => return Api::refuse(api.dialect, Question::Add, &inspected.into(), &Value::Null),
    };
    let done = async {
        api.available()?;
        let added = api.monitor.add_appointment(handed.clone()).await;
        added.map_err(|why| match why {
            NotDecided::Refused(refusal) => Refused::Tower(refusal),
            NotDecided::Unavailable => Refused::Unavailable,
        })
    };
    match done.await {
        Ok(accepted) => json(StatusCode::OK, &api.accepted(&handed, &accepted)),
        Err(refused) => {
            let message = signature::appointment_message(&handed.locator, &handed.sealed, handed.to_self_delay);
            let dialect = api.dialect_of(message, &handed.signature).await;
            Api::refuse(dialect, Question::Add, &refused, &Value::Null)
        }
    }
}

async fn get_appointment(State(api): State<Arc<Api>>, request: Request) -> Response {
    let is_json = python::is_json(&request);
    let bytes = match body(request, api.body_bytes_max(Question::Get)).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let mut told = Value::Null;
    let read = match api.dialect {
        Dialect::Rust => rust::locator(&bytes),
        Dialect::Python => python::members(is_json, &bytes).and_then(|members| {
            told = members.get("locator").cloned().unwrap_or_default();
            python::locator(&members)
        }),
    };
    let (locator, signature) = match read {
        Ok(read) => read,
        Err(inspected) => return Api::refuse(api.dialect, Question::Get, &inspected.into(), &told),
    };
    let done = async {
        api.available()?;
        let asked = signature.clone();
        let found = api.engine.ask(move |kept| {
            let found = kept.tower.get_appointment(locator, &asked)?;
            Ok(match found {
                AppointmentState::Watched(it) => {
                    Seen::Watched { locator, sealed: it.sealed.clone(), to_self_delay: it.to_self_delay }
                }
                AppointmentState::Responded(it) => Seen::Responded {
                    locator,
                    dispute_txid: it.dispute_txid,
                    penalty_txid: it.penalty.txid(),
                    penalty: it.penalty.raw().to_vec(),
                },
            })
        });
        found.await?.map_err(Refused::Tower)
    };
    let done = done.await;
    let dialect = api.dialect_of(signature::get_appointment_message(&locator), &signature).await;
    match done {
        Ok(seen) => {
            let answer = match dialect {
                Dialect::Rust => rust::seen(&seen),
                Dialect::Python => python::seen(&seen),
            };
            json(StatusCode::OK, &answer)
        }
        Err(refused) => Api::refuse(dialect, Question::Get, &refused, &locator.to_string().into()),
    }
}

async fn get_subscription_info(State(api): State<Arc<Api>>, request: Request) -> Response {
    let is_json = python::is_json(&request);
    let bytes = match body(request, api.body_bytes_max(Question::Info)).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let read = match api.dialect {
        Dialect::Rust => rust::signature(&bytes),
        Dialect::Python => python::members(is_json, &bytes).map(|members| python::signature(&members)),
    };
    let signature = match read {
        Ok(signature) => signature,
        Err(inspected) => return Api::refuse(api.dialect, Question::Info, &inspected.into(), &Value::Null),
    };
    let done = async {
        api.available()?;
        let asked = signature.clone();
        api.engine.ask(move |kept| kept.tower.get_subscription_info(&asked)).await?.map_err(Refused::Tower)
    };
    match done.await {
        Ok((subscription, locators)) => {
            let locators = locators.iter().map(|locator| Value::from(locator.to_string())).collect();
            let answer = match subscription.dialect {
                Dialect::Rust => rust::info(&subscription, locators),
                Dialect::Python => python::info(&subscription, locators),
            };
            json(StatusCode::OK, &answer)
        }
        Err(refused) => {
            let dialect = api.dialect_of(GET_SUBSCRIPTION_INFO_MESSAGE.to_vec(), &signature).await;
            Api::refuse(dialect, Question::Info, &refused, &Value::Null)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gatekeeper::Terms;
    use crate::ledger::Ledger;
    use crate::source::Source;
    use crate::timelines::Timelines;
    use axum::body::Body;
    use ibgib_peer::{Host, HostOptions};
    use ibgib_server::Lease;
    use ibgib_server::rows::Rows;
    use ibgib_spaces::{MemorySpace, Space};

    async fn api(registrations: u64) -> Arc<Api> {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("tower"));
        let rows = Rows::new(Arc::clone(&space), "tower");
        let ledger = Ledger::new(rows.clone(), [Dialect::Rust, Dialect::Python].map(Terms::of));
        let engine = Engine::start(ledger.clone());
        let lease = Arc::new(Lease::new(Arc::clone(&space), "tower"));
        assert!(lease.take().await.unwrap());
        let source = Source::Timelines(Timelines::new(Host::new(space, HostOptions::default()), rows, ledger.clone()));
        let monitor = Arc::new(ChainMonitor::new(source, engine.clone(), ledger.terms(), lease));
        monitor.look().await.unwrap();
        Arc::new(Api {
            monitor,
            engine,
            dialect: Dialect::Rust,
            delay_min: 20,
            key: Arc::new(SecretKey::from_bytes(&[9; 32]).unwrap()),
            body_bytes_max: 2_048,
            registrations: Arc::new(Rate::new(registrations, 0.0)),
        })
    }

    #[tokio::test]
    async fn an_address_registers_only_so_often_and_is_told() {
        let api = api(2).await;
        let status = async |from: &str, n: u8, member: &str| {
            let user = SecretKey::from_bytes(&[n; 32]).unwrap().id();
            let body = Body::from(object([(member, user.to_string().into())]).to_string());
            let request = Request::builder().header(header::CONTENT_TYPE, "application/json").body(body).unwrap();
            let peer = SocketAddr::new(from.parse().unwrap(), 1);
            register(State(Arc::clone(&api)), ConnectInfo(peer), request).await.status().as_u16()
        };
        assert_eq!(status("192.0.2.1", 1, "user_id").await, 200);
        // The same user counts as another does, and so does the other dialect.
        assert_eq!(status("192.0.2.1", 1, "user_id").await, 200);
        for member in ["user_id", "public_key"] {
            assert_eq!(status("192.0.2.1", 2, member).await, 429);
        }
        assert_eq!(api.engine.counts().users.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(status("192.0.2.2", 2, "public_key").await, 200);
        // A network of IPv6 is one client; behind this machine's own address stands everybody.
        for (n, wanted) in [(3, 200), (4, 200), (5, 429)] {
            assert_eq!(status(&format!("2001:db8::{n}"), n, "user_id").await, wanted);
        }
        for n in 6..10 {
            assert_eq!(status("127.0.0.1", n, "user_id").await, 200);
        }
        assert_eq!(api.registrations.refused(), 3);
    }
}
