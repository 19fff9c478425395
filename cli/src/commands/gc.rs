//! `gc`.

use crate::args::Args;
use crate::device::Store;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::Freed;
use crate::screen::Headway;
use ibgib_peer::entropy::now_ms;
use ibgib_peer::{Retention, collect};

pub(crate) async fn gc(args: &Args, out: &Output, dry_run: bool) -> Result<Exit, CliError> {
    let store = if dry_run { Store::look(args).await } else { Store::open(args).await };
    let store = store.map_err(|error| match error.exit {
        Exit::Locked => error.hint("a server that has it open does this once a day by itself"),
        _ => error,
    })?;
    let space = store.space();
    let screen = out.screen();
    let told = |done, of| {
        screen.show(&Headway { doing: "forgetting", things: "sessions and sagas", done, of, ..Headway::default() })
    };
    let collected = collect(&**space, Retention::default(), now_ms(), dry_run, told).await?;
    let given_back = if dry_run { 0 } else { space.give_back(true).await? };
    screen.clear();
    out.report(&Freed { collected, given_back, dry_run })?;
    Ok(Exit::Done)
}
