//! Long results on a terminal go through a pager: `IBGIB_PAGER`, `PAGER`, or `less -FRX`.

use crate::config::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What is used where nobody chose: ends at once if all fits, shows colours, leaves the text on the screen.
const USUAL: &str = "less -FRX";
/// Its options, for whoever chose it without any.
const LESS: &str = "FRX";

/// Where results go.
#[derive(Debug, Default)]
pub(crate) enum Pager {
    /// Straight to stdout.
    #[default]
    None,
    /// Kept until it is clear whether they fit on the screen.
    Waiting { text: Vec<u8>, columns: usize, rows: usize },
    /// Through a process that the user leaves when they have seen enough.
    Running { child: Child, to: ChildStdin },
}

impl Pager {
    /// Pages what comes now, if the user wants that.
    pub(crate) fn wait(columns: usize, rows: usize) -> Self {
        match command() {
            Some(_) => Self::Waiting { text: Vec::new(), columns, rows },
            None => Self::None,
        }
    }

    /// Takes a part of the result.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None => straight(bytes),
            Self::Running { to, .. } => to.write_all(bytes),
            Self::Waiting { text, columns, rows } => {
                text.extend_from_slice(bytes);
                // The prompt of the shell wants a row, too.
                if count_rows(text, *columns) < *rows {
                    return Ok(());
                }
                let text = std::mem::take(text);
                *self = start().unwrap_or_default();
                self.write(&text)
            }
        }
    }

    /// The result is complete: shows what fits, waits until the user has seen the rest.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match std::mem::take(self) {
            Self::None => Ok(()),
            Self::Waiting { text, .. } => straight(&text),
            Self::Running { mut child, to } => {
                drop(to);
                child.wait().map(drop)
            }
        }
    }
}

fn straight(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn command() -> Option<String> {
    let chosen = ["IBGIB_PAGER", "PAGER"].into_iter().find_map(|name| std::env::var(name).ok());
    let chosen = match chosen {
        // Set and empty, or `cat`, means that nobody wants one.
        Some(chosen) => (!matches!(chosen.trim(), "" | "cat")).then_some(chosen)?,
        None => USUAL.to_owned(),
    };
    let program = chosen.split_whitespace().next()?;
    // A shell that does not find it would swallow the result.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = match program.contains('/') {
        true => Path::new(program).is_file(),
        false => std::env::split_paths(&paths).any(|dir| dir.join(program).is_file()),
    };
    there.then_some(chosen)
}

fn start() -> Option<Pager> {
    let mut command_line = Command::new("sh");
    command_line.args(["-c", &command()?]).stdin(Stdio::piped());
    if env("LESS").is_none() {
        command_line.env("LESS", LESS);
    }
    // Without a shell the result is shown as it is.
    let mut child = command_line.spawn().ok()?;
    let to = child.stdin.take()?;
    Some(Pager::Running { child, to })
}

/// Rows that a text takes, colours not counted exactly: a text that nearly fits may be paged.
fn count_rows(text: &[u8], columns: usize) -> usize {
    text.split(|b| *b == b'\n').map(|line| (line.len() / columns.max(1)) + 1).sum::<usize>().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_with_those_that_wrap() {
        for (text, rows) in [("", 0), ("a\n", 1), ("a\nb\n", 2), ("0123456789abc\n", 2)] {
            assert_eq!(count_rows(text.as_bytes(), 10), rows, "{text:?}");
        }
    }
}
