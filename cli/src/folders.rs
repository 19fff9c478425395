//! Which folder is meant: by its name, its address, or the beginning of either that no other folder has.

use crate::brief::Known;
use crate::device::parse_addr;
use crate::error::CliError;
use ibgib::Addr;
use ibgib_folder::Names;
use ibgib_peer::WebSocketRemote;
use ibgib_saga::{Code as Protocol, Refusal, SagaError};
use ibgib_spaces::{Kind, Space};

/// Digits of a gib that may stand for all of it.
const DIGITS_MIN: usize = 8;

/// The folders of a server; `None` when it tells them to nobody who did not prove an identity.
pub(crate) async fn at_server(remote: &WebSocketRemote) -> Result<Option<Vec<Known>>, CliError> {
    let tips = match remote.tips_of("folder").await {
        Err(SagaError::PeerRefused { why: Refusal::Known(Protocol::ReadingNeedsIdentity), .. }) => return Ok(None),
        tips => tips?,
    };
    let mut out = Vec::with_capacity(tips.len());
    for (tjp, tip) in tips {
        let frame = remote.ibgib(&tip).await?;
        out.push(Known { tjp, name: frame.and_then(|frame| Names::of(&frame).folder) });
    }
    Ok(Some(out))
}

/// The folders of a store.
pub(crate) async fn at_home(space: &dyn Space) -> Result<Vec<Known>, CliError> {
    let mut out = Vec::new();
    for tip in space.tips(Some(Kind::Living)).await?.into_iter().filter(|tip| tip.tjp.ib() == "folder") {
        let frame = space.node(&tip.addr).await?;
        out.push(Known { tjp: tip.tjp, name: frame.and_then(|frame| Names::of(&frame).folder) });
    }
    Ok(out)
}

/// The one that is meant of those that `place` has.
pub(crate) fn choose(all: &[Known], text: &str, place: &str) -> Result<Addr, CliError> {
    let digits = text.strip_prefix("folder^").unwrap_or(text).to_ascii_uppercase();
    let begins = |known: &Known| {
        if text.is_empty() {
            return false;
        }
        let gib = digits.len() >= DIGITS_MIN && known.tjp.gib().starts_with(&digits);
        gib || known.name.as_ref().is_some_and(|name| name.starts_with(text))
    };
    let whole: Vec<&Known> =
        all.iter().filter(|known| known.tjp.as_str() == text || known.name.as_deref() == Some(text)).collect();
    let found = if whole.is_empty() { all.iter().filter(|known| begins(known)).collect() } else { whole };
    match &found[..] {
        [known] => Ok(known.tjp.clone()),
        [] => Err(CliError::not_found("folder", text).hint(match all {
            [] => format!("{place} has no folder yet"),
            _ => format!("{place} has {}", listed(all.iter())),
        })),
        several => Err(CliError::usage(format!("{text:?} can be {}", listed(several.iter().copied())))
            .about(addresses(several.iter().copied()))
            .hint("name more of it, or its whole address")),
    }
}

/// A folder that nobody can be asked about: its whole address will do.
pub(crate) fn unasked(text: &str) -> Result<Addr, CliError> {
    parse_addr(text).map_err(|error| {
        error.hint(
            "a folder is found by its name at a server that lets itself be read; here its whole address is needed",
        )
    })
}

/// There are several folders, and none was chosen.
pub(crate) fn which(all: &[Known]) -> CliError {
    CliError::usage(format!("the server has several folders: {}", listed(all.iter())))
        .about(addresses(all.iter()))
        .hint("choose one with --folder: its name, its address, or the beginning of either")
}

fn listed<'a>(all: impl Iterator<Item = &'a Known>) -> String {
    all.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn addresses<'a>(all: impl Iterator<Item = &'a Known>) -> String {
    all.map(|known| known.tjp.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn a_folder_is_found_by_what_no_other_has() {
        let known = |digit: &str, name: Option<&str>| Known {
            tjp: Addr::new("folder", &digit.repeat(32)).unwrap(),
            name: name.map(str::to_owned),
        };
        let all = [known("AB", Some("notes")), known("AC", Some("notes-2")), known("CD", None), known("DE", Some("x"))];
        let is = |text: &str, i: usize| assert_eq!(choose(&all, text, "it").unwrap(), all[i].tjp, "{text}");
        is("notes", 0);
        is("notes-", 1);
        is("cdcdcdcd", 2);
        is("folder^CDCDCDCDCD", 2);
        is(all[3].tjp.as_str(), 3);
        let fails = |text: &str, exit: Exit| assert_eq!(choose(&all, text, "it").unwrap_err().exit, exit, "{text}");
        fails("no", Exit::Usage);
        fails("notse", Exit::NotFound);
        fails("CDCD", Exit::NotFound);
        fails("", Exit::NotFound);
    }
}
