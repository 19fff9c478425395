//! Frames that the owner has dropped: what he states about them, and that nothing brings them in again.

use super::Host;
use crate::grant::Statement;
use crate::identity;
use crate::view::{commit_error, space_error};
use ibgib::transform::Moment;
use ibgib::{Addr, IbGib, Value, Verified, object};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::dropped::{DroppedFrames, dropped_key, dropped_prefix, leave_keystone, stated_key};
use ibgib_spaces::history::Loader;
use ibgib_spaces::settle::Draft;
use ibgib_spaces::store::Records;
use ibgib_spaces::{Advance, Commit, CommitError, Kind, Tip};
use std::collections::BTreeSet;

/// How often a tip is led back that others move.
const TRIES: u32 = 16;

impl Host {
    /// The newest statement of which frames are dropped, with those before it in its identity's history.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn dropped_by(&self) -> Result<Option<Addr>, SagaError> {
        let record = self.space.record(&stated_key(self.space.id())).await.map_err(space_error)?;
        Ok(record.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok()))
    }

    /// Whether frames can be dropped, or why not: they are here, so that it is known on what they stand, and something is
    /// left without them.
    pub(super) async fn check_droppable(&self, frames: &[Addr]) -> Result<(), SagaError> {
        let bad = |why: String| Err(SagaError::from(IdentityRefusal::BadFrame(why)));
        for (frame, node) in frames.iter().zip(self.space.get(frames).await.map_err(space_error)?) {
            // One that came second on its past is kept as evidence alone.
            let node = match node {
                None => identity::evident(&*self.space, frame).await?,
                node => node,
            };
            let Some(node) = node else { return bad(format!("{frame} is not here")) };
            let Some(tjp) = node.tjp() else { return bad(format!("{frame} is no frame of a timeline")) };
            if !matches!(Kind::of(&tjp), Kind::Living | Kind::Keystone) {
                return bad(format!("{frame} is a transcript's, which is forgotten by itself"));
            }
            if node.past().is_none() {
                return bad(format!("{frame} is the first of its timeline; without it there is none"));
            }
            if node.last_rel8n("graftbase").is_some_and(|base| Some(base) == node.past()) {
                return bad(format!("{frame} is a merge, which comes again of itself: drop what it merged"));
            }
        }
        Ok(())
    }

    /// Adds to a commit what a statement about dropped frames comes to. What stands on them stays for [`Host::leave_dropped`].
    pub(super) async fn state_dropped(
        &self,
        by: &Addr,
        frame: &Verified<IbGib>,
        statement: &Statement,
        commit: &mut Commit,
    ) -> Result<(), SagaError> {
        let key = |frame: &Addr| dropped_key(self.space.id(), frame);
        match statement {
            Statement::Drop { frames } if !frames.is_empty() && self.check_droppable(frames).await.is_ok() => {
                let value = object([
                    ("by", by.into()),
                    ("since", Moment { now_ms: crate::entropy::now_ms(), random: [0; 16] }.timestamp().into()),
                    ("statement", frame.addr().into()),
                ]);
                let value = value.to_json().into_bytes();
                commit.records.extend(frames.iter().map(|frame| (key(frame), Some(value.clone()))));
                for evidence in frames.iter().filter(|frame| Kind::of(frame) == Kind::Keystone) {
                    commit.records.extend(identity::unforked(&*self.space, evidence).await?);
                }
            }
            Statement::Allow { frames } if !frames.is_empty() => {
                commit.records.extend(frames.iter().map(|frame| (key(frame), None)));
            }
            _ => return Ok(()),
        }
        commit.records.push((stated_key(self.space.id()), Some(frame.addr().as_str().as_bytes().to_vec())));
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
        let mut left = 0;
        for frame in dropped.timelines() {
            let Some(frames) = dropped.of(frame) else { continue };
            let all: Vec<Addr> = frames.iter().cloned().collect();
            let here = self.space.get(&all).await.map_err(space_error)?;
            // On what is not here nothing stands.
            if let Some(tjp) = here.into_iter().flatten().find_map(|node| node.tjp()) {
                left += usize::from(self.leave(&tjp, frames).await?);
            }
        }
        Ok(left)
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
