//! `identity backup --vault` and `identity restore --vault`: a vault as the place where identities wait for the day on which
//! a machine is lost.
//!
//! A member of the document, named after the identity, has its secret, as the device's own file keeps it, and if its owner
//! wants that the recovery secret, encrypted once more: whoever has the root password acts as the identity, but does not
//! take it from its owner for ever.

use super::{Held, sealed};
use crate::args::{Args, Backup, InVault, RestoreIdentity};
use crate::codes::Code;
use crate::commands::identity::{server, tell};
use crate::confirm::confirm;
use crate::device::{Device, parse_addr};
use crate::error::{CliError, Exit};
use crate::escape::shown;
use crate::output::Output;
use crate::secret;
use crate::vault::{Prompt, read_password, wrong_password};
use ibgib::Addr;
use ibgib_keystone::{KeystoneError, Secret};
use ibgib_peer::entropy::{now_ms, random};
use ibgib_peer::{Remote, identity, take_over_identity};
use ibgib_saga::{OwnIdentity, SagaError};
use ibgib_vault::blob::{self, BlobError};
use ibgib_vault::client::VaultClient;
use ibgib_vault::device::DeviceError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

/// What the members of the document that keep identities begin with.
const KEY: &str = "ibgib-identity:";

/// An identity in a vault.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// 64 hex digits.
    secret: Zeroizing<String>,
    /// 64 hex digits under a password of their own, in the form of a vault's document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery: Option<String>,
}

pub(crate) async fn backup(args: &Args, out: &Output, backup: &Backup) -> Result<Exit, CliError> {
    let mut held = Held::open(args)?;
    let tjp = held.device.identity().await?;
    let chain = identity::load_chain(&*held.device.space, &tjp).await?;
    let chain =
        chain.ok_or_else(|| CliError::new(Code::IdentityUnknown, format!("identity {tjp} is not in the store")))?;
    let own = held.device.secret(args)?;
    if !chain.binds() {
        return Err(CliError::usage(format!(
            "identity {tjp} is of an older kind, which does not show whose a secret is"
        ))
        .hint("bring it over first: ibgib identity rotate"));
    }
    // What lies in the vault may be the only good one: a restore or a recovery that was killed leaves a device whose secret
    // is another's.
    if !identity::is_secret_of(&chain, &own).await? {
        return Err(CliError::from(SagaError::from(KeystoneError::WrongSecret)));
    }
    let (mut keys, token) = held.token()?;
    let password = read_password(out, backup.what.password_file.as_deref(), Prompt::Present)?;
    let mut copy = held.copy(&keys, &password)?;
    // What waits for a decision could not be pushed.
    copy.next_sequence().map_err(super::device_error)?;
    let key = format!("{KEY}{tjp}");
    let recovery = if backup.what.with_recovery {
        if !chain.has_recovery() {
            return Err(CliError::usage(format!("identity {tjp} was made without a recovery secret")));
        }
        let file = backup.recovery_secret_file.clone().unwrap_or_else(|| held.device.layout.recovery());
        let recovery = secret::read_recovery(&file)
            .map_err(|error| error.hint("give the recovery secret with --recovery-secret-file"))?;
        if !identity::is_recovery_secret_of(&chain, &recovery).await? {
            return Err(CliError::from(SagaError::from(KeystoneError::WrongSecret)).about(file.display().to_string()));
        }
        let its_own = read_password(out, backup.what.recovery_password_file.as_deref(), Prompt::FirstRecovery)?;
        if *its_own == *password {
            return Err(CliError::usage("the recovery secret's password is the vault's")
                .hint("give it one of its own: whoever finds out the vault's would have both secrets"));
        }
        Some(blob::seal(&secret::to_text(&recovery), &its_own, random()))
    } else {
        // One that lies there stays: it is sealed, so that nobody has to open it.
        let before = copy.value(&key).and_then(|before| before.get("recovery"));
        before.and_then(|sealed| sealed.as_str()).map(str::to_owned)
    };
    let kept = Kept { secret: secret::to_text(&own), recovery };
    let with_recovery = kept.recovery.is_some();
    let value = serde_json::to_value(&kept).map_err(|e| CliError::new(Code::Runtime, e.to_string()))?;
    copy.set(&key, Some(value), now_ms() / 1_000);
    let sequence = copy.next_sequence().map_err(super::device_error)?;
    let wallet = sealed(&copy, sequence, &keys.derived()?, &password);
    let remote = held.remote(args, &held.state()?.url).await?;
    // Nothing is kept here before the vault has it: a secret that waits to be pushed is one more that can be stolen.
    VaultClient::new(&remote).put(&token, &wallet).await.map_err(super::client_error)?;
    copy.pushed(sequence, wallet.encrypted_wallet.clone());
    if let Some(state) = &mut held.state {
        state.blob = wallet.encrypted_wallet;
    }
    held.keep(&mut keys, &copy, &password)?;
    let what = if with_recovery { "its secret and its recovery secret are" } else { "its secret is" };
    let text = format!("identity {tjp}: {what} in the vault, at sequence {sequence}");
    super::tell(out, &json!({"identity": tjp.as_str(), "recovery": with_recovery, "sequence": sequence}), &text)?;
    Ok(Exit::Done)
}

pub(crate) async fn restore(args: &Args, out: &Output, restore: &RestoreIdentity) -> Result<Exit, CliError> {
    let mut held = Held::open(args)?;
    secret::is_own(args)?;
    let keys = held.keys()?;
    // What was not pushed is under the secret that goes.
    if held.state()?.changed || held.state()?.conflicts > 0 {
        return Err(super::device_error(DeviceError::UnpushedChanges));
    }
    let password = read_password(out, restore.what.password_file.as_deref(), Prompt::Present)?;
    let (tjp, kept) = found(&held, &keys, &password, restore.identity.as_deref())?;
    let new = secret::from_text(&kept.secret).map_err(|error| damaged(&tjp, &error.message))?;
    let recovery = recovery_of(out, &restore.what, &tjp, &kept)?;
    let before = held.device.identity().await.ok();
    if let Some(before) = before.as_ref().filter(|before| **before != tjp) {
        let what = format!("the device's identity {before} would be replaced, and its secrets would be removed");
        let question = format!("Replace the device's identity {before}? Its secret and its recovery secret go, too.");
        confirm(out, restore.yes, &question, &what)?;
    }
    let remote = server(args, &held.device).await?;
    if let Some(remote) = &remote {
        // Whether it is the server that is known here.
        remote.audience().await?;
    }
    let asked = remote.as_ref().map(|remote| remote as &dyn Remote);
    let chain = take_over_identity(&held.device.space, asked, &tjp, &new).await.map_err(|error| match error {
        SagaError::OwnIdentity(OwnIdentity::Key(KeystoneError::Exhausted(_))) => CliError::from(error)
            .hint("the lost machine may have used the keys that are left: take the identity back with 'ibgib identity recover'"),
        SagaError::OwnIdentity(OwnIdentity::Unknown(_)) => CliError::from(error)
            .hint("its frames are at the server that it synced with: make the device with 'ibgib init --remote URL'"),
        error => error.into(),
    })?;
    // In this order a kill leaves a device whose secret does not fit, which this mends when it is run again, and at last one
    // that has to log in to its vault again.
    let layout = held.device.layout.clone();
    if before.as_ref() != Some(&tjp) {
        // It belongs to the identity that goes, and would pass for the other one's.
        secret::remove(&layout.recovery())?;
    }
    Device::set_identity(&*held.device.space, &tjp).await?;
    if let Some(recovery) = &recovery {
        secret::replace(&layout.recovery(), recovery)?;
    }
    secret::replace(&layout.secret(), &new)?;
    let key = crate::vault::lock_key(&new);
    if let Some(state) = &mut held.state {
        state.set_keys(&key, &keys);
    }
    held.write()?;
    tell(&held.device, out, chain).await
}

/// The identity that is wanted, and what the vault has of it.
fn found(held: &Held, keys: &super::Keys, password: &str, wanted: Option<&str>) -> Result<(Addr, Kept), CliError> {
    let copy = held.copy(keys, password)?;
    let mut there: Vec<String> = copy.keys().filter_map(|key| key.strip_prefix(KEY).map(str::to_owned)).collect();
    if let Some(wanted) = wanted {
        let wanted = parse_addr(wanted)?;
        there.retain(|tjp| *tjp == wanted.as_str());
    }
    let tjp = match &there[..] {
        [tjp] => tjp,
        [] => {
            let error = CliError::new(Code::NoKey, "the vault, as this device has it, keeps no such identity");
            return Err(error.hint("pull first: ibgib vault pull"));
        }
        several => {
            let all: Vec<_> = several.iter().map(|tjp| shown(tjp).to_string()).collect();
            return Err(CliError::usage(format!("the vault keeps several identities: {}", all.join(", ")))
                .hint("name one: ibgib identity restore --vault IDENTITY"));
        }
    };
    let value = copy.value(&format!("{KEY}{tjp}")).cloned().unwrap_or_default();
    let tjp = parse_addr(tjp)?;
    let kept = serde_json::from_value(value).map_err(|error| damaged(&tjp, &error.to_string()))?;
    Ok((tjp, kept))
}

fn recovery_of(out: &Output, what: &InVault, tjp: &Addr, kept: &Kept) -> Result<Option<Secret>, CliError> {
    if !what.with_recovery {
        return Ok(None);
    }
    let missing = || CliError::new(Code::NoKey, format!("the vault has no recovery secret of identity {tjp}"));
    let sealed = kept.recovery.as_ref().ok_or_else(missing)?;
    let password = read_password(out, what.recovery_password_file.as_deref(), Prompt::Recovery)?;
    let text = blob::open(sealed, &password).map_err(|error| match error {
        BlobError::WrongPassword => wrong_password(),
        error => damaged(tjp, &error.to_string()),
    })?;
    secret::from_text(&text).map(Some).map_err(|error| damaged(tjp, &error.message))
}

fn damaged(tjp: &Addr, why: &str) -> CliError {
    CliError::new(Code::DamagedVault, format!("what the vault keeps of identity {tjp} is damaged: {why}"))
}
