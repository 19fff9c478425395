//! Bundles: nodes and tips of a space in one file, to carry where no network reaches and to keep as a backup.
//!
//! JSON Lines: a header `{"bundle":"ibgib.v1"}`; one line per node, as hashed; per tip `{"tip":{"tjp","addr"}}`; at
//! the end `{"end":{"nodes","timelines","sha256"}}` with the SHA-256 of every byte before that line. Nodes come in any
//! order. A reader takes nothing of a bundle whose end does not hold.

use crate::error::{CommitError, SpaceError};
use crate::history::Loader;
use crate::space::{Commit, Follow, Space};
use crate::tip::{Advance, Kind};
use ibgib::timeline::HistoryError;
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified, object};
use ibgib_keystone::{Chain, Expect, Step};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::{self, BufRead, Write};

const NAME: &str = "ibgib.v1";
/// Nodes read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;
/// Nodes, and about as many bytes of them, that are staged at once.
const STAGE_NODES: usize = 256;
const STAGE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one line: a node, escaped, and some room.
const LINE_BYTES_MAX: u64 = 2 * ibgib::value::BYTES_MAX as u64;
const TRIES: usize = 16;

/// What a bundle holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundled {
    /// Nodes.
    pub nodes: u64,
    /// Timelines with their tips.
    pub timelines: u64,
    /// On import: merge frames made where timelines had diverged.
    pub merges: u64,
    /// On import: conflicts that they recorded.
    pub conflicts: u64,
    /// On import: timelines that were left as they are here, and why.
    pub refused: Vec<(Addr, String)>,
}

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bundle is damaged, cut, or none.
    #[error("line {line} of the bundle: {why}")]
    Damaged {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// A node relates to one that is neither in the bundle nor here.
    #[error("the bundle is incomplete: {from} relates to {addr}, which is neither in it nor here")]
    Incomplete {
        /// What is not there.
        addr: Addr,
        /// Who needs it.
        from: Addr,
    },
    /// Others kept moving the same tips.
    #[error("the tips kept moving; gave up after {TRIES} tries")]
    Busy,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The space failed.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The space refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

struct Hashing<W> {
    sink: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        for bytes in [text.as_bytes(), b"\n"] {
            self.hash.update(bytes);
            self.sink.write_all(bytes)?;
        }
        Ok(())
    }
}

/// Writes a bundle: everything of the space, or the live graphs of `starts` with the tips of the living timelines in
/// them.
///
/// # Errors
/// A failing space or sink; what was written then is no bundle.
pub async fn export(space: &dyn Space, starts: &[Addr], sink: impl Write + Send) -> Result<Bundled, BundleError> {
    let mut out = Hashing { sink, hash: Sha256::new() };
    let mut told = Bundled::default();
    out.line(&object([("bundle", NAME.into())]).to_json())?;
    // Tips first: what is committed while the nodes are read only adds nodes.
    let mut tips = space.tips(None).await?;
    if starts.is_empty() {
        let mut after = None;
        loop {
            let batch = space.scan(after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.key);
            let mut targets: Vec<(Addr, Addr)> = Vec::new();
            for entry in batch {
                let node = entry.node?;
                targets.extend(node.targets().into_iter().map(|target| (target, node.addr().clone())));
                out.line(&node.to_json())?;
                told.nodes += 1;
            }
            whole(space, targets).await?;
        }
    } else {
        let addrs = space.reach(starts, Follow::Live, &HashSet::new(), usize::MAX).await?;
        for batch in addrs.chunks(BATCH) {
            for (node, addr) in space.get(batch).await?.into_iter().zip(batch) {
                let node = node.ok_or_else(|| SpaceError::Missing { path: vec![addr.to_string()] })?;
                out.line(&node.to_json())?;
                told.nodes += 1;
            }
        }
        let inside: HashSet<Addr> = addrs.into_iter().collect();
        tips.retain(|tip| inside.contains(&tip.addr));
    }
    for tip in &tips {
        let line = object([("tjp", (&tip.tjp).into()), ("addr", (&tip.addr).into())]);
        out.line(&object([("tip", line)]).to_json())?;
        told.timelines += 1;
    }
    let end = object([
        ("nodes", Value::Number(told.nodes as f64)),
        ("timelines", Value::Number(told.timelines as f64)),
        ("sha256", hex::encode(out.hash.clone().finalize()).into()),
    ]);
    out.line(&object([("end", end)]).to_json())?;
    out.sink.flush()?;
    Ok(told)
}

/// Fails if a target is lost: what was written would be a bundle that nobody can import.
async fn whole(space: &dyn Space, mut targets: Vec<(Addr, Addr)>) -> Result<(), SpaceError> {
    targets.sort_unstable();
    targets.dedup_by(|a, b| a.0 == b.0);
    let addrs: Vec<Addr> = targets.iter().map(|(target, _)| target.clone()).collect();
    let has = space.has(&addrs).await?;
    match targets.into_iter().zip(has).find(|(_, has)| !has) {
        Some(((target, from), _)) => Err(SpaceError::Missing { path: vec![from.to_string(), target.to_string()] }),
        None => Ok(()),
    }
}

/// One line of a bundle.
enum Line {
    Node(Verified<IbGib>),
    Tip(Addr, Addr),
    End(Map),
}

struct Reader<R> {
    source: R,
    hash: Sha256,
    line: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    fn bad(&self, why: impl ToString) -> BundleError {
        BundleError::Damaged { line: self.line, why: why.to_string() }
    }

    /// The next line's value; it counts for the hash once it turns out not to be the last.
    fn value(&mut self) -> Result<Value, BundleError> {
        self.line += 1;
        self.text.clear();
        let read = io::Read::take(&mut self.source, LINE_BYTES_MAX).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Err(self.bad("the bundle ends before its end line: it was cut"));
        }
        if self.text.last() != Some(&b'\n') {
            return Err(self.bad("the line is cut or too long"));
        }
        let text = std::str::from_utf8(&self.text).map_err(|e| self.bad(e))?;
        Value::parse(text.trim_end_matches('\n'), Mode::Strict).map_err(|e| self.bad(e))
    }

    fn next(&mut self) -> Result<Line, BundleError> {
        let value = self.value()?;
        if value.get("ib").is_some() {
            let node = IbGib::from_value(value, Mode::Strict).and_then(IbGib::verify).map_err(|e| self.bad(e))?;
            self.hash.update(&self.text);
            return Ok(Line::Node(node));
        }
        if let Some(tip) = value.get("tip") {
            let addr = |name: &str| tip.get(name).and_then(Value::as_str).and_then(|t| t.parse::<Addr>().ok());
            let (Some(tjp), Some(addr)) = (addr("tjp"), addr("addr")) else {
                return Err(self.bad("a tip without tjp or addr"));
            };
            self.hash.update(&self.text);
            return Ok(Line::Tip(tjp, addr));
        }
        match value.get("end").and_then(Value::as_object) {
            Some(end) => Ok(Line::End(end.clone())),
            None => Err(self.bad("neither an ibgib nor a tip nor the end")),
        }
    }
}

/// Reads a bundle into the space: all of it in one commit, or nothing. Living timelines that diverged are merged,
/// identities are validated. With `dry_run` nothing is stored.
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
    let mut reader = Reader { source, hash: Sha256::new(), line: 0, text: Vec::new() };
    let header = reader.value()?;
    if header.get("bundle").and_then(Value::as_str) != Some(NAME) {
        return Err(reader.bad(format!("not a bundle: the first line is not {{\"bundle\":{NAME:?}}}")));
    }
    let text = std::mem::take(&mut reader.text);
    reader.hash.update(&text);
    let mut told = Bundled::default();
    let mut addrs: HashSet<Addr> = HashSet::new();
    let mut needs: Vec<(Addr, Addr)> = Vec::new();
    let mut tips: Vec<(Addr, Addr)> = Vec::new();
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    loop {
        match reader.next()? {
            Line::Node(node) => {
                told.nodes += 1;
                batch_bytes += reader.text.len();
                needs.extend(
                    node.targets().into_iter().filter(|t| !addrs.contains(t)).map(|t| (t, node.addr().clone())),
                );
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
                let number = |name: &str| end.get(name).and_then(Value::as_u53);
                let sum = hex::encode(reader.hash.clone().finalize());
                if number("nodes") != Some(told.nodes) || number("timelines") != Some(told.timelines) {
                    return Err(reader.bad("the counts at the end do not agree with the lines"));
                }
                if end.get("sha256").and_then(Value::as_str) != Some(&sum) {
                    return Err(reader.bad("the hash at the end does not agree with the lines"));
                }
                if !reader.source.fill_buf()?.is_empty() {
                    return Err(reader.bad("there is more after the end"));
                }
                break;
            }
        }
    }
    if !dry_run {
        space.stage(owner, &batch).await?;
    }
    needs.retain(|(target, _)| !addrs.contains(target));
    let targets: Vec<Addr> = needs.iter().map(|(t, _)| t.clone()).collect();
    let has = space.has(&targets).await?;
    if let Some(((addr, from), _)) = needs.into_iter().zip(has).find(|(_, has)| !has) {
        return Err(BundleError::Incomplete { addr, from });
    }
    if let Some((tjp, addr)) = tips.iter().find(|(_, addr)| !addrs.contains(addr)) {
        return Err(BundleError::Incomplete { addr: addr.clone(), from: tjp.clone() });
    }
    if dry_run {
        return Ok(told);
    }
    let addrs: Vec<Addr> = addrs.into_iter().collect();
    for _ in 0..TRIES {
        let mut now = told.clone();
        let mut loader = Loader::new(space, Some(owner));
        let mut commit = Commit { publish: Some((owner.to_owned(), addrs.clone())), ..Commit::default() };
        for (tjp, addr) in &tips {
            match move_tip(space, &mut loader, tjp, addr, &mut commit, &mut now).await {
                Ok(()) => {}
                Err(Stop::Refused(why)) => now.refused.push((tjp.clone(), why)),
                Err(Stop::Space(error)) => return Err(error.into()),
            }
        }
        match space.commit(commit).await {
            Ok(_) => return Ok(now),
            Err(CommitError::TipsMoved(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(BundleError::Busy)
}

enum Stop {
    Refused(String),
    Space(SpaceError),
}

impl From<SpaceError> for Stop {
    fn from(error: SpaceError) -> Self {
        Self::Space(error)
    }
}

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        Self::Refused(error.to_string())
    }
}

async fn move_tip(
    space: &dyn Space,
    loader: &mut Loader<'_>,
    tjp: &Addr,
    addr: &Addr,
    commit: &mut Commit,
    told: &mut Bundled,
) -> Result<(), Stop> {
    let before = space.tip(tjp).await?.map(|t| t.addr);
    if before.as_ref() == Some(addr) {
        return Ok(());
    }
    if Kind::of(tjp) == Kind::Keystone {
        let step = keystone_step(loader, tjp, addr, before.as_ref()).await?;
        commit.tips.extend(step.map(Advance::Keystone));
        return Ok(());
    }
    let mut to = addr.clone();
    if let Some(before) = &before {
        let joined = loader.join(before, addr).await?;
        told.merges += u64::from(!joined.nodes.is_empty());
        told.conflicts += joined.conflicts as u64;
        commit.nodes.extend(joined.nodes);
        to = joined.tip;
    }
    if before.as_ref() != Some(&to) {
        let advance = loader.advance(before.as_ref(), &to).await?;
        if advance.tjp() != tjp {
            return Err(Stop::Refused(format!("{addr} is no frame of it")));
        }
        commit.tips.push(Advance::Timeline(advance));
    }
    Ok(())
}

/// Validates an identity from its genesis to `addr`; the step from the tip here, `None` when that is newer.
async fn keystone_step(
    loader: &Loader<'_>,
    tjp: &Addr,
    addr: &Addr,
    before: Option<&Addr>,
) -> Result<Option<Step>, Stop> {
    let mut frames = Vec::new();
    let mut at = Some(addr.clone());
    while let Some(addr) = at {
        let Some(frame) = loader.get(&addr).await? else {
            return Err(Stop::Refused(format!("frame {addr} is missing")));
        };
        at = frame.past();
        frames.push(frame);
    }
    frames.reverse();
    let refuse = |errors: Vec<ibgib_keystone::ValidateError>| {
        Stop::Refused(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
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
                return Err(Stop::Refused("it has signed different frames here and in the bundle".into()));
            }
        },
    };
    if frames.first().map(|f| f.addr()) != Some(tjp) {
        return Err(Stop::Refused(format!("{addr} is no frame of it")));
    }
    if known == 0 {
        return Chain::replay(frames).map(|(_, step)| Some(step)).map_err(refuse);
    }
    let (mut chain, _) = Chain::replay(frames[..known].to_vec()).map_err(refuse)?;
    chain.advance_all(&frames[known..], &Expect::default()).map_err(refuse)
}
