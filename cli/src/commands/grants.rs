//! `invite`, `grants` and `devices`: who may do what at the server. Each is a statement that the device's identity signs.

use crate::args::{self, Args, GrantsAction};
use crate::codes::Code;
use crate::device::{Device, moment};
use crate::error::{CliError, Exit};
use crate::folders::{at_home, choose};
use crate::output::Output;
use crate::remote;
use crate::report::{Granted, Invited, Seen};
use ibgib::Value;
use ibgib::transform::Moment;
use ibgib_peer::entropy::{now_ms, random_hex};
use ibgib_peer::{Invite, Rights, SenderIdentity, Statement, WebSocketRemote, state_grant};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// A device with its server, and who states what.
struct Stating {
    device: Device,
    remote: WebSocketRemote,
    identity: SenderIdentity,
}

impl Stating {
    async fn open(args: &Args) -> Result<Self, CliError> {
        let mut device = Device::open(args)?;
        let url = device.remote().ok_or_else(|| {
            CliError::usage("this device has no server").hint("name it once: 'ibgib sync http://HOST:PORT'")
        })?;
        let remote = remote::remote(args, Some(&device.config), &url.value)?;
        let identity = SenderIdentity { tjp: device.identity().await?, secret: device.secret_source(args)? };
        Ok(Self { device, remote, identity })
    }

    async fn state(&mut self, args: &Args, statement: &Statement) -> Result<Vec<Value>, CliError> {
        let told = state_grant(&self.device.space, &self.remote, &self.identity, statement).await;
        if self.remote.met().is_some() {
            remote::remember(args, &mut self.device.config, &self.remote)?;
        }
        Ok(told?)
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
    let token = random_hex();
    let expires_ms = now_ms() + lasts;
    let statement = Statement::Invite {
        id: hex::encode(Sha256::digest(&token)),
        folder: folder.clone(),
        rights: if invite.read { Rights::Read } else { Rights::Write },
        uses: invite.uses,
        expires_ms,
    };
    stating.state(args, &statement).await?;
    let remote = &stating.remote;
    let base = remote.url().to_owned();
    let key = stating.device.config.in_tables(crate::config::SERVERS, &base, "key");
    let text = Invite {
        url: base,
        space: remote.met().unwrap_or_default().to_owned(),
        key: key.and_then(|key| key.parse().ok()),
        folder,
        read_only: invite.read,
        token,
    };
    let expires = Moment { now_ms: expires_ms, ..moment() }.timestamp();
    out.result(&Invited { invite: text.to_string(), expires, qr: invite.qr })?;
    Ok(Exit::Done)
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
    let mut lines = stating.state(args, &Statement::List).await?;
    if let Some(GrantsAction::Revoke { who }) = &grants.action {
        let who = meant(&lines, who)?;
        lines = stating.state(args, &Statement::Revoke { who }).await?;
    }
    for line in lines {
        out.item(&Granted { line })?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn devices(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut stating = Stating::open(args).await?;
    let mut told = BTreeSet::new();
    for line in stating.state(args, &Statement::List).await? {
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
