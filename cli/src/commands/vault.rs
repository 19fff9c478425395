//! `vault`: a device's side of a vault.

mod identity;

pub(crate) use identity::{backup, restore};

use crate::args::{Account, Args, VaultAction, VaultCommand};
use crate::codes::Code;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::escape::shown;
use crate::output::Output;
use crate::remote;
use crate::screen::Headway;
use crate::vault::{Keys, Prompt, State, lock_key, read_password, wrong_password};
use ibgib_peer::entropy::{now_ms, random, random_hex};
use ibgib_peer::{Link, WebSocketRemote};
use ibgib_saga::{Packet, Refusal, SagaError};
use ibgib_vault::account::{WalletRow, is_email};
use ibgib_vault::blob::{self, BlobError};
use ibgib_vault::client::{ClientError, VaultClient, sequence_of};
use ibgib_vault::derive::{ClientKeys, SaltSeed};
use ibgib_vault::device::{Conflict, Device as VaultDevice, DeviceError, Opened};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Bytes of a document that is imported or opened.
const BLOB_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How a device lets go of its vault without losing it.
const MOVE_AWAY: &str = "move .ibgib/vault away; put back, it is as it was";
/// How long a watch waits before it connects again: twice as long each time, and as at first once it was with the server
/// for longer than that.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: &Args, out: &Output, vault: &VaultCommand) -> Result<Exit, CliError> {
    let account = &vault.account;
    if let VaultAction::Blob { open: Some(from), .. } = &vault.action {
        return open_blob(args, out, account, from);
    }
    if let VaultAction::Watch { pull } = &vault.action {
        return watch(args, out, account, *pull).await;
    }
    let mut held = Held::open(args)?;
    match &vault.action {
        VaultAction::Register => register(args, out, account, &mut held).await,
        VaultAction::Login => log_in(args, out, account, &mut held).await,
        VaultAction::Pull => {
            let password = present(out, account)?;
            pull(args, out, &mut held, &password).await
        }
        VaultAction::Push => push(args, out, account, &mut held).await,
        VaultAction::Status => status(out, &held),
        VaultAction::Get { key } => get(out, account, &held, key),
        VaultAction::Set { key, value } => {
            let value = serde_json::from_str(value).map_err(|e| {
                CliError::usage(format!("{value:?} is no JSON: {e}")).about(value).hint("text has quotes: '\"cow\"'")
            })?;
            set(out, account, &mut held, key, Some(value))
        }
        VaultAction::Unset { key } => set(out, account, &mut held, key, None),
        VaultAction::Passwd { new_password_file } => {
            change_password(args, out, account, &mut held, new_password_file.as_deref()).await
        }
        VaultAction::Blob { import: Some(from), .. } => import(out, account, &mut held, from),
        VaultAction::Blob { .. } => {
            let state = held.state()?;
            if state.blob.is_empty() {
                return Err(CliError::new(Code::NoVault, "this device has not seen the server's document yet")
                    .hint("pull first: ibgib vault pull"));
            }
            out.line(&state.blob)?;
            Ok(Exit::Done)
        }
        VaultAction::Watch { .. } => Ok(Exit::Done),
    }
}

/// A device, and what it keeps of its vault.
struct Held {
    device: Device,
    state: Option<State>,
    key: Zeroizing<[u8; 32]>,
}

impl Held {
    fn open(args: &Args) -> Result<Self, CliError> {
        let mut device = Device::open(args)?;
        let key = lock_key(&device.secret(args)?);
        let state = State::read(&device.layout.vault())?;
        Ok(Self { device, state, key })
    }

    fn state(&self) -> Result<&State, CliError> {
        self.state.as_ref().ok_or_else(|| {
            CliError::new(Code::NoVault, "this device has no vault yet")
                .hint("ibgib vault register, or login, with --vault-url URL and --email ADDRESS")
        })
    }

    fn keys(&self) -> Result<Keys, CliError> {
        self.state()?.keys(&self.key)
    }

    fn token(&self) -> Result<(Keys, String), CliError> {
        let keys = self.keys()?;
        let token = keys.token.clone().ok_or_else(|| client_error(ClientError::TokenInvalid))?;
        Ok((keys, token))
    }

    /// The document as it stands here.
    fn copy(&self, keys: &Keys, password: &str) -> Result<VaultDevice, CliError> {
        let state = self.state()?;
        if !state.is_current() {
            return Err(CliError::new(Code::OutOfDate, "the password was changed since this device last pulled")
                .hint("pull first: ibgib vault pull"));
        }
        state.open(keys, password)
    }

    /// Keeps a document, and writes everything.
    fn keep(&mut self, keys: &mut Keys, copy: &VaultDevice, password: &str) -> Result<(), CliError> {
        if let Some(state) = &mut self.state {
            state.set_document(&self.key, keys, copy, password);
        }
        self.write()
    }

    fn write(&self) -> Result<(), CliError> {
        self.state()?.write(&self.device.layout.vault())
    }

    async fn remote(&self, args: &Args, url: &str) -> Result<WebSocketRemote, CliError> {
        remote::remote(args, Some(&self.device), url).await
    }

    /// The account that the command line and what is kept name: where, whose, from which device. A device has one vault:
    /// another account does not take its place. The same one at another server does, and takes the document along
    /// ([`Held::carried`]).
    fn account(&self, account: &Account) -> Result<State, CliError> {
        let kept = self.state.as_ref();
        let missing = |what: &str| CliError::usage(format!("{what} is needed the first time"));
        let url = match (&account.vault_url, kept) {
            (Some(url), _) => WebSocketRemote::base(url)?,
            (None, Some(kept)) => kept.url.clone(),
            (None, None) => return Err(missing("--vault-url URL")),
        };
        let email = match (&account.email, kept) {
            (Some(email), _) if is_email(email) => email.clone(),
            (Some(email), _) => return Err(CliError::usage(format!("{email:?} is no e-mail address")).about(email)),
            (None, Some(kept)) => kept.email.clone(),
            (None, None) => return Err(missing("--email ADDRESS")),
        };
        let mut state = match kept {
            Some(kept) if kept.url == url && kept.email == email => kept.clone(),
            Some(kept) if kept.email != email && kept.is_any() => {
                let whose = format!("for {} at {}", kept.email, kept.url);
                return Err(match kept.changed {
                    true => CliError::new(
                        Code::UnpushedChanges,
                        format!("this device has changes {whose} that were not pushed"),
                    )
                    .hint(format!("push them first; then {MOVE_AWAY}")),
                    false => {
                        CliError::usage(format!("this device has the vault {whose}, and one at a time")).hint(MOVE_AWAY)
                    }
                });
            }
            Some(kept) if kept.email == email => State::new(&url, &email, &kept.device),
            _ => State::new(&url, &email, &random_hex()[..32]),
        };
        if let Some(device) = &account.device {
            state.device.clone_from(device);
        }
        Ok(state)
    }

    /// What a device begins with at a server that has nothing of its document, or another one: what it keeps, all of it a
    /// change that was not pushed. The server of before may be gone for good, and with it every other copy.
    fn carried(&self, email: &str, password: &str) -> Result<VaultDevice, CliError> {
        let Some(kept) = self.state.as_ref().filter(|kept| kept.is_any()) else {
            return Ok(VaultDevice::new(email));
        };
        let opened = self.keys().and_then(|keys| kept.open(&keys, password));
        let copy = opened.map_err(|error| {
            error.hint(format!(
                "what this device has of the vault at {} is taken along, so give the password that it is under; or \
                 begin without it: {MOVE_AWAY}",
                kept.url
            ))
        })?;
        Ok(copy.begin_again(email))
    }
}

fn present(out: &Output, account: &Account) -> Result<Zeroizing<String>, CliError> {
    read_password(out, account.password_file.as_deref(), Prompt::Present)
}

/// Derives keys, which takes seconds.
async fn derive(out: &Output, password: &str, email: &str, seed: &SaltSeed) -> Result<ClientKeys, CliError> {
    let doing = "deriving keys from the password (some seconds, 1 GiB of memory)";
    out.screen().show(&Headway { doing, things: "keys", done: 0, of: 0, bytes: 0, bytes_of: 0 });
    let (password, email, seed) = (Zeroizing::new(password.to_owned()), email.to_owned(), seed.clone());
    let derived = tokio::task::spawn_blocking(move || ClientKeys::derive(&password, &email, &seed)).await;
    out.screen().clear();
    derived.map_err(|e| CliError::new(Code::Runtime, e.to_string()))
}

/// What is told: a line of JSON, or a text.
fn tell(out: &Output, value: &Value, text: &str) -> Result<(), CliError> {
    if out.json { out.line(&value.to_string()) } else { out.line(text) }
}

async fn register(args: &Args, out: &Output, account: &Account, held: &mut Held) -> Result<Exit, CliError> {
    let mut state = held.account(account)?;
    let password = read_password(out, account.password_file.as_deref(), Prompt::First)?;
    let copy = held.carried(&state.email, &password)?;
    let seed = SaltSeed::from_random(random());
    let remote = held.remote(args, &state.url).await?;
    let client = VaultClient::new(&remote);
    let derived = derive(out, &password, &state.email, &seed).await?;
    let verified = client.register(&state.email, &derived, &seed).await.map_err(client_error)?;
    remote::remember(args, &mut held.device.config, &remote)?;
    state.set_seed(&seed);
    let (url, email, device) = (state.url.clone(), state.email.clone(), state.device.clone());
    // The account is there: what belongs to it is kept before anything else can fail.
    let mut keys = Keys::new(&derived, None);
    begin(held, state, &mut keys, &copy, &password)?;
    if verified {
        keys.token = Some(client.log_in(&email, &derived, &device).await.map_err(client_error)?);
        held.keep(&mut keys, &copy, &password)?;
    }
    let then = match verified {
        true => "this device is logged in",
        false => "open the link that was sent to the address, then log in",
    };
    let text = format!("{} is registered at {}; {then}{}", shown(&email), shown(&url), taken_along(&copy));
    tell(out, &json!({"registered": email, "verified": verified}), &text)?;
    Ok(Exit::Done)
}

/// Keeps what a device begins with at a server.
fn begin(
    held: &mut Held,
    mut state: State,
    keys: &mut Keys,
    copy: &VaultDevice,
    password: &str,
) -> Result<(), CliError> {
    state.blob.clear();
    held.state = Some(state);
    held.keep(keys, copy, password)
}

/// What people are told of a document that a device begins with.
fn taken_along(copy: &VaultDevice) -> &'static str {
    if copy.is_changed() { "; what was kept here is taken along, and not pushed yet" } else { "" }
}

async fn log_in(args: &Args, out: &Output, account: &Account, held: &mut Held) -> Result<Exit, CliError> {
    let mut state = held.account(account)?;
    let same = held.state.as_ref().is_some_and(|kept| kept.url == state.url && kept.email == state.email);
    let password = present(out, account)?;
    let carried = if same { None } else { Some(held.carried(&state.email, &password)?) };
    let remote = held.remote(args, &state.url).await?;
    let client = VaultClient::new(&remote);
    let seed = client.seed(&state.email).await.map_err(client_error)?;
    let derived = derive(out, &password, &state.email, &seed).await?;
    let token = client.log_in(&state.email, &derived, &state.device).await.map_err(client_error)?;
    remote::remember(args, &mut held.device.config, &remote)?;
    state.set_seed(&seed);
    let mut keys = Keys::new(&derived, Some(token));
    if let Some(copy) = &carried {
        begin(held, state, &mut keys, copy, &password)?;
    } else if state.is_current() {
        // The same keys as before: what is kept of the document stays.
        let copy = state.open(&keys, &password)?;
        held.state = Some(state);
        held.keep(&mut keys, &copy, &password)?;
    } else {
        // The document is under the password of before; what was changed here goes on under the new one.
        let before = held.keys();
        if before.is_err() && state.changed {
            return Err(CliError::new(
                Code::UnpushedChanges,
                "the password was changed elsewhere, and the device's secret here: what was not pushed cannot be read",
            )
            .hint("move .ibgib/vault away, and log in again"));
        }
        if let Ok(before) = before {
            (keys.changes, keys.conflicts) = (before.changes, before.conflicts);
        }
        if state.sequence == 0 {
            // Nothing was ever shared, so that there may be nothing to pull: the changes are all of the document.
            let empty = VaultDevice::new(&state.email);
            let copy = VaultDevice::with_changes(0, empty.document(), &keys.changes, keys.conflicts.clone());
            begin(held, state, &mut keys, &copy, &password)?;
        } else {
            state.set_keys(&held.key, &keys);
            held.state = Some(state);
            held.write()?;
        }
    }
    let (email, device) = (held.state()?.email.clone(), held.state()?.device.clone());
    let text = format!("logged in as {}{}", shown(&email), carried.as_ref().map_or("", taken_along));
    tell(out, &json!({"loggedIn": email, "device": device}), &text)?;
    Ok(Exit::Done)
}

async fn pull(args: &Args, out: &Output, held: &mut Held, password: &str) -> Result<Exit, CliError> {
    let (mut keys, token) = held.token()?;
    let state = held.state()?;
    let remote = held.remote(args, &state.url).await?;
    let found = VaultClient::new(&remote).wallet(&token).await.map_err(client_error)?;
    let Some(wallet) = found else {
        if state.sequence > 0 {
            return Err(device_error(DeviceError::RolledBack { ours: state.sequence, theirs: 0 }));
        }
        // Nothing is there yet; but whose password this is, is looked at all the same.
        let copy = held.copy(&keys, password)?;
        return pulled(out, 0, false, &copy);
    };
    let WalletRow { encrypted_wallet, sequence, hmac } = wallet;
    if !keys.derived()?.verify(sequence, &encrypted_wallet, &hmac) {
        return Err(device_error(DeviceError::BadHmac));
    }
    let document = opened(&encrypted_wallet, password)?;
    let mut copy = match state.is_current() {
        true => state.open(&keys, password)?,
        false => VaultDevice::with_changes(state.sequence, &document, &keys.changes, keys.conflicts.clone()),
    };
    let blob = encrypted_wallet.clone();
    let told = copy.pull(Opened { sequence, encrypted: encrypted_wallet, document }).map_err(device_error)?;
    if let Some(state) = &mut held.state {
        state.blob = blob;
    }
    held.keep(&mut keys, &copy, password)?;
    pulled(out, told.sequence, told.merged, &copy)
}

/// Tells what came of a pull. Conflicts are told until they are settled.
fn pulled(out: &Output, sequence: u64, merged: bool, copy: &VaultDevice) -> Result<Exit, CliError> {
    let mut conflicts = Vec::new();
    let mut text = format!("at sequence {sequence}{}", if merged { ", merged with what was changed here" } else { "" });
    for Conflict { key, base, mine, theirs } in copy.conflicts() {
        let key = copy.text(key);
        text.push_str(&format!(
            "\nconflict {}: both changed {base}; here it is {mine}, there {theirs}; settle it with 'vault set' or 'vault unset'",
            shown(&key)
        ));
        conflicts.push(json!({"key": key, "base": base, "mine": mine, "theirs": theirs}));
    }
    let value = json!({"sequence": sequence, "merged": merged, "conflicts": conflicts});
    tell(out, &value, &text)?;
    Ok(if conflicts.is_empty() { Exit::Done } else { Exit::Partly })
}

async fn push(args: &Args, out: &Output, account: &Account, held: &mut Held) -> Result<Exit, CliError> {
    let password = present(out, account)?;
    let (mut keys, token) = held.token()?;
    let mut copy = held.copy(&keys, &password)?;
    let sequence = copy.next_sequence().map_err(device_error)?;
    let wallet = sealed(&copy, sequence, &keys.derived()?, &password);
    let remote = held.remote(args, &held.state()?.url).await?;
    VaultClient::new(&remote).put(&token, &wallet).await.map_err(client_error)?;
    copy.pushed(sequence, wallet.encrypted_wallet.clone());
    if let Some(state) = &mut held.state {
        state.blob = wallet.encrypted_wallet;
    }
    held.keep(&mut keys, &copy, &password)?;
    tell(out, &json!({"sequence": sequence}), &format!("pushed as sequence {sequence}"))?;
    Ok(Exit::Done)
}

fn sealed(copy: &VaultDevice, sequence: u64, keys: &ClientKeys, password: &str) -> WalletRow {
    let json = Zeroizing::new(copy.document().to_string());
    let encrypted_wallet = blob::seal(&json, password, random());
    let hmac = keys.hmac(sequence, &encrypted_wallet);
    WalletRow { encrypted_wallet, sequence, hmac }
}

/// A document that the server or a file has.
fn opened(text: &str, password: &str) -> Result<Value, CliError> {
    let json = blob::open(text, password).map_err(|error| match error {
        BlobError::WrongPassword => wrong_password(),
        error => CliError::new(Code::DamagedVault, error.to_string()),
    })?;
    serde_json::from_str(&json).map_err(|_| device_error(DeviceError::NotAVault))
}

fn status(out: &Output, held: &Held) -> Result<Exit, CliError> {
    let state = held.state()?;
    let logged_in = held.keys().is_ok_and(|keys| keys.token.is_some());
    let value = json!({
        "url": state.url, "email": state.email, "device": state.device, "sequence": state.sequence,
        "changed": state.changed, "conflicts": state.conflicts, "loggedIn": logged_in, "current": state.is_current(),
    });
    let mut text = format!("{} at {}, sequence {}", shown(&state.email), shown(&state.url), state.sequence);
    if state.changed {
        text.push_str("\nchanged here, not pushed yet");
    }
    if state.conflicts > 0 {
        text.push_str(&format!("\n{} key(s) in conflict: 'ibgib vault pull' tells which", state.conflicts));
    }
    if !logged_in {
        text.push_str("\nnot logged in");
    }
    if !state.is_current() {
        text.push_str("\nthe password was changed: pull first");
    }
    tell(out, &value, &text)?;
    Ok(Exit::Done)
}

fn get(out: &Output, account: &Account, held: &Held, key: &str) -> Result<Exit, CliError> {
    let keys = held.keys()?;
    let copy = held.copy(&keys, &present(out, account)?)?;
    let value = copy
        .value(key)
        .ok_or_else(|| CliError::new(Code::NoKey, format!("the vault has no key {key:?}")).about(key))?;
    out.line(&value.to_string())?;
    Ok(Exit::Done)
}

fn set(out: &Output, account: &Account, held: &mut Held, key: &str, value: Option<Value>) -> Result<Exit, CliError> {
    let mut keys = held.keys()?;
    let password = present(out, account)?;
    let mut copy = held.copy(&keys, &password)?;
    copy.set(key, value.clone(), now_ms() / 1_000);
    held.keep(&mut keys, &copy, &password)?;
    let text = format!(
        "{} {}; 'ibgib vault push' gives it to the server",
        if value.is_some() { "set" } else { "unset" },
        shown(key)
    );
    tell(out, &json!({"key": key, "value": value}), &text)?;
    Ok(Exit::Done)
}

async fn change_password(
    args: &Args,
    out: &Output,
    account: &Account,
    held: &mut Held,
    new_file: Option<&Path>,
) -> Result<Exit, CliError> {
    let mut keys = held.keys()?;
    let state = held.state()?;
    // Nobody types passwords in vain.
    if state.conflicts == 0 && state.changed {
        return Err(device_error(DeviceError::UnpushedChanges));
    }
    let password = present(out, account)?;
    let mut copy = held.copy(&keys, &password)?;
    copy.may_change_password().map_err(device_error)?;
    let new = read_password(out, new_file, Prompt::New)?;
    if *new == *password {
        return Err(CliError::usage("the new password is the present one"));
    }
    let (remote, email) = (held.remote(args, &state.url).await?, state.email.clone());
    let seed = SaltSeed::from_random(random());
    let derived = derive(out, &new, &email, &seed).await?;
    let old = keys.derived()?;
    let wallet = match copy.sequence() {
        0 => None,
        sequence => Some(sealed(&copy, sequence + 1, &derived, &new)),
    };
    let client = VaultClient::new(&remote);
    client.change_password(&email, &old, &derived, &seed, wallet.as_ref()).await.map_err(client_error)?;
    // The token is dead with all others.
    keys = Keys::new(&derived, None);
    let sequence = wallet.as_ref().map_or(0, |wallet| wallet.sequence);
    if let Some(state) = &mut held.state {
        state.set_seed(&seed);
        if let Some(wallet) = wallet {
            copy.pushed(wallet.sequence, wallet.encrypted_wallet.clone());
            state.blob = wallet.encrypted_wallet;
        }
    }
    held.keep(&mut keys, &copy, &new)?;
    let text = "the password is changed; every device has to log in again, this one too: ibgib vault login";
    tell(out, &json!({"sequence": sequence}), text)?;
    Ok(Exit::Done)
}

fn import(out: &Output, account: &Account, held: &mut Held, from: &Path) -> Result<Exit, CliError> {
    let text = read_blob(from)?;
    let mut keys = held.keys()?;
    let password = present(out, account)?;
    let mut copy = held.copy(&keys, &password)?;
    copy.replace(opened(&text, &password)?).map_err(device_error)?;
    held.keep(&mut keys, &copy, &password)?;
    let text = "the document stands here now; 'ibgib vault push' gives it to the server";
    tell(out, &json!({"imported": copy.keys().count()}), text)?;
    Ok(Exit::Done)
}

fn read_blob(from: &Path) -> Result<String, CliError> {
    let failed = |e: std::io::Error| CliError::io(from, &e);
    let mut text = String::new();
    let read = match from == Path::new("-") {
        true => std::io::stdin().take(BLOB_BYTES_MAX).read_to_string(&mut text),
        false => std::fs::File::open(from).map_err(failed)?.take(BLOB_BYTES_MAX).read_to_string(&mut text),
    };
    read.map_err(failed)?;
    Ok(text)
}

/// Prints what is inside of a document: of a file, or with no name of the device's.
fn open_blob(args: &Args, out: &Output, account: &Account, from: &str) -> Result<Exit, CliError> {
    let text = match from {
        "" => Held::open(args)?.state()?.blob.clone(),
        from => {
            if from == "-" && account.password_file.as_deref() == Some(Path::new("-")) {
                return Err(CliError::usage("stdin cannot be the document and the password"));
            }
            read_blob(Path::new(from))?
        }
    };
    let password = present(out, account)?;
    out.line(&opened(&text, &password)?.to_string())?;
    Ok(Exit::Done)
}

/// A socket on which the server tells of new sequences, and the one that it has.
async fn listen(client: &VaultClient<'_>, token: &str) -> Result<(u64, Link), ClientError> {
    // A token that is dead is told as such here.
    client.wallet(token).await?;
    let link = match client.notices(token).await {
        Ok(link) => link,
        Err(error) => {
            // It may have died meanwhile.
            client.wallet(token).await?;
            return Err(error);
        }
    };
    // What came before the socket was there.
    let there = client.wallet(token).await?.map_or(0, |wallet| wallet.sequence);
    Ok((there, link))
}

async fn watch(args: &Args, out: &Output, account: &Account, pulls: bool) -> Result<Exit, CliError> {
    let password = if pulls { Some(present(out, account)?) } else { None };
    let mut watcher = Watcher { args, out, password, told: None, is_behind: false, was_there: false };
    let mut pause = AGAIN;
    loop {
        match watcher.round().await {
            // Also one that takes the socket and ends it at once is given time: being asked without a pause would keep it
            // from coming back.
            Ok(with_it) if with_it > pause => pause = AGAIN,
            Ok(_) => {}
            Err(error) if watcher.was_there && error.exit == Exit::Peer => {
                tracing::debug!(error = error.message, "the vault's server is away");
            }
            Err(error) => return Err(error),
        }
        // Many devices must not come back in one moment.
        let [jitter] = random::<1>();
        tokio::time::sleep(pause.mul_f64(0.75 + f64::from(jitter) / 512.0)).await;
        pause = (2 * pause).min(AGAIN_MAX);
    }
}

/// What `watch` knows from one socket to the next.
struct Watcher<'a> {
    args: &'a Args,
    out: &'a Output,
    /// What opens the document, where it is pulled.
    password: Option<Zeroizing<String>>,
    /// The newest sequence that was told.
    told: Option<u64>,
    /// It was told and not pulled yet.
    is_behind: bool,
    /// The server answered once; until then nobody waits for one that may not be there.
    was_there: bool,
}

impl Watcher<'_> {
    /// Tells of new sequences until the socket ends; how long that was.
    async fn round(&mut self) -> Result<Duration, CliError> {
        // Other commands work on the device meanwhile.
        let (remote, token, known) = {
            let held = Held::open(self.args)?;
            let (_, token) = held.token()?;
            let state = held.state()?;
            (held.remote(self.args, &state.url).await?, token, state.sequence)
        };
        let (there, mut link) = listen(&VaultClient::new(&remote), &token).await.map_err(client_error)?;
        self.was_there = true;
        let began = Instant::now();
        let mut next = Some(there);
        loop {
            if let Some(sequence) = next.filter(|sequence| *sequence > self.told.unwrap_or(known)) {
                (self.told, self.is_behind) = (Some(sequence), true);
                self.out.line(&json!({"sequence": sequence}).to_string())?;
            }
            if let Some(password) = self.password.as_ref().filter(|_| self.is_behind) {
                let _ = pull(self.args, self.out, &mut Held::open(self.args)?, password).await?;
                self.is_behind = false;
            }
            next = match link.rx.recv().await {
                Some(Packet::Text(text)) => sequence_of(&text),
                Some(Packet::Binary(_)) => None,
                None => return Ok(began.elapsed()),
            };
        }
    }
}

fn device_error(error: DeviceError) -> CliError {
    let code = match &error {
        DeviceError::BadHmac => Code::BadHmac,
        DeviceError::RolledBack { .. } => Code::Rollback,
        DeviceError::ConflictsOpen(_) => Code::ConflictsOpen,
        DeviceError::UnpushedChanges => Code::UnpushedChanges,
        _ => Code::DamagedVault,
    };
    let out = CliError::new(code, error.to_string());
    match error {
        DeviceError::ConflictsOpen(_) => out.hint("settle each with 'ibgib vault set' or 'ibgib vault unset'"),
        DeviceError::UnpushedChanges => out.hint("push first: ibgib vault push"),
        DeviceError::RolledBack { .. } => out.hint(format!(
            "its operator may have begun anew; then log in again without what this device has: {MOVE_AWAY}"
        )),
        _ => out,
    }
}

fn client_error(error: ClientError) -> CliError {
    let code = match error {
        ClientError::Peer(error) => return error.into(),
        // As a space server that was asked too often.
        ClientError::TooMuch => {
            let why = Refusal::Known(ibgib_saga::Code::TooManyRequests);
            return SagaError::PeerRefused { why, message: error.to_string(), auth: false }.into();
        }
        ClientError::Registered => Code::Registered,
        ClientError::UnknownAccount => Code::UnknownAccount,
        ClientError::WrongPassword => Code::WrongPassword,
        ClientError::NotVerified => Code::NotVerified,
        ClientError::TokenInvalid => Code::TokenInvalid,
        ClientError::OutOfDate => Code::OutOfDate,
        ClientError::NoVault { .. } => Code::NoVault,
        _ => Code::VaultRefused,
    };
    let hint = match code {
        Code::TokenInvalid => "log in again: ibgib vault login",
        Code::OutOfDate => "pull first: ibgib vault pull",
        Code::Registered => "log in: ibgib vault login",
        Code::NoVault => "check --vault-url, which is the server's URL without /api/3",
        _ => "",
    };
    let out = CliError::new(code, error.to_string());
    if hint.is_empty() { out } else { out.hint(hint) }
}
