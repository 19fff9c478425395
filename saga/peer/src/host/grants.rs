//! Grants as a host keeps them: what statements come to, invites that are brought, and what an identity may do.
//!
//! Local records hold what stands: `grant/{identity}/{folder or *}` and `invite/{id}`, written in one commit with the
//! statements that they follow from. To which folder a timeline belongs is told by `roots`.

use super::derived::{derives, is_derived};
use super::roots::{Record, Roots, root_records};
use super::{Host, Policy};
use crate::entropy::now_ms;
use crate::grant::{Rights, Statement};
use crate::identity::commit_error;
use crate::view::space_error;
use ibgib::transform::Moment;
use ibgib::{Addr, IbGib, Mode, Value, Verified, object};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::store::{Nodes, Tips};
use ibgib_spaces::{Commit, CommitError, Follow, Kind, Tip};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

/// Everything, where a folder could stand.
const ALL: &str = "*";
/// Invites that one who is not the owner may have open at once, so that their number costs nobody much.
const INVITES_MAX: usize = 1_000;
/// How long an invite is good at most, in milliseconds.
const INVITE_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1_000;
/// How often an invite is tried that others use at the same moment.
const TRIES: u32 = 16;

/// Nodes read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;
/// Folders that are told at once.
const FOLDERS_MAX: usize = 10_000;
/// A longer name is told to nobody.
const FOLDER_NAME_BYTES_MAX: usize = 1_024;

/// What an identity may do.
#[derive(Clone, Debug)]
pub(super) struct Permit {
    identity: Option<Addr>,
    all: Option<Rights>,
    folders: HashMap<Addr, Rights>,
    /// What it was read from.
    records: Vec<Record>,
}

impl Permit {
    /// Everything.
    pub(super) fn all() -> Self {
        Self { identity: None, all: Some(Rights::Admin), folders: HashMap::new(), records: Vec::new() }
    }

    /// Reading a folder, or everything without one.
    pub(super) fn to_read(folder: Option<Addr>) -> Self {
        let all = folder.is_none().then_some(Rights::Read);
        let folders = folder.into_iter().map(|folder| (folder, Rights::Read)).collect();
        Self { identity: None, all, folders, records: Vec::new() }
    }

    /// The records that it stands on.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    fn is_empty(&self) -> bool {
        self.all.is_none() && self.folders.is_empty()
    }

    /// Whether it is for every timeline alike.
    pub(super) fn covers_all(&self, rights: Rights) -> bool {
        self.all >= Some(rights)
    }

    /// Whether it lets its identity do that with a folder, and with what belongs to it.
    pub(super) fn covers(&self, folder: &Addr, rights: Rights) -> bool {
        self.covers_all(rights) || self.folders.get(folder) >= Some(&rights)
    }

    /// Whether it lets its identity do that with a timeline, which he may have brought himself.
    pub(super) fn may(&self, roots: &Roots, timeline: &Addr, rights: Rights) -> bool {
        let brought = || self.identity.is_some() && roots.owner(timeline) == self.identity.as_ref();
        self.covers_all(rights) || roots.folder(timeline).is_some_and(|folder| self.covers(folder, rights)) || brought()
    }
}

/// What an identity may let others into, and put them out of.
#[derive(Debug)]
enum Charge {
    All,
    /// The folders that it brought.
    Folders(HashSet<Addr>),
}

impl Charge {
    /// Of a folder's address, or [`ALL`].
    fn covers(&self, folder: &str) -> bool {
        match self {
            Self::All => true,
            Self::Folders(folders) => folder.parse::<Addr>().is_ok_and(|folder| folders.contains(&folder)),
        }
    }

    fn may_state(&self, statement: &Statement) -> bool {
        match (self, statement) {
            // Who may read nothing is told nothing.
            (Self::All, _) | (_, Statement::Folders) => true,
            (Self::Folders(folders), Statement::Invite { folder: Some(folder), .. }) => folders.contains(folder),
            (
                Self::Folders(_),
                Statement::Invite { folder: None, .. } | Statement::Drop { .. } | Statement::Allow { .. },
            ) => false,
            (Self::Folders(folders), Statement::Revoke { .. } | Statement::List) => !folders.is_empty(),
        }
    }
}

/// Whether an invite's time has passed.
pub(super) fn is_over(invite: &[u8]) -> bool {
    let expires = read(invite).and_then(|invite| invite.get("expiresMs")?.as_u53());
    expires.is_none_or(|ms| ms <= u64::try_from(now_ms()).unwrap_or(u64::MAX))
}

fn grant_key(identity: &Addr, folder: Option<&Addr>) -> String {
    format!("{}{}", grants_of(identity), folder.map_or(ALL, Addr::as_str))
}

fn grants_of(identity: &Addr) -> String {
    format!("grant/{identity}/")
}

pub(super) fn invite_key(id: &str) -> String {
    format!("invite/{id}")
}

pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    Value::parse(std::str::from_utf8(bytes).ok()?, Mode::Strict).ok()
}

pub(super) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn time(ms: i64) -> String {
    Moment { now_ms: ms, random: [0; 16] }.timestamp()
}

impl Host {
    /// What an identity may do now. Where the policy is not the owner's, whoever is let in may do everything.
    pub(super) async fn permit(&self, identity: &Addr) -> Result<Permit, SagaError> {
        let also = self.also_allowed.read().unwrap_or_else(PoisonError::into_inner).contains(identity);
        if also || self.policy_name() != Policy::Owner.as_str() || self.owner().await?.as_ref() == Some(identity) {
            return Ok(Permit::all());
        }
        let prefix = grants_of(identity);
        let mut permit =
            Permit { identity: Some(identity.clone()), all: None, folders: HashMap::new(), records: Vec::new() };
        for (key, bytes) in self.space.records(&prefix).await.map_err(space_error)? {
            let Some(rights) = read(&bytes).as_ref().and_then(|value| Rights::read(value.get("rights")?)) else {
                continue;
            };
            match key[prefix.len()..].parse::<Addr>() {
                Ok(folder) => drop(permit.folders.insert(folder, rights)),
                Err(_) => permit.all = Some(rights),
            }
            permit.records.push((key, Some(bytes)));
        }
        Ok(permit)
    }

    /// Whether an identity was granted anything.
    pub(super) async fn is_granted(&self, identity: &Addr) -> Result<bool, SagaError> {
        Ok(!self.permit(identity).await?.is_empty())
    }

    /// Takes new frames of an identity of which the last states something about who may do what here, and answers all
    /// grants that the identity may know of.
    ///
    /// # Errors
    /// `not_granted` when the identity may not state that; else as [`Host::post_evolution`].
    pub async fn post_grants(&self, tjp: &Addr, frames: &[Verified<IbGib>]) -> Result<Vec<Value>, SagaError> {
        let refused = || SagaError::from(IdentityRefusal::NotGranted(tjp.clone()));
        let bad = |why: &str| SagaError::from(IdentityRefusal::BadFrame(why.to_owned()));
        if self.policy_name() != Policy::Owner.as_str() {
            return Err(bad("this server asks for no grants: whoever its policy lets in may do everything"));
        }
        let last = frames.last().ok_or_else(|| bad("no frame states anything"))?;
        // Whoever saw the frame could bring it again, to be told what it told.
        if self.space.has(std::slice::from_ref(last.addr())).await.map_err(space_error)? == [true] {
            return Err(bad("the frame was brought before; state it anew"));
        }
        let statement = Statement::of(last, self.space.id()).ok_or_else(|| bad("the frame states nothing here"))?;
        if !self.charge(tjp).await?.may_state(&statement) {
            return Err(refused());
        }
        // Before the frame is taken: what follows it has to be taken, too.
        if matches!(statement, Statement::Invite { .. }) && self.has_too_many_invites(tjp).await? {
            return Err(SagaError::Limit { name: "invites_max", limit: INVITES_MAX as u64 });
        }
        if let Statement::Drop { frames } = &statement {
            self.check_droppable(tjp, frames).await?;
        }
        self.post_evolution(tjp, frames, None).await?;
        match statement {
            Statement::Folders => return self.folders_for(tjp).await,
            Statement::Drop { frames } => {
                self.check_dropped(tjp, &frames).await?;
                self.leave_dropped().await?;
                return self.dropped_lines().await;
            }
            Statement::Allow { .. } => return self.dropped_lines().await,
            Statement::Invite { .. } | Statement::Revoke { .. } | Statement::List => {}
        }
        // What it stated may have ended what it had.
        self.listed(&self.charge(tjp).await?).await
    }

    /// The folders that an identity may read, and what they are called. What stands in somebody's folder is none of them,
    /// whatever its name: whoever may write there could make it.
    async fn folders_for(&self, identity: &Addr) -> Result<Vec<Value>, SagaError> {
        let mut tips = self.readable_tips(&self.permit(identity).await?).await?;
        tips.retain(|tip| tip.tjp.ib() == "folder");
        let timelines: HashSet<Addr> = tips.iter().map(|tip| tip.tjp.clone()).collect();
        let mut roots = Roots::default();
        roots.look_up(&*self.moment().await?, &timelines).await?;
        tips.retain(|tip| roots.folder(&tip.tjp).is_none_or(|folder| *folder == tip.tjp));
        if tips.len() > FOLDERS_MAX {
            return Err(SagaError::Limit { name: "folders_max", limit: FOLDERS_MAX as u64 });
        }
        let mut lines = Vec::with_capacity(tips.len());
        for batch in tips.chunks(BATCH) {
            let addrs: Vec<Addr> = batch.iter().map(|tip| tip.addr.clone()).collect();
            let frames = self.space.get(&addrs).await.map_err(space_error)?;
            for (tip, frame) in batch.iter().zip(frames) {
                // Whoever may write to a folder names it: anything may stand there.
                let name = frame.as_ref().and_then(|frame| frame.datum("name")?.as_str());
                let name = name.filter(|name| name.len() <= FOLDER_NAME_BYTES_MAX);
                lines.push(object([("folder", (&tip.tjp).into()), ("name", name.map_or(Value::Null, Value::from))]));
            }
        }
        Ok(lines)
    }

    /// What an identity may let others into.
    async fn charge(&self, identity: &Addr) -> Result<Charge, SagaError> {
        let permit = self.permit(identity).await?;
        if permit.covers_all(Rights::Admin) {
            return Ok(Charge::All);
        }
        let mut folders = match permit.is_empty() {
            true => HashSet::new(),
            false => self.brought(identity).await?,
        };
        let mut roots = Roots::default();
        roots.look_up(&*self.moment().await?, &folders).await?;
        folders.retain(|folder| roots.folder(folder) == Some(folder) && roots.owner(folder) == Some(identity));
        Ok(Charge::Folders(folders))
    }

    /// Whether somebody who is not the owner has as many open invites as he may have.
    async fn has_too_many_invites(&self, identity: &Addr) -> Result<bool, SagaError> {
        if self.owner().await?.as_ref() == Some(identity) {
            return Ok(false);
        }
        let open = self.space.records("invite/").await.map_err(space_error)?;
        let is_his = |bytes: &Vec<u8>| read(bytes).is_some_and(|v| member(&v, "by") == Some(identity.as_str()));
        Ok(open.iter().filter(|(_, bytes)| !is_over(bytes) && is_his(bytes)).count() >= INVITES_MAX)
    }

    /// Adds to a commit that takes an identity's frame what the frame states; answers whose connections end with it.
    pub(super) async fn state(
        &self,
        identity: &Addr,
        frame: &Verified<IbGib>,
        commit: &mut Commit,
    ) -> Result<Option<Addr>, SagaError> {
        let Some(statement) = Statement::of(frame, self.space.id()) else { return Ok(None) };
        if self.policy_name() != Policy::Owner.as_str() {
            return Ok(None);
        }
        let charge = self.charge(identity).await?;
        if !charge.may_state(&statement) {
            return Ok(None);
        }
        match statement {
            Statement::List | Statement::Folders => Ok(None),
            Statement::Drop { .. } | Statement::Allow { .. } => {
                self.state_dropped(identity, frame, &statement, commit).await?;
                Ok(None)
            }
            Statement::Invite { id, folder, rights, uses, expires_ms } => {
                let open = self.space.records("invite/").await.map_err(space_error)?;
                let ended = open.into_iter().filter(|(_, bytes)| is_over(bytes));
                commit.records.extend(ended.map(|(key, _)| (key, None)));
                // The frame is taken all the same: his later ones follow it.
                if self.has_too_many_invites(identity).await? {
                    return Ok(None);
                }
                let expires_ms = expires_ms.min(now_ms().saturating_add(INVITE_MS_MAX));
                let value = object([
                    ("folder", folder.as_ref().map_or(Value::from(ALL), Value::from)),
                    ("rights", rights.to_value()),
                    ("uses", Value::integer(uses)),
                    ("expiresMs", Value::integer(expires_ms)),
                    ("by", identity.into()),
                    ("since", time(now_ms()).into()),
                    ("frame", frame.addr().into()),
                ]);
                commit.records.push((invite_key(&id), Some(value.to_json().into_bytes())));
                if let Some(folder) = folder {
                    commit.records.extend(self.unrooted(&folder, identity).await?);
                }
                Ok(None)
            }
            Statement::Revoke { who } => {
                let identity = who.parse::<Addr>().ok();
                let (mut ends, mut frames) = (false, HashSet::new());
                if let Some(identity) = &identity {
                    let prefix = grants_of(identity);
                    for (key, bytes) in self.space.records(&prefix).await.map_err(space_error)? {
                        if charge.covers(&key[prefix.len()..]) {
                            frames.extend(read(&bytes).as_ref().and_then(|v| member(v, "frame")).map(str::to_owned));
                            commit.records.push((key, None));
                            ends = true;
                        }
                    }
                }
                // What he has invited others to ends, too, as far as nobody came yet, and what he himself came with, or he
                // would come again as somebody else.
                let is_meant = |key: &str, bytes: &[u8]| {
                    read(bytes).is_some_and(|value| {
                        let frame = member(&value, "frame").unwrap_or_default();
                        let his = member(&value, "by") == Some(who.as_str()) || frames.contains(frame);
                        (key == invite_key(&who) || his) && charge.covers(member(&value, "folder").unwrap_or(ALL))
                    })
                };
                for (key, stated) in commit.records.iter_mut().filter(|(key, _)| key.starts_with("invite/")) {
                    if stated.as_ref().is_some_and(|bytes| is_meant(key, bytes)) {
                        *stated = None;
                    }
                }
                for (key, bytes) in self.space.records("invite/").await.map_err(space_error)? {
                    if is_meant(&key, &bytes) {
                        commit.records.push((key, None));
                    }
                }
                Ok(identity.filter(|_| ends))
            }
        }
    }

    /// Records for a folder and the shards and files that it derives, as far as they belong to none yet: a space that was
    /// served before without grants. What else it leads to stays the owner's: anybody could have related it.
    async fn unrooted(&self, folder: &Addr, by: &Addr) -> Result<Vec<Record>, SagaError> {
        let tips = self.space.tips(Some(Kind::Living)).await.map_err(space_error)?;
        let by_gib: HashMap<&str, &Tip> = tips.iter().map(|tip| (tip.tjp.gib(), tip)).collect();
        let (mut out, mut seen) = (Vec::new(), HashSet::from([folder.gib().to_owned()]));
        let mut roots = Roots::default();
        let mut todo: Vec<&Tip> = by_gib.get(folder.gib()).copied().into_iter().collect();
        roots.look_up(&*self.moment().await?, todo.iter().map(|tip| &tip.tjp)).await?;
        while let Some(tip) = todo.pop() {
            if roots.folder(&tip.tjp).is_none() {
                out.push((&tip.tjp, folder, by));
            }
            let Some(leader) = self.space.node(&tip.addr).await.map_err(space_error)? else { continue };
            let led = leader.targets();
            let led = led.iter().filter_map(|target| by_gib.get(target.tjp_gib().unwrap_or(target.gib())));
            roots.look_up(&*self.moment().await?, led.map(|tip| &tip.tjp)).await?;
            for target in leader.targets() {
                let gib = target.tjp_gib().unwrap_or(target.gib());
                let Some(to) = by_gib.get(gib).copied().filter(|_| seen.insert(gib.to_owned())) else { continue };
                if roots.folder(&to.tjp).is_some_and(|other| other != folder) {
                    continue;
                }
                let first = self.space.node(&to.tjp).await.map_err(space_error)?;
                if first.is_some_and(|first| is_derived(&first) && derives(folder, &leader, &first)) {
                    todo.push(to);
                }
            }
        }
        Ok(root_records(out))
    }

    /// Takes the token of an invite; `false` when there is none with this token that is still good.
    pub(super) async fn take_invite(&self, identity: &Addr, token: &str) -> Result<bool, SagaError> {
        let key = invite_key(&hex::encode(Sha256::digest(token)));
        let used = format!("used/{}/{identity}", &key["invite/".len()..]);
        for _ in 0..TRIES {
            if let Some(granted) = self.space.record(&used).await.map_err(space_error)? {
                let granted = String::from_utf8_lossy(&granted).into_owned();
                return Ok(self.space.record(&granted).await.map_err(space_error)?.is_some());
            }
            let Some(bytes) = self.space.record(&key).await.map_err(space_error)? else { return Ok(false) };
            let Some(invite) = read(&bytes) else { return Ok(false) };
            let number = |name: &str| invite.get(name).and_then(Value::as_u53);
            let uses = number("uses").unwrap_or(0);
            let Some(rights) = invite.get("rights").and_then(Rights::read) else { return Ok(false) };
            if uses == 0 || is_over(&bytes) {
                return Ok(false);
            }
            let folder = member(&invite, "folder").and_then(|folder| folder.parse::<Addr>().ok());
            let grant = grant_key(identity, folder.as_ref());
            let before = self.space.record(&grant).await.map_err(space_error)?;
            let had = before.as_deref().and_then(read).and_then(|value| Rights::read(value.get("rights")?));
            let value = object([
                ("rights", had.map_or(rights, |had| had.max(rights)).to_value()),
                ("by", member(&invite, "by").unwrap_or_default().into()),
                ("since", time(now_ms()).into()),
                ("frame", member(&invite, "frame").unwrap_or_default().into()),
            ]);
            let left = (uses > 1).then(|| {
                let mut left = invite.clone();
                if let Some(map) = left.as_object_mut() {
                    map.insert("uses", Value::integer(uses - 1));
                }
                left.to_json().into_bytes()
            });
            let commit = Commit {
                records: vec![
                    (grant.clone(), Some(value.to_json().into_bytes())),
                    (key.clone(), left),
                    (used.clone(), Some(grant.clone().into_bytes())),
                ],
                expect: vec![(key.clone(), Some(bytes)), (grant, before)],
                ..Commit::default()
            };
            match self.space.commit(commit).await {
                Ok(_) => {
                    tracing::info!(%identity, "came with an invite");
                    return Ok(true);
                }
                Err(CommitError::RecordsChanged(_)) => {}
                Err(error) => return Err(commit_error(error)),
            }
        }
        Err(SagaError::Busy(TRIES))
    }

    /// Grants and open invites of what an identity has charge of, as JSON.
    async fn listed(&self, charge: &Charge) -> Result<Vec<Value>, SagaError> {
        let names = self.device_names().await?;
        let shown = |folder: &str| charge.covers(folder);
        let mut out = Vec::new();
        if let Some(owner) = self.owner().await?.filter(|_| shown(ALL)) {
            out.push(self.line(&owner, &names, ALL, Rights::Admin, &Value::Null).await?);
        }
        for (key, bytes) in self.space.records("grant/").await.map_err(space_error)? {
            let Some((identity, folder)) = key["grant/".len()..].split_once('/') else { continue };
            let (Ok(identity), Some(value)) = (identity.parse::<Addr>(), read(&bytes)) else { continue };
            let Some(rights) = value.get("rights").and_then(Rights::read).filter(|_| shown(folder)) else { continue };
            out.push(self.line(&identity, &names, folder, rights, &value).await?);
        }
        for (key, bytes) in self.space.records("invite/").await.map_err(space_error)? {
            let Some(value) = read(&bytes) else { continue };
            let folder = member(&value, "folder").unwrap_or(ALL).to_owned();
            if !shown(&folder) || is_over(&bytes) {
                continue;
            }
            let expires = value.get("expiresMs").and_then(Value::as_u53).and_then(|ms| i64::try_from(ms).ok());
            let part = |name: &str| value.get(name).cloned().unwrap_or(Value::Null);
            out.push(object([
                ("identity", Value::Null),
                ("name", Value::Null),
                ("folder", folder.into()),
                ("rights", part("rights")),
                ("by", part("by")),
                ("since", part("since")),
                ("expires", expires.map_or(Value::Null, |ms| time(ms).into())),
                ("invite", key["invite/".len()..].into()),
                ("uses", part("uses")),
            ]));
        }
        Ok(out)
    }

    async fn line(
        &self,
        identity: &Addr,
        names: &HashMap<Addr, String>,
        folder: &str,
        rights: Rights,
        value: &Value,
    ) -> Result<Value, SagaError> {
        let seen = self.space.record(&seen_key(identity)).await.map_err(space_error)?;
        let seen = seen.and_then(|bytes| String::from_utf8(bytes).ok());
        let part = |name: &str| value.get(name).cloned().unwrap_or(Value::Null);
        Ok(object([
            ("identity", identity.into()),
            ("name", names.get(identity).map_or(Value::Null, |name| name.as_str().into())),
            ("folder", folder.into()),
            ("rights", rights.to_value()),
            ("by", part("by")),
            ("since", part("since")),
            ("expires", Value::Null),
            ("frame", part("frame")),
            ("last", seen.map_or(Value::Null, Value::from)),
        ]))
    }

    /// What folders call their devices.
    async fn device_names(&self) -> Result<HashMap<Addr, String>, SagaError> {
        let mut names = HashMap::new();
        for tip in self.tips_of("folder").await? {
            let Some(frame) = self.space.node(&tip.addr).await.map_err(space_error)? else { continue };
            for (identity, device) in
                frame.datum("devices").and_then(Value::as_object).into_iter().flat_map(|m| m.iter())
            {
                if let (Ok(identity), Some(name)) = (identity.parse(), member(device, "name")) {
                    names.entry(identity).or_insert_with(|| name.to_owned());
                }
            }
        }
        Ok(names)
    }

    /// The record of when an identity connected last.
    pub(super) fn seen_record(&self, identity: &Addr) -> Option<Record> {
        let owned = self.policy_name() == Policy::Owner.as_str();
        owned.then(|| (seen_key(identity), Some(time(now_ms()).into_bytes())))
    }

    /// The living tips that a permit lets be read, sorted by timeline.
    pub(super) async fn readable_tips(&self, permit: &Permit) -> Result<Vec<Tip>, SagaError> {
        if permit.covers_all(Rights::Read) {
            return self.space.tips(Some(Kind::Living)).await.map_err(space_error);
        }
        let mut folders: HashSet<Addr> = permit.folders.keys().cloned().collect();
        if let Some(identity) = &permit.identity {
            folders.extend(self.brought(identity).await?);
        }
        let timelines = self.members(folders).await?;
        let mut roots = Roots::default();
        let moment = self.moment().await?;
        roots.look_up(&*moment, &timelines).await?;
        let may = |timeline: &Addr| permit.may(&roots, timeline, Rights::Read);
        let timelines: Vec<Addr> = timelines.into_iter().filter(may).collect();
        let mut tips = moment.tips(Tips::Of(&timelines)).await.map_err(space_error)?;
        tips.retain(|tip| tip.kind == Kind::Living);
        tips.sort_unstable_by(|a, b| a.tjp.cmp(&b.tjp));
        Ok(tips)
    }

    /// Of committed nodes those that a permit lets be read: frames of timelines that may be, and what stands in the graphs
    /// of their tips. A relation from elsewhere gives no right.
    pub(super) async fn readable(&self, permit: &Permit, addrs: &[Addr]) -> Result<HashSet<Addr>, SagaError> {
        if permit.covers_all(Rights::Read) {
            return Ok(addrs.iter().cloned().collect());
        }
        let (mut out, mut left) = (HashSet::new(), HashSet::new());
        let mut roots = Roots::default();
        for batch in addrs.chunks(BATCH) {
            let moment = self.moment().await?;
            let nodes = moment.nodes(Nodes::Committed(batch)).await.map_err(space_error)?.into_iter().flatten();
            let nodes: Vec<(Addr, Option<Addr>)> = nodes.map(|node| (node.addr().clone(), node.tjp())).collect();
            roots.look_up(&*moment, nodes.iter().filter_map(|(_, timeline)| timeline.as_ref())).await?;
            for (addr, timeline) in nodes {
                let may = timeline.is_some_and(|timeline| permit.may(&roots, &timeline, Rights::Read));
                if may { &mut out } else { &mut left }.insert(addr);
            }
        }
        // Constants say nothing of whose they are, and frames of other timelines may stand in a history that may be read.
        if !left.is_empty() {
            let starts: Vec<Addr> = self.readable_tips(permit).await?.into_iter().map(|tip| tip.addr).collect();
            let max = usize::try_from(self.limits.nodes_max).unwrap_or(usize::MAX);
            let reached = self.space.reach(&starts, Follow::All, &HashSet::new(), max).await.map_err(space_error)?;
            out.extend(reached.into_iter().filter(|addr| left.contains(addr)));
        }
        Ok(out)
    }
}

fn seen_key(identity: &Addr) -> String {
    format!("seen/{identity}")
}
