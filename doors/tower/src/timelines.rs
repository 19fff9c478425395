//! A feed whose events are frames that were posted to this server: of each identity that was seen signing two frames on one
//! past, that past.
//!
//! A block is made for new events, and every ten minutes without any, so that a subscription of so many blocks lasts as long
//! as with Bitcoin. Blocks are rows beside the tower's own: two servers over one space make one chain, and a restart goes on with it.
//! It is never reorganised.

use crate::feed::{Block, BlockId, Header, Verdict};
use crate::guard;
use crate::ledger::Ledger;
use crate::rpc::RpcError;
use crate::transaction::Transaction;
use ibgib::{Addr, IbGib, Verified};
use ibgib_peer::Host;
use ibgib_peer::entropy::now_ms;
use ibgib_peer::saga::SagaError;
use ibgib_server::rows::{Edits, Row, RowError, Rows, Table};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The newest blocks, by height in ten digits.
const MADE: Table = Table::passing("made");
/// Of an identity, the past that was an event last.
const TOLD: Table = Table::passing("told");

/// Blocks that are kept: more than a tower remembers.
const KEPT: usize = 200;
/// A block without events comes after this time.
const BLOCK_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;
/// Blocks that events may make within an hour; what comes then waits for the next one that is due.
const EVENT_BLOCKS_AN_HOUR: usize = 6;
/// Events of one block: each is looked at for each user.
const EVENTS_MAX: usize = 16;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MadeRow {
    hash: String,
    parent: String,
    made_ms: i64,
    states: Vec<String>,
}

pub(crate) struct Timelines {
    host: Arc<Host>,
    rows: Rows,
    ledger: Ledger,
}

impl From<RowError> for RpcError {
    fn from(error: RowError) -> Self {
        Self::Space(error.to_string())
    }
}

impl Timelines {
    pub(crate) fn new(host: Arc<Host>, rows: Rows, ledger: Ledger) -> Self {
        Self { host, rows, ledger }
    }

    /// The newest block; one is made if it is time.
    pub(crate) async fn best(&self) -> Result<[u8; 32], RpcError> {
        loop {
            let blocks = self.blocks().await?;
            let newest = blocks.last();
            let told = self.untold().await?;
            let now = now_ms();
            // A clock that was put back by much makes a block, too, rather than none for long; one of another server over
            // the same space may be late.
            let age = |made: &MadeRow| now.saturating_sub(made.made_ms);
            let is_due = newest.is_none_or(|(_, it, _)| age(it) >= BLOCK_MS || age(it) <= -HOUR_MS);
            // Subscriptions are counted in blocks: whoever makes events may not bring their ends near.
            let lately = blocks.iter().filter(|(_, it, _)| !it.states.is_empty() && age(it) < HOUR_MS).count();
            let may_wait = told.is_empty() || lately >= EVENT_BLOCKS_AN_HOUR;
            if let Some((id, ..)) = newest.filter(|_| may_wait && !is_due) {
                return Ok(id.hash);
            }
            let (height, parent) = newest.map_or((1, [0; 32]), |(id, ..)| (id.height + 1, id.hash));
            let states: Vec<String> = told.iter().map(|(_, state)| state.to_string()).collect();
            let content = [height.to_string(), hex::encode(parent), now.to_string(), states.join("\n")].join("\n");
            let hash = <[u8; 32]>::from(Sha256::digest(content));
            let made = MadeRow { hash: hex::encode(hash), parent: hex::encode(parent), made_ms: now, states };
            let mut edits = Edits::default();
            edits.set(&self.rows.one::<MadeRow>(MADE, &format!("{height:010}")).await?, &made)?;
            for (row, state) in &told {
                edits.set(row, state.as_str())?;
            }
            if blocks.len() >= KEPT {
                edits.drop(&blocks[0].2);
            }
            // Another server over the same space may have made it.
            if self.rows.write(edits).await? {
                return Ok(hash);
            }
        }
    }

    pub(crate) async fn header(&self, of: &[u8; 32]) -> Result<Header, RpcError> {
        let (id, made) = self.block(of).await?;
        let parent = if id.height > 1 { Some(bytes(&made.parent)?) } else { None };
        Ok(Header { id, parent })
    }

    /// The triggers of its events for all who are users now.
    pub(crate) async fn get(&self, of: &[u8; 32]) -> Result<Block, RpcError> {
        let (id, made) = self.block(of).await?;
        let mut txids = Vec::new();
        if !made.states.is_empty() {
            let users = self.ledger.users().await?;
            for state in &made.states {
                let state: Addr = state.parse().map_err(|_| damaged())?;
                txids.extend(users.iter().map(|user| guard::trigger(user, &state)));
            }
        }
        Ok(Block { id, parent: bytes(&made.parent)?, txids })
    }

    /// Hands the server the revocation in an answer. What it says is final: nothing else has to come about first.
    pub(crate) async fn send(&self, answer: &[u8]) -> Result<Verdict, RpcError> {
        let answer = Transaction::parse(answer.to_vec()).ok();
        let revocation = answer.as_ref().and_then(guard::revocation).map(Verified::<IbGib>::parse);
        let Some(Ok(revocation)) = revocation else { return Ok(Verdict::Bad) };
        match self.host.end_guarded(&revocation).await {
            Ok(()) => Ok(Verdict::InChain),
            Err(SagaError::PeerIdentity(why)) => {
                tracing::debug!(%why, "the server did not take a revocation");
                Ok(Verdict::Bad)
            }
            // A server that is busy is asked again.
            Err(SagaError::Limit { name: "identity_frame_bytes_max", .. }) => Ok(Verdict::Bad),
            Err(error) => Err(RpcError::Space(error.to_string())),
        }
    }

    /// All blocks that are kept, oldest first.
    async fn blocks(&self) -> Result<Vec<(BlockId, MadeRow, Row<MadeRow>)>, RpcError> {
        let mut blocks = Vec::new();
        for row in self.rows.all::<MadeRow>(MADE, "").await? {
            let Some(made) = row.value.clone() else { continue };
            let height = row.key.parse().map_err(|_| damaged())?;
            blocks.push((BlockId { hash: bytes(&made.hash)?, height }, made, row));
        }
        blocks.sort_unstable_by_key(|(id, ..)| id.height);
        Ok(blocks)
    }

    async fn block(&self, of: &[u8; 32]) -> Result<(BlockId, MadeRow), RpcError> {
        let found = self.blocks().await?.into_iter().find(|(id, ..)| id.hash == *of);
        let none = || RpcError::Refused { code: 0, message: "there is no such block".into() };
        found.map(|(id, made, _)| (id, made)).ok_or_else(none)
    }

    /// Events that are in no block yet, with the rows that are to tell that they are.
    async fn untold(&self) -> Result<Vec<(Row<String>, Addr)>, RpcError> {
        let forks = self.host.forks().await.map_err(|error| RpcError::Space(error.to_string()))?;
        let keys: Vec<String> = forks.iter().map(|(identity, _)| identity.to_string()).collect();
        let rows = self.rows.get::<String>(TOLD, &keys).await?;
        let forks = rows.into_iter().zip(forks).map(|(row, (_, state))| (row, state));
        Ok(forks.filter(|(row, state)| row.value.as_deref() != Some(state.as_str())).take(EVENTS_MAX).collect())
    }
}

fn damaged() -> RpcError {
    RpcError::Space("what it keeps of the blocks of its timelines cannot be read".into())
}

fn bytes(text: &str) -> Result<[u8; 32], RpcError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| damaged())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gatekeeper::Terms;
    use crate::sealed::Dialect;
    use ibgib_peer::HostOptions;
    use ibgib_spaces::{Commit, MemorySpace, Space};

    /// Whoever makes many events of identities whose addresses come first keeps no other out.
    #[tokio::test]
    async fn events_are_told_in_the_order_in_which_they_were_seen() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("server"));
        let rows = Rows::new(Arc::clone(&space), "tower");
        let ledger = Ledger::new(rows.clone(), [Dialect::Rust, Dialect::Python].map(Terms::of));
        let timelines = Timelines::new(Host::new(Arc::clone(&space), HostOptions::default()), rows, ledger);
        let early = format!("keystone^{:064X}", u64::MAX);
        let mut records = Vec::new();
        let late = (0..EVENTS_MAX as u64).map(|n| (format!("keystone^{n:064X}"), 1_000 + n as i64));
        for (addr, ms) in late.chain([(early.clone(), 999)]) {
            records.push((format!("forked/{addr}"), Some(addr.clone().into_bytes())));
            records.push((format!("forked-ms/{addr}"), Some(ms.to_string().into_bytes())));
        }
        space.commit(Commit { records, ..Commit::default() }).await.unwrap();
        let newest = timelines.best().await.unwrap();
        let states = timelines.block(&newest).await.unwrap().1.states;
        assert_eq!((states.len(), &states[0]), (EVENTS_MAX, &early));
    }

    #[tokio::test]
    async fn events_bring_no_end_of_a_subscription_near() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("server"));
        let rows = Rows::new(Arc::clone(&space), "tower");
        let ledger = Ledger::new(rows.clone(), [Dialect::Rust, Dialect::Python].map(Terms::of));
        let host = Host::new(Arc::clone(&space), HostOptions::default());
        let timelines = Timelines::new(host, rows, ledger);
        timelines.best().await.unwrap();
        for event in 0..EVENT_BLOCKS_AN_HOUR + 5 {
            let addr = |kind: &str| format!("{kind}^{event:064X}");
            let records = vec![(format!("forked/{}", addr("keystone")), Some(addr("keystone").into_bytes()))];
            space.commit(Commit { records, ..Commit::default() }).await.unwrap();
            timelines.best().await.unwrap();
        }
        let blocks = timelines.blocks().await.unwrap();
        assert_eq!(blocks.len(), 1 + EVENT_BLOCKS_AN_HOUR);
        // What waits is told with the next block that is due.
        assert_eq!(timelines.untold().await.unwrap().len(), 5);
        let (_, made, row) = blocks.last().unwrap();
        let mut edits = Edits::default();
        edits.set(row, &MadeRow { made_ms: made.made_ms - BLOCK_MS, ..made.clone() }).unwrap();
        assert!(timelines.rows.write(edits).await.unwrap());
        let newest = timelines.best().await.unwrap();
        assert_eq!(timelines.block(&newest).await.unwrap().1.states.len(), 5);
        assert!(timelines.untold().await.unwrap().is_empty());
    }
}
