//! `invite`, `grants` and `devices`: who may do what at the server. Each is a statement that the device's identity signs.

use crate::args::{self, Args, GrantsAction};
use crate::codes::Code;
use crate::device::{Device, moment};
use crate::error::{CliError, Exit};
use crate::folders::{at_home, choose};
use crate::output::Output;
use crate::paired;
use crate::remote;
use crate::report::{Granted, Invited, InvitedProgram, Seen};
use ibgib::transform::Moment;
use ibgib::{Addr, Value, object};
use ibgib_peer::entropy::{now_ms, random_hex};
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Invite, Rights, SenderIdentity, Statement, WebSocketRemote, known_keystone, state_grant};
use ibgib_saga::Code as Protocol;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;
/// How long the invite of a pairing is good: it is used at once, but by another machine's clock.
const PAIRING_MS: i64 = 3_600_000;

/// A device with its server, and who states what.
pub(super) struct Stating {
    device: Device,
    remote: WebSocketRemote,
    identity: SenderIdentity,
}

impl Stating {
    pub(super) async fn open(args: &Args) -> Result<Self, CliError> {
        let mut device = Device::open(args)?;
        let url = device.remote().ok_or_else(|| {
            CliError::usage("this device has no server").hint("name it once: 'ibgib sync http://HOST:PORT'")
        })?;
        let remote = remote::remote(args, Some(&device), &url.value).await?;
        let identity = SenderIdentity { tjp: device.identity().await?, secret: device.secret_source(args)? };
        Ok(Self { device, remote, identity })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// What the server tells then, or why it does not take the statement.
    pub(super) async fn state(
        &mut self,
        args: &Args,
        statement: &Statement,
    ) -> Result<Result<Vec<Value>, SagaError>, CliError> {
        let told = state_grant(&self.device.space, &self.remote, &self.identity, statement).await;
        if self.remote.met().is_some() {
            remote::remember(args, &mut self.device.config, &self.remote)?;
        }
        Ok(told)
    }

    /// States a new invite; it, and when it ends.
    async fn invite(
        &mut self,
        args: &Args,
        folder: Option<Addr>,
        rights: Rights,
        uses: u32,
        lasts_ms: i64,
    ) -> Result<Result<(Invite, i64), SagaError>, CliError> {
        let token = random_hex();
        let expires_ms = now_ms() + lasts_ms;
        let id = hex::encode(Sha256::digest(&token));
        let statement = Statement::Invite { id, folder: folder.clone(), rights, uses, expires_ms };
        if let Err(error) = self.state(args, &statement).await? {
            return Ok(Err(error));
        }
        let base = self.remote.url().to_owned();
        let key = self.device.config.in_tables(crate::config::SERVERS, &base, "key");
        let space = self.remote.met().unwrap_or_default().to_owned();
        let invite = Invite {
            url: base,
            keystone: known_keystone(&*self.device.space, &space).await?,
            space,
            key: key.and_then(|key| key.parse().ok()),
            folder,
            read_only: rights == Rights::Read,
            token,
        };
        Ok(Ok((invite, expires_ms)))
    }
}

pub(crate) async fn invite(args: &Args, out: &Output, invite: &args::Invite) -> Result<Exit, CliError> {
    let lasts = lasting(&invite.expires)?;
    let mut stating = Stating::open(args).await?;
    let folder = match &invite.folder {
        Some(folder) if folder == "*" => None,
        Some(folder) => Some(choose(&at_home(&*stating.device.space).await?, folder, "this device")?),
        None => Some(stating.device.folder_tjp().await?.ok_or_else(|| {
            CliError::new(Code::NoFolder, "this device has no folder yet").hint("say which with --folder")
        })?),
    };
    let rights = if invite.read || invite.program { Rights::Read } else { Rights::Write };
    let uses = if invite.program { 0 } else { invite.uses };
    let (text, expires_ms) = stating.invite(args, folder, rights, uses, lasts).await??;
    let expires = Moment { now_ms: expires_ms, ..moment() }.timestamp();
    if invite.program {
        let id = hex::encode(Sha256::digest(&text.token));
        out.result(&InvitedProgram { secret: text.token, expires, id })?;
        return Ok(Exit::Done);
    }
    out.result(&Invited { invite: text.to_string(), expires, qr: invite.qr })?;
    Ok(Exit::Done)
}

/// An invite for the one device that this one is paired with. `None` where none is needed, because the server has no owner,
/// or where this device may not invite.
pub(super) async fn invite_one(args: &Args, folder: Addr) -> Result<Option<Invite>, CliError> {
    let mut stating = Stating::open(args).await?;
    if !stating.remote.has_owner().await? {
        return Ok(None);
    }
    match stating.invite(args, Some(folder), Rights::Write, 1, PAIRING_MS).await? {
        Ok((invite, _)) => Ok(Some(invite)),
        Err(error) if error.row() == Some(Protocol::NotGranted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How long an invite is good: a number and s, m, h or d.
fn lasting(text: &str) -> Result<i64, CliError> {
    let bad = || {
        CliError::usage(format!("{text:?} is no time that an invite could be good for"))
            .about(text)
            .hint("a number and a unit: 90m, 12h or 7d, at most a year")
    };
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return Err(bad()),
    };
    let number: i64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit).filter(|ms| *ms > 0 && *ms <= 366 * DAY_MS).ok_or_else(bad)
}

pub(crate) async fn grants(args: &Args, out: &Output, grants: &args::Grants) -> Result<Exit, CliError> {
    let mut stating = Stating::open(args).await?;
    let mut lines = stating.state(args, &Statement::List).await??;
    if let Some(GrantsAction::Revoke { who }) = &grants.action {
        let who = meant(&lines, who)?;
        lines = stating.state(args, &Statement::Revoke { who }).await??;
    }
    for line in lines {
        out.item(&Granted { line })?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn devices(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut stating = Stating::open(args).await?;
    let paired = paired::list(&*stating.device.space).await?;
    let mut told = BTreeSet::new();
    let lines = match (stating.remote.has_owner().await?, paired.is_empty()) {
        (false, false) => Vec::new(),
        (_, is_alone) => match stating.state(args, &Statement::List).await? {
            Err(error) if !is_alone && error.row() == Some(Protocol::NotGranted) => Vec::new(),
            lines => lines?,
        },
    };
    let paired = paired
        .into_iter()
        .map(|(identity, name)| object([("identity", identity.into()), ("name", name.into()), ("last", Value::Null)]));
    for line in lines.into_iter().chain(paired) {
        if let Some(identity) = line.get("identity").and_then(Value::as_str)
            && told.insert(identity.to_owned())
        {
            out.item(&Seen { line })?;
        }
    }
    Ok(Exit::Done)
}

/// Whose grants are meant: by identity, device name or invite, or the beginning of an address or of an invite.
fn meant(lines: &[Value], text: &str) -> Result<String, CliError> {
    let mut found = BTreeSet::new();
    for line in lines {
        let part = |name: &str| line.get(name).and_then(Value::as_str);
        let digits = text.strip_prefix("keystone^").unwrap_or(text);
        let begins = |whole: &str| digits.len() >= 8 && whole.starts_with(&digits.to_ascii_uppercase());
        if let Some(identity) = part("identity") {
            let gib = identity.strip_prefix("keystone^").unwrap_or(identity);
            if identity == text || part("name") == Some(text) || begins(gib) {
                found.insert(identity.to_owned());
            }
        }
        if let Some(invite) = part("invite").filter(|invite| text.len() >= 8 && invite.starts_with(text)) {
            found.insert(invite.to_owned());
        }
    }
    match found.len() {
        1 => Ok(found.into_iter().next().unwrap_or_default()),
        0 => Err(CliError::not_found("grant", text).hint("'ibgib grants' lists them")),
        _ => Err(CliError::usage(format!("{text:?} can be several"))
            .about(found.into_iter().collect::<Vec<_>>().join(", "))
            .hint("name the whole identity")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, ms) in [("1s", 1_000), ("90m", 5_400_000), ("12h", 43_200_000), ("7d", 604_800_000)] {
            assert_eq!(lasting(text).unwrap(), ms);
        }
        for bad in ["", "7", "d", "-1d", "0d", "7w", "400d", "9999999999999999d", "é"] {
            assert_eq!(lasting(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
