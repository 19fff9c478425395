//! `tower guard` and `tower check`: towers that end this device's identity when it is used in two places.

use super::identity::{deliver, load, newest};
use crate::args::Args;
use crate::codes::Code;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::guarding::{Guarded, KnownTower, Refused, TowerState, Towers};
use crate::output::Output;
use crate::remote;
use crate::report::{Checking, GuardReport, TowerStanding};
use ibgib::Addr;
use ibgib_keystone::{Chain, Secret};
use ibgib_peer::entropy::now_ms;
use ibgib_peer::{WebSocketRemote, identity};
use ibgib_tower::guard;
use ibgib_tower::sealed::{Dialect, Locator, seal};
use ibgib_tower::signature::{SecretKey, appointment_message};
use std::collections::HashSet;

/// What a revocation says that waited.
const REASON: &str = "used in two places";

pub(crate) async fn guard(
    args: &Args,
    out: &Output,
    url: &str,
    until: Option<u32>,
    auto: bool,
) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let url = WebSocketRemote::base(url)?;
    let secret = device.secret(args)?;
    let before = newest(args, &device).await?;
    check_sound(&device, &before).await?;
    let chain = identity::open_guard(&*device.space, before.tjp(), &secret).await?;
    let opened = "the guard pool is open here, but the server does not know yet; run 'ibgib tower guard' again";
    deliver(args, &device, &chain, opened).await?;
    let mut towers = Towers::read(&device.layout.towers())?;
    let key = towers.signing()?;
    let tower = towers.tower(&url);
    tower.auto |= auto;
    tower.until = until.unwrap_or(0).max(tower.until);
    tower.forget_refusal(chain.tip().addr().as_str());
    prepare(&device, tower, &chain, &secret, &key).await?;
    towers.write(&device.layout.towers())?;
    let done = ask(args, &mut device, &mut towers, &url, &key).await;
    towers.write(&device.layout.towers())?;
    done?;
    let guarded = towers.tower(&url).of(chain.tip().addr().as_str()).cloned();
    let why = guarded.as_ref().and_then(|guarded| guarded.refused.clone());
    let guarded = guarded.filter(|guarded| guarded.receipt.is_some()).ok_or_else(|| match why {
        Some(why) => CliError::from(Refused::Tower(why)),
        None => CliError::new(Code::TowerRefused, "the tower gave no receipt"),
    })?;
    out.report(&GuardReport(guarded))?;
    Ok(Exit::Done)
}

/// After a sync: guards the state that it led to, with the towers that do so by themselves. What fails is told and tried again
/// with a later sync; the sync is done in any case.
pub(super) async fn renew(args: &Args, device: &mut Device) {
    if let Err(error) = renewed(args, device).await {
        let hint = error.hint.map_or_else(String::new, |hint| format!("; {hint}"));
        tracing::warn!("the identity's new state is not guarded: {}{hint}", error.message);
    }
}

async fn renewed(args: &Args, device: &mut Device) -> Result<(), CliError> {
    if !device.layout.towers().exists() {
        return Ok(());
    }
    let mut towers = Towers::read(&device.layout.towers())?;
    let before = load(device).await?;
    let key = towers.signing()?;
    let mut state = before.tip().addr().clone();
    // Asking for the secret may cost somebody something.
    if towers.is_unguarded(state.as_str()) {
        let secret = device.secret(args)?;
        let chain = identity::open_guard(&*device.space, before.tjp(), &secret).await?;
        if chain.tip() != before.tip() {
            let opened = "a guard pool was opened, but the server does not know yet; the next sync tells it";
            deliver(args, device, &chain, opened).await?;
        }
        for tower in towers.towers.iter_mut().filter(|tower| tower.auto) {
            prepare(device, tower, &chain, &secret, &key).await?;
        }
        towers.write(&device.layout.towers())?;
        state = chain.tip().addr().clone();
    }
    let is_asked = |tower: &&KnownTower| tower.auto && tower.is_behind() && tower.is_due(now_ms());
    let urls: Vec<String> = towers.towers.iter().filter(is_asked).map(|tower| tower.url.clone()).collect();
    let mut done = Ok(());
    for url in urls {
        done = done.and(ask(args, device, &mut towers, &url, &key).await);
        towers.write(&device.layout.towers())?;
        let refused = towers.tower(&url).of(state.as_str()).and_then(|guarded| guarded.refused.clone());
        if let Some(why) = refused {
            let hint = "run 'ibgib tower guard' again once its reason is gone, or guard with another tower";
            done = done.and(Err(CliError::from(Refused::Tower(why)).about(&url).hint(hint)));
        }
    }
    done
}

pub(crate) async fn check(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let chain = load(&device).await?;
    let evidence = identity::evidence(&*device.space, chain.tjp()).await?;
    let forked: HashSet<String> = evidence.into_iter().map(|one| one.past.to_string()).collect();
    let mut towers = Towers::read(&device.layout.towers())?;
    let key = towers.signing()?;
    let mut told = Vec::new();
    let urls: Vec<String> = towers.towers.iter().map(|tower| tower.url.clone()).collect();
    for url in urls {
        let remote = remote::remote(args, Some(&device), &url).await?;
        let tower = towers.tower(&url);
        let neglect = match asked(tower, &remote, &key, &forked).await {
            Ok(neglect) => {
                // One that misbehaved once is not trusted again.
                if tower.state != TowerState::Misbehaving {
                    tower.note(Ok(()), now_ms());
                }
                neglect
            }
            Err(refused) => {
                tower.note(Err(&refused), now_ms());
                out.say(&format!("{url}: {}", CliError::from(refused).message));
                Vec::new()
            }
        };
        let appointments = tower.guarded.iter().filter(|guarded| guarded.receipt.is_some()).count();
        let refused = tower.guarded.iter().filter(|guarded| guarded.refused.is_some()).cloned().collect();
        told.push(TowerStanding { url, state: tower.state.as_str(), appointments, neglect, refused });
        remote::remember(args, &mut device.config, &remote)?;
    }
    if !towers.towers.is_empty() {
        towers.write(&device.layout.towers())?;
    }
    out.report(&Checking(told))?;
    Ok(Exit::Done)
}

/// Hands a tower what it does not have yet, and finds the appointments that it has given a receipt for and does not answer for:
/// those it does not know any more, and those it still watches although two frames follow their state.
async fn asked(
    tower: &mut KnownTower,
    remote: &WebSocketRemote,
    key: &SecretKey,
    forked: &HashSet<String>,
) -> Result<Vec<Guarded>, Refused> {
    tower.hand_over(remote, key).await?;
    let has: HashSet<String> = tower.locators(remote, key).await?.into_iter().collect();
    let mut neglect = Vec::new();
    for guarded in tower.guarded.iter().filter(|guarded| guarded.receipt.is_some()) {
        let is_neglected = match (has.contains(&guarded.locator), forked.contains(&guarded.state)) {
            (true, false) => false,
            (true, true) => !tower.has_answered(remote, key, &guarded.locator).await?,
            (false, false) => true,
            // It answered, and its part is over.
            (false, true) => false,
        };
        neglect.extend(is_neglected.then(|| guarded.clone()));
    }
    Ok(neglect)
}

/// An identity that is at its end, or was used in two places, is past being guarded.
async fn check_sound(device: &Device, chain: &Chain) -> Result<(), CliError> {
    let way_out = "take it back with 'ibgib identity recover', or make a new one with 'ibgib identity new'";
    let refused = |what: &str| {
        CliError::new(Code::NotGuarded, format!("identity {} {what}: there is nothing to guard", chain.tjp()))
            .about(chain.tjp().as_str())
            .hint(way_out)
    };
    if chain.is_revoked() || ibgib_peer::is_ended(&*device.space, chain.tjp()).await? {
        return Err(refused("is revoked"));
    }
    match identity::evidence(&*device.space, chain.tjp()).await?.is_empty() {
        true => Ok(()),
        false => Err(refused("was used in two places")),
    }
}

/// Makes the revocation of the identity's present state for a tower, unless it was made before.
async fn prepare(
    device: &Device,
    tower: &mut KnownTower,
    chain: &Chain,
    secret: &Secret,
    key: &SecretKey,
) -> Result<(), CliError> {
    let state: &Addr = chain.tip().addr();
    if tower.of(state.as_str()).is_some() {
        return Ok(());
    }
    let revocation = identity::waiting_revocation(&*device.space, chain, secret, REASON).await?;
    let trigger = guard::trigger(&key.id(), state);
    let sealed = seal(&guard::answer(&revocation, &trigger), &trigger, Dialect::Rust);
    let locator = Locator::of(&trigger, Dialect::Rust);
    tower.guarded.push(Guarded {
        locator: locator.to_string(),
        state: state.to_string(),
        signature: key.sign(&appointment_message(&locator, &sealed, 0)),
        sealed: Some(hex::encode(sealed)),
        receipt: None,
        refused: None,
        start_block: 0,
        expires: 0,
    });
    Ok(())
}

/// Hands over what waits for a tower.
async fn ask(
    args: &Args,
    device: &mut Device,
    towers: &mut Towers,
    url: &str,
    key: &SecretKey,
) -> Result<(), CliError> {
    let remote = remote::remote(args, Some(device), url).await?;
    let tower = towers.tower(url);
    let done = async {
        tower.subscribe(&remote, key).await?;
        tower.hand_over(&remote, key).await
    };
    let done = done.await;
    tower.note(done.as_ref().map(|_| ()), now_ms());
    // The key of its certificate, if it was met for the first time.
    remote::remember(args, &mut device.config, &remote)?;
    Ok(done?)
}
