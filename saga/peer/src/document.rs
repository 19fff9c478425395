//! Documents: JSON that several people edit at once, each edit kept, and what they disagree on told.

use crate::entropy::{now_ms, random};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use ibgib::conflict::{self, Conflict, Resolution};
use ibgib::ibgib::IDENTITY;
use ibgib::json::pointer;
use ibgib::timeline::HistoryError;
use ibgib::transform::{self, ForkOpts, Moment, TransformError};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_spaces::history::Loader;
use ibgib_spaces::settle::{self, AdmitError, Draft, Proposal, Unsettled, admit};
use ibgib_spaces::{CommitError, Follow, Kind, Space, SpaceError};
use std::collections::HashSet;
use std::sync::Arc;

/// How often an edit is made anew because somebody else's came first. Each time one of the others came through, so that
/// only endless writing by many can use this up.
const EDIT_TRIES: u32 = 1_024;

/// Frames of one history that are listed at most.
const FRAMES_MAX: usize = 1_000_000;

/// A document in a space: a timeline whose data merges. A handle is cheap and keeps nothing; several of one document,
/// in any process that has the space, see each other's edits.
///
/// ```
/// use ibgib_peer::prelude::*;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shop"));
/// let todo = Document::create(&space, "todo", Map::new()).await?;
/// todo.set("/items/bread", "open").await?;
/// todo.edit(|data| { data.insert("title", "Saturday"); }).await?;
///
/// let again = Document::open(&space, todo.address()).await?;
/// assert_eq!(again.get("/items/bread").await?, Some("open".into()));
/// let frames: Vec<Frame> = todo.history().try_collect().await?;
/// assert_eq!(frames.len(), 3);
/// # Ok::<(), DocumentError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    space: Arc<dyn Space>,
    tjp: Addr,
    identity: Option<Addr>,
}

/// One state of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Its address.
    pub addr: Addr,
    /// How many frames came before it, on the longest way.
    pub n: u64,
    /// When it was made, by the clock of the device that made it, as `Thu, 01 Jan 2026 00:00:00 GMT`. A merge has the
    /// time of one of its sides.
    pub timestamp: Option<String>,
    /// Who made it, as it says; nothing checks that. A merge is nobody's.
    pub identity: Option<Addr>,
    /// What the document says.
    pub data: Map,
    /// Conflicts that nobody has settled yet.
    pub conflicts: usize,
}

/// Frames, read as they are asked for.
pub type Frames = BoxStream<'static, Result<Frame, DocumentError>>;

/// Why something could not be done with a document. Nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Timelines whose ib begins with this word are not documents.
    #[error("a document cannot be called {0:?}: {0} timelines do not merge")]
    Name(Kind),
    /// The space has no such timeline.
    #[error("{0} is not in this space")]
    NotFound(Addr),
    /// The timeline does not merge: it is an identity or a transcript.
    #[error("{0} is no document")]
    NotADocument(Addr),
    /// The space has no such frame of this document.
    #[error("{0} is no frame of this document")]
    NotAFrame(Addr),
    /// The text is no JSON pointer, or leads through what is no object.
    #[error("nothing can be put at {0:?}")]
    Pointer(String),
    /// The data cannot be a document's: a member that frames keep for themselves
    /// ([`OWN_DATA`](ibgib::transform::OWN_DATA)), say, or more than a node may hold.
    #[error(transparent)]
    Data(#[from] TransformError),
    /// The conflict is settled already.
    #[error("the conflict {0} is settled already")]
    Settled(Addr),
    /// The value chosen cannot be put where it belongs, since the text around it was edited; [`Resolution::Keep`] is
    /// always possible.
    #[error("the place of the conflict {0} has changed; edit it and keep what stands there")]
    PlaceChanged(Addr),
    /// Others kept moving the document's tip; trying again later is safe.
    #[error("the document kept changing; try again")]
    Busy,
    /// The document's history does not hold.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The space refuses the commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<SpaceError> for DocumentError {
    fn from(error: SpaceError) -> Self {
        Self::Commit(error.into())
    }
}

impl From<AdmitError> for DocumentError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Commit(error) => error.into(),
            AdmitError::History(error) => error.into(),
            _ => Self::Busy,
        }
    }
}

type Node = Verified<IbGib>;

impl Document {
    /// Makes a document. Its `ib` is what kind of document it is, `todo` say; several may have the same one.
    ///
    /// # Errors
    /// [`DocumentError::Name`]; [`DocumentError::Data`], also for an `ib` that no node may have; a failing space.
    pub async fn create(space: &Arc<dyn Space>, ib: &str, data: impl Into<Map>) -> Result<Self, DocumentError> {
        let opts = ForkOpts::timeline(ib);
        let parent = IbGib::primitive(ib).map_err(TransformError::from)?;
        let first = transform::fork(&parent, &opts, &moment())?;
        let tjp = first.frame.addr().clone();
        if Kind::of(&tjp) != Kind::Living {
            return Err(DocumentError::Name(Kind::of(&tjp)));
        }
        let mut nodes = first.nodes();
        if let Some(next) = transform::revise(&first.frame, &data.into(), &moment())? {
            nodes.extend(next.nodes());
        }
        admit(&**space, &nodes).await?;
        Ok(Self { space: Arc::clone(space), tjp, identity: None })
    }

    /// The document at an address that [`Document::address`] gave, here or on another device.
    ///
    /// # Errors
    /// [`DocumentError::NotFound`], [`DocumentError::NotADocument`]; a failing space.
    pub async fn open(space: &Arc<dyn Space>, address: &Addr) -> Result<Self, DocumentError> {
        let tip = space.tip(address).await?.ok_or_else(|| DocumentError::NotFound(address.clone()))?;
        if tip.kind != Kind::Living {
            return Err(DocumentError::NotADocument(address.clone()));
        }
        Ok(Self { space: Arc::clone(space), tjp: tip.tjp, identity: None })
    }

    /// All documents of a space that were created with this `ib`, sorted by address.
    ///
    /// # Errors
    /// A failing space.
    pub async fn all(space: &Arc<dyn Space>, ib: &str) -> Result<Vec<Self>, DocumentError> {
        let tips = space.tips(Some(Kind::Living)).await?.into_iter().filter(|tip| tip.tjp.ib() == ib);
        Ok(tips.map(|tip| Self { space: Arc::clone(space), tjp: tip.tjp, identity: None }).collect())
    }

    /// The same document, whose edits through this handle say that `identity` made them: the address of a keystone's
    /// first frame ([`Frame::identity`]).
    #[must_use]
    pub fn by(self, identity: Addr) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// What names the document, on every device: the address of its first frame.
    pub fn address(&self) -> &Addr {
        &self.tjp
    }

    /// The newest frame.
    ///
    /// # Errors
    /// A failing space.
    pub async fn frame(&self) -> Result<Frame, DocumentError> {
        Ok(Frame::of(&self.tip().await?))
    }

    /// A frame of this document's history.
    ///
    /// # Errors
    /// [`DocumentError::NotAFrame`]; a failing space.
    pub async fn at(&self, frame: &Addr) -> Result<Frame, DocumentError> {
        Ok(Frame::of(&self.node(frame).await?))
    }

    /// What the document says now.
    ///
    /// # Errors
    /// A failing space.
    pub async fn data(&self) -> Result<Map, DocumentError> {
        Ok(self.frame().await?.data)
    }

    /// What stands at a JSON pointer now: `/items/bread` is the member `bread` of the member `items`.
    ///
    /// # Errors
    /// A failing space.
    pub async fn get(&self, pointer: &str) -> Result<Option<Value>, DocumentError> {
        let (names, data) = (pointer::names(pointer), self.data().await?);
        Ok(names.and_then(|names| Value::from(data).down(&names).cloned()))
    }

    /// Puts a value at a JSON pointer, making objects on the way where nothing is. Lists are changed with
    /// [`Document::edit`].
    ///
    /// # Errors
    /// [`DocumentError::Pointer`]; as [`Document::edit`].
    pub async fn set(&self, pointer: &str, value: impl Into<Value>) -> Result<Addr, DocumentError> {
        self.put(pointer, Some(value.into())).await
    }

    /// Takes away what stands at a JSON pointer; it is no error when nothing does.
    ///
    /// # Errors
    /// [`DocumentError::Pointer`]; as [`Document::edit`].
    pub async fn remove(&self, pointer: &str) -> Result<Addr, DocumentError> {
        self.put(pointer, None).await
    }

    async fn put(&self, pointer: &str, value: Option<Value>) -> Result<Addr, DocumentError> {
        let bad = || DocumentError::Pointer(pointer.to_owned());
        let names = pointer::names(pointer).ok_or_else(bad)?;
        self.advance(|tip| {
            let mut data = transform::content(tip);
            if !pointer::put(&mut data, &names, value.clone()) {
                return Err(bad());
            }
            revised(tip, &data)
        })
        .await
    }

    /// Changes what the document says, and answers the address of the frame that says so; the newest frame's when
    /// `change` changes nothing. When somebody else's edit comes first, `change` is called again on what they made of
    /// it, so that a counter counts; it should do nothing else.
    ///
    /// # Errors
    /// [`DocumentError::Data`] when the result cannot be a document's data; [`DocumentError::Busy`]; a failing space.
    pub async fn edit(&self, change: impl Fn(&mut Map) + Send + Sync) -> Result<Addr, DocumentError> {
        self.advance(|tip| {
            let mut data = transform::content(tip);
            change(&mut data);
            revised(tip, &data)
        })
        .await
    }

    /// An edit by somebody who looks at an older frame of the document, in a window that has been open for a while,
    /// say. It is merged with what came since: what both changed becomes a conflict, texts merge by lines. Answers the
    /// address of the frame that says what they see, for their next edit.
    ///
    /// # Errors
    /// [`DocumentError::NotAFrame`]; as [`Document::edit`].
    pub async fn edit_from(&self, frame: &Addr, change: impl FnOnce(&mut Map)) -> Result<Addr, DocumentError> {
        let frame = self.node(frame).await?;
        let mut data = transform::content(&frame);
        change(&mut data);
        let Some(nodes) = revised(&frame, &data)? else { return Ok(frame.addr().clone()) };
        let nodes = transform::attribute(nodes, self.identity.as_ref())?;
        admit(&*self.space, &nodes).await?;
        Ok(last(&nodes, &frame))
    }

    /// The document's frames, newest first.
    pub fn history(&self) -> Frames {
        let document = self.clone();
        let all = async move {
            let tip = [document.tip().await?.addr().clone()];
            let addrs = document.space.reach(&tip, Follow::History, &HashSet::new(), FRAMES_MAX).await?;
            let read = move |addr: Addr| {
                let document = document.clone();
                async move { document.at(&addr).await }
            };
            Ok::<_, DocumentError>(stream::iter(addrs.into_iter().map(Ok)).and_then(read))
        };
        stream::once(all).try_flatten().boxed()
    }

    /// The newest frame, and then each frame that takes its place, whoever made it: this program, another one that has
    /// the space, or a sync. Of frames that follow each other faster than they are asked for only the last is told.
    /// Ends with an error when the space fails or is closed.
    pub fn changes(&self) -> Frames {
        let next = |(document, told): (Self, Option<Addr>)| async move {
            loop {
                let revision = document.space.revision().await?;
                let tip = document.tip().await?;
                if told.as_ref() != Some(tip.addr()) {
                    let told = Some(tip.addr().clone());
                    return Ok(Some((Frame::of(&tip), (document, told))));
                }
                document.space.changed(revision).await?;
            }
        };
        stream::try_unfold((self.clone(), None), next).boxed()
    }

    /// What edits disagreed on when they were merged and nobody has settled yet. The document says one of the values
    /// meanwhile.
    ///
    /// # Errors
    /// A failing space.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, DocumentError> {
        let stones = self.tip().await?.rel8n_addrs("conflict");
        let nodes = self.space.get(&stones).await?;
        let told = stones.into_iter().zip(nodes).map(|(stone, node)| match node {
            Some(node) => Ok(Conflict::of(&node)),
            None => Err(SpaceError::Missing { path: vec![stone.to_string()] }.into()),
        });
        told.collect()
    }

    /// Settles a conflict: the value chosen takes its place. For a value of your own, put it there and keep it.
    ///
    /// # Errors
    /// [`DocumentError::Settled`], [`DocumentError::PlaceChanged`]; [`DocumentError::Busy`]; a failing space.
    pub async fn resolve(&self, conflict: &Conflict, resolution: Resolution) -> Result<Addr, DocumentError> {
        let stone = &conflict.stone;
        self.advance(|tip| {
            if !tip.rel8n("conflict").any(|open| open == stone.as_str()) {
                return Err(DocumentError::Settled(stone.clone()));
            }
            match conflict::settle(tip, conflict, resolution, &moment())? {
                Some(nodes) => Ok(Some(nodes)),
                None => Err(DocumentError::PlaceChanged(stone.clone())),
            }
        })
        .await
    }

    /// Commits the frames that `next` makes of the newest one, made anew while others commit theirs first. They are
    /// never merged with theirs instead: two edits that count from the same number merge to one that counted once.
    async fn advance(
        &self,
        next: impl Fn(&Node) -> Result<Option<Vec<Node>>, DocumentError> + Send + Sync,
    ) -> Result<Addr, DocumentError> {
        match settle::settle(&*self.space, EDIT_TRIES, &Revision { document: self, next: &next }).await {
            Ok(settled) => Ok(settled.told),
            Err(Unsettled::Draft(Halt::Unchanged(tip))) => Ok(tip),
            Err(Unsettled::Draft(Halt::Error(error))) => Err(error),
            Err(Unsettled::Commit(error)) => Err(error.into()),
            Err(Unsettled::Busy(_)) => Err(DocumentError::Busy),
        }
    }

    async fn tip(&self) -> Result<Node, DocumentError> {
        let tip = self.space.tip(&self.tjp).await?.ok_or_else(|| DocumentError::NotFound(self.tjp.clone()))?;
        self.node(&tip.addr).await
    }

    async fn node(&self, addr: &Addr) -> Result<Node, DocumentError> {
        let node = self.space.node(addr).await?;
        let ours = |node: &Node| node.tjp().as_ref() == Some(&self.tjp);
        node.filter(ours).ok_or_else(|| DocumentError::NotAFrame(addr.clone()))
    }
}

impl Frame {
    fn of(node: &Node) -> Self {
        Self {
            addr: node.addr().clone(),
            n: node.n().unwrap_or_default(),
            timestamp: node.datum("timestamp").and_then(Value::as_str).map(str::to_owned),
            identity: node.rel8n_addrs(IDENTITY).pop(),
            data: transform::content(node),
            conflicts: node.rel8n("conflict").count(),
        }
    }
}

/// The frames that follow the newest one, whichever that is when they are made.
struct Revision<'a, F> {
    document: &'a Document,
    next: &'a F,
}

/// Why nothing is to be committed.
enum Halt {
    /// The tip is as it should be.
    Unchanged(Addr),
    Error(DocumentError),
}

impl<E: Into<DocumentError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

#[async_trait]
impl<F> Proposal for Revision<'_, F>
where
    F: Fn(&Node) -> Result<Option<Vec<Node>>, DocumentError> + Send + Sync,
{
    type Told = Addr;
    type Error = Halt;

    async fn draft(&self, draft: &mut Draft) -> Result<Addr, Halt> {
        let tip = self.document.tip().await?;
        let Some(nodes) = (self.next)(&tip)? else { return Err(Halt::Unchanged(tip.addr().clone())) };
        let nodes = transform::attribute(nodes, self.document.identity.as_ref())?;
        let to = last(&nodes, &tip);
        let mut history = Loader::new(&*self.document.space, None);
        history.add(nodes.iter().chain([&tip]).cloned());
        draft.commit.nodes = nodes;
        draft.lead(&mut history, &self.document.tjp, Some(tip.addr()), std::slice::from_ref(&to)).await?;
        Ok(to)
    }
}

/// The frames that give the document at `frame` this data; `None` when it has it.
fn revised(frame: &Node, data: &Map) -> Result<Option<Vec<Node>>, DocumentError> {
    Ok(transform::revise(frame, data, &moment())?.map(|made| made.nodes()))
}

fn last(nodes: &[Node], before: &Node) -> Addr {
    nodes.last().unwrap_or(before).addr().clone()
}

fn moment() -> Moment {
    Moment { now_ms: now_ms(), random: random() }
}
