//! `pair`: two devices come to know each other by a code, and the second one ends as a clone of the first one's folder.

use super::grants::invite_one;
use super::setup::{Told, clone_told, keystone_of};
use crate::args::{Args, Pair};
use crate::codes::Code;
use crate::config::SERVERS;
use crate::device::{Device, host_name};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::paired;
use crate::pairing::{MAILBOX, give_code, mailbox, meet, options, part, told};
use crate::remote;
use crate::report::Paired;
use ibgib::{Addr, Map, Mode, Value};
use ibgib_pairing::PairingError;
use ibgib_pairing::transcribe::SymmetricWormhole;
use ibgib_peer::{Invite, WebSocketRemote};

/// Both sides say it, so that a code of another application leads nowhere.
const APP_ID: &str = "ibgib/pair";

/// What one device tells the other. Members may be added: who does not know them passes them over.
struct About {
    identity: Addr,
    name: String,
    /// Of the device that shows the code.
    server: Option<Served>,
    folder: Option<Addr>,
}

/// A server, as one device knows it.
#[derive(Clone)]
struct Served {
    url: String,
    /// Members of its table in the settings.
    pins: Vec<(&'static str, String)>,
    /// Where a grant is needed and this device can give it.
    invite: Option<Invite>,
}

/// What a device remembers of a server and may tell another one.
const PINS: [&str; 2] = ["space", "key"];

impl About {
    async fn of(device: &Device) -> Result<Self, CliError> {
        let server = device.remote().map(|setting| -> Result<_, CliError> {
            let url = WebSocketRemote::base(&setting.value)?;
            let pin = |member| Some((member, device.config.in_tables(SERVERS, &url, member)?));
            Ok(Served { pins: PINS.into_iter().filter_map(pin).collect(), url, invite: None })
        });
        Ok(Self {
            identity: device.identity().await?,
            name: device.name().await?,
            server: server.transpose()?,
            folder: device.folder_tjp().await?,
        })
    }

    fn to_message(&self) -> Vec<u8> {
        let mut message =
            Map::from_iter([("identity", Value::from(&self.identity)), ("name", self.name.as_str().into())]);
        if let Some(Served { url, pins, invite }) = &self.server {
            message.insert("remote", url.as_str());
            for (member, text) in pins {
                message.insert(*member, text.as_str());
            }
            if let Some(invite) = invite {
                message.insert("invite", invite.to_string());
            }
        }
        if let Some(folder) = &self.folder {
            message.insert("folder", Value::from(folder));
        }
        Value::Object(message).to_json().into_bytes()
    }

    fn read(message: &[u8]) -> Result<Self, CliError> {
        let bad = || CliError::from(PairingError::BadPeer("what it tells about itself cannot be read"));
        let message = std::str::from_utf8(message).map_err(|_| bad())?;
        let message = Value::parse(message, Mode::Strict).map_err(|_| bad())?;
        let text = |member: &str| message.get(member).and_then(Value::as_str);
        if let Some(why) = text("error") {
            return Err(CliError::new(Code::TransferRefused, format!("the other device gave up: {why}")));
        }
        let addr = |member: &str| text(member).map(|text| text.parse().map_err(|_| bad())).transpose();
        let invite: Option<Invite> = text("invite").map(|text| text.parse().map_err(|_| bad())).transpose()?;
        let server = match (text("remote"), invite) {
            (_, Some(invite)) => {
                Some(Served { url: invite.url.clone(), pins: remote::pins(&invite), invite: Some(invite) })
            }
            (Some(url), None) => {
                let pin = |member| Some((member, text(member)?.to_owned()));
                let url = WebSocketRemote::base(url).map_err(|_| bad())?;
                Some(Served { url, pins: PINS.into_iter().filter_map(pin).collect(), invite: None })
            }
            (None, None) => None,
        };
        let name: String = text("name").unwrap_or_default().chars().filter(|c| !c.is_control()).take(64).collect();
        let name = if name.trim().is_empty() { "device".to_owned() } else { name };
        Ok(Self { identity: addr("identity")?.ok_or_else(bad)?, name, server, folder: addr("folder")? })
    }
}

pub(crate) async fn pair(args: &Args, out: &Output, pair: &Pair) -> Result<Exit, CliError> {
    let app = pair.meet.app_id.as_deref().unwrap_or(APP_ID);
    let server = mailbox(args, pair.meet.server.as_deref(), MAILBOX).await?;
    let start = || SymmetricWormhole::start(app, server, options(&pair.meet));
    match &pair.known {
        None => first(args, out, pair, start).await,
        Some(code) => second(args, out, pair, code, start).await,
    }
}

/// The device that shows the code.
async fn first(
    args: &Args,
    out: &Output,
    pair: &Pair,
    start: impl FnOnce() -> SymmetricWormhole,
) -> Result<Exit, CliError> {
    // It is not held while people walk to the other device: a watcher goes on syncing.
    let mut about = About::of(&Device::open(args)?).await?;
    let Some(folder) = about.folder.clone() else {
        return Err(CliError::new(Code::NoFolder, "this device tracks no folder that the other one could join"));
    };
    let Some(server) = &about.server else {
        return Err(CliError::usage("this device has no server at which the other one could find the folder")
            .hint("run 'ibgib sync URL' first"));
    };
    let remote = server.url.clone();
    let mut wormhole = start();
    out.item(&give_code(&mut wormhole, &pair.code).await?)?;
    meet(out, &pair.meet, &mut wormhole).await?;
    let introduced = async {
        // Only now: whoever guesses a code wrongly leaves no invite behind.
        let invite = invite_one(args, folder.clone()).await?;
        about.server = about.server.map(|server| Served { invite, ..server });
        wormhole.send(about.to_message())?;
        let other = About::read(&wormhole.receive().await?)?;
        paired::remember(&*Device::open(args)?.space, &other.identity, &other.name).await?;
        Ok(Paired { identity: other.identity, folder: Some(folder), remote })
    }
    .await;
    finish(out, wormhole, introduced).await
}

/// The device at which the code is typed.
async fn second(
    args: &Args,
    out: &Output,
    pair: &Pair,
    code: &str,
    start: impl FnOnce() -> SymmetricWormhole,
) -> Result<Exit, CliError> {
    let here = match &pair.dir {
        Some(_) => None,
        None => Some(About::of(&Device::open(args)?).await?),
    };
    let mut wormhole = start();
    wormhole.set_code(code.trim())?;
    meet(out, &pair.meet, &mut wormhole).await?;
    let introduced = join(args, out, pair, here, &mut wormhole).await;
    finish(out, wormhole, introduced).await
}

/// Takes what the first device tells, makes the clone, and tells who this device is.
async fn join(
    args: &Args,
    out: &Output,
    pair: &Pair,
    here: Option<About>,
    wormhole: &mut SymmetricWormhole,
) -> Result<Paired, CliError> {
    let other = About::read(&wormhole.receive().await?)?;
    let (Some(server), Some(folder)) = (other.server.clone(), other.folder.clone()) else {
        return Err(PairingError::BadPeer("it names no server or no folder").into());
    };
    let (mine, space) = match here {
        Some(about) => (about, Device::open(args)?.space),
        None => {
            let dir = pair.dir.clone().unwrap_or_default();
            let token = server.invite.as_ref().map(|invite| invite.token.as_str());
            let keystone = server.invite.as_ref().and_then(keystone_of);
            let told = Told { url: &server.url, pins: &server.pins, keystone, token, folder: &folder };
            let identity = clone_told(args, out, &told, &dir).await?;
            let space = Device::at(std::fs::canonicalize(&dir).map_err(|e| CliError::io(&dir, &e))?)?.space;
            (About { identity, name: host_name(), server: None, folder: None }, space)
        }
    };
    paired::remember(&*space, &other.identity, &other.name).await?;
    wormhole.send(mine.to_message())?;
    Ok(Paired { identity: other.identity, folder: Some(folder), remote: server.url })
}

/// The end of both devices. One that fails says so: the other one would wait for it for ever.
async fn finish(
    out: &Output,
    mut wormhole: SymmetricWormhole,
    introduced: Result<Paired, CliError>,
) -> Result<Exit, CliError> {
    let paired = told(&mut wormhole, introduced).await?;
    part(&mut wormhole).await;
    out.item(&paired)?;
    Ok(Exit::Done)
}
