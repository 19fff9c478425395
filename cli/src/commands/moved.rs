//! Which files a sync sent and received.

use crate::brief::short;
use crate::device::Device;
use crate::error::CliError;
use crate::folders::at_home;
use crate::output::Output;
use crate::report::{Moved, MovedFile};
use ibgib::{Addr, Map, Value};
use ibgib_folder::{Change, ChangeKind, EntryPath, Folder, SnapshotReport};
use ibgib_peer::{Synced, WebSocketRemote};
use ibgib_saga::{Action, Direction, Summary, TimelineSummary};
use ibgib_spaces::Space;
use std::collections::{HashMap, HashSet};

/// Files that the server is asked about one by one, whether they are there at all.
const ASKED_MAX: usize = 256;

/// Of the files that are not here and that the server has a timeline of, those that it has no more: they were made and
/// deleted elsewhere. Of more than a few, and where the server does not let itself be read, none are.
pub(super) async fn gone_there(server: &WebSocketRemote, summary: &Summary) -> HashSet<Addr> {
    let new =
        |line: &&TimelineSummary| line.tjp.ib() == "file" && line.action == Action::Pulled && line.before.is_none();
    let mut gone = HashSet::new();
    for line in summary.timelines.iter().filter(new).take(ASKED_MAX) {
        let Some(tip) = &line.after else { continue };
        match server.ibgib(tip).await {
            Ok(Some(frame)) if !Folder::holds_file(&frame) => drop(gone.insert(line.tjp.clone())),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    gone
}

/// What a sync that was not carried out would have to go by.
pub(super) struct Foreseen<'s> {
    pub(super) server: &'s WebSocketRemote,
    /// [`gone_there`].
    pub(super) gone: &'s HashSet<Addr>,
}

/// What a sync moved, told by path. After a sync that only tells what it would do, also what a snapshot would take; the
/// names of files that are not here yet are asked of the server then.
pub(super) async fn moved(
    device: &Device,
    out: &Output,
    Synced { summary, left, .. }: &Synced,
    taken: &SnapshotReport,
    (way, dry): (Direction, Option<Foreseen<'_>>),
) -> Result<Moved, CliError> {
    let mut all = Moved { skipped: taken.skipped.clone(), ..Moved::default() };
    if device.folder_tjp().await?.is_none() {
        return Ok(all);
    }
    let folder = device.folder(out).await?;
    let mut paths =
        if summary.timelines.is_empty() && left.is_empty() { HashMap::new() } else { folder.paths().await? };
    if let Some(Foreseen { server, .. }) = &dry {
        for line in summary.timelines.iter().filter(|line| line.tjp.ib() == "shard" && line.action == Action::Pulled) {
            let Some(tip) = &line.after else { continue };
            // A server that does not let itself be read leaves them without names.
            if let Ok(Some(shard)) = server.ibgib(tip).await {
                for (file, path) in folder.paths_in(&shard) {
                    paths.entry(file).or_insert(path);
                }
            }
        }
        let status = folder.status().await?;
        all.skipped = status.skipped;
        for Change { path, change } in status.changes.into_iter().filter(|_| way.offers()) {
            // As a sync tells it: by then it is one file that is gone and another that is new.
            let (gone, change) = match change {
                ChangeKind::Renamed { from } => (Some(from), "added"),
                change => (None, change.as_str()),
            };
            all.sent.extend(gone.map(|from| MovedFile { path: from.to_string(), change: "deleted" }));
            all.sent.push(MovedFile { path: path.to_string(), change });
        }
    }
    let is_elsewhere = |line: &TimelineSummary| line.tjp.ib() == "file" && !paths.contains_key(&line.tjp);
    let elsewhere = match summary.timelines.iter().any(is_elsewhere) {
        true => of_other_folders(&*device.space, folder.tjp()).await?,
        false => HashMap::new(),
    };
    let name = |tjp: &Addr, paths: &HashMap<Addr, EntryPath>| match (paths.get(tjp), tjp.ib()) {
        (Some(path), _) => path.to_string(),
        (None, _) if elsewhere.contains_key(tjp) => elsewhere[tjp].clone(),
        (None, "shard") => "the folder's list of files".to_owned(),
        (None, "folder") if tjp == folder.tjp() => "the folder's names".to_owned(),
        (None, _) => short(tjp),
    };
    for line in summary.timelines.iter().filter(|line| line.action == Action::Refused) {
        all.refused.insert(line.tjp.clone(), name(&line.tjp, &paths));
    }
    all.left = left.iter().map(|tjp| name(tjp, &paths)).collect();
    for line in summary.timelines.iter().filter(|line| line.tjp.ib() == "file") {
        let path = || name(&line.tjp, &paths);
        let (before, after) = (line.before.as_ref(), line.after.as_ref());
        if matches!(line.action, Action::Pushed | Action::Merged) && way.offers() {
            // What a device that joins makes of a file and sends has no frame before the sync.
            let ours = if dry.is_some() { before } else { before.or(after) };
            let change = match (folder.change_between(None, ours).await?.is_none(), line.new_there) {
                (true, true) => None,
                (true, false) => Some("deleted"),
                (false, false) if !folder.is_new_at(ours).await? => Some("modified"),
                (false, _) => Some("added"),
            };
            all.sent.extend(change.map(|change| MovedFile { path: path(), change }));
        }
        if matches!(line.action, Action::Pulled | Action::Merged) && way.adopts() {
            let change = match &dry {
                Some(Foreseen { gone, .. }) if gone.contains(&line.tjp) => None,
                Some(Foreseen { server, .. }) => foreseen(&folder, server, before, after).await?,
                None => folder.change_between(before, after).await?.map(|change| change.as_str()),
            };
            all.received.extend(change.map(|change| MovedFile { path: path(), change }));
        }
    }
    for list in [&mut all.sent, &mut all.received] {
        list.sort();
        list.dedup_by(|a, b| a.path == b.path);
    }
    Ok(all)
}

/// The files of the other folders that are here (`sync --all` brings them), by their timelines: each as `FOLDER: PATH`, as
/// its own shards tell it.
async fn of_other_folders(space: &dyn Space, own: &Addr) -> Result<HashMap<Addr, String>, CliError> {
    let mut out = HashMap::new();
    for known in at_home(space).await?.into_iter().filter(|known| known.tjp != *own) {
        let Some(tip) = space.tip(&known.tjp).await? else { continue };
        let Some(folder) = space.node(&tip.addr).await? else { continue };
        for shard in folder.rel8n_addrs("shard") {
            let Some(tip) = space.tip(&shard).await? else { continue };
            let Some(shard) = space.node(&tip.addr).await? else { continue };
            let entries = shard.datum("entries").and_then(Value::as_object);
            for (key, entry) in entries.into_iter().flat_map(Map::iter) {
                let file = entry.get("file").and_then(Value::as_str).and_then(|file| file.parse::<Addr>().ok());
                if let (Some(file), Ok(path)) = (file, EntryPath::from_key(key)) {
                    let name = known.name.clone().unwrap_or_else(|| short(&known.tjp));
                    out.insert(file, format!("{name}: {path}"));
                }
            }
        }
    }
    Ok(out)
}

/// What a file would become. Of one that is here the server is asked whether it was deleted; where it does not tell, and of
/// others, it was not.
async fn foreseen(
    folder: &Folder,
    server: &WebSocketRemote,
    before: Option<&Addr>,
    after: Option<&Addr>,
) -> Result<Option<&'static str>, CliError> {
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(Some(if before.is_none() { "added" } else { "modified" }));
    };
    let had = folder.change_between(None, Some(before)).await?.is_some();
    let has = server.ibgib(after).await.ok().flatten().is_none_or(|frame| Folder::holds_file(&frame));
    Ok(match (had, has) {
        (false, false) => None,
        (false, true) => Some("added"),
        (true, true) => Some("modified"),
        (true, false) => Some("deleted"),
    })
}
