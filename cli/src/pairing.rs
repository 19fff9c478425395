//! Wormholes of the command: how they meet, and what people see of it.

use crate::args::{Args, Meet, NewCode};
use crate::codes::Code;
use crate::config::{self, ConfigFile};
use crate::device::{DIR, Layout, root};
use crate::error::CliError;
use crate::output::Output;
use crate::remote;
use crate::report::Shown;
use ibgib_pairing::PairingError;
use ibgib_pairing::connect::Session;
use ibgib_pairing::error::Misuse;
use ibgib_pairing::transcribe::{Options, SymmetricWormhole, WormholeError};
use ibgib_pairing::transfer::Note;
use ibgib_peer::WebSocketRemote;
use ibgib_saga::Code as Protocol;
use std::io::BufRead;
use std::time::Duration;
use tokio::time::timeout;

impl From<WormholeError> for CliError {
    fn from(error: WormholeError) -> Self {
        match error {
            WormholeError::Server(error) => {
                let row = error.row();
                let error = Self::from(error);
                // What is said of syncing does not help here.
                match row {
                    Some(Protocol::Unreachable) => error.hint("is the mailbox server running, and is its URL right?"),
                    Some(Protocol::NoServer) => {
                        error.hint("is its URL right? It ends with /v1, or with --seed with /wormhole-relay/")
                    }
                    Some(Protocol::Cut | Protocol::Timeout | Protocol::Shutdown) => {
                        error.hint("begin again on both devices, with a new code")
                    }
                    _ => error,
                }
            }
            WormholeError::Pairing(error) => error.into(),
            error => Self::new(Code::BadPeer, error.to_string()),
        }
    }
}

impl From<PairingError> for CliError {
    fn from(error: PairingError) -> Self {
        let text = error.to_string();
        match error {
            PairingError::BadCode { .. } => {
                Self::usage(text).hint("a code is a number and words, as in 7-crossover-clockwork")
            }
            PairingError::WrongCode | PairingError::Reflected => {
                Self::new(Code::Guessed, text).hint("begin again on both devices, with a new code")
            }
            PairingError::Crowded | PairingError::Reclaimed => {
                Self::new(Code::UsedUp, text).hint("begin again on both devices, with a new code")
            }
            PairingError::Unwelcome(_) | PairingError::Refused(_) | PairingError::NoPermission => {
                Self::new(Code::MailboxRefused, text).hint("try later, or name another mailbox server with --server")
            }
            PairingError::BadServer(_) => Self::new(Code::BadMailbox, text),
            PairingError::BadPeer(_) => Self::new(Code::BadPeer, text),
            PairingError::Lonely | PairingError::TimedOut => {
                Self::new(Code::NobodyCame, text).hint("begin again on both devices, with a new code")
            }
            PairingError::Misuse(Misuse::NotThisForm) => {
                Self::usage("a receiver of 2015 makes no code").hint("fix one with --code, or send as the initiator")
            }
            PairingError::Misuse(Misuse::NotNow) | PairingError::BadState(_) => Self::new(Code::BadState, text),
            _ => Self::new(Code::BadPeer, text),
        }
    }
}

/// How long the server may take to hear how it went.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);

/// How long the server may take to tell which numbers are in use, which only helps typing.
pub(crate) const NUMBERS_MAX: Duration = Duration::from_secs(3);

/// Where a mailbox server stands at a space server, and the relay of 2015.
pub(crate) const MAILBOX: &str = "/v1";
pub(crate) const RELAY: &str = "/wormhole-relay";

/// The server that is meant: the one given, or the one at this path of the device's server.
pub(crate) async fn mailbox(args: &Args, given: Option<&str>, at: &str) -> Result<WebSocketRemote, CliError> {
    // A wormhole needs no device, but one may know the server.
    let root = root(args)?;
    let known = match &root {
        Some(root) => Some(ConfigFile::read(&Layout(root.join(DIR)).config())?),
        None => None,
    };
    let user = config::user_path().map(|path| ConfigFile::read(&path)).transpose()?;
    let url = match given {
        Some(url) => url.to_owned(),
        None => {
            let remote = config::setting("remote", "IBGIB_REMOTE", known.as_ref(), user.as_ref());
            let remote = remote.ok_or_else(|| {
                CliError::usage("no mailbox server is named, and this device has no server").hint(format!(
                    "name one with --server, as in {}://HOST:PORT{at}",
                    if at == MAILBOX { "ws" } else { "http" }
                ))
            })?;
            format!("{}{at}", WebSocketRemote::base(&remote.value)?)
        }
    };
    let base = WebSocketRemote::base(&url)?;
    let server = base.strip_suffix(at).unwrap_or(&base);
    let remote = Session::trusting(&url, remote::trust(args, known.as_ref(), server)?)?;
    match (root, &known) {
        (Some(root), Some(known)) => remote::door(remote, server, &Layout(root.join(DIR)), known).await,
        _ => Ok(remote),
    }
}

/// The other device said why not.
pub(crate) fn refused(why: &str) -> CliError {
    CliError::new(Code::TransferRefused, format!("the other device does not take it: {why}"))
}

/// A wormhole that waits as long as was said.
pub(crate) fn options(args: &Meet) -> Options {
    Options { timeout: Some(Duration::from_secs(args.timeout)), ..Options::default() }
}

/// Gives the first device's wormhole its code: the one that was said, or a new one.
pub(crate) async fn give_code(wormhole: &mut SymmetricWormhole, args: &NewCode) -> Result<Shown<'static>, CliError> {
    let code = match &args.code {
        Some(code) => {
            wormhole.set_code(code.trim())?;
            code.trim().to_owned()
        }
        None => wormhole.get_code_of(args.words).await?.as_str().to_owned(),
    };
    Ok(Shown { member: "code", text: code.into() })
}

/// Waits for the other device, and with `--verify` for the person here. From then on nothing limits the wormhole's time:
/// people and large folders take theirs. Data under way has a limit of its own.
pub(crate) async fn meet(out: &Output, args: &Meet, wormhole: &mut SymmetricWormhole) -> Result<(), CliError> {
    let verifier = wormhole.get_verifier().await?;
    if let Some(notice) = wormhole.notice() {
        out.say(&format!("the mailbox server says: {notice}"));
    }
    wormhole.versions().await?;
    wormhole.set_timeout(None);
    match verified(out, args, &verifier).await {
        Err(error) if error.code == Code::VerifierRefused.as_str() => {
            Err(give_up(wormhole, error, "the verifier was refused").await)
        }
        done => done,
    }
}

/// Shows the verifier with `--verify`, and goes on if the person here says that it is equal.
pub(crate) async fn verified(out: &Output, args: &Meet, verifier: &[u8; 32]) -> Result<(), CliError> {
    if args.verify {
        out.item(&Shown { member: "verifier", text: hex::encode(verifier).into() })?;
        if !is_yes(out).await? {
            return Err(CliError::new(Code::VerifierRefused, "the verifiers were not said to be equal"));
        }
    }
    Ok(())
}

/// Whether the person here answers `yes`.
async fn is_yes(out: &Output) -> Result<bool, CliError> {
    out.say("does the other device show the same? (yes/no)");
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(|e| CliError::new(Code::Io, e.to_string()))?;
    let answer = answer.map_err(|e| CliError::io(std::path::Path::new("stdin"), &e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Ends once the server has everything that was said. One that is away is left all the same.
pub(crate) async fn part(wormhole: &mut SymmetricWormhole) {
    // How the exchange ended is known without it.
    let _ = timeout(LAST_WORDS_MAX, wormhole.close()).await;
}

/// Tells the other side if this one failed after they met: it would wait for ever for one that goes without a word.
pub(crate) async fn told<T>(wormhole: &mut SymmetricWormhole, result: Result<T, CliError>) -> Result<T, CliError> {
    match result {
        Ok(done) => Ok(done),
        Err(error) => {
            // Its message may name files of this device.
            let why = format!("it failed there ({})", error.code);
            Err(give_up(wormhole, error, &why).await)
        }
    }
}

/// Tells the other side why it ends, and answers the error to end with.
pub(crate) async fn give_up(wormhole: &mut SymmetricWormhole, error: CliError, why: &str) -> CliError {
    // The error that is told is the one that matters.
    let _ = wormhole.send(Note::Refused(why.to_owned()).to_message());
    part(wormhole).await;
    error
}
