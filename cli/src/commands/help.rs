//! `help` and `completions`: what the command line can say, told by itself.

use crate::args::{self, Args};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{Helped, ManPages};
use clap::CommandFactory;
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

/// The completions of bash offer the options of a command that has no commands of its own where its first argument comes,
/// and with them no files. There they are to offer options only after a `-`, and else what the shell knows: files.
fn with_files(script: &str) -> String {
    let mut out = String::with_capacity(script.len());
    let mut leaf = false;
    for line in script.split_inclusive('\n') {
        if let Some(words) = line.trim().strip_prefix("opts=\"") {
            let words = words.trim_end_matches('"').split_whitespace();
            leaf = words.clone().any(|word| word.starts_with(['[', '<']))
                && words.clone().all(|word| word.starts_with(['-', '[', '<']));
        }
        match line.split_once(" || ${COMP_CWORD} -eq ").filter(|_| leaf) {
            Some((before, _)) => out.push_str(&format!("{before} ]] ; then\n")),
            None => out.push_str(line),
        }
    }
    out
}
