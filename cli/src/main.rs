//! The `ibgib` command.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the command is what reads the environment")]

mod args;
mod commands;
mod config;
mod device;
mod error;
mod output;
mod secret;

use args::{Args, Command};
use clap::Parser;
use error::{CliError, Exit};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return output::usage(&error),
    };
    let out = Output::new(&args);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out.fail(&CliError::failed("runtime", error.to_string())),
    };
    let result = runtime.block_on(async {
        // Servers and demos end in their own way.
        if matches!(args.command, Command::Serve(_) | Command::Demo(_)) {
            return commands::run(&args, &out).await;
        }
        tokio::select! {
            result = commands::run(&args, &out) => result,
            _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
        }
    });
    // Work that blocks must not keep an interrupted command alive; stores are safe at every moment.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => out.fail(&error),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
