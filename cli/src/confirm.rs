//! Asking before something that cannot be taken back, or that does more than may have been meant.
//!
//! Only a person at a terminal is asked. Scripts say `--yes` beforehand; without it nothing is done, so that a script
//! neither hangs on a question nor destroys what nobody agreed to.

use crate::codes::Code;
use crate::error::CliError;
use crate::output::Output;
use std::io::{self, BufRead, IsTerminal, Write};

/// Goes on if `yes` was said, or if the person at the terminal says so now. `question` is a whole one, without a
/// newline: "Remove 12 files?"; `what` is it as a statement, for whoever cannot be asked: "12 files would be removed".
///
/// Call it before anything is done, and hold nothing that other commands wait for longer than needed.
pub(crate) fn confirm(out: &Output, yes: bool, question: &str, what: &str) -> Result<(), CliError> {
    let needed = |why: String| CliError::new(Code::ConfirmationNeeded, why);
    if yes {
        return Ok(());
    }
    if out.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(needed(format!("{what}; nothing was done")).hint("say --yes to do it without being asked"));
    }
    out.ask(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| CliError::io(std::path::Path::new("stdin"), &e))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => {
            if !answer.ends_with('\n') {
                // The input ended: what follows begins on a line of its own.
                let _ = writeln!(io::stderr());
            }
            Err(needed("not confirmed; nothing was done".to_owned()))
        }
    }
}
