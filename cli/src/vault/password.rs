//! The root password: from a file, from stdin, or from whoever sits at the terminal. It is never stored.

use crate::error::CliError;
use crate::output::Output;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// A password is a line, not a file.
const BYTES_MAX: u64 = 64 * 1024;

/// How the terminal was before what is typed there was hidden, while it is.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// The password that is in force.
    Present,
    /// The first one of an account: asked for twice.
    First,
    /// One that is to take its place: asked for twice.
    New,
    /// The one that the recovery secret is under.
    Recovery,
    /// One for the recovery secret: asked for twice.
    FirstRecovery,
}

/// Reads a password. Two that come from stdin are its lines, in order.
pub(crate) fn read(out: &Output, file: Option<&Path>, prompt: Prompt) -> Result<Zeroizing<String>, CliError> {
    let password = match file {
        Some(file) if file == Path::new("-") => line(io::stdin().lock(), file)?,
        Some(file) => line(BufReader::new(File::open(file).map_err(|e| CliError::io(file, &e))?), file)?,
        None => ask(out, prompt)?,
    };
    if password.is_empty() { Err(CliError::usage("the password is empty")) } else { Ok(password) }
}

fn line(source: impl BufRead, name: &Path) -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    source.take(BYTES_MAX).read_line(&mut text).map_err(|e| CliError::io(name, &e))?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    Ok(text)
}

fn ask(out: &Output, prompt: Prompt) -> Result<Zeroizing<String>, CliError> {
    let (whose, option) = match prompt {
        Prompt::Present | Prompt::First => ("root password", "--password-file"),
        Prompt::New => ("root password", "--new-password-file"),
        Prompt::Recovery | Prompt::FirstRecovery => ("recovery secret's password", "--recovery-password-file"),
    };
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!("the {whose} is needed, and nobody can be asked for it"))
            .hint(format!("give it with {option} FILE, or {option} - and a line on stdin")));
    }
    match prompt {
        Prompt::Present => ask_once(out, "Password: "),
        Prompt::Recovery => ask_once(out, "Password of the recovery secret: "),
        Prompt::First | Prompt::New => ask_twice(out, "New password: "),
        Prompt::FirstRecovery => ask_twice(out, "A password for the recovery secret: "),
    }
}

fn ask_twice(out: &Output, question: &str) -> Result<Zeroizing<String>, CliError> {
    let first = ask_once(out, question)?;
    let second = ask_once(out, "The same again: ")?;
    if *first == *second { Ok(first) } else { Err(CliError::usage("the two are not the same")) }
}

/// Asks without showing what is typed.
fn ask_once(out: &Output, question: &str) -> Result<Zeroizing<String>, CliError> {
    let failed = |e: io::Error| CliError::io(Path::new("stdin"), &e);
    // Not through the process's own buffer of stdin, in which the password would stay.
    let terminal = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    hide().map_err(failed)?;
    // Whoever sees the question can type: it is hidden already.
    out.ask(question);
    let read = line(BufReader::new(&terminal), Path::new("stdin"));
    show_again().map_err(failed)?;
    read
}

fn hide() -> io::Result<()> {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let shown = tcgetattr(io::stdin())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    *before = Some(shown);
    Ok(tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?)
}

/// Shows what is typed again, if it is hidden now: a command that ends while it asks must not leave the terminal so.
pub(crate) fn show_again() -> io::Result<()> {
    let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
    tcsetattr(io::stdin(), OptionalActions::Now, &before)?;
    // The line break that was typed was not shown either.
    let _ = writeln!(io::stderr());
    Ok(())
}
