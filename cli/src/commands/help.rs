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
    out.bytes(&text)?;
    Ok(Exit::Done)
}
