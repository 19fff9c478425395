//! The door: the paths of `/api/3`, what is answered there, and the sockets that wait for notices.

use crate::account::request::{self, ChangePassword, Check, LogIn, Put, Resend, SignUp};
use crate::account::{Admission, BODY_BYTES_MAX, Refusal, WalletRow, account_key, is_email};
use crate::attempts::Attempts;
use crate::ledger::{Failure, Given, Ledger, Link};
use crate::mail::Mail;
use crate::sockets::{HEARD_BYTES_MAX, Hall, Keeping, Notice, keep, tell_of_others};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts as _, Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use ibgib_server::rows::Rows;
use ibgib_server::{Door, DoorTable, Lease};
use ibgib_spaces::Space;
use metrics::{counter, gauge};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bytes of a body that are read, so that one that is too large is answered before the connection ends.
const READ_BYTES_MAX: usize = 10 * BODY_BYTES_MAX;
/// How often what works no more is let go of.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// How a vault is served.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Who may sign up.
    pub admission: Admission,
    /// What sends links ([`Admission::ByLink`]): a line for the shell, which gets `{"to","link"}` on stdin. Without one
    /// links are printed to the log.
    pub mail_command: Option<String>,
    /// The name that links call the server by, with its port where it is not that of the scheme; without one, the address
    /// that it listens on, which has to be one that people reach.
    pub name: Option<String>,
}

impl Default for VaultOptions {
    /// Nobody may sign up.
    fn default() -> Self {
        Self { admission: Admission::Nobody, mail_command: None, name: None }
    }
}

/// The server of the wallet-sync protocol, as a door.
///
/// ```
/// use ibgib_server::{Door, Mount};
/// use ibgib_spaces::MemorySpace;
/// use ibgib_vault::account::Admission;
/// use ibgib_vault::{Vault, VaultOptions};
/// use std::sync::Arc;
///
/// let space = Arc::new(MemorySpace::new("doc"));
/// let vault = Vault::new(space, VaultOptions { admission: Admission::All, ..VaultOptions::default() });
/// let mount = Mount { door: Arc::new(vault.clone()), listen: Some(([127, 0, 0, 1], 8090).into()) };
/// // Server::start(host, ServeOptions { doors: vec![mount], ..}); later:
/// vault.admit(Admission::Nobody);
/// # assert_eq!(mount.door.name(), "vault");
/// ```
#[derive(Clone)]
pub struct Vault {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Arc<Ledger>,
    admission: RwLock<Admission>,
    mail: Mail,
    name: Option<String>,
    /// Where it is reached, once it is known.
    url: OnceLock<String>,
    attempts: Attempts,
    hall: Arc<Hall>,
    /// Of servers over one space, one lets go of what works no more.
    sweeping: Lease,
    gets: AtomicU64,
    puts: AtomicU64,
    stop: CancellationToken,
    /// Sockets, and what is done to its end ([`Shared::to_the_end`]).
    under_way: TaskTracker,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("sockets", &self.shared.hall.taken()).finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault whose accounts are kept in this space.
    pub fn new(space: Arc<dyn Space>, options: VaultOptions) -> Self {
        Self::limited(space, options, Attempts::new())
    }

    fn limited(space: Arc<dyn Space>, options: VaultOptions, attempts: Attempts) -> Self {
        let VaultOptions { admission, mail_command, name } = options;
        let sweeping = Lease::new(Arc::clone(&space), "vault");
        let shared = Shared {
            ledger: Arc::new(Ledger::new(Rows::new(space, "vault"))),
            admission: RwLock::new(admission),
            mail: Mail::new(mail_command),
            name,
            url: OnceLock::new(),
            attempts,
            hall: Arc::default(),
            sweeping,
            gets: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            stop: CancellationToken::new(),
            under_way: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Who may sign up from now on.
    pub fn admit(&self, admission: Admission) {
        *self.shared.admission.write().unwrap_or_else(PoisonError::into_inner) = admission;
    }
}

impl Door for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn routes(&self) -> Router {
        Router::new()
            .route("/api/3/signup", any(sign_up))
            .route("/api/3/verify", any(verify))
            .route("/api/3/verify/resend", any(resend))
            .route("/api/3/client-salt-seed", any(seed))
            .route("/api/3/auth/full", any(log_in))
            .route("/api/3/wallet", any(wallet))
            .route("/api/3/password", any(change_password))
            .route("/api/3/websocket", any(websocket))
            .route("/api/3/", any(|| async { Failure::from(Refusal::UnknownEndpoint) }))
            .route("/api/3/{*path}", any(|| async { Failure::from(Refusal::UnknownEndpoint) }))
            .route("/api/", any(|| async { Failure::from(Refusal::OtherVersion) }))
            .route("/api/{*path}", any(|| async { Failure::from(Refusal::OtherVersion) }))
            .with_state(Arc::clone(&self.shared))
    }

    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let shared = &self.shared;
            let sweeping = || async {
                let mut sweeps = tokio::time::interval(SWEEP_EVERY);
                loop {
                    sweeps.tick().await;
                    if let Err(error) = shared.ledger.sweep().await {
                        tracing::warn!(?error, "tokens that work no more could not be looked through");
                    }
                }
            };
            tokio::select! {
                () = shared.sweeping.work(&stop, sweeping) => {}
                () = tell_of_others(&shared.ledger, &shared.hall) => {}
            }
            shared.stop.cancel();
            shared.under_way.close();
            shared.under_way.wait().await;
        })
    }

    fn metrics(&self) {
        let shared = &self.shared;
        let asked = |method: &'static str, count: &AtomicU64| {
            counter!("wallet_sync_requests_count", "method" => method, "endpoint" => "wallet")
                .absolute(count.load(Ordering::Relaxed));
        };
        asked("GET", &shared.gets);
        asked("POST", &shared.puts);
        counter!("wallet_sync_error_count", "error_type" => "ws-client-notify").absolute(shared.hall.missed());
        // Sockets are always closed with a change of the password: none is ever missed.
        counter!("wallet_sync_error_count", "error_type" => "ws-user-remove").absolute(0);
        gauge!("ibgib_vault_sockets").set(shared.hall.taken() as f64);
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<DoorTable>, String>> {
        Box::pin(async {
            let shared = &self.shared;
            let found = shared.ledger.accounts(DoorTable::ROWS_MAX).await;
            let (accounts, count) = found.map_err(|error| error.to_string())?;
            let rows = accounts.into_iter().map(|account| {
                [
                    account.email,
                    if account.is_verified { "verified" } else { "waits for its link" }.to_owned(),
                    account.sequence.to_string(),
                    account.devices.to_string(),
                    shared.hall.taken_by(&account.key).to_string(),
                    account.epoch.to_string(),
                ]
            });
            let columns =
                &["account", "address", "sequence", "devices with a token", "sockets that listen", "passwords changed"];
            Ok(vec![DoorTable { count, ..DoorTable::new("Accounts", columns, rows) }])
        })
    }

    fn url(&self, scheme: &str, at: SocketAddr) -> String {
        let url = format!("{scheme}://{at}");
        let called = self.shared.name.as_ref().map_or_else(|| url.clone(), |name| format!("{scheme}://{name}"));
        self.shared.url.get_or_init(|| called);
        url
    }
}

type Answer = Result<Response, Failure>;

/// An answer as the original gives it: JSON that calls itself text.
fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    text(status, to_json(value))
}

/// An answer that is no success: a line, which browsers do not take for anything else.
fn said(status: u16, line: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, line + "\n");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn refused(status: u16, error: String, there: Option<WalletRow>) -> Response {
    said(status, to_json(&Refused { error, there }))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error, there) = match self {
            Self::Refused(refusal @ Refusal::NoHandshake) => return said(refusal.status(), refusal.to_string()),
            Self::Refused(refusal) => {
                let (status, error) = (refusal.status(), refusal.to_string());
                (status, error, if let Refusal::WrongSequence(there) = refusal { there } else { None })
            }
            // What is wrong is the operator's to know.
            Self::Rows(why) => {
                tracing::error!(error = %why, "a request to the vault failed");
                (500, "Internal Server Error".into(), None)
            }
            Self::Mail(why) => {
                tracing::error!(error = %why, "a link could not be sent");
                (500, "Internal Server Error".into(), None)
            }
        };
        refused(status, error, there)
    }
}

/// Reads what a `POST` says.
async fn body<T: Check>(request: Request) -> Result<T, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::MethodNotAllowed);
    }
    let read = axum::body::to_bytes(request.into_body(), READ_BYTES_MAX).await;
    request::read(&read.map_err(|_| Refusal::BodyTooLarge)?)
}

/// The first parameter with this name, if it says something.
fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let Query(all) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let (_, value) = all.into_iter().find(|(found, _)| found == name)?;
    Some(value).filter(|value| !value.is_empty())
}

fn token(uri: &Uri) -> Result<String, Refusal> {
    parameter(uri, "token").ok_or_else(|| Refusal::BadRequest("Missing token parameter".into()))
}

fn get_only(request: &Request) -> Result<(), Refusal> {
    if request.method() == Method::GET { Ok(()) } else { Err(Refusal::MethodNotAllowed) }
}

impl Shared {
    /// Does what ends in a commit, and what follows from it, to the end. A client that hangs up ends its request wherever
    /// it stands: sockets would not be told, and those of a changed password not be closed.
    async fn to_the_end<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let work = self.under_way.spawn(work(Arc::clone(self)));
        work.await.unwrap_or_else(|_| Err(Refusal::Busy.into()))
    }

    /// What came of an attempt at a password: only a wrong one counts.
    fn attempted<T>(&self, from: SocketAddr, account: &str, done: &Result<T, Failure>) {
        if !matches!(done, Err(Failure::Refused(Refusal::WrongCredentials))) {
            self.attempts.was_not_wrong(from.ip(), account);
        }
    }

    async fn send(&self, link: &Link) -> Result<(), Failure> {
        let url = self.url.get().map(String::as_str).unwrap_or_default();
        let text = format!("{url}/api/3/verify?verifyToken={}", link.token);
        self.mail.send(&link.to, &text).await.map_err(Failure::Mail)
    }
}

async fn sign_up(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Answer {
    let request: SignUp = body(request).await?;
    let admission = shared.admission.read().unwrap_or_else(PoisonError::into_inner).clone();
    // What is not admitted costs no more than this.
    request.admit(&admission, None)?;
    shared.attempts.make_account(from.ip())?;
    let password = shared.ledger.password(&request, &admission).await?;
    let work = |shared: Arc<Shared>| async move {
        let link = shared.ledger.sign_up(&request, &admission, &password).await?;
        if let Some(link) = &link {
            shared.attempts.send_link(&account_key(&request.email))?;
            shared.send(link).await?;
        }
        Ok(json(StatusCode::CREATED, &SignedUp { verified: link.is_none() }))
    };
    shared.to_the_end(work).await
}

async fn verify(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    get_only(&request)?;
    let Some(token) = parameter(request.uri(), "verifyToken") else {
        let what = "There seems to be a problem with this URL: Missing verifyToken parameter";
        return Ok(said(400, what.into()));
    };
    Ok(match shared.ledger.verify(&token).await {
        Ok(true) => text(StatusCode::OK, "Your account has been verified.".into()),
        Ok(false) => {
            let what = "The verification token was not found, already used, or expired. If you want to try again, \
                        generate a new one from your app.";
            said(403, what.into())
        }
        Err(error) => {
            tracing::error!(?error, "an account could not be verified");
            said(500, "Something went wrong trying to verify your account.".into())
        }
    })
}

async fn resend(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    if *shared.admission.read().unwrap_or_else(PoisonError::into_inner) != Admission::ByLink {
        return Err(Refusal::NoVerification.into());
    }
    let request: Resend = body(request).await?;
    shared.attempts.send_link(&account_key(&request.email))?;
    let work = |shared: Arc<Shared>| async move {
        let link = shared.ledger.resend(&request.email).await?;
        shared.send(&link).await?;
        Ok(json(StatusCode::OK, &Nothing {}))
    };
    shared.to_the_end(work).await
}

async fn seed(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Answer {
    get_only(&request)?;
    // The original client sends the line break that its encoder puts at the end.
    let text = parameter(request.uri(), "email").unwrap_or_default().replace(['\r', '\n'], "");
    let email = BASE64_STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let email = email.filter(|email| is_email(email));
    let email = email.ok_or_else(|| Refusal::BadRequest("Invalid email".into()))?;
    let Some(client_salt_seed) = shared.ledger.seed(&email).await? else {
        shared.attempts.ask_unknown(from.ip())?;
        return Err(Refusal::UnknownEmail.into());
    };
    Ok(json(StatusCode::OK, &Seed { client_salt_seed }))
}

async fn log_in(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Answer {
    let request: LogIn = body(request).await?;
    let account = account_key(&request.email);
    shared.attempts.begin(from.ip(), &account)?;
    let given = shared.ledger.log_in(&request).await;
    shared.attempted(from, &account, &given);
    let Given { token, user_id } = given?;
    let token = Token { token, device_id: request.device_id, scope: "*", user_id, expiration: () };
    Ok(json(StatusCode::OK, &token))
}

async fn wallet(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    match *request.method() {
        Method::GET => {
            shared.gets.fetch_add(1, Ordering::Relaxed);
            let opened = shared.ledger.open(&token(request.uri())?).await?;
            Ok(json(StatusCode::OK, opened.wallet().ok_or(Refusal::NoWallet)?))
        }
        Method::POST => {
            shared.puts.fetch_add(1, Ordering::Relaxed);
            let request: Put = body(request).await?;
            let work = |shared: Arc<Shared>| async move {
                let (account, wallet) = shared.ledger.put(&request).await?;
                shared.hall.tell(&account, Notice::Sequence(wallet.sequence));
                Ok(json(StatusCode::OK, &wallet))
            };
            shared.to_the_end(work).await
        }
        _ => Err(Refusal::MethodNotAllowed.into()),
    }
}

async fn change_password(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Answer {
    let request: ChangePassword = body(request).await?;
    let account = account_key(&request.email);
    shared.attempts.begin(from.ip(), &account)?;
    let passwords = shared.ledger.passwords(&request).await;
    let work = |shared: Arc<Shared>| async move {
        let changed = match passwords {
            Ok(passwords) => shared.ledger.change_password(&request, passwords).await,
            Err(error) => Err(error),
        };
        shared.attempted(from, &account, &changed);
        shared.hall.clear(&changed?);
        Ok(json(StatusCode::OK, &Nothing {}))
    };
    shared.to_the_end(work).await
}

async fn websocket(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let token = token(request.uri())?;
    let account = shared.ledger.account_of(&token).await?.ok_or(Refusal::TokenNotFound)?;
    let seat = shared.hall.enter(account);
    let opened = shared.ledger.open(&token).await?;
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(|_| Refusal::NoHandshake)?;
    let keeping = Keeping {
        seat: seat.ok_or(Refusal::Busy)?,
        token,
        told: opened.sequence().unwrap_or(0),
        ledger: Arc::clone(&shared.ledger),
        stop: shared.stop.clone(),
    };
    let under_way = shared.under_way.token();
    let upgrade = upgrade.max_message_size(HEARD_BYTES_MAX).max_frame_size(HEARD_BYTES_MAX);
    // Little is heard, and little is told at once.
    let upgrade = upgrade.read_buffer_size(1_024).write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| async move {
        keep(socket, keeping).await;
        drop(under_way);
    }))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("members of an answer are texts and numbers")
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct SignedUp {
    verified: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seed {
    client_salt_seed: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: String,
    device_id: String,
    scope: &'static str,
    user_id: u64,
    /// `null`, as the original says, although tokens expire.
    expiration: (),
}

/// Why not; with the newest wallet, where that is what the client needs to go on.
#[derive(Serialize)]
struct Refused {
    error: String,
    #[serde(flatten)]
    there: Option<WalletRow>,
}

#[cfg(test)]
mod tests;
