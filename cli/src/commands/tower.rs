//! `tower`: what the owner of a tower may know of it, and what whoever it guards asks.

use super::guard;
use crate::args::{Args, Tower, TowerAction};
use crate::codes::Code;
use crate::doors::tower_socket;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::TowerReport;
use crate::spaces;
use ibgib::{Mode, Value};
use ibgib_server::rows::RowError;
use ibgib_spaces::{CommitError, durable};
use ibgib_tower::owner::{self, OwnerQuestion};
use std::io::ErrorKind;
use std::path::Path;

pub(crate) async fn tower(args: &Args, out: &Output, tower: &Tower) -> Result<Exit, CliError> {
    match &tower.action {
        TowerAction::Guard { .. } | TowerAction::Check if args.space.is_some() => {
            Err(CliError::usage("--space does not go with this command: it works on a device (-C)"))
        }
        TowerAction::Guard { tower, until, auto } => guard::guard(args, out, tower, *until, *auto).await,
        TowerAction::Check => guard::check(args, out).await,
        TowerAction::Info => owner(args, out, OwnerQuestion::Info).await,
        TowerAction::Users => owner(args, out, OwnerQuestion::Users).await,
        TowerAction::Appointments { locator } => {
            let locator = locator.as_ref().map(|text| {
                text.parse().map_err(|why| CliError::usage(format!("{text:?} is no locator: {why}")).about(text))
            });
            owner(args, out, OwnerQuestion::Appointments(locator.transpose()?)).await
        }
    }
}

async fn owner(args: &Args, out: &Output, question: OwnerQuestion) -> Result<Exit, CliError> {
    let Some(dir) = &args.space else {
        return Err(CliError::usage("tower needs the directory of the server's space").hint("add --space DIR"));
    };
    let answer = answer(dir, question).await?;
    let answer = Value::parse(&answer, Mode::Strict).map_err(|e| CliError::new(Code::Damaged, e.to_string()))?;
    match answer {
        Value::Array(items) => items.into_iter().try_for_each(|item| out.item(&TowerReport(item)))?,
        one => out.result(&TowerReport(one))?,
    }
    Ok(Exit::Done)
}

/// Through the server that runs, or from a space that nobody has open, or that is in a database.
async fn answer(dir: &Path, question: OwnerQuestion) -> Result<String, CliError> {
    let space = if spaces::database(dir).is_some() {
        // Whatever its servers acknowledged is there.
        spaces::look(dir).await?
    } else {
        let socket = tower_socket(dir);
        match owner::ask(&socket, question).await {
            Ok(answer) => return Ok(answer.to_string()),
            // None runs; the socket of one that was killed may still lie there.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(CliError::io(&socket, &error)),
        }
        durable::open_read_only(dir)?
    };
    let read = owner::read(space, question).await;
    let read = read.map_err(|e| match e {
        RowError::Commit(CommitError::Space(error)) => error.into(),
        error => CliError::new(Code::Damaged, error.to_string()).about(spaces::shown(dir)),
    })?;
    let none = || {
        CliError::new(Code::NotFound, "no tower was ever served from this space")
            .about(spaces::shown(dir))
            .hint("start one: ibgib serve --space DIR --door tower --tower-bitcoind URL")
    };
    Ok(read.ok_or_else(none)?.to_string())
}
