//! `pair`: two devices come to know each other by a code, and the second one ends as a clone of the first one's folder.

use super::setup::{Told, clone_told};
use super::wormhole::mailbox;
use crate::args::{Args, Pair};
use crate::codes::Code;
use crate::config::SERVERS;
use crate::device::{Device, host_name};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::pairing::{Met, ParseCode, meet, new_code};
use crate::report::Paired;
use ibgib::{Addr, Map, Mode, Value};
use ibgib_pairing::PairingError;
use ibgib_pairing::client::{Input, Wormhole};
use ibgib_pairing::connect::Session;
use ibgib_peer::WebSocketRemote;
use ibgib_peer::entropy::OsEntropy;
use ibgib_spaces::{Commit, Space};

/// Both sides say it, so that a code of another application leads nowhere.
const APP_ID: &str = "ibgib/pair";

/// What one device tells the other. Members may be added: who does not know them passes them over.
struct About {
    identity: Addr,
    name: String,
    /// Of the device that shows the code: its server, what is known of that (`space`, `key`), and its folder.
    server: Option<(String, Vec<(&'static str, String)>)>,
    folder: Option<Addr>,
}

/// What a device remembers of a server and may tell another one.
const PINS: [&str; 2] = ["space", "key"];

impl About {
    async fn of(device: &Device) -> Result<Self, CliError> {
        let server = device.remote().map(|setting| -> Result<_, CliError> {
            let base = WebSocketRemote::base(&setting.value)?;
            let pin = |member| Some((member, device.config.in_tables(SERVERS, &base, member)?));
            Ok((base.clone(), PINS.into_iter().filter_map(pin).collect()))
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
        if let Some((url, pins)) = &self.server {
            message.insert("remote", url.as_str());
            for (member, text) in pins {
                message.insert(*member, text.as_str());
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
        let server = match text("remote") {
            Some(url) => {
                let pin = |member| Some((member, text(member)?.to_owned()));
                Some((WebSocketRemote::base(url)?, PINS.into_iter().filter_map(pin).collect()))
            }
            None => None,
        };
        let name = text("name").unwrap_or("device").chars().filter(|c| !c.is_control()).take(64).collect();
        Ok(Self { identity: addr("identity")?.ok_or_else(bad)?, name, server, folder: addr("folder")? })
    }
}

pub(crate) async fn pair(args: &Args, out: &Output, pair: &Pair) -> Result<Exit, CliError> {
    let app = pair.meet.app_id.as_deref().unwrap_or(APP_ID);
    match &pair.known {
        None => first(args, out, pair, app).await,
        Some(code) => {
            let code = code.parse_code()?;
            second(args, out, pair, app, Input::SetCode(code)).await
        }
    }
}

fn begin(args: &Args, pair: &Pair, app: &str, input: Input) -> Result<Session, CliError> {
    let remote = mailbox(args, pair.meet.server.as_deref())?;
    let mut session = Session::start(Wormhole::new(app, &mut OsEntropy), remote);
    session.give(input)?;
    Ok(session)
}

/// Remembers the other device under the name that it gave itself.
async fn remember(space: &dyn Space, other: &About) -> Result<(), CliError> {
    let records = vec![(format!("paired/{}", other.identity), Some(other.name.as_bytes().to_vec()))];
    space.commit(Commit { records, ..Commit::default() }).await?;
    Ok(())
}

/// The device that shows the code.
async fn first(args: &Args, out: &Output, pair: &Pair, app: &str) -> Result<Exit, CliError> {
    // It is not held while people walk to the other device: a watcher goes on syncing.
    let about = About::of(&Device::open(args)?).await?;
    if about.folder.is_none() {
        return Err(CliError::new(Code::NoFolder, "this device tracks no folder that the other one could join"));
    }
    let Some((remote, _)) = about.server.clone() else {
        return Err(CliError::usage("this device has no server at which the other one could find the folder")
            .hint("run 'ibgib sync URL' first"));
    };
    let session = begin(args, pair, app, new_code(&pair.code)?)?;
    let mut met = meet(out, &pair.meet, session, true).await?;
    met.send(about.to_message())?;
    let other = About::read(&met.message(true).await?)?;
    remember(&*Device::open(args)?.space, &other).await?;
    finish(out, met, Paired { identity: other.identity, folder: about.folder, remote }).await
}

/// The device at which the code is typed.
async fn second(args: &Args, out: &Output, pair: &Pair, app: &str, input: Input) -> Result<Exit, CliError> {
    let here = match &pair.dir {
        Some(_) => None,
        None => Some(About::of(&Device::open(args)?).await?),
    };
    let session = begin(args, pair, app, input)?;
    let mut met = meet(out, &pair.meet, session, false).await?;
    let other = About::read(&met.message(true).await?)?;
    let (Some((remote, pins)), Some(folder)) = (other.server.clone(), other.folder.clone()) else {
        let error = PairingError::BadPeer("it names no server or no folder");
        return Err(met.give_up(error.into(), "no server or no folder was named").await);
    };
    let (mine, space) = match here {
        Some(about) => (about, Device::open(args)?.space),
        None => {
            let dir = pair.dir.clone().unwrap_or_default();
            let told = Told { url: &remote, pins: &pins, folder: &folder, token: None };
            match clone_told(args, out, &told, &dir).await {
                Ok(identity) => {
                    let space = Device::at(std::fs::canonicalize(&dir).map_err(|e| CliError::io(&dir, &e))?)?.space;
                    (About { identity, name: host_name(), server: None, folder: None }, space)
                }
                Err(error) => {
                    let why = error.message.clone();
                    return Err(met.give_up(error, &why).await);
                }
            }
        }
    };
    remember(&*space, &other).await?;
    met.send(mine.to_message())?;
    finish(out, met, Paired { identity: other.identity, folder: other.folder, remote }).await
}

async fn finish(out: &Output, met: Met, paired: Paired) -> Result<Exit, CliError> {
    met.session.end().await;
    out.item(&paired)?;
    Ok(Exit::Done)
}
