//! `conflicts` and `resolve`.

use crate::args::{self, Args};
use crate::codes::Code;
use crate::config::env;
use crate::device::{Device, Named, Store, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{ConflictReport, Resolved, partly, side_name};
use ibgib_folder::{Conflict, ConflictOrigin, Folder, FolderError, Resolution, ResolutionReport};
use similar::{ChangeTag, TextDiff};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::Command;

pub(crate) async fn conflicts(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let store = Store::look(args).await?;
    let bound = match store.device() {
        Some(device) if device.folder_tjp().await?.is_some() => Some((device, device.folder(out).await?)),
        _ => None,
    };
    let (all, origins) = match &bound {
        Some((device, folder)) => {
            let all = folder.conflicts().await?;
            let origins = folder.conflict_origins(&all, device.identity().await.ok().as_ref()).await?;
            (all, origins)
        }
        None => {
            let all = ibgib_folder::conflicts(&**store.space()).await?;
            let origins = ibgib_folder::conflict_origins(&**store.space(), &all, None).await?;
            (all, origins)
        }
    };
    if all.is_empty() {
        out.say("no open conflicts");
    }
    for (conflict, origin) in all.into_iter().zip(origins) {
        out.item(&ConflictReport { conflict, origin })?;
    }
    Ok(Exit::Done)
}

/// How to settle a conflict, as it is said.
#[derive(Clone, Copy)]
enum How {
    Fixed(Resolution),
    Yours,
    Theirs,
}

impl How {
    fn of(resolve: &args::Resolve) -> Self {
        let all = [
            (resolve.keep, Self::Fixed(Resolution::Keep)),
            (resolve.base, Self::Fixed(Resolution::Base)),
            (resolve.orphan, Self::Fixed(Resolution::Orphan)),
            (resolve.yours, Self::Yours),
            (resolve.theirs, Self::Theirs),
        ];
        all.into_iter().find(|(said, _)| *said).map_or(Self::Fixed(Resolution::Ancestor), |(_, how)| how)
    }

    /// What it means for one conflict; `None` where nobody can tell which side is whose.
    fn resolution(self, origin: &ConflictOrigin) -> Option<Resolution> {
        match self {
            Self::Fixed(resolution) => Some(resolution),
            Self::Yours => origin.yours(),
            Self::Theirs => origin.theirs(),
        }
    }
}

pub(crate) async fn resolve(args: &Args, out: &Output, resolve: &args::Resolve) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let open = folder.conflicts().await?;
    let chosen: Vec<Conflict> = match &resolve.target {
        None => open,
        Some(target) => {
            let named = name(args, &device, &folder, &open, target).await?;
            open.into_iter()
                .filter(|c| match &named {
                    Named::Addr(addr) => c.stone == *addr || c.timeline == *addr,
                    Named::File(path, _) => c.file.as_ref() == Some(path),
                })
                .collect()
        }
    };
    if let (true, Some(target)) = (chosen.is_empty(), &resolve.target) {
        return Err(CliError::new(Code::NoConflict, format!("{target} has no open conflict"))
            .about(target.as_str())
            .hint("'ibgib conflicts' lists the open ones"));
    }
    let origins = folder.conflict_origins(&chosen, device.identity().await.ok().as_ref()).await?;
    let report = if resolve.edit || resolve.tool.is_some() {
        drop(folder);
        by_program(args, out, device, &chosen, &origins, resolve.tool.as_deref()).await?
    } else {
        let how = How::of(resolve);
        let told = chosen.iter().zip(&origins).map(|(c, origin)| Some((c, how.resolution(origin)?)));
        let Some(told) = told.collect::<Option<Vec<_>>>() else {
            return Err(CliError::new(
                Code::NoConflict,
                "which side is yours cannot be told: others made both, or you did",
            )
            .hint("'ibgib conflicts' shows the sides; choose with --base or --orphan"));
        };
        let report = folder.resolve_all(&told, &mut moment).await.map_err(saved_first)?;
        if let ([stone], true) = (&report.left[..], report.settled.is_empty()) {
            let left = told.iter().find(|(conflict, _)| conflict.stone == *stone);
            if left.is_some_and(|(conflict, how)| *how == Resolution::Ancestor && !has_ancestor(conflict)) {
                return Err(CliError::new(Code::NoConflict, "both sides made it: nothing was there before")
                    .about(stone.as_str())
                    .hint("choose a side: --yours, --theirs, --base, --orphan, or --keep"));
            }
            return Err(FolderError::NoConflict(stone.clone()).into());
        }
        report
    };
    let report = Resolved { settled: report.settled, left: report.left, checkout: report.checkout };
    out.report(&report)?;
    Ok(partly(!report.left.is_empty() || !report.checkout.refused.is_empty()))
}

/// Whether there is something from before that could stand again.
fn has_ancestor(conflict: &Conflict) -> bool {
    match &conflict.whole {
        Some(whole) => whole.ancestor.is_some(),
        None => conflict.ancestor.is_some(),
    }
}

/// Work that is in no snapshot is never overwritten here.
fn saved_first(error: FolderError) -> CliError {
    let unsaved = matches!(error, FolderError::Unsaved(_));
    let error = CliError::from(error);
    if unsaved { error.hint("run 'ibgib snapshot' first") } else { error }
}

/// Settles the conflicts of each file with what a program makes of both sides. The device is free for other commands
/// while somebody sits before it.
async fn by_program(
    args: &Args,
    out: &Output,
    device: Device,
    chosen: &[Conflict],
    origins: &[ConflictOrigin],
    tool: Option<&str>,
) -> Result<ResolutionReport, CliError> {
    let program = match tool {
        Some(tool) => tool.to_owned(),
        None => env("VISUAL").or_else(|| env("EDITOR")).ok_or_else(|| {
            CliError::usage("no editor is set").hint("set $VISUAL or $EDITOR, or use --tool CMD, --yours or --theirs")
        })?,
    };
    let mut files: Vec<Vec<(&Conflict, &ConflictOrigin)>> = Vec::new();
    for pair in chosen.iter().zip(origins) {
        match files.last_mut() {
            Some(file) if file[0].0.frame == pair.0.frame => file.push(pair),
            _ => files.push(vec![pair]),
        }
    }
    let mut sides = Vec::new();
    let folder = device.folder(out).await?;
    for file in &files {
        sides.push(Sides::of(&folder, file).await?);
    }
    drop(folder);
    drop(device);
    let mut report = ResolutionReport::default();
    for (file, sides) in files.iter().zip(sides) {
        let text = sides.edited(&program, tool.is_some())?;
        let device = Device::open(args)?;
        let folder = device.folder(out).await?;
        let conflicts: Vec<Conflict> = file.iter().map(|(conflict, _)| (*conflict).clone()).collect();
        let done = folder.resolve_as(&conflicts, text, &mut moment).await.map_err(saved_first)?;
        report.settled.extend(done.settled);
        report.left.extend(done.left);
        report.checkout.written.extend(done.checkout.written);
        report.checkout.removed.extend(done.checkout.removed);
        report.checkout.refused.extend(done.checkout.refused);
    }
    Ok(report)
}

/// What either side made of a file, and what both had.
struct Sides {
    name: String,
    local: String,
    remote: String,
    base: String,
    /// What the two are called between the marks.
    names: [String; 2],
}

/// The marks around what both sides made of a place.
const MARKS: [&str; 3] = ["<<<<<<< ", "=======\n", ">>>>>>> "];

impl Sides {
    async fn of(folder: &Folder, file: &[(&Conflict, &ConflictOrigin)]) -> Result<Self, CliError> {
        let path = file[0].0.file.as_ref().filter(|_| file[0].0.timeline.ib() == "file");
        let binary = || {
            let what = path.map_or_else(|| file[0].0.timeline.to_string(), ToString::to_string);
            CliError::usage(format!("{what} is no text that could be edited"))
                .about(what)
                .hint("choose a side: --yours, --theirs, --base, --orphan, or --keep")
        };
        let path = path.ok_or_else(binary)?;
        let mut texts = Vec::new();
        for which in 0..3 {
            let choose = |origin: &ConflictOrigin| match which {
                0 => origin.yours().unwrap_or(Resolution::Base),
                1 => origin.theirs().unwrap_or(Resolution::Orphan),
                _ => Resolution::Ancestor,
            };
            let told: Vec<(&Conflict, Resolution)> = file.iter().map(|(c, origin)| (*c, choose(origin))).collect();
            texts.push(folder.settled_text(&told).await?.ok_or_else(binary)?);
        }
        let origin = file[0].1;
        let [mine, other] = match origin.yours() {
            Some(Resolution::Orphan) => [&origin.orphan, &origin.base],
            _ => [&origin.base, &origin.orphan],
        };
        let base = texts.pop().unwrap_or_default();
        let remote = texts.pop().unwrap_or_default();
        let local = texts.pop().unwrap_or_default();
        let name = path.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Self { name, local, remote, base, names: [side_name(mine), side_name(other)] })
    }

    /// Both sides in one text, with marks around what differs.
    fn marked(&self) -> String {
        let mut text = String::new();
        let (mut mine, mut theirs) = (String::new(), String::new());
        let line = |text: &str| if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        let flush = |text: &mut String, mine: &mut String, theirs: &mut String| {
            if !mine.is_empty() || !theirs.is_empty() {
                let [ours, other] = &self.names;
                let [start, between, end] = MARKS;
                text.push_str(&format!("{start}{ours}\n{mine}{between}{theirs}{end}{other}\n"));
                mine.clear();
                theirs.clear();
            }
        };
        for change in TextDiff::from_lines(&self.local, &self.remote).iter_all_changes() {
            match change.tag() {
                ChangeTag::Equal => {
                    flush(&mut text, &mut mine, &mut theirs);
                    text.push_str(change.value());
                }
                ChangeTag::Delete => mine.push_str(&line(change.value())),
                ChangeTag::Insert => theirs.push_str(&line(change.value())),
            }
        }
        flush(&mut text, &mut mine, &mut theirs);
        text
    }

    /// What the program leaves, without marks.
    fn edited(&self, program: &str, tool: bool) -> Result<String, CliError> {
        let dir = tempfile::tempdir().map_err(|e| CliError::io(&std::env::temp_dir(), &e))?;
        let write = |folder: &str, text: &str| {
            let at = dir.path().join(folder);
            let path = at.join(&self.name);
            fs::create_dir(&at).and_then(|()| fs::write(&path, text)).map_err(|e| CliError::io(&path, &e))?;
            Ok::<_, CliError>(path)
        };
        let merged = write("merged", &self.marked())?;
        let mut command = Command::new("sh");
        command.arg("-c");
        if tool {
            command.arg(program).env("MERGED", &merged);
            for (variable, text) in [("BASE", &self.base), ("LOCAL", &self.local), ("REMOTE", &self.remote)] {
                command.env(variable, write(&variable.to_lowercase(), text)?);
            }
        } else {
            command.arg(format!("{program} \"$@\"")).arg(program).arg(&merged);
        }
        if !io::stdout().is_terminal() {
            // stdout is for the result.
            command.stdout(io::stderr());
        }
        let none = |why: String| {
            CliError::new(Code::NotEdited, format!("{why}; nothing of {} is settled", self.name)).about(&*self.name)
        };
        let ended = command.status().map_err(|e| CliError::io(Path::new("sh"), &e))?;
        if !ended.success() {
            return Err(none(format!("{program} failed ({ended})")));
        }
        let bytes = fs::read(&merged).map_err(|e| CliError::io(&merged, &e))?;
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| none("what was left is no text".to_owned()))?;
        // A line that a side has is no mark, whatever it looks like.
        let had = |line: &str| self.local.lines().chain(self.remote.lines()).any(|known| known == line);
        let is_mark = |line: &str| MARKS.iter().any(|mark| line.starts_with(mark.trim_end()));
        if text.lines().any(|line| is_mark(line) && !had(line)) {
            return Err(none("there are marks left in it".to_owned()));
        }
        Ok(text)
    }
}

/// What to resolve: a file with a conflict, a stone, or a timeline.
async fn name(
    args: &Args,
    device: &Device,
    folder: &Folder,
    open: &[Conflict],
    target: &str,
) -> Result<Named, CliError> {
    if target.contains('^') && !target.starts_with("./") {
        return Ok(Named::Addr(parse_addr(target)?));
    }
    let path = device.entry(args, Path::new(target))?;
    if open.iter().any(|c| c.file.as_ref() == Some(&path)) {
        let tip = folder.file_tjp(&path)?;
        return Ok(Named::File(path, tip));
    }
    let digits = target.to_ascii_uppercase();
    let by_digits = open.iter().find(|c| digits.len() >= 8 && c.stone.gib().starts_with(&digits));
    match by_digits {
        Some(conflict) => Ok(Named::Addr(conflict.stone.clone())),
        None => Ok(Named::File(path.clone(), folder.tip(&path).await?)),
    }
}
