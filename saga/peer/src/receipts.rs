//! What servers have confirmed to this device: the newest receipt of each timeline, to hold against them later.
//!
//! Local records: `receipt/<space>/<revision>` is a receipt ([`Receipt::to_bytes`], before that its text);
//! `receipts/<space>` tells, for each timeline that is in one, the first bytes of its hash and of its tip's, and the newest
//! receipt's revision. A receipt that is the newest of no timeline is dropped; of those that are left, the oldest when there
//! are too many.

use crate::identity;
use crate::trusted;
use crate::view::{View, commit_error, space_error};
use ibgib::Addr;
use ibgib::timeline::Ancestry;
use ibgib_saga::{Receipt, SagaError};
use ibgib_spaces::dropped::stated_key;
use ibgib_spaces::{Commit, Space};
use std::collections::{BTreeMap, BTreeSet};

/// Receipts of one server that are kept.
const RECEIPTS_MAX: usize = 64;
/// Bytes of a hash in the index: enough that no two timelines of a device are taken for each other by chance.
const BYTES: usize = 8;

type Half = [u8; BYTES];
/// A timeline's tip in its newest receipt, and that receipt's revision.
type Index = BTreeMap<Half, (Half, u64)>;

fn half(addr: &Addr) -> Half {
    let mut half = Half::default();
    if let Some(key) = addr.key() {
        half.copy_from_slice(&key[..BYTES]);
    }
    half
}

fn index_key(space: &str) -> String {
    format!("receipts/{space}")
}

fn prefix(space: &str) -> String {
    format!("receipt/{space}/")
}

fn receipt_key(space: &str, revision: u64) -> String {
    format!("{}{revision:016x}", prefix(space))
}

async fn index(device: &dyn Space, space: &str) -> Result<Index, SagaError> {
    let bytes = device.record(&index_key(space)).await.map_err(space_error)?.unwrap_or_default();
    let entry = |bytes: &[u8]| {
        let part = |at: usize| bytes[at * BYTES..(at + 1) * BYTES].try_into().unwrap_or_default();
        (part(0), (part(1), u64::from_be_bytes(part(2))))
    };
    Ok(bytes.chunks_exact(3 * BYTES).map(entry).collect())
}

/// The records by which a device keeps a receipt.
pub(crate) async fn keep(
    device: &dyn Space,
    space: &str,
    receipt: &Receipt,
) -> Result<Vec<(String, Option<Vec<u8>>)>, SagaError> {
    let mut index = index(device, space).await?;
    let revisions = |index: &Index| -> BTreeSet<u64> { index.values().map(|(_, revision)| *revision).collect() };
    let before = revisions(&index);
    for (tjp, tip) in receipt.tips() {
        index.insert(half(tjp), (half(tip), receipt.revision));
    }
    let mut after = revisions(&index);
    if !after.contains(&receipt.revision) {
        // Nothing was confirmed.
        return Ok(Vec::new());
    }
    while after.len() > RECEIPTS_MAX {
        after.pop_first();
    }
    index.retain(|_, (_, revision)| after.contains(revision));
    let bytes = to_bytes(&index);
    let mut records =
        vec![(receipt_key(space, receipt.revision), Some(receipt.to_bytes())), (index_key(space), Some(bytes))];
    records.extend(before.difference(&after).map(|revision| (receipt_key(space, *revision), None)));
    Ok(records)
}

/// The records by which receipts for some timelines are held against a space no more: of those its owner has dropped
/// something, as he has signed. They are named by the gibs of their first frames.
pub(crate) async fn release(
    device: &dyn Space,
    space: &str,
    timelines: &BTreeSet<&str>,
) -> Result<Vec<(String, Option<Vec<u8>>)>, SagaError> {
    let mut index = index(device, space).await?;
    let before = index.len();
    for gib in timelines {
        if let Ok(first) = Addr::new("first", gib) {
            index.remove(&half(&first));
        }
    }
    Ok(if index.len() == before { Vec::new() } else { vec![(index_key(space), Some(to_bytes(&index)))] })
}

fn to_bytes(index: &Index) -> Vec<u8> {
    index.iter().flat_map(|(tjp, (tip, revision))| [*tjp, *tip, revision.to_be_bytes()].concat()).collect()
}

/// Checks that a receiver's space, at this revision, is not at less than the newest receipt says.
pub(crate) async fn check_revision(device: &dyn Space, space: &str, revision: u64) -> Result<(), SagaError> {
    let newest = index(device, space).await?.into_values().map(|(_, revision)| revision).max();
    match newest.filter(|newest| *newest > revision) {
        None => Ok(()),
        Some(newest) => Err(SagaError::PeerRolledBack(format!(
            "it has signed its revision {newest} to this device, and now it is at {revision}"
        ))),
    }
}

/// Compares what a receiver shows of timelines with the receipts for them.
#[derive(Default)]
pub(crate) struct Shown<'a> {
    of: Option<(&'a dyn Space, &'a str)>,
    index: Index,
    /// The last receipt that was looked at: several timelines may be in it.
    looked: Option<Receipt>,
    /// Timelines of which less is shown.
    less: Vec<Addr>,
}

impl<'a> Shown<'a> {
    pub(crate) async fn open(device: &'a dyn Space, space: &'a str) -> Result<Self, SagaError> {
        Ok(Self { of: Some((device, space)), index: index(device, space).await?, ..Self::default() })
    }

    /// A tip is shown, or none at all; one that is not known here, which nobody can judge yet, comes as none with
    /// `is_known` false.
    pub(crate) async fn compare(
        &mut self,
        view: &mut View<'_>,
        tjp: &Addr,
        theirs: Option<&Addr>,
        is_known: bool,
    ) -> Result<(), SagaError> {
        let (Some((device, space)), Some((tip, revision))) = (self.of, self.index.get(&half(tjp))) else {
            return Ok(());
        };
        if !is_known || theirs.is_some_and(|theirs| half(theirs) == *tip) {
            return Ok(());
        }
        let Some(theirs) = theirs else {
            self.less.push(tjp.clone());
            return Ok(());
        };
        if self.looked.as_ref().is_none_or(|receipt| receipt.revision != *revision) {
            self.looked = read(device, space, *revision).await?;
        }
        let confirmed = self.looked.iter().flat_map(Receipt::tips).find(|(named, _)| *named == tjp);
        let Some((_, confirmed)) = confirmed else { return Ok(()) };
        if let Ok(Ancestry::Behind | Ancestry::Diverged) = view.history.ancestry(theirs, confirmed).await {
            self.less.push(tjp.clone());
        }
        Ok(())
    }

    /// Whether everything was shown.
    pub(crate) fn done(self) -> Result<(), SagaError> {
        match self.less.as_slice() {
            [] => Ok(()),
            [one] => Err(SagaError::PeerRolledBack(format!("less of {one} than in its receipt"))),
            [one, rest @ ..] => Err(SagaError::PeerRolledBack(format!(
                "less of {one} and {} more timelines than in their receipts",
                rest.len()
            ))),
        }
    }
}

async fn read(device: &dyn Space, space: &str, revision: u64) -> Result<Option<Receipt>, SagaError> {
    let record = device.record(&receipt_key(space, revision)).await.map_err(space_error)?;
    Ok(record.and_then(|bytes| Receipt::from_bytes(&bytes)))
}

/// A receipt that a device keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The id of the server's space.
    pub space: String,
    /// The receipt; `None` when what is kept cannot be read.
    pub receipt: Option<Receipt>,
}

/// The receipts that a device keeps, oldest first for each server.
///
/// # Errors
/// When the space fails.
pub async fn receipts(device: &dyn Space) -> Result<Vec<Kept>, SagaError> {
    let records = device.records("receipt/").await.map_err(space_error)?;
    let kept = |(key, bytes): (String, Vec<u8>)| {
        let space = key.split('/').nth(1)?.to_owned();
        Some(Kept { space, receipt: Receipt::from_bytes(&bytes) })
    };
    Ok(records.into_iter().filter_map(kept).collect())
}

/// Whether a receipt proves what it says: the space's keystone, as this device knows it, has warranted the tree that signed
/// it. Nobody is asked.
///
/// # Errors
/// When the space fails, or the keystone's frames in it do not hold.
pub async fn verify_receipt(device: &dyn Space, space: &str, receipt: &Receipt) -> Result<bool, SagaError> {
    let (keystone, frame) = (receipt.warrant.keystone(), receipt.warrant.frame().clone());
    let is_known = trusted::known(device, space).await?.as_ref() == Some(&keystone);
    if !is_known || device.has(std::slice::from_ref(&frame)).await.map_err(space_error)? != [true] {
        return Ok(false);
    }
    let chain = identity::chain_at(device, &keystone, frame).await?;
    Ok(receipt.warrant.holds(&chain, space) && receipt.holds())
}

/// The keystone by which a server's space is known to a device.
///
/// # Errors
/// When the space fails.
pub async fn known_keystone(device: &dyn Space, space: &str) -> Result<Option<Addr>, SagaError> {
    trusted::known(device, space).await
}

/// Forgets what is known of a server's space, its keystone and its receipts, for its keeper had to put another one or an
/// older one in its place. Answers how many receipts there were.
///
/// # Errors
/// When the space fails.
pub async fn forget_server(device: &dyn Space, space: &str) -> Result<usize, SagaError> {
    let kept = device.records(&prefix(space)).await.map_err(space_error)?;
    let mut records: Vec<_> = kept.into_iter().map(|(key, _)| (key, None)).collect();
    let count = records.len();
    records.extend([(index_key(space), None), (trusted::known_key(space), None), (stated_key(space), None)]);
    device.commit(Commit { records, ..Commit::default() }).await.map_err(commit_error)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use ibgib::Map;
    use ibgib_keystone::Warrant;
    use ibgib_saga::{ReceiverLine, Said, Status, Word};
    use ibgib_spaces::MemorySpace;
    use std::sync::Arc;

    fn receipt(revision: u64, lines: &[(&Addr, &Addr)]) -> Receipt {
        let addr = |ib: &str| Addr::new(ib, &"A".repeat(64)).unwrap();
        let part = |name: &str| (name.to_owned(), ibgib::Value::from(""));
        let mut warrant: Map = [("frame", addr("keystone").as_str())].into_iter().collect();
        [part("publicKey"), part("signature")]
            .into_iter()
            .for_each(|(name, value)| drop(warrant.insert(&*name, value)));
        let line = |(tjp, tip): &(&Addr, &Addr)| ReceiverLine {
            tjp: Addr::clone(tjp),
            status: Status::Unknown,
            tip: Some(Addr::clone(tip)),
        };
        let said = Said::Answer { context: addr("saga_context"), list: String::new(), committed: true };
        Receipt {
            word: Word { session: addr("keystone"), last: addr("keystone"), said },
            revision,
            value: String::new(),
            warrant: Warrant::parse(&warrant.into()).unwrap(),
            lines: lines.iter().map(line).collect(),
        }
    }

    async fn kept(device: &dyn Space, receipt: &Receipt) {
        let records = keep(device, "server", receipt).await.unwrap();
        device.commit(Commit { records, ..Commit::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn less_than_was_confirmed_is_seen_and_more_or_what_nobody_can_judge_is_not() {
        let device: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
        let document = Document::create(&device, "todo", Map::new()).await.unwrap();
        let mut tips = Vec::new();
        for n in 0..3 {
            document.set("/count", n).await.unwrap();
            tips.push(device.tips(None).await.unwrap().remove(0).addr);
        }
        let tjp = device.tips(None).await.unwrap().remove(0).tjp;
        kept(&*device, &receipt(5, &[(&tjp, &tips[1])])).await;
        let compare = async |theirs: Option<&Addr>, is_known: bool, space: &str| {
            let mut shown = Shown::open(&*device, space).await.unwrap();
            let mut view = View::new(&*device, "nobody");
            shown.compare(&mut view, &tjp, theirs, is_known).await.unwrap();
            shown.done().is_ok()
        };
        assert!(!compare(Some(&tips[0]), true, "server").await, "an older tip");
        assert!(!compare(None, true, "server").await, "none at all");
        assert!(compare(Some(&tips[1]), true, "server").await);
        assert!(compare(Some(&tips[2]), true, "server").await, "a newer one");
        assert!(compare(None, false, "server").await, "one that is not known here");
        assert!(compare(Some(&tips[0]), true, "another server").await);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let device = MemorySpace::new("device");
        let addr = |n: u64| Addr::new("note", &format!("{n:064X}")).unwrap();
        for n in 1..=100u64 {
            // Different in the bytes by which timelines are told apart.
            let (tjp, tip) = (addr(n), addr(n + 1_000));
            let tjp = Addr::new("note", &tjp.gib().chars().rev().collect::<String>()).unwrap();
            kept(&device, &receipt(n, &[(&tjp, &tip)])).await;
        }
        let all = receipts(&device).await.unwrap();
        let revisions: Vec<u64> = all.into_iter().map(|kept| kept.receipt.unwrap().revision).collect();
        assert_eq!(revisions, (37..=100).collect::<Vec<_>>());
        assert_eq!(index(&device, "server").await.unwrap().len(), RECEIPTS_MAX);
        assert!(check_revision(&device, "server", 100).await.is_ok());
        assert!(check_revision(&device, "server", 99).await.is_err());
        assert!(check_revision(&device, "other", 0).await.is_ok());
        // A saga in which nothing was taken confirms nothing.
        assert_eq!(keep(&device, "server", &receipt(101, &[])).await.unwrap(), []);
    }
}
