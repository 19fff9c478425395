//! Frames that the owner has dropped: what he states about them, and that nothing brings them in again.

use super::Host;
use super::words::signed;
use crate::grant::Statement;
use crate::identity;
use crate::view::{commit_error, space_error};
use ibgib::transform::Moment;
use ibgib::{Addr, IbGib, Value, Verified, object};
use ibgib_keystone::{Dropping, list_dropped};
use ibgib_saga::{IdentityRefusal, SagaError, SpaceFailure};
use ibgib_spaces::dropped::{DroppedFrames, dropped_key, dropped_prefix, is_merge, leave_keystone, stated_key};
use ibgib_spaces::history::Loader;
use ibgib_spaces::settle::Draft;
use ibgib_spaces::store::Records;
use ibgib_spaces::{Advance, Commit, CommitError, Kind, Tip};
use std::collections::BTreeSet;

/// How often a tip is led back that others move.
const TRIES: u32 = 16;

impl Host {
    /// The newest list of what is dropped, as the space's keystone has signed it; none where nothing ever was.
    ///
    /// # Errors
    /// When the space fails, or what it keeps of that cannot be read.
    pub async fn dropping(&self) -> Result<Option<Dropping>, SagaError> {
        let key = stated_key(self.space.id());
        let Some(kept) = self.space.record(&key).await.map_err(space_error)? else { return Ok(None) };
        let list = super::grants::read(&kept).as_ref().and_then(Dropping::parse);
        list.map(Some).ok_or_else(|| SagaError::OwnSpace {
            failure: SpaceFailure::Damaged,
            message: format!("the record {key}, which keeps what is dropped, cannot be read"),
        })
    }

    /// Why a frame cannot be dropped, as its address tells: nothing would be left without it, or nobody could allow it again.
    async fn undroppable_by_name(&self, by: &Addr, frame: &Addr) -> Result<Option<String>, SagaError> {
        let Some(timeline) = frame.tjp_gib() else {
            return Ok(Some(format!("{frame} is the first of its timeline, or of none; without it there is none")));
        };
        let is_needed = timeline == by.gib() || timeline == self.keystone().await?.gib();
        Ok(is_needed.then(|| format!("{frame} belongs to the identity by which it could be allowed again")))
    }

    /// The same as the frame tells, too: it would come again of itself.
    async fn undroppable(&self, by: &Addr, frame: &Addr) -> Result<Option<String>, SagaError> {
        if let Some(why) = self.undroppable_by_name(by, frame).await? {
            return Ok(Some(why));
        }
        // One that came second on its past is kept as evidence alone; and what is not here yet will not come in.
        let node = match self.space.node(frame).await.map_err(space_error)? {
            None => identity::evident(&*self.space, frame).await?,
            node => node,
        };
        let Some(node) = node else { return Ok(None) };
        let kind = node.tjp().map_or(Kind::Living, |tjp| Kind::of(&tjp));
        if !matches!(kind, Kind::Living | Kind::Keystone) {
            return Ok(Some(format!("{frame} is a transcript's, which is forgotten by itself")));
        }
        let mut history = Loader::new(&*self.space, None);
        Ok(is_merge(&mut history, &node)
            .await
            .then(|| format!("{frame} is a merge, which comes again of itself: drop what it merged")))
    }

    /// Whether frames may be droppable, by what costs nothing to look at: nobody has proven yet that he is who states it.
    pub(super) async fn check_droppable(&self, by: &Addr, frames: &[Addr]) -> Result<(), SagaError> {
        for frame in frames {
            if let Some(why) = self.undroppable_by_name(by, frame).await? {
                return Err(IdentityRefusal::BadFrame(why).into());
            }
        }
        Ok(())
    }

    /// Whether frames were dropped, or why not, after somebody has stated it.
    pub(super) async fn check_dropped(&self, by: &Addr, frames: &[Addr]) -> Result<(), SagaError> {
        let list = self.dropping().await?;
        let is_dropped = |frame: &&Addr| list.as_ref().is_some_and(|list| list.dropped().contains(*frame));
        for frame in frames.iter().filter(|frame| !is_dropped(frame)) {
            if let Some(why) = self.undroppable(by, frame).await? {
                return Err(IdentityRefusal::BadFrame(why).into());
            }
        }
        Ok(())
    }

    /// Adds to a commit what a statement about dropped frames comes to, of those that can be dropped. What stands on them stays
    /// for [`Host::leave_dropped`].
    pub(super) async fn state_dropped(
        &self,
        by: &Addr,
        frame: &Verified<IbGib>,
        statement: &Statement,
        commit: &mut Commit,
    ) -> Result<(), SagaError> {
        let key = |frame: &Addr| dropped_key(self.space.id(), frame);
        let stated = stated_key(self.space.id());
        let kept = match commit.records.iter().rev().find(|(key, _)| *key == stated) {
            // Several statements may come at once.
            Some((_, kept)) => kept.clone(),
            None => {
                let kept = self.space.record(&stated).await.map_err(space_error)?;
                commit.expect.push((stated.clone(), kept.clone()));
                kept
            }
        };
        let before = kept.as_deref().and_then(super::grants::read).as_ref().and_then(Dropping::parse);
        let number = before.as_ref().map_or(0, Dropping::number) + 1;
        let set = |list: &[Addr]| list.iter().cloned().collect::<BTreeSet<Addr>>();
        let mut dropped = before.as_ref().map(|list| set(list.dropped())).unwrap_or_default();
        let mut allowed = before.as_ref().map(|list| set(list.allowed())).unwrap_or_default();
        match statement {
            Statement::Drop { frames } => {
                let value = object([
                    ("by", by.into()),
                    ("since", Moment { now_ms: crate::entropy::now_ms(), random: [0; 16] }.timestamp().into()),
                    ("statement", frame.addr().into()),
                ]);
                let value = value.to_json().into_bytes();
                for frame in frames {
                    if self.undroppable(by, frame).await?.is_some() {
                        continue;
                    }
                    commit.records.push((key(frame), Some(value.clone())));
                    if Kind::of(frame) == Kind::Keystone {
                        commit.records.extend(identity::unforked(&*self.space, frame).await?);
                    }
                    allowed.remove(frame);
                    dropped.insert(frame.clone());
                }
            }
            Statement::Allow { frames } => {
                for frame in frames.iter().filter(|frame| dropped.remove(*frame)) {
                    commit.records.push((key(frame), None));
                    allowed.insert(frame.clone());
                }
            }
            _ => return Ok(()),
        }
        if before.map(|list| set(list.dropped())).unwrap_or_default() != dropped {
            let lists = [dropped, allowed].map(|set| set.into_iter().collect());
            let made =
                signed(&*self.space, move |chain, secret, opts| list_dropped(chain, secret, number, lists, opts));
            commit.records.push((stated, Some(made.await?.to_value().to_json().into_bytes())));
        }
        Ok(())
    }

    /// Refuses frames of identities that were dropped.
    pub(super) async fn check_not_dropped<'f>(
        &self,
        frames: impl Iterator<Item = &'f Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        let (addrs, keys): (Vec<&Addr>, Vec<String>) =
            frames.map(|frame| (frame.addr(), dropped_key(self.space.id(), frame.addr()))).unzip();
        let dropped = self.moment().await?.records(Records::Keys(&keys)).await.map_err(space_error)?;
        let is_dropped = |key: &String| dropped.iter().any(|(dropped, _)| dropped == key);
        match keys.iter().zip(addrs).find(|(key, _)| is_dropped(key)) {
            Some((_, frame)) => Err(IdentityRefusal::Dropped(frame.clone()).into()),
            None => Ok(()),
        }
    }

    /// Leads every tip that stands on a dropped frame back to what does not; answers how many there were. Whoever was
    /// connected is cut, and hears of it when he comes again. Doing it again changes nothing.
    ///
    /// # Errors
    /// A history that does not hold; `busy`; the space fails. What was led back until then is.
    pub async fn leave_dropped(&self) -> Result<usize, SagaError> {
        let dropped = DroppedFrames::load(&*self.moment().await?).await.map_err(space_error)?;
        let (mut left, mut failed) = (0, None);
        for frame in dropped.timelines() {
            let Some(frames) = dropped.of(frame) else { continue };
            let all: Vec<Addr> = frames.iter().cloned().collect();
            let here = self.space.get(&all).await.map_err(space_error)?;
            // On what is not here nothing stands.
            if let Some(tjp) = here.into_iter().flatten().find_map(|node| node.tjp()) {
                // One that cannot be led back keeps no other one.
                match self.leave(&tjp, frames).await {
                    Ok(is_left) => left += usize::from(is_left),
                    Err(error) => {
                        tracing::warn!(timeline = %tjp, %error, "what was dropped is still stood on");
                        failed = Some(error);
                    }
                }
            }
        }
        if left > 0 {
            self.cut_all();
        }
        failed.map_or(Ok(left), Err)
    }

    async fn leave(&self, tjp: &Addr, frames: &BTreeSet<Addr>) -> Result<bool, SagaError> {
        for _ in 0..TRIES {
            let Some(Tip { addr: tip, kind, .. }) = self.space.tip(tjp).await.map_err(space_error)? else {
                return Ok(false);
            };
            let mut draft = Draft::default();
            match kind {
                Kind::Keystone => {
                    let proof = leave_keystone(&*self.space, &tip, frames).await.map_err(space_error)?;
                    draft.commit.tips.extend(proof.map(Advance::Dropped));
                }
                _ => {
                    let mut history = Loader::new(&*self.space, None);
                    let left = draft.leave(&mut history, (tjp, &tip), frames).await;
                    left.map_err(|error| SagaError::defect(format!("what was dropped cannot be left: {error}")))?;
                }
            }
            if draft.commit.tips.is_empty() {
                return Ok(false);
            }
            match self.space.commit(draft.commit).await {
                Ok(_) => {
                    tracing::info!(timeline = %tjp, from = %tip, "a tip stood on a frame that was dropped, and went back");
                    return Ok(true);
                }
                Err(CommitError::TipsMoved(_)) => {}
                Err(error) => return Err(commit_error(error)),
            }
        }
        Err(SagaError::Busy(TRIES))
    }

    /// Ends all connections: whoever comes again hears what was dropped.
    pub(super) fn cut_all(&self) {
        self.live().values().for_each(|live| live.cut.cancel());
    }

    /// What is dropped, as JSON: the frame, who said so, when, and in which frame.
    pub(super) async fn dropped_lines(&self) -> Result<Vec<Value>, SagaError> {
        let prefix = dropped_prefix(self.space.id());
        let mut out = Vec::new();
        for (key, bytes) in self.space.records(&prefix).await.map_err(space_error)? {
            let Some(value) = super::grants::read(&bytes) else { continue };
            let part = |name: &str| value.get(name).cloned().unwrap_or(Value::Null);
            out.push(object([
                ("frame", key[prefix.len()..].into()),
                ("by", part("by")),
                ("since", part("since")),
                ("statement", part("statement")),
            ]));
        }
        Ok(out)
    }
}
