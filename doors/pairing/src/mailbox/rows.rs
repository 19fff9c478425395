//! Rows and what a request does to them. Times are seconds since 1970, as they stand in frames.

use super::conversation::{Ask, Who};
use crate::code::Nameplate;
use crate::wire::{Answer, Message};
use ibgib_keystone::Entropy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A number in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NameplateRow {
    /// The mailbox that it leads to.
    pub mailbox: String,
    /// The one or two sides that came.
    pub sides: Vec<NameplateSide>,
}

/// One side of a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NameplateSide {
    /// Which.
    pub side: String,
    /// It has not given the number back.
    pub claimed: bool,
    /// Since when.
    pub added: f64,
}

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MailboxRow {
    /// The number that leads here, as long as it is in use.
    pub nameplate: Option<String>,
    /// A number led here.
    pub for_nameplate: bool,
    /// When somebody last did something, or was seen listening.
    pub updated: f64,
    /// The one or two sides that came.
    pub sides: Vec<MailboxSide>,
    /// How many messages were put into it. They are kept apart, numbered from 0 in the order of their coming.
    pub count: usize,
    /// Bytes of their bodies, in hex digits.
    pub bytes: usize,
    /// A third side was sent away.
    pub crowded: bool,
    /// Somebody said that he comes back within days.
    pub held: bool,
}

/// One side of a mailbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MailboxSide {
    /// Which.
    pub side: String,
    /// It has not closed it.
    pub opened: bool,
    /// Since when.
    pub added: f64,
    /// How it went, told when closing.
    pub mood: Option<String>,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    side: String,
    phase: String,
    body: String,
    id: Option<serde_json::Value>,
    server_rx: f64,
}

impl From<Kept> for Answer {
    /// What listeners are told.
    fn from(kept: Kept) -> Self {
        let Kept { side, phase, body, id, server_rx } = kept;
        Self::Message(Message { side, phase, body, id, server_rx })
    }
}

impl MailboxRow {
    /// Whether nobody has been here for so long that it may go.
    pub fn is_idle(&self, now: f64, limits: &Limits) -> bool {
        let age = if self.held { limits.held_s } else { limits.idle_s };
        now - self.updated > age
    }
}

/// How much a server takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The numbers in use are told to whoever asks.
    pub allow_list: bool,
    /// Times in statistics are rounded down to so many seconds.
    pub blur_s: Option<u32>,
    /// Seconds after which an idle mailbox goes: 11 minutes, so that a client may be away for nine.
    pub idle_s: f64,
    /// Seconds after which an idle mailbox goes that holds a saved state: three days, as in the first release.
    pub held_s: f64,
    /// Messages in a mailbox.
    pub messages_max: usize,
    /// Bytes of all bodies in a mailbox, in hex digits.
    pub mailbox_bytes_max: usize,
    /// Bytes of an application id, a side, a mailbox id, a phase, a mood.
    pub name_bytes_max: usize,
    /// Numbers of one application in use at once.
    pub nameplates_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allow_list: true,
            blur_s: None,
            idle_s: 11.0 * 60.0,
            held_s: 3.0 * 24.0 * 3600.0,
            messages_max: 4_096,
            mailbox_bytes_max: 32 * 1024 * 1024,
            name_bytes_max: 256,
            nameplates_max: 100_000,
        }
    }
}

/// Statistics of a number or mailbox that is gone; nothing of its contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// What it was.
    pub of: UsageOf,
    /// Application id.
    pub app_id: String,
    /// When the first side came, blurred.
    pub started: f64,
    /// How long it waited for the second.
    pub waiting_time: Option<f64>,
    /// How long it stood.
    pub total_time: f64,
    /// `happy`, `lonely`, `scary`, `errory`, `pruney`, `crowded`.
    pub result: String,
}

/// What statistics are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageOf {
    /// A number.
    Nameplate,
    /// A mailbox that a number led to.
    Mailbox,
    /// A mailbox that was opened by its id alone.
    BareMailbox,
}

impl UsageOf {
    /// Its name in statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nameplate => "nameplate",
            Self::Mailbox => "mailbox",
            Self::BareMailbox => "bare_mailbox",
        }
    }
}

/// Why a request is refused; the rows stay as they are, unless a third side is noted in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Two sides are there already.
    #[error("crowded")]
    Crowded,
    /// This side gave the number back before.
    #[error("reclaimed")]
    Reclaimed,
    /// No number is free.
    #[error("unable to find a free nameplate-id")]
    NoNumber,
    /// The number would be one more than the application may use.
    #[error("too many nameplates are in use")]
    TooMany,
    /// The number is not one to forty digits.
    #[error("nameplate must be 1 to 40 digits")]
    BadNumber,
    /// The mailbox is not there: it was closed or pruned.
    #[error("must open mailbox before adding")]
    Gone,
    /// A name is too long.
    #[error("a name is too long")]
    NameTooLong,
    /// The body is not hex.
    #[error("body must be hex")]
    NotHex,
    /// The mailbox holds as much as it takes.
    #[error("mailbox is full")]
    Full,
}

/// What a request gives: an answer, and statistics of what went.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answer; `None` where listeners are told from the row.
    pub answer: Option<Answer>,
    /// Statistics.
    pub usage: Vec<Usage>,
}

/// The rows that one request concerns, as the store has them; changed in place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Numbers that the application uses: where [`super::Wants::Numbers`] asks for them, and where
    /// [`super::Wants::Nameplate`] asks for a number that is not in use.
    pub numbers: BTreeSet<String>,
    /// The number's name and row.
    pub nameplate: Option<(String, NameplateRow)>,
    /// The mailbox's id and row.
    pub mailbox: Option<(String, MailboxRow)>,
    /// A message that was put into the mailbox: its last one, to be kept beside the row.
    pub added: Option<Kept>,
}

impl Rows {
    /// Does what is asked.
    ///
    /// # Errors
    /// [`Refusal`]. The rows have to be written all the same when they changed: a third side is noted.
    pub fn apply(
        &mut self,
        ask: &Ask,
        who: &Who,
        limits: &Limits,
        now: f64,
        entropy: &mut dyn Entropy,
    ) -> Result<Outcome, Refusal> {
        for name in [&who.app_id, &who.side] {
            short(name, limits)?;
        }
        let mut usage = Vec::new();
        let answer = match ask {
            Ask::List => {
                let all = if limits.allow_list { self.numbers.iter().cloned().collect() } else { Vec::new() };
                Some(Answer::Nameplates(all))
            }
            Ask::Allocate => {
                let nameplate = free_number(&self.numbers, limits, entropy)?;
                self.claim(&nameplate, &who.side, now, entropy)?;
                Some(Answer::Allocated { nameplate })
            }
            Ask::Claim { nameplate } => {
                Nameplate::parse(nameplate).map_err(|_| Refusal::BadNumber)?;
                if self.nameplate.is_none() && self.numbers.len() >= limits.nameplates_max {
                    return Err(Refusal::TooMany);
                }
                Some(Answer::Claimed { mailbox: self.claim(nameplate, &who.side, now, entropy)? })
            }
            Ask::Release { nameplate } => {
                usage.extend(self.release(nameplate, who, now, limits));
                Some(Answer::Released)
            }
            Ask::Open { mailbox } => {
                short(mailbox, limits)?;
                self.open(mailbox, &who.side, now)?;
                None
            }
            Ask::Add { phase, body, id, hold, .. } => {
                short(phase, limits)?;
                self.add(who, (phase, body, id.as_ref()), *hold, now, limits)?;
                None
            }
            Ask::Close { mailbox, mood } => {
                mood.as_deref().map_or(Ok(()), |mood| short(mood, limits))?;
                short(mailbox, limits)?;
                usage = self.close(who, mood.as_deref(), now, limits);
                Some(Answer::Closed)
            }
        };
        Ok(Outcome { answer, usage })
    }

    /// Takes an idle mailbox away, with the number that leads to it. Whoever listens counts as active: the caller
    /// touches the row for him ([`MailboxRow::updated`]).
    pub fn prune(&mut self, app_id: &str, now: f64, limits: &Limits) -> Vec<Usage> {
        let mut usage = Vec::new();
        if !self.mailbox.as_ref().is_some_and(|(_, mailbox)| mailbox.is_idle(now, limits)) {
            return usage;
        }
        if let Some((_, nameplate)) = self.nameplate.take() {
            usage.push(of_nameplate(&nameplate, app_id, now, true, limits));
        }
        if let Some((_, mailbox)) = self.mailbox.take() {
            usage.push(of_mailbox(&mailbox, app_id, now, true, limits));
        }
        usage
    }

    fn claim(&mut self, name: &str, side: &str, now: f64, entropy: &mut dyn Entropy) -> Result<String, Refusal> {
        let (_, row) = self
            .nameplate
            .get_or_insert_with(|| (name.to_owned(), NameplateRow { mailbox: mailbox_id(entropy), sides: Vec::new() }));
        match row.sides.iter().find(|s| s.side == side) {
            Some(known) if !known.claimed => return Err(Refusal::Reclaimed),
            Some(_) => {}
            None if row.sides.len() >= 2 => {
                if let Some((_, mailbox)) = &mut self.mailbox {
                    mailbox.crowded = true;
                }
                return Err(Refusal::Crowded);
            }
            None => row.sides.push(NameplateSide { side: side.to_owned(), claimed: true, added: now }),
        }
        let id = row.mailbox.clone();
        // Who claims has the mailbox open: the other side must not be the last to leave meanwhile.
        self.open(&id, side, now)?;
        if let Some((_, mailbox)) = &mut self.mailbox {
            (mailbox.nameplate, mailbox.for_nameplate) = (Some(name.to_owned()), true);
        }
        Ok(id)
    }

    fn open(&mut self, id: &str, side: &str, now: f64) -> Result<(), Refusal> {
        let (_, row) = self.mailbox.get_or_insert_with(|| {
            let row = MailboxRow {
                nameplate: None,
                for_nameplate: false,
                updated: now,
                sides: Vec::new(),
                count: 0,
                bytes: 0,
                crowded: false,
                held: false,
            };
            (id.to_owned(), row)
        });
        let is_full = row.sides.len() >= 2;
        match row.sides.iter_mut().find(|s| s.side == side) {
            Some(known) => known.opened = true,
            None if is_full => {
                row.crowded = true;
                return Err(Refusal::Crowded);
            }
            None => row.sides.push(MailboxSide { side: side.to_owned(), opened: true, added: now, mood: None }),
        }
        row.updated = now;
        Ok(())
    }

    fn add(
        &mut self,
        who: &Who,
        (phase, body, id): (&str, &str, Option<&serde_json::Value>),
        hold: bool,
        now: f64,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let (_, row) = self.mailbox.as_mut().ok_or(Refusal::Gone)?;
        if !row.sides.iter().any(|s| s.side == who.side && s.opened) {
            return Err(Refusal::Gone);
        }
        if !body.len().is_multiple_of(2) || !body.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refusal::NotHex);
        }
        if row.count >= limits.messages_max || row.bytes + body.len() > limits.mailbox_bytes_max {
            return Err(Refusal::Full);
        }
        row.count += 1;
        row.bytes += body.len();
        self.added = Some(Kept {
            side: who.side.clone(),
            phase: phase.to_owned(),
            body: body.to_owned(),
            id: id.cloned(),
            server_rx: now,
        });
        row.updated = now;
        row.held |= hold;
        Ok(())
    }

    fn release(&mut self, name: &str, who: &Who, now: f64, limits: &Limits) -> Option<Usage> {
        let (found, row) = self.nameplate.as_mut()?;
        debug_assert_eq!(found, name, "the row of this number was loaded");
        row.sides.iter_mut().find(|s| s.side == who.side)?.claimed = false;
        if row.sides.iter().any(|s| s.claimed) {
            return None;
        }
        let (_, row) = self.nameplate.take()?;
        if let Some((_, mailbox)) = &mut self.mailbox {
            mailbox.nameplate = None;
        }
        Some(of_nameplate(&row, &who.app_id, now, false, limits))
    }

    fn close(&mut self, who: &Who, mood: Option<&str>, now: f64, limits: &Limits) -> Vec<Usage> {
        let mut usage = Vec::new();
        let Some((_, row)) = &mut self.mailbox else { return usage };
        let Some(side) = row.sides.iter_mut().find(|s| s.side == who.side) else { return usage };
        (side.opened, side.mood) = (false, mood.map(str::to_owned));
        row.updated = now;
        if row.sides.iter().any(|s| s.opened) {
            return usage;
        }
        if let Some((_, nameplate)) = self.nameplate.take() {
            usage.push(of_nameplate(&nameplate, &who.app_id, now, false, limits));
        }
        if let Some((_, mailbox)) = self.mailbox.take() {
            usage.push(of_mailbox(&mailbox, &who.app_id, now, false, limits));
        }
        usage
    }
}

/// The shortest number that is not in use: of one digit, then two, then three; beyond, some luck within a million.
///
/// # Errors
/// [`Refusal::NoNumber`].
pub fn free_number(used: &BTreeSet<String>, limits: &Limits, entropy: &mut dyn Entropy) -> Result<String, Refusal> {
    if used.len() >= limits.nameplates_max {
        return Err(Refusal::NoNumber);
    }
    for (from, to) in [(1, 10), (10, 100), (100, 1_000)] {
        let free: Vec<String> = (from..to).map(|n: u32| n.to_string()).filter(|n| !used.contains(n)).collect();
        if !free.is_empty() {
            let at = below(free.len() as u64, entropy) as usize;
            return Ok(free[at].clone());
        }
    }
    (0..1_000)
        .map(|_| (1_000 + below(999_000, entropy)).to_string())
        .find(|number| !used.contains(number))
        .ok_or(Refusal::NoNumber)
}

fn short(name: &str, limits: &Limits) -> Result<(), Refusal> {
    if name.len() > limits.name_bytes_max { Err(Refusal::NameTooLong) } else { Ok(()) }
}

/// A number below `n`, each as likely as the others.
fn below(n: u64, entropy: &mut dyn Entropy) -> u64 {
    loop {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let value = u64::from_le_bytes(bytes);
        // Values above the largest multiple would make some numbers likelier.
        if value < u64::MAX - u64::MAX % n {
            return value % n;
        }
    }
}

/// Eight random bytes in lower-case base32 (RFC 4648) without padding: 13 characters.
fn mailbox_id(entropy: &mut dyn Entropy) -> String {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    // 64 bits, and one zero bit to fill the last of thirteen digits of five bits.
    let bits = u128::from(u64::from_be_bytes(bytes)) << 1;
    (0..13)
        .rev()
        .map(|digit| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[((bits >> (5 * digit)) & 31) as usize]))
        .collect()
}

fn times(mut added: Vec<f64>, now: f64, limits: &Limits) -> (f64, Option<f64>, f64) {
    added.sort_by(f64::total_cmp);
    let first = added.first().copied().unwrap_or(now);
    let started = limits.blur_s.filter(|s| *s > 0).map_or(first, |s| (first / f64::from(s)).floor() * f64::from(s));
    (started, added.get(1).map(|second| second - first), now - first)
}

fn of_nameplate(row: &NameplateRow, app_id: &str, now: f64, pruned: bool, limits: &Limits) -> Usage {
    let (started, waiting_time, total_time) = times(row.sides.iter().map(|s| s.added).collect(), now, limits);
    let result = match (pruned, row.sides.len()) {
        (true, _) => "pruney",
        (false, 2) => "happy",
        (false, _) => "lonely",
    };
    Usage {
        of: UsageOf::Nameplate,
        app_id: app_id.to_owned(),
        started,
        waiting_time,
        total_time,
        result: result.into(),
    }
}

fn of_mailbox(row: &MailboxRow, app_id: &str, now: f64, pruned: bool, limits: &Limits) -> Usage {
    let (started, waiting_time, total_time) = times(row.sides.iter().map(|s| s.added).collect(), now, limits);
    let any = |mood: &str| row.sides.iter().any(|s| s.mood.as_deref() == Some(mood));
    // The worst that anybody tells is what it was.
    let result = if row.crowded {
        "crowded"
    } else if pruned {
        "pruney"
    } else if any("scary") {
        "scary"
    } else if any("errory") {
        "errory"
    } else if any("lonely") || row.sides.len() < 2 {
        "lonely"
    } else {
        "happy"
    };
    let of = if row.for_nameplate { UsageOf::Mailbox } else { UsageOf::BareMailbox };
    Usage { of, app_id: app_id.to_owned(), started, waiting_time, total_time, result: result.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u64);
    impl Entropy for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            for byte in out {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (self.0 >> 56) as u8;
            }
        }
    }

    fn who(side: &str) -> Who {
        Who { app_id: "app".into(), side: side.into() }
    }

    fn ask(rows: &mut Rows, side: &str, ask: &Ask) -> Result<Outcome, Refusal> {
        rows.apply(ask, &who(side), &Limits::default(), 100.0, &mut Counting(7))
    }

    fn claim(rows: &mut Rows, side: &str) -> Result<Outcome, Refusal> {
        ask(rows, side, &Ask::Claim { nameplate: "7".into() })
    }

    fn close(rows: &mut Rows, side: &str, mood: &str) -> Outcome {
        ask(rows, side, &Ask::Close { mailbox: "m".into(), mood: Some(mood.into()) }).unwrap()
    }

    #[test]
    fn mailbox_ids_are_base32() {
        struct Bytes([u8; 8]);
        impl Entropy for Bytes {
            fn fill(&mut self, out: &mut [u8]) {
                out.copy_from_slice(&self.0);
            }
        }
        // base64.b32encode(bytes).lower().strip(b"=") in Python
        assert_eq!(mailbox_id(&mut Bytes([0; 8])), "aaaaaaaaaaaaa");
        assert_eq!(mailbox_id(&mut Bytes([0xff; 8])), "7777777777776");
        assert_eq!(mailbox_id(&mut Bytes(*b"wormhole")), "o5xxe3lin5wgk");
    }

    #[test]
    fn a_third_side_is_sent_away_and_the_two_come_back() {
        let mut rows = Rows::default();
        claim(&mut rows, "a").unwrap();
        claim(&mut rows, "b").unwrap();
        assert_eq!(claim(&mut rows, "c"), Err(Refusal::Crowded));
        let id = rows.mailbox.as_ref().unwrap().0.clone();
        assert_eq!(ask(&mut rows, "c", &Ask::Open { mailbox: id.clone() }), Err(Refusal::Crowded));
        for side in ["a", "b"] {
            claim(&mut rows, side).unwrap();
            ask(&mut rows, side, &Ask::Open { mailbox: id.clone() }).unwrap();
        }
        close(&mut rows, "a", "happy");
        let usage = close(&mut rows, "b", "happy").usage;
        assert_eq!(usage.iter().map(|u| u.result.as_str()).collect::<Vec<_>>(), ["happy", "crowded"]);
        assert_eq!(rows, Rows::default(), "both may close without releasing the number");
    }

    #[test]
    fn a_number_that_was_given_back_is_not_claimed_again() {
        let mut rows = Rows::default();
        claim(&mut rows, "a").unwrap();
        claim(&mut rows, "b").unwrap();
        let release = Ask::Release { nameplate: "7".into() };
        assert_eq!(ask(&mut rows, "a", &release).unwrap().usage, []);
        assert_eq!(claim(&mut rows, "a"), Err(Refusal::Reclaimed));
        let usage = ask(&mut rows, "b", &release).unwrap().usage;
        assert_eq!(usage[0].result, "happy");
        assert!(rows.nameplate.is_none() && rows.mailbox.is_some());
        assert_eq!(ask(&mut rows, "b", &release).unwrap().answer, Some(Answer::Released), "not held is no error");
    }

    #[test]
    fn the_shortest_free_number_is_given() {
        let mut rows = Rows { numbers: (1..9).map(|n| n.to_string()).collect(), ..Rows::default() };
        assert_eq!(
            ask(&mut rows, "a", &Ask::Allocate).unwrap().answer,
            Some(Answer::Allocated { nameplate: "9".into() })
        );
        let taken = |n: u32| Rows { numbers: (1..n).map(|n| n.to_string()).collect(), ..Rows::default() };
        for (n, digits) in [(10, 2), (99, 2), (100, 3), (999, 3)] {
            match ask(&mut taken(n), "a", &Ask::Allocate).unwrap().answer {
                Some(Answer::Allocated { nameplate }) => assert_eq!(nameplate.len(), digits),
                other => panic!("{other:?}"),
            }
        }
        match ask(&mut taken(1_000), "a", &Ask::Allocate).unwrap().answer {
            Some(Answer::Allocated { nameplate }) => assert!((4..=6).contains(&nameplate.len())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_are_counted_and_within_limits() {
        let mut rows = Rows::default();
        ask(&mut rows, "a", &Ask::Open { mailbox: "m".into() }).unwrap();
        let add =
            |body: &str| Ask::Add { mailbox: "m".into(), phase: "0".into(), body: body.into(), id: None, hold: false };
        for body in ["00", "01", "02"] {
            ask(&mut rows, "a", &add(body)).unwrap();
            match rows.added.take().map(Answer::from) {
                Some(Answer::Message(message)) => assert_eq!(message.body, body),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(rows.mailbox.as_ref().map(|(_, row)| (row.count, row.bytes)), Some((3, 6)));
        for bad in ["0", "xy", "é"] {
            assert_eq!(ask(&mut rows, "a", &add(bad)), Err(Refusal::NotHex));
        }
        assert_eq!(ask(&mut rows, "b", &add("00")), Err(Refusal::Gone), "who has not opened it puts nothing in");
        let tight = Limits { messages_max: 3, ..Limits::default() };
        assert_eq!(rows.apply(&add("03"), &who("a"), &tight, 1.0, &mut Counting(1)), Err(Refusal::Full));
        let tight = Limits { mailbox_bytes_max: 7, ..Limits::default() };
        assert_eq!(rows.apply(&add("03"), &who("a"), &tight, 1.0, &mut Counting(1)), Err(Refusal::Full));
    }

    #[test]
    fn idle_mailboxes_go_and_saved_states_stay_for_days() {
        let limits = Limits::default();
        let mut rows = Rows::default();
        claim(&mut rows, "a").unwrap();
        assert_eq!(rows.clone().prune("app", 100.0 + 11.0 * 60.0, &limits), []);
        let mut gone = rows.clone();
        let usage = gone.prune("app", 101.0 + 11.0 * 60.0, &limits);
        assert_eq!(usage.iter().map(|u| u.result.as_str()).collect::<Vec<_>>(), ["pruney", "pruney"]);
        assert_eq!(gone, Rows::default());
        let hold = Ask::Add { mailbox: "m".into(), phase: "pake".into(), body: "00".into(), id: None, hold: true };
        ask(&mut rows, "a", &hold).unwrap();
        assert_eq!(rows.prune("app", 3.0 * 86_400.0, &limits), []);
        assert_ne!(rows.prune("app", 101.0 + 3.0 * 86_400.0, &limits), []);
    }

    #[test]
    fn the_worst_mood_is_the_result_and_times_are_blurred() {
        for (moods, result) in [
            (["happy", "happy"], "happy"),
            (["happy", "lonely"], "lonely"),
            (["errory", "lonely"], "errory"),
            (["errory", "scary"], "scary"),
        ] {
            let mut rows = Rows::default();
            claim(&mut rows, "a").unwrap();
            claim(&mut rows, "b").unwrap();
            close(&mut rows, "a", moods[0]);
            assert_eq!(close(&mut rows, "b", moods[1]).usage[1].result, result);
        }
        let blurred = Limits { blur_s: Some(3_600), ..Limits::default() };
        assert_eq!(times(vec![7_300.0, 7_250.0], 7_400.0, &blurred), (7_200.0, Some(50.0), 150.0));
    }
}
