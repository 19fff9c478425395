//! `help` and `completions`: what the command line can say, told by itself.

use crate::args::{self, Args};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{Helped, ManPages};
use clap::{CommandFactory, ValueHint};
use std::collections::BTreeSet;
use std::fs;

pub(crate) fn help(out: &Output, help: &args::Help) -> Result<Exit, CliError> {
    let mut command = Args::command();
    command.build();
    if let Some(dir) = &help.man {
        fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .map_err(|e| CliError::io(dir, &e))?;
        out.report(&ManPages { dir: dir.clone() })?;
        return Ok(Exit::Done);
    }
    let mut at = &mut command;
    for (i, name) in help.command.iter().enumerate() {
        let known: Vec<String> = at.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        at = at.find_subcommand_mut(name).ok_or_else(|| {
            let whole = help.command[..=i].join(" ");
            let hint = match known.is_empty() {
                true => "it has no commands of its own".to_owned(),
                false => format!("there are: {}", known.join(", ")),
            };
            CliError::usage(format!("there is no command '{whole}'")).about(whole).hint(hint)
        })?;
    }
    let text = at.render_long_help();
    let text = if out.colour() { text.ansi().to_string() } else { text.to_string() };
    out.result(&Helped(text))?;
    Ok(Exit::Done)
}

pub(crate) fn completions(out: &Output, shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ibgib", &mut text);
    if shell == clap_complete::Shell::Bash {
        text = with_files(&String::from_utf8_lossy(&text)).into_bytes();
    }
    out.bytes(&text)?;
    Ok(Exit::Done)
}

/// The completions of bash offer the options of a command where its first argument comes, and with them no files. Of the
/// commands that take files there, they are to offer options only after a `-`, and else what the shell knows.
fn with_files(script: &str) -> String {
    let mut command = Args::command();
    command.build();
    let takers = takers_of_files(&command, "ibgib");
    let mut out = String::with_capacity(script.len());
    let mut takes = false;
    for line in script.split_inclusive('\n') {
        if let Some(label) = line.trim().strip_suffix(')').filter(|label| label.starts_with("ibgib__")) {
            takes = takers.contains(label);
        }
        match line.split_once(" || ${COMP_CWORD} -eq ").filter(|_| takes) {
            Some((before, _)) => out.push_str(&format!("{before} ]] ; then\n")),
            None => out.push_str(line),
        }
    }
    out
}

/// The labels, in the completions of bash, of the commands whose arguments are paths.
fn takers_of_files(command: &clap::Command, label: &str) -> BTreeSet<String> {
    let hints = command.get_positionals().map(clap::Arg::get_value_hint);
    let takes = { hints }.any(|hint| matches!(hint, ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath));
    let own = takes.then(|| label.to_owned()).into_iter();
    let below = command.get_subcommands().flat_map(|command| {
        let name = command.get_name().replace('-', "__");
        takers_of_files(command, &format!("{label}__subcmd__{name}"))
    });
    own.chain(below).collect()
}
