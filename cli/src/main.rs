//! The `ibgib` command.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the command is what reads the environment")]

mod archive;
mod args;
mod brief;
mod codes;
mod commands;
mod config;
mod confirm;
mod contact;
mod device;
mod doors;
mod error;
mod escape;
mod folders;
mod guarding;
mod kept;
mod output;
mod pager;
mod paired;
mod pairing;
mod private;
mod remote;
mod report;
mod screen;
mod secret;
mod spaces;
mod typing;
mod vault;

use args::{Args, Command};
use clap::Parser;
use codes::Code;
use error::{CliError, Exit};
use mimalloc::MiMalloc;
use output::Output;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// For all of the command: see its `Cargo.toml`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long an interrupted command may take to end by itself.
const LET_GO_MAX: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return output::usage(&error),
    };
    let out = Output::new(&args);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out.fail(&CliError::new(Code::Runtime, error.to_string())),
    };
    let result = runtime.block_on(async {
        // Servers and demos end in their own way.
        if matches!(args.command, Command::Serve(_) | Command::Demo(_)) {
            return commands::run(&args, &out).await;
        }
        let interrupted = match interruption(&out) {
            Ok(interrupted) => interrupted,
            Err(error) => return Err(CliError::new(Code::Signals, error.to_string())),
        };
        tokio::select! {
            result = commands::run(&args, &out) => result,
            _ = interrupted => Err(CliError::interrupted()),
        }
    });
    show_typing();
    // Work that blocks must not keep an interrupted command alive; stores are safe at every moment.
    runtime.shutdown_background();
    match result.and_then(|exit| out.end().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(error) => out.fail(&error),
    }
}

/// Resolves at SIGINT or SIGTERM. What does not let go then (reading a pipe that says nothing, say) ends with the
/// process a moment later.
fn interruption(out: &Output) -> std::io::Result<oneshot::Receiver<()>> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (tell, told) = oneshot::channel();
    let out = out.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        // The command may just have ended.
        let _ = tell.send(());
        tokio::time::sleep(LET_GO_MAX).await;
        show_typing();
        let error = CliError::interrupted();
        out.fail(&error);
        std::process::exit(error.exit as i32);
    });
    Ok(told)
}

/// Leaves the terminal as it was: whoever is asked for a password may end the command instead.
fn show_typing() {
    // A terminal that has gone needs nothing.
    let _ = vault::show_again();
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
