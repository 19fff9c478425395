//! Towers that guard this device's identity: what is kept of them in `.ibgib/towers`, and what they are asked.
//!
//! The file is written as a whole, before a tower is asked and after it answered: a revocation that was made is there until a
//! tower has it, and a receipt that came is never lost. It holds the key by which towers know this device.

use crate::codes::Code;
use crate::error::CliError;
use crate::private::write_private;
use crate::secret;
use ibgib_peer::WebSocketRemote;
use ibgib_peer::entropy::random;
use ibgib_tower::sealed::{Dialect, Locator};
use ibgib_tower::signature::{self, SecretKey, UserId, signer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use zeroize::Zeroizing;

/// Blocks before the end of a subscription from which it is made longer.
const RENEWED_BEFORE: u32 = 1_008;
/// Slots below which more are asked for: a revocation takes two.
const SLOTS_LEAST: u32 = 8;
/// Registrations of one call at most, for `--until`.
const REGISTRATIONS_MAX: u32 = 100;
/// Pauses after a tower could not be reached: the first, the longest, after how long the tower counts as away, and how often
/// it is tried then.
const PAUSE_FIRST_MS: i64 = 15_000;
const PAUSE_MAX_MS: i64 = 15 * 60_000;
const AWAY_AFTER_MS: i64 = 60 * 60_000;
const PAUSE_AWAY_MS: i64 = 8 * 60 * 60_000;

/// How a tower stands, as the original's client calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TowerState {
    Reachable,
    /// It did not answer, and is tried again.
    TemporaryUnreachable,
    /// It has not answered for long.
    Unreachable,
    /// It does not know this device any more, its time is over, or it registers nobody.
    SubscriptionError,
    /// It signed something else than it said, or with another key.
    Misbehaving,
}

impl TowerState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::TemporaryUnreachable => "temporary_unreachable",
            Self::Unreachable => "unreachable",
            Self::SubscriptionError => "subscription_error",
            Self::Misbehaving => "misbehaving",
        }
    }
}

/// A revocation that was handed to a tower, or is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Guarded {
    pub(crate) locator: String,
    /// The state of the identity that it guards.
    pub(crate) state: String,
    /// The sealed revocation, until the tower has it.
    pub(crate) sealed: Option<String>,
    /// Signed by this device; the receipt is over it.
    pub(crate) signature: String,
    pub(crate) receipt: Option<String>,
    /// Why the tower does not take it, in its words: it is not asked again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    pub(crate) start_block: u32,
    pub(crate) expires: u32,
}

/// A tower.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KnownTower {
    pub(crate) url: String,
    /// Its public key: of its first receipt, and of each since.
    pub(crate) id: Option<String>,
    /// Whether each sync guards the state that it leads to.
    pub(crate) auto: bool,
    /// The block until which it is to guard at least.
    pub(crate) until: u32,
    pub(crate) state: TowerState,
    slots: u32,
    expires: u32,
    /// The newest block that it told.
    height: u32,
    failing_since_ms: Option<i64>,
    failures: u32,
    next_try_ms: i64,
    pub(crate) guarded: Vec<Guarded>,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Towers {
    key: Zeroizing<String>,
    pub(crate) towers: Vec<KnownTower>,
}

/// Why a tower did not do what was asked.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It cannot be reached, or does not follow its feed.
    Away(CliError),
    /// It does not know this device, or its time is over.
    Subscription(String),
    /// It refuses; its words.
    Tower(String),
    /// It signed something else than it said.
    Misbehaves(String),
}

impl From<Refused> for CliError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Away(error) => error,
            Refused::Subscription(why) | Refused::Tower(why) => {
                Self::new(Code::TowerRefused, format!("the tower refuses: {why}"))
            }
            Refused::Misbehaves(why) => Self::new(Code::TowerMisbehaves, format!("the tower misbehaves: {why}"))
                .hint("what it signed does not hold, so that it proves nothing: guard with another tower"),
        }
    }
}

impl Towers {
    /// What is kept; a key is made when there is nothing.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let damaged = |why: String| {
            CliError::new(Code::Damaged, format!("{} cannot be read: {why}", path.display()))
                .about(path.display().to_string())
                .hint("move it away; 'ibgib tower guard' begins anew, and towers keep what they have")
        };
        match fs::read_to_string(path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                let towers: Self = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
                towers.key().ok_or_else(|| damaged("its key is none".into()))?;
                Ok(towers)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = loop {
                    let bytes = Zeroizing::new(random::<32>());
                    if SecretKey::from_bytes(&bytes).is_some() {
                        break Zeroizing::new(hex::encode(*bytes));
                    }
                };
                Ok(Self { key, towers: Vec::new() })
            }
            Err(error) => Err(CliError::io(path, &error)),
        }
    }

    /// Whether a tower that guards each state by itself lacks this one.
    pub(crate) fn is_unguarded(&self, state: &str) -> bool {
        self.towers.iter().any(|tower| tower.auto && tower.of(state).is_none())
    }

    fn key(&self) -> Option<SecretKey> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.key.as_bytes(), &mut *bytes).ok()?;
        SecretKey::from_bytes(&bytes)
    }

    /// Signs as this device.
    pub(crate) fn signing(&self) -> Result<SecretKey, CliError> {
        self.key().ok_or_else(|| CliError::new(Code::Damaged, "the key for towers is none"))
    }

    /// Puts it all into the place of what was there: the old or the new stands there whenever this is cut short.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CliError> {
        let fresh = path.with_extension("new");
        secret::remove(&fresh)?;
        let text = serde_json::to_string(self).map_err(|e| CliError::new(Code::Io, e.to_string()))?;
        write_private(&fresh, Zeroizing::new(text).as_bytes())?;
        let placed = fs::rename(&fresh, path).and_then(|()| File::open(path.parent().unwrap_or(path))?.sync_all());
        placed.map_err(|e| CliError::io(path, &e))
    }

    /// The tower at a URL; it is added when it is new.
    pub(crate) fn tower(&mut self, url: &str) -> &mut KnownTower {
        let at = self.towers.iter().position(|tower| tower.url == url).unwrap_or_else(|| {
            self.towers.push(KnownTower {
                url: url.to_owned(),
                id: None,
                auto: false,
                until: 0,
                state: TowerState::Reachable,
                slots: 0,
                expires: 0,
                height: 0,
                failing_since_ms: None,
                failures: 0,
                next_try_ms: 0,
                guarded: Vec::new(),
            });
            self.towers.len() - 1
        });
        &mut self.towers[at]
    }
}

impl Guarded {
    /// What has to be done beside a receipt: nothing, or to hand it over.
    fn is_waiting(&self) -> bool {
        self.receipt.is_none() && self.refused.is_none()
    }
}

impl KnownTower {
    /// The revocation of a state, if it was made.
    pub(crate) fn of(&self, state: &str) -> Option<&Guarded> {
        self.guarded.iter().find(|guarded| guarded.state == state)
    }

    /// Whether it is to be tried by itself now.
    pub(crate) fn is_due(&self, now_ms: i64) -> bool {
        now_ms >= self.next_try_ms && self.state != TowerState::Misbehaving
    }

    /// Whether something waits to be handed over.
    pub(crate) fn is_behind(&self) -> bool {
        self.guarded.iter().any(Guarded::is_waiting)
    }

    /// Notes what came of asking it.
    pub(crate) fn note(&mut self, done: Result<(), &Refused>, now_ms: i64) {
        match done {
            Ok(()) => {
                (self.state, self.failures, self.failing_since_ms) = (TowerState::Reachable, 0, None);
                self.next_try_ms = 0;
                // Of what is over nobody asks any more.
                let height = self.height;
                self.guarded.retain(|guarded| guarded.is_waiting() || guarded.expires > height);
                return;
            }
            Err(Refused::Misbehaves(_)) => self.state = TowerState::Misbehaving,
            // It answers: one that refuses is not away.
            Err(Refused::Subscription(_) | Refused::Tower(_)) => self.state = TowerState::SubscriptionError,
            Err(Refused::Away(_)) => {
                let since = *self.failing_since_ms.get_or_insert(now_ms);
                let is_away = now_ms - since >= AWAY_AFTER_MS;
                self.state = if is_away { TowerState::Unreachable } else { TowerState::TemporaryUnreachable };
            }
        }
        self.next_try_ms = now_ms + pause_ms(self.failures, self.state);
        self.failures = self.failures.saturating_add(1);
    }

    /// Registers as often as it takes: for the first time, for more slots, and until the end is far enough.
    pub(crate) async fn subscribe(&mut self, remote: &WebSocketRemote, key: &SecretKey) -> Result<(), Refused> {
        for registrations in 0..REGISTRATIONS_MAX {
            let is_over = self.expires <= self.height || self.expires < self.until;
            let is_short = self.expires - self.height.min(self.expires) < RENEWED_BEFORE;
            // A tower whose subscriptions are short is asked once more each time, not again and again.
            let is_known = self.id.is_some() && self.state != TowerState::SubscriptionError;
            if is_known && self.slots >= SLOTS_LEAST && !is_over && (!is_short || registrations > 0) {
                return Ok(());
            }
            self.register(remote, key).await?;
        }
        Err(Refused::Subscription(format!("it guards until block {} and no longer", self.expires)))
    }

    async fn register(&mut self, remote: &WebSocketRemote, key: &SecretKey) -> Result<(), Refused> {
        let user = key.id();
        let answer = ask(remote, "/register", &json!({"user_id": user.to_string()})).await?;
        let [slots, start, expiry] =
            ["available_slots", "subscription_start", "subscription_expiry"].map(|name| number(&answer, name));
        let (Some(slots), Some(start), Some(expiry)) = (slots, start, expiry) else { return Err(no_tower(remote)) };
        let receipt = signature::registration_receipt(&user, slots, start, expiry, Dialect::Rust);
        self.signed(&receipt, &answer, "subscription_signature")?;
        (self.slots, self.expires, self.height) = (slots, expiry, self.height.max(start));
        self.state = TowerState::Reachable;
        // What it has lasts as long as the subscription.
        self.guarded
            .iter_mut()
            .filter(|guarded| guarded.receipt.is_some())
            .for_each(|guarded| guarded.expires = expiry);
        Ok(())
    }

    /// Whether the tower signed what it said; answers its signature. Its first one tells who it is.
    fn signed(&mut self, receipt: &[u8], answer: &Value, member: &str) -> Result<String, Refused> {
        let signature = answer.get(member).and_then(Value::as_str).unwrap_or_default();
        let id = signer(receipt, signature).as_ref().map(UserId::to_string);
        let id = id.ok_or_else(|| Refused::Misbehaves("its signature does not hold".into()))?;
        if self.id.get_or_insert_with(|| id.clone()) != &id {
            return Err(Refused::Misbehaves("it signs with another key than before".into()));
        }
        Ok(signature.to_owned())
    }

    /// Hands over what waits, and takes the receipts. What the tower refuses for good is noted and not handed over again; it
    /// takes the others all the same.
    pub(crate) async fn hand_over(&mut self, remote: &WebSocketRemote, key: &SecretKey) -> Result<(), Refused> {
        for at in 0..self.guarded.len() {
            let waiting = self.guarded[at].clone();
            let Some(sealed) = waiting.sealed.as_ref().filter(|_| waiting.is_waiting()) else { continue };
            self.subscribe(remote, key).await?;
            let appointment = json!({"locator": waiting.locator, "encrypted_blob": sealed, "to_self_delay": 0});
            let body = json!({"appointment": appointment, "signature": waiting.signature});
            let answer = match ask(remote, "/add_appointment", &body).await {
                Err(Refused::Tower(why)) => {
                    // Kept as long as what it takes would be, so that it is not made again for the same state.
                    self.guarded[at] = Guarded { sealed: None, refused: Some(why), expires: self.expires, ..waiting };
                    continue;
                }
                answer => answer?,
            };
            let [start, slots, expires] =
                ["start_block", "available_slots", "subscription_expiry"].map(|name| number(&answer, name));
            let (Some(start), Some(slots), Some(expires)) = (start, slots, expires) else {
                return Err(no_tower(remote));
            };
            let receipt = signature::appointment_receipt(&waiting.signature, start, Dialect::Rust);
            let receipt = receipt.ok_or_else(|| Refused::Misbehaves("its receipt does not hold".into()))?;
            let receipt = self.signed(&receipt, &answer, "signature")?;
            (self.slots, self.expires, self.height) = (slots, expires, self.height.max(start));
            self.guarded[at] = Guarded { sealed: None, receipt: Some(receipt), start_block: start, expires, ..waiting };
        }
        Ok(())
    }

    /// Has the revocation of a state made and handed over once more if the tower refused it before.
    pub(crate) fn forget_refusal(&mut self, state: &str) {
        self.guarded.retain(|guarded| guarded.refused.is_none() || guarded.state != state);
    }

    /// What it answers for: the locators that it says it has.
    pub(crate) async fn locators(&self, remote: &WebSocketRemote, key: &SecretKey) -> Result<Vec<String>, Refused> {
        let signature = key.sign(signature::GET_SUBSCRIPTION_INFO_MESSAGE);
        let answer = ask(remote, "/get_subscription_info", &json!({"signature": signature})).await?;
        let all = answer.get("locators").and_then(Value::as_array).ok_or_else(|| no_tower(remote))?;
        Ok(all.iter().filter_map(|locator| locator.as_str().map(str::to_owned)).collect())
    }

    /// Whether it says of an appointment that it has answered.
    pub(crate) async fn has_answered(
        &self,
        remote: &WebSocketRemote,
        key: &SecretKey,
        locator: &str,
    ) -> Result<bool, Refused> {
        let Ok(read) = locator.parse::<Locator>() else { return Ok(false) };
        let signature = key.sign(&signature::get_appointment_message(&read));
        let asked = ask(remote, "/get_appointment", &json!({"locator": locator, "signature": signature})).await;
        let answer = match asked {
            // It was at its end meanwhile, and is there no more.
            Err(Refused::Tower(_)) => return Ok(true),
            asked => asked?,
        };
        Ok(answer.get("status").and_then(Value::as_str) == Some("dispute_responded"))
    }
}

/// How long to wait after so many failures before.
fn pause_ms(failures: u32, state: TowerState) -> i64 {
    match state {
        TowerState::Unreachable => PAUSE_AWAY_MS,
        _ => PAUSE_FIRST_MS.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX_MS),
    }
}

fn number(answer: &Value, name: &str) -> Option<u32> {
    answer.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
}

fn no_tower(remote: &WebSocketRemote) -> Refused {
    let url = remote.url();
    Refused::Away(
        CliError::new(Code::NoTower, format!("what answers at {url} is no tower that guards identities")).about(url),
    )
}

/// One question.
async fn ask(remote: &WebSocketRemote, path: &str, body: &Value) -> Result<Value, Refused> {
    let asked = remote.call(path, Some(body.to_string())).await;
    let (status, text) = asked.map_err(|error| Refused::Away(error.into()))?;
    let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let words =
        || answer.get("error").and_then(Value::as_str).map_or_else(|| format!("status {status}"), str::to_owned);
    match status {
        200 => Ok(answer),
        401 => Err(Refused::Subscription(words())),
        429 | 502..=504 => {
            let (url, why) = (remote.url(), words());
            let error = CliError::new(Code::TowerRefused, format!("the tower at {url} cannot serve now: {why}"));
            Err(Refused::Away(error.about(url)))
        }
        _ if answer.get("error_code").is_some() => Err(Refused::Tower(words())),
        _ => Err(no_tower(remote)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Refused {
        Refused::Away(CliError::new(Code::NoTower, "away"))
    }

    #[test]
    fn a_tower_that_is_away_is_tried_ever_more_seldom_and_counts_as_unreachable_after_an_hour() {
        let mut towers = Towers { key: Zeroizing::new(String::new()), towers: Vec::new() };
        let tower = towers.tower("http://tower");
        let (mut now, mut pauses) = (1_000, Vec::new());
        for _ in 0..9 {
            assert!(tower.is_due(now));
            tower.note(Err(&away()), now);
            assert!(!tower.is_due(now));
            pauses.push((tower.next_try_ms - now) / 1_000);
            now = tower.next_try_ms;
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(tower.state, TowerState::TemporaryUnreachable);
        tower.note(Err(&away()), now);
        assert_eq!((tower.state, (tower.next_try_ms - now) / 1_000), (TowerState::Unreachable, 28_800));
        tower.note(Ok(()), now);
        assert_eq!((tower.state, tower.is_due(now)), (TowerState::Reachable, true));
    }

    #[test]
    fn a_tower_that_signs_with_another_key_misbehaves() {
        let mut towers = Towers { key: Zeroizing::new(String::new()), towers: Vec::new() };
        let tower = towers.tower("http://tower");
        let [one, two] = [1, 2].map(|n| SecretKey::from_bytes(&[n; 32]).unwrap());
        let answer = |key: &SecretKey| json!({"signature": key.sign(b"receipt")});
        tower.signed(b"receipt", &answer(&one), "signature").unwrap();
        tower.signed(b"receipt", &answer(&one), "signature").unwrap();
        for (receipt, key) in [(&b"receipt"[..], &two), (b"another", &one)] {
            let refused = tower.signed(receipt, &answer(key), "signature").unwrap_err();
            assert!(matches!(refused, Refused::Misbehaves(_)));
            tower.note(Err(&refused), 0);
            assert_eq!((tower.state, tower.is_due(i64::MAX)), (TowerState::Misbehaving, false));
        }
    }
}
