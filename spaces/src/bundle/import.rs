//! Reading a bundle.

use super::lines::{Line, Reader};
use super::{BundleError, Bundled};
use crate::dropped::{DroppedFrames, stands};
use crate::error::SpaceError;
use crate::history::Loader;
use crate::marks::is_apart;
use crate::repair;
use crate::settle::{Draft, Proposal, TRIES, Unsettled, settle};
use crate::space::Space;
use crate::store::Tips;
use crate::tip::{Advance, Kind};
use async_trait::async_trait;
use ibgib::Addr;
use ibgib::timeline::HistoryError;
use ibgib_keystone::{Chain, Expect, Step};
use std::collections::{HashMap, HashSet};
use std::io::BufRead;

/// Nodes, and about as many bytes of them, that are staged at once.
const STAGE_NODES: usize = 256;
const STAGE_BYTES: usize = 8 * 1024 * 1024;

/// Reads a bundle into the space: all of it in one commit, or nothing. Living timelines that diverged are merged,
/// identities are validated, and a living timeline that could not travel on from here is left as it is. With `dry_run`
/// nothing is stored.
///
/// # Errors
/// [`BundleError::Damaged`], [`BundleError::Incomplete`]; a failing space or source. Nothing was imported then.
pub async fn import(
    space: &dyn Space,
    source: impl BufRead + Send,
    owner: &str,
    dry_run: bool,
) -> Result<Bundled, BundleError> {
    let result = read_in(space, source, owner, dry_run).await;
    if !dry_run {
        space.unstage(owner).await?;
    }
    result
}

async fn read_in(
    space: &dyn Space,
    source: impl BufRead + Send,
    owner: &str,
    dry_run: bool,
) -> Result<Bundled, BundleError> {
    let mut reader = Reader::begin(source)?;
    let mut told = Bundled::default();
    let mut addrs: HashSet<Addr> = HashSet::new();
    let mut needs: Vec<(Addr, Addr)> = Vec::new();
    let mut tips: Vec<(Addr, Addr)> = Vec::new();
    let mut stuck: HashMap<Addr, Addr> = HashMap::new();
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    loop {
        match reader.next()? {
            Line::Node(node) => {
                told.nodes += 1;
                batch_bytes += reader.line_bytes();
                needs.extend(
                    node.targets().into_iter().filter(|t| !addrs.contains(t)).map(|t| (t, node.addr().clone())),
                );
                if travels(node.addr()) {
                    let target = node.targets().into_iter().find(|target| !travels(target));
                    stuck.extend(target.map(|target| (node.addr().clone(), target)));
                }
                addrs.insert(node.addr().clone());
                batch.push(node);
                if batch.len() == STAGE_NODES || batch_bytes >= STAGE_BYTES {
                    if !dry_run {
                        space.stage(owner, &batch).await?;
                    }
                    batch.clear();
                    batch_bytes = 0;
                }
            }
            Line::Tip(tjp, addr) => {
                told.timelines += 1;
                tips.push((tjp, addr));
            }
            Line::End(end) => {
                reader.check_end(&end, told.nodes, told.timelines)?;
                break;
            }
        }
    }
    if !dry_run {
        space.stage(owner, &batch).await?;
    }
    needs.retain(|(target, _)| !addrs.contains(target));
    if let Some((addr, from)) = space.lacking(needs).await?.into_iter().next() {
        return Err(BundleError::Incomplete { addr, from });
    }
    if let Some((tjp, addr)) = tips.iter().find(|(_, addr)| !addrs.contains(addr)) {
        return Err(BundleError::Incomplete { addr: addr.clone(), from: tjp.clone() });
    }
    if dry_run {
        return Ok(told);
    }
    // What is here already was taken before.
    let asked: Vec<Addr> = stuck.keys().cloned().collect();
    for (addr, has) in asked.iter().zip(space.has(&asked).await?) {
        if has {
            stuck.remove(addr);
        }
    }
    let import = Import { space, owner, addrs, tips, stuck };
    match settle(space, TRIES, &import).await {
        Ok(done) => Ok(Bundled { merges: done.merges, conflicts: done.conflicts, refused: done.told, ..told }),
        Err(Unsettled::Draft(error)) => Err(error.into()),
        Err(Unsettled::Commit(error)) => Err(error.into()),
        Err(Unsettled::Busy(_)) => Err(BundleError::Busy),
    }
}

/// Puts what a bundle has of what is [known](crate::repair::known) to be damaged or missing in its place. Nothing else of
/// the bundle is taken, and no tip moves.
///
/// # Errors
/// [`BundleError::Damaged`]; a failing space or source. What was mended until then is whole.
pub async fn mend(space: &dyn Space, source: impl BufRead + Send, owner: &str) -> Result<(), BundleError> {
    let known = repair::known_keys(space).await?;
    let mut reader = Reader::begin(source)?;
    let (mut found, mut bytes, mut nodes, mut timelines) = (Vec::new(), 0, 0, 0);
    loop {
        match reader.next()? {
            Line::Node(node) => {
                nodes += 1;
                if node.addr().key().is_some_and(|key| known.contains(&key)) {
                    bytes += reader.line_bytes();
                    found.push(node);
                }
                if bytes >= STAGE_BYTES {
                    repair::mend(space, owner, &std::mem::take(&mut found)).await?;
                    bytes = 0;
                }
            }
            Line::Tip(..) => timelines += 1,
            Line::End(end) => {
                reader.check_end(&end, nodes, timelines)?;
                break;
            }
        }
    }
    Ok(repair::mend(space, owner, &found).await?)
}

/// Publishing what was staged of a bundle, and moving the tips that it tells.
struct Import<'a> {
    space: &'a dyn Space,
    owner: &'a str,
    addrs: HashSet<Addr>,
    /// Timelines, each with the bundle's tip of it.
    tips: Vec<(Addr, Addr)>,
    /// New nodes that relate to what does not travel with data, and to what.
    stuck: HashMap<Addr, Addr>,
}

/// Whether a node travels with data. Identities, transcripts and rows of doors do not.
fn travels(addr: &Addr) -> bool {
    !is_apart(addr) && Kind::of(addr) != Kind::Door
}

#[async_trait]
impl Proposal for Import<'_> {
    /// The timelines that are left as they are here, and why.
    type Told = Vec<(Addr, String)>;
    type Error = SpaceError;

    async fn draft(&self, draft: &mut Draft) -> Result<Self::Told, SpaceError> {
        let mut history = Loader::new(self.space, Some(self.owner));
        draft.commit.publish = Some((self.owner.to_owned(), self.addrs.iter().cloned().collect()));
        let dropped = DroppedFrames::load(history.view().await?).await?;
        let mut refused = Vec::new();
        for (tjp, addr) in &self.tips {
            match self.move_tip(&mut history, draft, (tjp, addr), &dropped).await {
                Ok(()) => {}
                Err(Unmoved::Refused(why)) => refused.push((tjp.clone(), why)),
                Err(Unmoved::Space(error)) => return Err(error),
            }
        }
        Ok(refused)
    }
}

impl Import<'_> {
    async fn move_tip(
        &self,
        history: &mut Loader<'_>,
        draft: &mut Draft,
        (tjp, addr): (&Addr, &Addr),
        dropped: &DroppedFrames,
    ) -> Result<(), Unmoved> {
        let tip = history.view().await?.tips(Tips::Of(std::slice::from_ref(tjp))).await?.pop();
        let before = tip.map(|tip| tip.addr);
        if before.as_ref() == Some(addr) {
            return Ok(());
        }
        if let Some(frames) = dropped.of(tjp)
            && stands(history, addr, before.as_ref(), frames).await?
        {
            return Err(Unmoved::Refused(format!("{addr} stands on what the owner of the space has dropped")));
        }
        if Kind::of(tjp) == Kind::Keystone {
            let step = keystone_step(history, tjp, addr, before.as_ref()).await?;
            draft.commit.tips.extend(step.map(Advance::Keystone));
        } else {
            if Kind::of(tjp) == Kind::Living {
                self.check_travels(history, addr).await?;
            }
            draft.lead(history, tjp, before.as_ref(), std::slice::from_ref(addr)).await?;
        }
        Ok(())
    }

    /// Whether nothing under a tip keeps it from travelling on from here.
    async fn check_travels(&self, history: &mut Loader<'_>, tip: &Addr) -> Result<(), Unmoved> {
        if self.stuck.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::from([tip.clone()]);
        let mut rest = vec![tip.clone()];
        while let Some(addr) = rest.pop() {
            if let Some(target) = self.stuck.get(&addr) {
                return Err(Unmoved::Refused(format!(
                    "{addr} relates to {target}, which does not travel with data: nobody else could take it from here"
                )));
            }
            let Some(node) = history.get(&addr).await? else { continue };
            rest.extend(
                node.targets().into_iter().filter(|to| self.addrs.contains(to)).filter(|to| seen.insert(to.clone())),
            );
        }
        Ok(())
    }
}

/// Why a tip stays where it is.
enum Unmoved {
    Refused(String),
    Space(SpaceError),
}

impl From<SpaceError> for Unmoved {
    fn from(error: SpaceError) -> Self {
        Self::Space(error)
    }
}

impl From<HistoryError> for Unmoved {
    fn from(error: HistoryError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Validates an identity from its genesis to `addr`; the step from the tip here, `None` when that is newer.
async fn keystone_step(
    loader: &mut Loader<'_>,
    tjp: &Addr,
    addr: &Addr,
    before: Option<&Addr>,
) -> Result<Option<Step>, Unmoved> {
    let mut frames = Vec::new();
    let mut at = Some(addr.clone());
    while let Some(addr) = at {
        let Some(frame) = loader.get(&addr).await? else {
            return Err(Unmoved::Refused(format!("frame {addr} is missing")));
        };
        at = frame.past();
        frames.push(frame);
    }
    frames.reverse();
    let refuse = |errors: Vec<ibgib_keystone::ValidateError>| {
        Unmoved::Refused(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let known = match before {
        None => 0,
        Some(before) => match frames.iter().position(|f| f.addr() == before) {
            Some(at) => at + 1,
            // What is here may simply be newer.
            None => {
                let mut at = Some(before.clone());
                while let Some(older) = at {
                    if older == *addr {
                        return Ok(None);
                    }
                    at = loader.get(&older).await?.and_then(|f| f.past());
                }
                return Err(Unmoved::Refused("it has signed different frames here and in the bundle".into()));
            }
        },
    };
    if frames.first().map(|f| f.addr()) != Some(tjp) {
        return Err(Unmoved::Refused(format!("{addr} is no frame of it")));
    }
    if known == 0 {
        return Chain::replay(frames).map(|(_, step)| Some(step)).map_err(refuse);
    }
    let (mut chain, _) = Chain::replay(frames[..known].to_vec()).map_err(refuse)?;
    chain.advance_all(&frames[known..], &Expect::default()).map_err(refuse)
}
