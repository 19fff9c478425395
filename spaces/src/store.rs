//! What a place for ibgibs has to do: a [`Store`]. It keeps bytes and decides nothing. What may be committed is decided
//! by the [`rules`](crate::rules), and whatever else a [`Space`](crate::Space) answers is made of a store's few answers,
//! once for every store.
//!
//! A store of one's own, in a file, in a database behind a network or in an embedder's own storage, is two traits:
//! [`Store`] with its one atomic write, and [`View`] that reads. Every question takes all that it is about at once: a
//! store behind a network is never asked node by node. The [`contract`](crate::contract) checks any store, and
//! `examples/own_space.rs` is the smallest one.
//!
//! Three things are kept small on purpose:
//! * A write whose conditions do not hold answers [`Written::Unmet`] and no more. The space looks again and tells its
//!   caller what moved, so a store need not find that out inside its transaction.
//! * Staging is apart from the write: it has no conditions, makes no revision, and need not be durable by itself.
//! * A lease is no record and makes no revision: whoever has one renews it every few seconds, by the store's own clock.

use crate::error::SpaceError;
use crate::tip::{Kind, Tip};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use std::fmt;
use std::time::Duration;

/// Nodes read at once where nobody knows how large they are.
const BATCH: usize = 16;

/// A place that keeps ibgibs. Whoever is a store is a [`Space`](crate::Space), too.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The store's own id: 32 random bytes in lowercase hex, made with the store.
    fn id(&self) -> &str;

    /// The store as it is now: later writes do not change what the view answers. Views are short-lived (one question
    /// of a caller), and nobody writes while holding one and waits for it.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError>;

    /// Writes a batch whole, or nothing of it: all its conditions are checked and all its parts are written in one
    /// atomic step, durable when this returns. Each batch makes the next revision, an empty one, too.
    ///
    /// # Errors
    /// When the store fails. Whether the batch was written is unknown then.
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError>;

    /// Keeps nodes apart for `owner` until a commit publishes them; primitives and what is committed are left out,
    /// but where what is stored of that does not have its address it is replaced. Durable at the latest with the next
    /// write, and no part of any revision; a database that crashes may lose what is only staged even then, since it is
    /// sent again.
    ///
    /// # Errors
    /// When the store fails.
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError>;

    /// Forgets what is staged for `owner`.
    ///
    /// # Errors
    /// When the store fails.
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError>;

    /// Waits until the revision is greater than `since`; answers it.
    ///
    /// # Errors
    /// When the store fails or is closed.
    async fn changed(&self, since: u64) -> Result<u64, SpaceError>;

    /// Takes the lease of this name for `holder`, or renews it if it is his: from now on for `time` by the store's own
    /// clock, nobody else gets it. `false`: somebody else has it. Of programs that run over one store, the one whose
    /// lease it is does what only one of them should do; a store that only one program can open has nobody to tell.
    ///
    /// # Errors
    /// When the store fails. Whether the lease was taken is unknown then.
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError>;

    /// Gives a lease up, so that others need not wait until it runs out. Of one that is not the holder's, nothing
    /// changes.
    ///
    /// # Errors
    /// When the store fails.
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError>;

    /// Gives back the room of what was forgotten; others may read and write meanwhile. Does nothing where that is little
    /// beside what is kept, unless `all` asks for it. Answers by how many bytes the store has become smaller, and always 0
    /// where room is used again by itself.
    ///
    /// # Errors
    /// When the store fails; it is as it was then.
    async fn give_back(&self, all: bool) -> Result<u64, SpaceError> {
        let _ = all;
        Ok(0)
    }
}

/// [`View::nodes_within`], and that what it answers is a part of what was asked for: whoever goes on behind it would
/// otherwise never come to an end with a store that answers nothing, or something else.
///
/// # Errors
/// [`SpaceError::Damaged`] when it answers no node or more than were asked for, or another one; as [`View::nodes`].
pub async fn nodes_within(
    view: &dyn View,
    addrs: &[Addr],
    bytes_max: usize,
) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
    let nodes = view.nodes_within(addrs, bytes_max).await?;
    if nodes.len() > addrs.len() || (nodes.is_empty() && !addrs.is_empty()) {
        let (answered, asked) = (nodes.len(), addrs.len());
        return Err(SpaceError::Damaged(format!("it answered {answered} nodes where 1 to {asked} were asked for")));
    }
    let another = |(node, asked): &(&Option<Verified<IbGib>>, &Addr)| node.as_ref().is_some_and(|n| n.addr() != *asked);
    if let Some((Some(node), asked)) = nodes.iter().zip(addrs).find(another) {
        return Err(SpaceError::Damaged(format!("it answered {} where {asked} was asked for", node.addr())));
    }
    Ok(nodes)
}

/// A store at one moment. Answers come in the order of the questions; lists (`tips`, `staged`, `records`) in any order.
#[async_trait]
pub trait View: Send + Sync {
    /// The newest revision, and how much is committed.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn head(&self) -> Result<Head, SpaceError>;

    /// Nodes, re-hashed; `None` for what is not there and for primitives. A hash under another name is not there.
    ///
    /// # Errors
    /// [`SpaceError::Corrupt`] when what is stored does not have its address; when the store cannot be read.
    async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError>;

    /// The first of these committed nodes, as [`View::nodes`] answers them: at least one, and then no more than about so many
    /// bytes of them take. Whoever has many to read asks for them so, since each may be as large as its limit; a store that
    /// reads many faster together has an answer of its own.
    ///
    /// # Errors
    /// As [`View::nodes`].
    async fn nodes_within(&self, addrs: &[Addr], bytes_max: usize) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let (mut out, mut bytes) = (Vec::with_capacity(addrs.len()), 0);
        for batch in addrs.chunks(BATCH) {
            let nodes = self.nodes(Nodes::Committed(batch)).await?;
            bytes += nodes.iter().flatten().map(Verified::weight_unread).sum::<usize>();
            out.extend(nodes);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(out)
    }

    /// Whether each is committed.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError>;

    /// Numbers for committed nodes: those with numbers near each other stand together, so that they are read fastest in the
    /// order of these. The numbers say nothing else; a store that reads all of them equally fast has no need to tell any.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn places(&self, addrs: &[Addr]) -> Result<Vec<u64>, SpaceError> {
        Ok(vec![0; addrs.len()])
    }

    /// Addresses staged for `owner`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError>;

    /// Tips; timelines without one are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError>;

    /// Local records; keys without one are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError>;

    /// Up to `limit` committed nodes after `after`, in key order, re-hashed.
    ///
    /// # Errors
    /// When the store cannot be read; a damaged node is an entry that says so.
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError>;
}

/// Counters of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The newest revision: how many batches were written.
    pub revision: u64,
    /// How many nodes are committed.
    pub nodes: u64,
}

/// Which nodes [`View::nodes`] reads.
#[derive(Clone, Copy, Debug)]
pub enum Nodes<'a> {
    /// Committed ones.
    Committed(&'a [Addr]),
    /// Those staged for an owner and not committed since.
    Staged(&'a str, &'a [Addr]),
}

/// Which tips [`View::tips`] reads.
#[derive(Clone, Copy, Debug)]
pub enum Tips<'a> {
    /// Of these timelines.
    Of(&'a [Addr]),
    /// Of one kind, or all.
    Kind(Option<Kind>),
    /// Of timelines that moved after a revision, each once. A store that no longer knows answers all of them.
    MovedSince(u64),
}

/// Which records [`View::records`] reads.
#[derive(Clone, Copy, Debug)]
pub enum Records<'a> {
    /// Under these keys.
    Keys(&'a [String]),
    /// Under every key that starts like this.
    Prefix(&'a str),
}

/// One entry of [`View::scan`].
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Where to continue.
    pub key: [u8; 32],
    /// The node, or what is wrong with what is stored there.
    pub node: Result<Verified<IbGib>, SpaceError>,
}

/// What [`Store::write`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All of it, which made this revision.
    Done(u64),
    /// Nothing: a condition does not hold.
    Unmet,
}

/// What must hold inside the write for a batch to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// The timeline's tip is this, or it has none.
    Tip {
        /// The timeline.
        tjp: Addr,
        /// Its tip.
        addr: Option<Addr>,
    },
    /// The local record is this, or there is none.
    Record {
        /// Its key.
        key: String,
        /// Its value.
        value: Option<Vec<u8>>,
    },
    /// The node is committed.
    Committed(Addr),
}

/// What is written at once. Only the [`rules`](crate::rules) make one: what they did not check no store can be given.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) nodes: Vec<Verified<IbGib>>,
    pub(crate) publish: Option<(String, Vec<Addr>)>,
    pub(crate) unstage: Option<String>,
    pub(crate) tips: Vec<Tip>,
    pub(crate) records: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) forget: Vec<Addr>,
    pub(crate) forget_nodes: Vec<Addr>,
}

impl Batch {
    /// What must hold, or nothing is written.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Nodes to commit, no primitives, each once. Those that are committed already stay as they are, unless what is
    /// stored does not have its address; what is staged of them is staged no more, for any owner.
    pub fn nodes(&self) -> &[Verified<IbGib>] {
        &self.nodes
    }

    /// Nodes to commit that are staged: for whom, and which, each once. That each of them is staged for that owner or
    /// committed is a condition of the batch as well.
    pub fn publish(&self) -> Option<(&str, &[Addr])> {
        self.publish.as_ref().map(|(owner, addrs)| (owner.as_str(), addrs.as_slice()))
    }

    /// For whom nothing is staged any more when this is written, whatever of it is published.
    pub fn unstage(&self) -> Option<&str> {
        self.unstage.as_deref()
    }

    /// Tips as they will be.
    pub fn tips(&self) -> &[Tip] {
        &self.tips
    }

    /// Local records to set (`Some`) or drop (`None`), in this order.
    pub fn records(&self) -> &[(String, Option<Vec<u8>>)] {
        &self.records
    }

    /// Timelines that have no tip any more. Such a batch has no nodes and no tips. [`View::tips`] tells nothing of them, not
    /// even that they moved.
    pub fn forget(&self) -> &[Addr] {
        &self.forget
    }

    /// Nodes that are committed no more, each once; those that are not there are no error.
    pub fn forget_nodes(&self) -> &[Addr] {
        &self.forget_nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySpace;

    /// Answers these nodes, whatever is asked.
    struct Wrong<'a>(Box<dyn View + 'a>, Vec<Option<Verified<IbGib>>>);

    #[async_trait]
    impl View for Wrong<'_> {
        async fn head(&self) -> Result<Head, SpaceError> {
            self.0.head().await
        }
        async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
            self.0.nodes(which).await
        }
        async fn nodes_within(&self, _: &[Addr], _: usize) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
            Ok(self.1.clone())
        }
        async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
            self.0.has(addrs).await
        }
        async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
            self.0.staged(owner).await
        }
        async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError> {
            self.0.tips(which).await
        }
        async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
            self.0.records(which).await
        }
        async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
            self.0.scan(after, limit).await
        }
    }

    /// Without the check a walk would ask for the same nodes for ever, or take nodes that it did not ask for.
    #[tokio::test]
    async fn a_store_that_answers_none_too_many_or_other_nodes_is_refused() {
        let space = MemorySpace::new("wrong");
        let start = Addr::new("note", &"A".repeat(64)).unwrap();
        let other = IbGib { ib: "other".into(), ..IbGib::default() }.seal().unwrap();
        let told_other = format!("it answered {} where {start} ", other.addr());
        for (answered, told) in [
            (vec![], "it answered 0 nodes where 1 to 1 "),
            (vec![None, None], "it answered 2 nodes where 1 to 1 "),
            (vec![Some(other)], &told_other),
        ] {
            let view = Wrong(space.view().await.unwrap(), answered);
            let (starts, stop, mut walked) = (std::slice::from_ref(&start), Default::default(), Default::default());
            let walk = crate::walk::reach(&view, starts, crate::Follow::All, &stop, 100, &mut walked);
            let error = walk.await.unwrap_err();
            assert!(matches!(&error, SpaceError::Damaged(why) if why.starts_with(told)), "{error}");
        }
    }
}
