//! `wormhole send|receive --seed`: a text in the form of 2015, over an HTTP relay.
//!
//! Sides with roles say JSON, as the commands of that time did; two symmetric ones the text itself, as its example did.
//! Each side says one thing, and both say it at once: the receiver's `ok` is no promise.

use crate::args::{Args, Meet, WormholeSend};
use crate::codes::Code;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::pairing::{NUMBERS_MAX, RELAY, mailbox, refused, verified};
use crate::report::Shown;
use crate::typing::typed;
use ibgib_pairing::PairingError;
use ibgib_pairing::first_form::{Form, Wormhole};
use ibgib_pairing::transcribe::WormholeError;
use ibgib_peer::saga::SagaError;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// Of the original's commands and example.
const APP_ID: &str = "lothar.com/wormhole/text-xfer";
/// How long the relay may take to hear that the verifier was refused.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

async fn start(args: &Args, meet: &Meet, form: Form) -> Result<Wormhole, CliError> {
    let relay = mailbox(args, meet.server.as_deref(), RELAY).await?;
    let mut wormhole = Wormhole::start(form, meet.app_id.as_deref().unwrap_or(APP_ID), relay);
    wormhole.set_timeout(Some(Duration::from_secs(meet.timeout)));
    Ok(wormhole)
}

pub(super) async fn send(
    args: &Args,
    out: &Output,
    given: &WormholeSend,
    form: Form,
    text: &str,
) -> Result<Exit, CliError> {
    let mut wormhole = start(args, &given.meet, form).await?;
    let code = match &given.code.code {
        Some(code) => {
            wormhole.set_code(code.trim())?;
            code.trim().to_owned()
        }
        None => wormhole.get_code_of(given.code.words).await?.as_str().to_owned(),
    };
    out.item(&Shown { member: "code", text: code.into() })?;
    let answer = exchange(out, &given.meet, form, &mut wormhole, text).await?;
    if answer == "ok" { Ok(Exit::Done) } else { Err(refused(&answer)) }
}

/// Without a code somebody types it.
pub(super) async fn receive(
    args: &Args,
    out: &Output,
    meet: &Meet,
    form: Form,
    code: Option<String>,
) -> Result<Exit, CliError> {
    let mut wormhole = start(args, meet, form).await?;
    let code = match code {
        Some(code) => code,
        None => {
            let numbers = match timeout(NUMBERS_MAX, wormhole.numbers()).await {
                Ok(Ok(numbers)) => numbers,
                // Nothing can come of a code that is typed now.
                Ok(Err(
                    error @ (WormholeError::Server(SagaError::PeerUnreachable { .. })
                    | WormholeError::Pairing(PairingError::Unwelcome(_))),
                )) => return Err(error.into()),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the relay does not tell which numbers are in use");
                    Vec::new()
                }
                Err(_) => Vec::new(),
            };
            typed(numbers).await?
        }
    };
    wormhole.set_code(&code)?;
    let text = exchange(out, meet, form, &mut wormhole, "ok").await?;
    out.result(&Shown { member: "text", text: text.into() })?;
    Ok(Exit::Done)
}

/// Meets the other side, says `text`, and answers what it says.
async fn exchange(
    out: &Output,
    meet: &Meet,
    form: Form,
    wormhole: &mut Wormhole,
    text: &str,
) -> Result<String, CliError> {
    let has_roles = form != Form::Symmetric;
    let verifier = wormhole.get_verifier().await?;
    if let Some(notice) = wormhole.notice() {
        out.say(&format!("the mailbox server says: {notice}"));
    }
    // People take their time; the other side then gets as much as it had to come.
    wormhole.set_timeout(None);
    if let Err(error) = verified(out, meet, &verifier).await {
        if has_roles && error.code == Code::VerifierRefused.as_str() {
            let refusal = json!({"error": "verification rejected"}).to_string();
            // The error that is told is the one that matters.
            let _ = timeout(REFUSAL_MAX, wormhole.get_data(refusal.into_bytes())).await;
        }
        wormhole.leave().await;
        return Err(error);
    }
    wormhole.set_timeout(Some(Duration::from_secs(meet.timeout)));
    let ours = if has_roles { json!({"message": text}).to_string() } else { text.to_owned() };
    let theirs = String::from_utf8(wormhole.get_data(ours.into_bytes()).await?);
    let theirs = theirs.map_err(|_| PairingError::BadPeer("what it says is no text"))?;
    if !has_roles {
        return Ok(theirs);
    }
    let said: Value = serde_json::from_str(&theirs).map_err(|_| PairingError::BadPeer("what it says is no JSON"))?;
    let member = |name: &str| said.get(name).and_then(Value::as_str);
    match (member("message"), member("error")) {
        (_, Some(why)) => Err(refused(why)),
        (Some(text), None) => Ok(text.to_owned()),
        (None, None) => Err(PairingError::BadPeer("it says neither a message nor an error").into()),
    }
}
