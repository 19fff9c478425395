//! The commands, one function each.

mod accept;
mod bundle;
mod conflicts;
mod deletions;
mod demo;
mod folder;
mod fsck;
mod gc;
mod grants;
mod guard;
mod help;
mod identity;
mod ignore;
mod line;
mod log;
mod moved;
mod nodes;
pub(crate) mod pair;
mod read;
mod receipts;
mod serve;
mod setup;
mod space;
mod sync;
mod syncing;
mod telling;
mod tower;
mod undo;
mod vault;
mod watch;
pub(crate) mod wormhole;
pub(crate) mod wormhole_of_2015;

use crate::args::{self, Args, Command, IdentityAction, IgnoreAction, KeystoneAction};
use crate::codes::Code;
use crate::error::{CliError, Exit};
use crate::escape::shown;
use crate::output::Output;
use crate::screen::Logs;
use std::io::IsTerminal;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::prelude::*;

pub(crate) async fn run(args: &Args, out: &Output) -> Result<Exit, CliError> {
    start_logs(args, out)?;
    if is_paged(&args.command) {
        out.paged();
    }
    let space_fits = matches!(
        args.command,
        Command::Tips(_)
            | Command::Log(_)
            | Command::Show(_)
            | Command::Graph(_)
            | Command::Fsck(_)
            | Command::Conflicts
            | Command::Put
            | Command::Export(_)
            | Command::Import(_)
            | Command::Backup { .. }
            | Command::Gc { .. }
            | Command::Serve(_)
            | Command::NewTlsKey
            | Command::Tower(_)
    );
    if args.space.is_some() && !space_fits {
        return Err(CliError::usage("--space does not go with this command: it works on a device (-C)"));
    }
    match &args.command {
        Command::Init(init) => setup::init(args, out, init).await,
        Command::Clone(clone) => setup::clone(args, out, clone).await,
        Command::Identity(identity) => match &identity.action {
            IdentityAction::New => identity::new(args, out).await,
            IdentityAction::Show => identity::show(args, out).await,
            IdentityAction::Rotate => identity::rotate(args, out).await,
            IdentityAction::Recover { recovery_secret_file } => {
                identity::recover(args, out, recovery_secret_file.as_deref()).await
            }
            IdentityAction::Backup(backup) => vault::backup(args, out, backup).await,
            IdentityAction::Restore(restore) => vault::restore(args, out, restore).await,
            IdentityAction::Revoke { reason, yes } => identity::revoke(args, out, reason, *yes).await,
        },
        Command::Snapshot => folder::snapshot(args, out).await,
        Command::Sync(sync) => sync::sync(args, out, sync).await,
        Command::Checkout(checkout) => folder::checkout(args, out, checkout).await,
        Command::Restore(restore) => folder::restore(args, out, restore).await,
        Command::Untrack(untrack) => ignore::untrack(args, out, untrack).await,
        Command::Ignore(ignore) => match &ignore.action {
            IgnoreAction::List => ignore::list(args, out).await,
            IgnoreAction::Accept { yes } => ignore::accept(args, out, *yes).await,
        },
        Command::Undo(undo) => undo::undo(args, out, undo).await,
        Command::Redo(redo) => undo::redo(args, out, redo).await,
        Command::Diff(diff) => folder::diff(args, out, diff).await,
        Command::Status(status) => folder::status(args, out, status).await,
        Command::Conflicts => conflicts::conflicts(args, out).await,
        Command::Resolve(resolve) => conflicts::resolve(args, out, resolve).await,
        Command::Tips(tips) => read::tips(args, out, tips).await,
        Command::Log(log) => log::log(args, out, log).await,
        Command::Show(show) => read::show(args, out, show).await,
        Command::Graph(graph) => read::graph(args, out, graph).await,
        Command::Fsck(options) => fsck::fsck(args, out, options).await,
        Command::Config(config) => read::config(args, out, config),
        Command::Put => nodes::put(args, out).await,
        Command::Transform(transform) => nodes::transform(args, out, transform).await,
        Command::Addr(mode) => nodes::addr(out, mode),
        Command::Verify(mode) => nodes::verify(out, mode),
        Command::Keystone(keystone) => match &keystone.action {
            KeystoneAction::Validate(validate) => nodes::validate(out, validate),
        },
        Command::Export(export) => bundle::export(args, out, export).await,
        Command::Gc { dry_run } => gc::gc(args, out, *dry_run).await,
        Command::Backup { dir } => bundle::backup(args, out, dir).await,
        Command::Import(import) => bundle::import(args, out, import).await,
        Command::Invite(invite) => grants::invite(args, out, invite).await,
        Command::Grants(grants) => grants::grants(args, out, grants).await,
        Command::Space(space) => space::space(args, out, &space.action).await,
        Command::Devices => grants::devices(args, out).await,
        Command::Receipts(receipts) => receipts::receipts(args, out, receipts).await,
        Command::Pair(pair) => pair::pair(args, out, pair).await,
        Command::Wormhole(wormhole) => wormhole::wormhole(args, out, wormhole).await,
        Command::Health { url } => read::health(args, out, url).await,
        Command::Serve(serve) => serve::serve(args, out, serve).await,
        Command::NewTlsKey => serve::new_tls_key(args, out),
        Command::Vault(vault) => vault::run(args, out, vault).await,
        Command::Tower(tower) => tower::tower(args, out, tower).await,
        Command::Demo(demo) => demo::demo(args, out, demo).await,
        Command::Help(help) => help::help(out, help),
        Command::Completions { shell } => help::completions(out, *shell),
    }
}

/// What may be longer than a screen.
fn is_paged(command: &Command) -> bool {
    matches!(
        command,
        Command::Diff(_)
            | Command::Status(_)
            | Command::Log(_)
            | Command::Show(args::Show { raw: false, .. })
            | Command::Graph(_)
            | Command::Tips(_)
            | Command::Conflicts
            | Command::Help(args::Help { man: None, .. })
    )
}

/// Logs go to stderr: warnings, for a server also what it does; as `IBGIB_LOG` or `log` in a `config.toml` says (`info`,
/// `warn,ibgib_peer=debug`); more with `-v`, fewer with `-q`, whatever that says.
fn start_logs(args: &Args, out: &Output) -> Result<(), CliError> {
    let usual = match (args.verbose, &args.command) {
        _ if args.quiet => LevelFilter::ERROR,
        (0, Command::Serve(_)) => LevelFilter::INFO,
        (0, _) => LevelFilter::WARN,
        (1, _) => LevelFilter::INFO,
        _ => LevelFilter::TRACE,
    };
    let mut filter = Targets::new().with_default(usual);
    if args.verbose == 1 && !args.quiet {
        // Our own crates: a target stands for all that begin like it.
        filter = filter.with_target("ibgib", LevelFilter::DEBUG);
    }
    if let (Some(told), 0, false) = (read::log_setting(args), args.verbose, args.quiet) {
        filter = told.value.parse().map_err(|e| {
            CliError::new(Code::BadConfig, format!("{}: {:?} does not say what to log: {e}", told.origin, told.value))
                .about(told.origin)
                .hint("a level (error, warn, info, debug, trace), or levels of modules as in 'warn,ibgib_peer=debug'")
        })?;
    }
    let screen = out.screen().clone();
    let colour = crate::output::wants_colour(args.color, std::io::stderr().is_terminal());
    let logs = tracing_subscriber::fmt::layer().with_writer(move || Logs(screen.clone())).with_ansi(colour);
    if args.json {
        tracing_subscriber::registry().with(logs.json().with_filter(filter)).init();
    } else {
        // What a peer wrote comes into logs, too.
        let fields = debug_fn(|out, field, value| {
            let value = format!("{value:?}");
            match field.name() {
                "message" => write!(out, "{}", shown(value)),
                name => write!(out, "{name}={}", shown(value)),
            }
        });
        tracing_subscriber::registry().with(logs.fmt_fields(fields.delimited(" ")).with_filter(filter)).init();
    }
    Ok(())
}
