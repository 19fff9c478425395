//! Conflicts that merges recorded: listing them and settling them.

use crate::checkout::{CheckoutOpts, CheckoutReport};
use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{NewContent, Node, drop_conflicts, edit_file, mutate};
use crate::path::EntryPath;
use crate::writer::Writer;
use ibgib::conflict::Resolution;
use ibgib::json::pointer;
use ibgib::merge::{ConflictSides, find_in_document, settle_document, settle_lines};
use ibgib::transform::Moment;
use ibgib::{Addr, Map, Value};
use ibgib_spaces::{Kind, Space};
use std::collections::HashMap;

/// One open conflict. The values are what the merge saw; `None` where there was none. Where both sides replaced the
/// same lines of a text, they are those lines; inside a document they are JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The timeline, named by its first frame.
    pub timeline: Addr,
    /// Its tip, which still has the conflict.
    pub frame: Addr,
    /// The constant that records it.
    pub stone: Addr,
    /// Where in the frame: a JSON pointer; after `/data/text#` one into the document that the text is.
    pub path: String,
    /// The file that the conflict is about, if it is one of the folder's.
    pub file: Option<EntryPath>,
    /// What both sides had.
    pub ancestor: Option<Value>,
    /// What the merge's base had.
    pub base: Option<Value>,
    /// What the other side had.
    pub orphan: Option<Value>,
    /// What stands there now, the whole text where only some of its lines are in conflict.
    pub now: Option<Value>,
}

/// How the paths of conflicts inside documents begin.
const DOCUMENT: &str = "/data/text#";

/// Lists the open conflicts of all living timelines of a space, sorted by timeline.
///
/// # Errors
/// A failing space.
pub async fn conflicts(space: &dyn Space) -> Result<Vec<Conflict>, FolderError> {
    let mut out = Vec::new();
    for tip in space.tips(Some(Kind::Living)).await? {
        let node = node_at(space, &tip.addr).await?;
        for stone in node.rel8n_addrs("conflict") {
            let told = node_at(space, &stone).await?;
            let value = |name| told.datum(name).cloned();
            let path = told.datum("path").and_then(Value::as_str).unwrap_or_default().to_owned();
            let now = match path.strip_prefix(DOCUMENT) {
                Some(place) => {
                    let text = node.datum("text").and_then(Value::as_str);
                    text.and_then(|text| find_in_document(text, place)).map(Value::from)
                }
                None => pointer::names(&path).and_then(|parts| find(&node, &parts).cloned()),
            };
            out.push(Conflict {
                timeline: tip.tjp.clone(),
                frame: tip.addr.clone(),
                path,
                file: None,
                ancestor: value("ancestor"),
                base: value("base"),
                orphan: value("orphan"),
                now,
                stone,
            });
        }
    }
    Ok(out)
}

impl Folder {
    /// As [`conflicts`], with the files named.
    ///
    /// # Errors
    /// A failing space.
    pub async fn conflicts(&self) -> Result<Vec<Conflict>, FolderError> {
        let mut out = conflicts(&*self.space).await?;
        if out.is_empty() {
            return Ok(out);
        }
        let listing = self.listing().await?;
        let files: HashMap<&Addr, &EntryPath> = listing.entries.values().map(|e| (&e.file, &e.path)).collect();
        for conflict in &mut out {
            // A conflict about an entry stands in the shard, under the entry's key.
            let entry = || match &pointer::names(&conflict.path)?[..] {
                [data, entries, key, ..] if data == "data" && entries == "entries" => EntryPath::from_key(key).ok(),
                _ => None,
            };
            conflict.file = files.get(&conflict.timeline).map(|path| (*path).clone()).or_else(entry);
        }
        Ok(out)
    }

    /// Settles a conflict: a new frame with the value chosen and without the conflict, then a checkout of the file.
    /// Choosing between lines, elements or values looks for what the merge left of both sides; where that was edited
    /// since, only [`Resolution::Keep`] is possible.
    ///
    /// # Errors
    /// [`FolderError::NoConflict`] when it is settled already or cannot be settled so; [`FolderError::Unsaved`]; a
    /// failing space or directory.
    pub async fn resolve(
        &self,
        conflict: &Conflict,
        resolution: Resolution,
        moments: &mut Moments<'_>,
    ) -> Result<CheckoutReport, FolderError> {
        let none = || FolderError::NoConflict(conflict.stone.clone());
        let tip = self.space.tip(&conflict.timeline).await?.ok_or_else(none)?;
        let tip = node_at(&*self.space, &tip.addr).await?;
        if !tip.rel8n("conflict").any(|stone| stone == conflict.stone.as_str()) {
            return Err(none());
        }
        if let Some(file) = &conflict.file {
            self.ensure_saved(&[file.clone()].into()).await?;
        }
        let mut nodes = match resolution {
            Resolution::Keep => Vec::new(),
            _ => self.settle(&tip, conflict, resolution, &moments()).await?.ok_or_else(none)?,
        };
        let on = nodes.last().unwrap_or(&tip).clone();
        nodes.extend(drop_conflicts(&on, std::slice::from_ref(&conflict.stone), &moments())?);
        let mut writer = Writer::new(&*self.space);
        writer.edit(conflict.timeline.clone(), Some(&tip), nodes);
        writer.flush().await?;
        match &conflict.file {
            Some(file) => self.checkout(&CheckoutOpts { paths: vec![file.clone()], ..CheckoutOpts::default() }).await,
            None => Ok(CheckoutReport::default()),
        }
    }

    /// The frames with the value chosen; `None` when it cannot be put where it belongs.
    async fn settle(
        &self,
        tip: &Node,
        conflict: &Conflict,
        resolution: Resolution,
        moment: &Moment,
    ) -> Result<Option<Vec<Node>>, FolderError> {
        let chosen = match resolution {
            Resolution::Base => &conflict.base,
            Resolution::Orphan => &conflict.orphan,
            Resolution::Ancestor => &conflict.ancestor,
            Resolution::Keep => return Ok(None),
        };
        if let Some(place) = conflict.path.strip_prefix(DOCUMENT) {
            let side = |value: &Option<Value>| value.as_ref().map(|v| v.as_str().map(str::to_owned));
            let [base, orphan, chosen] = [&conflict.base, &conflict.orphan, chosen].map(|v| side(v).flatten());
            let sides = ConflictSides { base: base.as_deref(), orphan: orphan.as_deref(), chosen: chosen.as_deref() };
            let now = tip.datum("text").and_then(Value::as_str);
            let Some(text) = now.and_then(|now| settle_document(now, place, sides)) else { return Ok(None) };
            return edit_text(tip, text, conflict, moment).map(Some);
        }
        let Some(path) = pointer::names(&conflict.path) else { return Ok(None) };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let ["data", above @ .., last] = &path[..] else { return Ok(None) };
        let nest = |above: &[&str], leaf: Value| {
            let mut value = Map::from_iter([((*last).to_owned(), leaf)]);
            for part in above.iter().rev() {
                value = Map::from_iter([((*part).to_owned(), value)]);
            }
            value
        };
        // A file has one content: the one chosen takes the place of whatever another side made of the file.
        let is_file = conflict.file.is_some() && tip.ib == "file";
        match (&path[1..], chosen) {
            (["text"], Some(Value::String(_))) if is_file => {
                let Ok(Some(text)) = text(tip.datum("text"), conflict, chosen.as_ref()) else { return Ok(None) };
                return edit_file(tip, NewContent::Text(text), moment).map(Some);
            }
            (["blob"], Some(Value::String(blob))) if is_file => {
                let Ok(blob) = blob.parse() else { return Ok(None) };
                return edit_file(tip, NewContent::Blob(blob), moment).map(Some);
            }
            _ => {}
        }
        let (remove, patch) = match (chosen, find(tip, &path)) {
            (Some(Value::String(_)) | None, now @ Some(Value::String(_))) => match text(now, conflict, chosen.as_ref())
            {
                Ok(Some(text)) => (None, nest(above, text.into())),
                Ok(None) => (Some(nest(above, Value::from(""))), Map::new()),
                Err(Edited) => return Ok(None),
            },
            (None, _) => (Some(nest(above, Value::from(""))), Map::new()),
            (Some(value), _) => (None, nest(above, value.clone())),
        };
        let mut nodes = Vec::new();
        mutate(tip, remove, patch, moment, &mut nodes)?;
        Ok(Some(nodes))
    }
}

/// What stands at a path of a frame.
fn find<'n>(node: &'n Node, path: &[impl AsRef<str>]) -> Option<&'n Value> {
    let (data, rest) = path.split_first()?;
    let data = node.data.as_ref().filter(|_| data.as_ref() == "data")?;
    rest.iter().try_fold(data, |value, part| value.get(part.as_ref()))
}

/// What the merge left was edited since.
struct Edited;

/// The text with what was chosen: that itself where the whole text was in conflict, else `now` with the lines chosen in
/// the place of both sides'.
fn text(now: Option<&Value>, conflict: &Conflict, chosen: Option<&Value>) -> Result<Option<String>, Edited> {
    let chosen = chosen.and_then(Value::as_str);
    match (now, &conflict.base, &conflict.orphan) {
        (Some(Value::String(now)), Some(Value::String(base)), Some(Value::String(orphan)))
            if now != base && now != orphan =>
        {
            let sides = ConflictSides { base: Some(base), orphan: Some(orphan), chosen };
            settle_lines(now, sides).map(Some).ok_or(Edited)
        }
        _ => Ok(chosen.map(str::to_owned)),
    }
}

/// The frames that give a timeline a text.
fn edit_text(tip: &Node, text: String, conflict: &Conflict, moment: &Moment) -> Result<Vec<Node>, FolderError> {
    if conflict.file.is_some() && tip.ib == "file" {
        return edit_file(tip, NewContent::Text(text), moment);
    }
    let mut nodes = Vec::new();
    mutate(tip, None, Map::from_iter([("text", text)]), moment, &mut nodes)?;
    Ok(nodes)
}
