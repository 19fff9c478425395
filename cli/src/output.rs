//! stdout holds the result and nothing else; stderr progress, logs and the error.

use crate::args::{Args, When};
use crate::config::env;
use crate::error::CliError;
use crate::escape::{self, shown};
use crate::pager::Pager;
use crate::report::{Report, Style};
use crate::screen::{Headway, Screen};
use ibgib::{Map, Value};
use ibgib_folder::Progress as FolderProgress;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// How results and progress are shown. Clones write to the same terminal.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    quiet: bool,
    colour: bool,
    screen: Screen,
    pager: Arc<Mutex<Pager>>,
}

impl Output {
    pub(crate) fn new(args: &Args) -> Self {
        let screen = Screen::new(!args.quiet);
        let colour = wants_colour(args.color, io::stdout().is_terminal());
        Self { json: args.json, quiet: args.quiet, colour: colour && !args.json, screen, pager: Arc::default() }
    }

    /// Whether results are coloured.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Results that come now go through a pager where they are longer than the terminal is high.
    pub(crate) fn paged(&self) {
        let size = terminal_size::terminal_size_of(io::stdout());
        if let (false, true, Some((columns, rows))) = (self.json, io::stdin().is_terminal(), size) {
            let waiting = Pager::wait(usize::from(columns.0), usize::from(rows.0));
            *self.pager.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
        }
    }

    /// One line of the result. A reader that has gone ends the command, as it does for every Unix tool.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut pager = self.pager.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.screen.without_line(|| pager.write(bytes));
        drop(pager);
        self.written(written)
    }

    fn written(&self, written: io::Result<()>) -> Result<(), CliError> {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // Leaving a pager before its end is no failure; it puts the terminal in order before it is gone.
                let _ = self.pager.lock().unwrap_or_else(PoisonError::into_inner).end();
                std::process::exit(0)
            }
            Err(error) => Err(CliError::io(Path::new("stdout"), &error)),
        }
    }

    /// Ends what is shown: a pager is waited for, the line of progress goes away.
    pub(crate) fn end(&self) -> Result<(), CliError> {
        self.screen.clear();
        let ended = self.pager.lock().unwrap_or_else(PoisonError::into_inner).end();
        self.written(ended)
    }

    /// The result; for people only where it is wanted.
    pub(crate) fn report(&self, report: &impl Report) -> Result<(), CliError> {
        if self.quiet && !self.json { Ok(()) } else { self.result(report) }
    }

    /// The result, which quiet does not hide. For people it ends with a newline, unless there is nothing to say.
    pub(crate) fn result(&self, report: &impl Report) -> Result<(), CliError> {
        self.screen.clear();
        if self.json {
            return self.line(&report.to_json().to_json());
        }
        let text = report.to_text();
        if text.is_empty() { Ok(()) } else { self.line(&self.paint(report, text.trim_end_matches('\n'))) }
    }

    /// The result byte for byte, for programs that read what people read.
    pub(crate) fn verbatim(&self, report: &impl Report) -> Result<(), CliError> {
        if self.json {
            return self.result(report);
        }
        self.bytes(self.paint(report, &report.to_text()).as_bytes())
    }

    /// One of many results, which quiet does not hide.
    pub(crate) fn item(&self, report: &impl Report) -> Result<(), CliError> {
        self.line(&self.one_of_many(report))
    }

    /// What a server says of itself. It serves on when nobody reads that any more: whoever started it may have wanted nothing
    /// but the first line.
    pub(crate) fn told(&self, report: &impl Report) -> Result<(), CliError> {
        let line = self.one_of_many(report);
        match self.screen.without_line(|| writeln!(io::stdout().lock(), "{line}")) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => self.written(written),
        }
    }

    fn one_of_many(&self, report: &impl Report) -> String {
        if self.json { report.to_json().to_json() } else { self.paint(report, &report.to_text()) }
    }

    /// The text, without what moves the cursor, with the colours that its report gives its lines.
    fn paint<R: Report>(&self, report: &R, text: &str) -> String {
        let text = escape::report(text);
        if !self.colour {
            return text.into_owned();
        }
        let line = |line: &str| {
            let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
            match report.style(body) {
                Style::Plain => line.to_owned(),
                style => format!("\x1b[{}m{body}\x1b[m{end}", style.code()),
            }
        };
        text.split_inclusive('\n').map(line).collect()
    }

    /// A remark for people, while the work goes on.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            self.screen.without_line(|| eprintln!("{}", escape::report(text)));
        }
    }

    /// A question to whoever sits at the terminal; the answer is typed behind it.
    pub(crate) fn ask(&self, question: &str) {
        self.screen.clear();
        let mut stderr = io::stderr().lock();
        // Whoever cannot see it cannot answer either, which means no.
        let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    }

    /// The terminal, for whoever shows progress or writes logs.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Ends stderr with the error.
    pub(crate) fn fail(&self, error: &CliError) -> ExitCode {
        // The error that is told is the one that matters.
        let _ = self.end();
        report(error, self.json || !io::stderr().is_terminal());
        error.exit.into()
    }
}

/// Whether a stream gets colours: as the command line says; else if it is a terminal that can, and nobody objects.
pub(crate) fn wants_colour(when: When, terminal: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && env("NO_COLOR").is_none() && env("TERM").is_none_or(|term| term != "dumb"),
    }
}

/// Shows what a folder is doing.
pub(crate) fn show(screen: &Screen, progress: &FolderProgress) {
    let (doing, done, of, bytes, bytes_of) = match *progress {
        FolderProgress::Read { done, of, bytes, bytes_of } => ("reading", done, of, bytes, bytes_of),
        FolderProgress::Written { done, of, bytes } => ("writing", done, of, bytes, 0),
        _ => return,
    };
    screen.show(&Headway { doing, things: "files", done: done as u64, of: of as u64, bytes, bytes_of });
}

/// Tells an error once: as text to people, as an object to programs.
fn report(error: &CliError, for_scripts: bool) {
    let mut stderr = io::stderr().lock();
    if !for_scripts {
        // Nobody is left to tell when stderr fails, too.
        let _ = writeln!(stderr, "ibgib: {}", shown(&error.message));
        if let Some(hint) = &error.hint {
            let _ = writeln!(stderr, "hint: {}", shown(hint));
        }
        return;
    }
    let mut body: Map =
        [("code", Value::from(error.code.as_str())), ("message", error.message.as_str().into())].into_iter().collect();
    body.insert("subject", error.subject.as_deref().map_or(Value::Null, Value::from));
    body.insert("hint", error.hint.as_deref().map_or(Value::Null, Value::from));
    let whole: Map = [("error", Value::Object(body))].into_iter().collect();
    let _ = writeln!(stderr, "{}", Value::Object(whole).to_json());
}

/// What clap has to say: help and version on stdout, mistakes on stderr.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let for_scripts = !io::stderr().is_terminal() || std::env::args().any(|a| a == "--json");
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        if !for_scripts {
            // Nobody is left to tell when stderr fails, too.
            let _ = error.print();
        }
        let failure = CliError::usage("a command is missing").hint("'ibgib --help' lists the commands");
        report(&failure, for_scripts);
        return failure.exit.into();
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let mut message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let mut rest = lines.filter(|l| !l.starts_with("For more information")).peekable();
    if message.ends_with(':') {
        while let Some(line) = rest.next_if(|l| !l.starts_with("Usage:")) {
            message = format!("{message} {line}");
        }
    }
    let failure = CliError::usage(message).hint(rest.collect::<Vec<_>>().join(" "));
    report(&failure, for_scripts);
    failure.exit.into()
}
