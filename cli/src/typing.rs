//! Typing a code at a terminal, with TAB to complete it: the number first, then its words.

use crate::codes::Code;
use crate::error::CliError;
use crate::output::Output;
use ibgib_pairing::code::{WORDS, complete_words};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::io::{self, IsTerminal};
use std::path::Path;

const PROMPT: &str = "code: ";

/// Whether somebody types it who sees what he types.
pub(crate) fn is_typed(out: &Output) -> bool {
    !out.json && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Asks for the code, of which the number is perhaps one of these.
pub(crate) async fn typed(numbers: Vec<String>) -> Result<String, CliError> {
    let typing = tokio::task::spawn_blocking(move || read(numbers));
    typing.await.map_err(|e| CliError::new(Code::Io, e.to_string()))?
}

/// Asks for the code without help, where it may come from a program.
pub(crate) fn read_plainly(out: &Output) -> Result<String, CliError> {
    out.ask(PROMPT);
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|e| CliError::io(Path::new("stdin"), &e))?;
    Ok(line.trim().to_owned())
}

fn read(numbers: Vec<String>) -> Result<String, CliError> {
    let failed = |error: ReadlineError| match error {
        ReadlineError::Interrupted => CliError::interrupted(),
        ReadlineError::Eof => CliError::usage("no code was typed").hint("the other device shows it"),
        error => CliError::io(Path::new("the terminal"), &io::Error::other(error.to_string())),
    };
    let config = Config::builder().completion_type(CompletionType::List).build();
    let mut editor = Editor::with_history(config, MemHistory::default()).map_err(failed)?;
    editor.set_helper(Some(Typing { numbers }));
    Ok(editor.readline(PROMPT).map_err(failed)?.trim().to_owned())
}

/// What completes a code.
struct Typing {
    numbers: Vec<String>,
}

/// What was typed may become these.
fn completions(typed: &str, numbers: &[String]) -> Vec<String> {
    match typed.split_once('-') {
        None => numbers.iter().filter(|n| n.starts_with(typed)).map(|n| format!("{n}-")).collect(),
        Some((number, words)) => {
            complete_words(words, WORDS).into_iter().map(|words| format!("{number}-{words}")).collect()
        }
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, completions(line.get(..pos).unwrap_or_default(), &self.numbers)))
    }
}

impl Hinter for Typing {
    type Hint = String;
}

impl Highlighter for Typing {}
impl Validator for Typing {}
impl Helper for Typing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_comes_before_the_words() {
        let numbers = ["4", "41", "7"].map(str::to_owned);
        assert_eq!(completions("4", &numbers), ["4-", "41-"]);
        assert_eq!(completions("", &numbers).len(), 3);
        assert!(completions("9", &numbers).is_empty());
        assert_eq!(completions("9-crosso", &numbers), ["9-crossover-"]);
        assert_eq!(completions("7-crossover-cloc", &numbers), ["7-crossover-clockwork"]);
        assert!(completions("7-nonsense", &numbers).is_empty());
    }
}
