//! Rows in the host's space: what a request concerns is read, changed by the core, and written in one commit before
//! anybody is answered.

use super::hub::Hub;
use crate::mailbox::{Ask, Kept, Limits, MailboxRow, NameplateRow, Outcome, Refusal, Rows, Usage, Wants, Who};
use ibgib_peer::entropy::OsEntropy;
use ibgib_server::rows::{Edits, Row, RowError, Rows as Stored, Table};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use tokio::sync::Mutex;

const NAMEPLATES: Table = Table::passing("nameplate");
const MAILBOXES: Table = Table::passing("mailbox");
const MESSAGES: Table = Table::passing("message");

/// Messages that are read at once: together they are as large as a mailbox may be.
const MESSAGES_AT_ONCE: usize = 16;
/// Mailboxes that are read at once.
const MAILBOXES_AT_ONCE: usize = 256;

/// A number as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nameplate {
    number: String,
    row: NameplateRow,
}

/// A mailbox as it is kept: its key tells neither application nor id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mailbox {
    app_id: String,
    id: String,
    row: MailboxRow,
}

/// The mailbox server's rows.
#[derive(Debug)]
pub(super) struct Store {
    rows: Stored,
    hub: Hub,
    limits: Limits,
    /// Whoever looks for a free number: two who look at once would find the same.
    allocating: Mutex<()>,
}

/// What a request gave.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: Result<Outcome, Refusal>,
    /// The key of the mailbox that a number leads to, or that was asked for.
    pub(super) mailbox: Option<String>,
}

/// A name in a key: names may hold anything.
fn hashed(name: &str) -> String {
    hex::encode(&Sha256::digest(name.as_bytes())[..16])
}

/// The key of a mailbox's row.
pub(super) fn mailbox_key(app_id: &str, id: &str) -> String {
    format!("{}/{}", hashed(app_id), hashed(id))
}

fn nameplate_key(app_id: &str, number: &str) -> String {
    // The core has not checked it yet when it is looked up.
    if number.bytes().all(|b| b.is_ascii_digit()) && number.len() <= crate::code::NAMEPLATE_DIGITS_MAX {
        format!("{}/{number}", hashed(app_id))
    } else {
        format!("{}/?{}", hashed(app_id), hashed(number))
    }
}

fn message_key(mailbox: &str, at: usize) -> String {
    format!("{mailbox}/{at}")
}

/// The rows of one request, as they were read.
#[derive(Default)]
struct Loaded {
    nameplate: Option<Row<Nameplate>>,
    mailbox: Option<Row<Mailbox>>,
}

impl Store {
    pub(super) fn new(rows: Stored, hub: Hub, limits: Limits) -> Self {
        Self { rows, hub, limits, allocating: Mutex::new(()) }
    }

    /// Does what is asked, durably.
    pub(super) async fn perform(&self, who: &Who, ask: &Ask, now: f64) -> Result<Done, RowError> {
        let _one = if matches!(ask, Ask::Allocate) { Some(self.allocating.lock().await) } else { None };
        loop {
            let (loaded, mut rows) = self.load(who, ask).await?;
            let outcome = rows.apply(ask, who, &self.limits, now, &mut OsEntropy);
            let mailbox = rows.mailbox.as_ref().map(|(id, _)| mailbox_key(&who.app_id, id));
            if self.save(&who.app_id, loaded, rows).await? {
                return Ok(Done { outcome, mailbox });
            }
        }
    }

    async fn load(&self, who: &Who, ask: &Ask) -> Result<(Loaded, Rows), RowError> {
        let mut loaded = Loaded::default();
        let mut rows = Rows::default();
        match ask.wants() {
            Wants::Numbers => rows.numbers = self.numbers(&who.app_id).await?,
            Wants::Nameplate(number) => {
                let nameplate = self.nameplate(&who.app_id, number).await?;
                match &nameplate.value {
                    Some(Nameplate { row, .. }) => {
                        loaded.mailbox = Some(self.mailbox(&mailbox_key(&who.app_id, &row.mailbox)).await?);
                    }
                    None => rows.numbers = self.numbers(&who.app_id).await?,
                }
                loaded.nameplate = Some(nameplate);
            }
            Wants::Mailbox(id) => {
                let mailbox = self.mailbox(&mailbox_key(&who.app_id, id)).await?;
                if let Some(number) = mailbox.value.as_ref().and_then(|value| value.row.nameplate.as_deref()) {
                    loaded.nameplate = Some(self.nameplate(&who.app_id, number).await?);
                }
                loaded.mailbox = Some(mailbox);
            }
        }
        let nameplate = loaded.nameplate.as_ref().and_then(|row| row.value.clone());
        let mailbox = loaded.mailbox.as_ref().and_then(|row| row.value.clone());
        rows.nameplate = nameplate.map(|value| (value.number, value.row));
        rows.mailbox = mailbox.map(|value| (value.id, value.row));
        Ok((loaded, rows))
    }

    /// The numbers that an application uses.
    async fn numbers(&self, app_id: &str) -> Result<BTreeSet<String>, RowError> {
        let all = self.rows.all::<Nameplate>(NAMEPLATES, &format!("{}/", hashed(app_id))).await?;
        Ok(all.into_iter().filter_map(|row| row.value).map(|value| value.number).collect())
    }

    async fn nameplate(&self, app_id: &str, number: &str) -> Result<Row<Nameplate>, RowError> {
        self.rows.one(NAMEPLATES, &nameplate_key(app_id, number)).await
    }

    async fn mailbox(&self, key: &str) -> Result<Row<Mailbox>, RowError> {
        self.rows.one(MAILBOXES, key).await
    }

    /// Writes what has changed; `false` when somebody else was faster.
    async fn save(&self, app_id: &str, mut loaded: Loaded, rows: Rows) -> Result<bool, RowError> {
        let nameplate = rows.nameplate.map(|(number, row)| Nameplate { number, row });
        let mailbox = rows.mailbox.map(|(id, row)| Mailbox { app_id: app_id.to_owned(), id, row });
        // What the core made is at a place that was not read.
        if let (None, Some(value)) = (&loaded.nameplate, &nameplate) {
            let row = self.nameplate(app_id, &value.number).await?;
            if row.value.is_some() {
                return Ok(false);
            }
            loaded.nameplate = Some(row);
        }
        if let (None, Some(value)) = (&loaded.mailbox, &mailbox) {
            let row = self.mailbox(&mailbox_key(app_id, &value.id)).await?;
            if row.value.is_some() {
                return Ok(false);
            }
            loaded.mailbox = Some(row);
        }
        let mut edits = Edits::default();
        let mut changed = edit(&mut edits, loaded.nameplate.as_ref(), nameplate.as_ref())?;
        changed |= edit(&mut edits, loaded.mailbox.as_ref(), mailbox.as_ref())?;
        if !changed {
            return Ok(true);
        }
        let mut told = None;
        match (&loaded.mailbox, &mailbox, &rows.added) {
            (Some(row), Some(value), Some(kept)) => {
                let key = message_key(&row.key, value.row.count - 1);
                let message = self.rows.one::<IgnoredAny>(MESSAGES, &key).await?;
                edits.set(&message, kept)?;
                told = Some((row.key.clone(), value.row.count));
            }
            (Some(Row { key, value: Some(before), .. }), None, _) => {
                let keys: Vec<String> = (0..before.row.count).map(|at| message_key(key, at)).collect();
                for keys in keys.chunks(MESSAGES_AT_ONCE) {
                    for message in self.rows.get::<IgnoredAny>(MESSAGES, keys).await? {
                        edits.drop(&message);
                    }
                }
            }
            _ => {}
        }
        let written = self.rows.write(edits).await?;
        if let (true, Some((key, count))) = (written, told) {
            self.hub.tell(&key, count);
        }
        Ok(written)
    }

    /// Messages of a mailbox from the one with number `from` on, as many as are read at once.
    pub(super) async fn messages(&self, mailbox: &str, from: usize) -> Result<Vec<Kept>, RowError> {
        let count = self.mailbox(mailbox).await?.value.map_or(0, |value| value.row.count);
        let keys: Vec<String> = (from..count).take(MESSAGES_AT_ONCE).map(|at| message_key(mailbox, at)).collect();
        let rows = self.rows.get::<Kept>(MESSAGES, &keys).await?;
        // A mailbox that went meanwhile has none.
        Ok(rows.into_iter().map_while(|row| row.value).collect())
    }

    /// Takes idle mailboxes away, and notes which of them somebody listens to. Answers the keys of those that went, with
    /// their statistics.
    pub(super) async fn prune(&self, now: f64) -> Result<Vec<(String, Vec<Usage>)>, RowError> {
        let mut all = Vec::new();
        let listened: std::collections::HashSet<String> = self.hub.keys().into_iter().collect();
        for mailbox in self.rows.all::<Mailbox>(MAILBOXES, "").await? {
            let Some(Mailbox { app_id, id, row }) = mailbox.value.clone() else { continue };
            let is_listened = listened.contains(&mailbox.key);
            if !is_listened && !row.is_idle(now, &self.limits) {
                continue;
            }
            let nameplate = match &row.nameplate {
                Some(number) => Some(self.nameplate(&app_id, number).await?),
                None => None,
            };
            let number = nameplate.as_ref().and_then(|row| row.value.clone()).map(|value| (value.number, value.row));
            let mut rows = Rows { nameplate: number, mailbox: Some((id, row)), ..Rows::default() };
            let gone = match &mut rows.mailbox {
                Some((_, row)) if is_listened => {
                    row.updated = now;
                    Vec::new()
                }
                _ => rows.prune(&app_id, now, &self.limits),
            };
            let key = mailbox.key.clone();
            // Whoever was faster keeps it for now.
            if self.save(&app_id, Loaded { nameplate, mailbox: Some(mailbox) }, rows).await? && !gone.is_empty() {
                all.push((key, gone));
            }
        }
        Ok(all)
    }

    /// The first numbers in use, each with its application and its mailbox, and how many there are.
    pub(super) async fn in_use(
        &self,
        max: usize,
    ) -> Result<(Vec<(String, Option<String>, MailboxRow)>, usize), RowError> {
        let (mailboxes, count) = self.rows.first::<Mailbox>(MAILBOXES, max).await?;
        let mailboxes = mailboxes.into_iter().filter_map(|row| row.value);
        Ok((mailboxes.map(|value| (value.app_id, value.row.nameplate.clone(), value.row)).collect(), count))
    }

    /// Those of these mailboxes that are not there.
    pub(super) async fn gone(&self, mailboxes: &[String]) -> Result<Vec<String>, RowError> {
        let mut gone = Vec::new();
        for keys in mailboxes.chunks(MAILBOXES_AT_ONCE) {
            let rows = self.rows.get::<IgnoredAny>(MAILBOXES, keys).await?;
            gone.extend(rows.into_iter().filter(|row| row.value.is_none()).map(|row| row.key));
        }
        Ok(gone)
    }

    /// Wakes whoever listens to a mailbox into which another server put something.
    pub(super) async fn look(&self) -> Result<(), RowError> {
        let keys = self.hub.keys();
        for row in self.rows.get::<Mailbox>(MAILBOXES, &keys).await? {
            if let Some(value) = &row.value {
                self.hub.tell(&row.key, value.row.count);
            }
        }
        Ok(())
    }

    /// The space's newest revision after `since`.
    pub(super) async fn changed(&self, since: u64) -> Result<u64, RowError> {
        self.rows.changed(since).await
    }

    pub(super) fn rows(&self) -> &Stored {
        &self.rows
    }
}

/// Notes what becomes of a row that was read; whether that is anything.
fn edit<T: Clone + PartialEq + Serialize>(
    edits: &mut Edits,
    before: Option<&Row<T>>,
    after: Option<&T>,
) -> Result<bool, RowError> {
    let Some(row) = before else { return Ok(false) };
    match (&row.value, after) {
        (before, Some(after)) if before.as_ref() != Some(after) => edits.set(row, after)?,
        (Some(_), None) => edits.drop(row),
        _ => {
            edits.keep(row);
            return Ok(false);
        }
    }
    Ok(true)
}
