//! stdout holds the result and nothing else; stderr progress, logs and the error.

use crate::args::Args;
use crate::error::CliError;
use crate::escape::{self, shown};
use crate::report::Report;
use ibgib::{Map, Value};
use ibgib_folder::Progress as FolderProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How results and progress are shown.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(args: &Args) -> Self {
        Self { json: args.json, quiet: args.quiet }
    }

    /// One line of the result. A reader that has gone ends the command, as it does for every Unix tool.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(CliError::io(std::path::Path::new("stdout"), &error)),
        }
    }

    /// The result; for people only where it is wanted.
    pub(crate) fn report(&self, report: &impl Report) -> Result<(), CliError> {
        if self.json {
            return self.line(&report.to_json().to_json());
        }
        let text = report.to_text();
        if self.quiet || text.is_empty() { Ok(()) } else { self.line(&escape::report(text.trim_end_matches('\n'))) }
    }

    /// One of many results, which quiet does not hide.
    pub(crate) fn item(&self, report: &impl Report) -> Result<(), CliError> {
        if self.json { self.line(&report.to_json().to_json()) } else { self.line(&escape::report(&report.to_text())) }
    }

    /// A remark for people, while the work goes on.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            eprintln!("{}", escape::report(text));
        }
    }

    /// A question to whoever sits at the terminal; the answer is typed behind it.
    pub(crate) fn ask(&self, question: &str) {
        let mut stderr = io::stderr().lock();
        // Whoever cannot see it cannot answer either, which means no.
        let _ = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    }

    /// A progress bar, on a terminal only.
    pub(crate) fn bar(&self) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Ends stderr with the error.
    pub(crate) fn fail(&self, error: &CliError) -> ExitCode {
        report(error, self.json || !io::stderr().is_terminal());
        error.exit.into()
    }
}

/// Shows what a folder is doing.
pub(crate) fn show(bar: &ProgressBar, progress: &FolderProgress) {
    let (what, done, of) = match progress {
        FolderProgress::Read { done, of } => ("reading files", *done, *of),
        FolderProgress::Written { done, of } => ("writing files", *done, *of),
        _ => return,
    };
    if bar.length() != Some(of as u64)
        && let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} ({eta})")
    {
        bar.set_style(style);
        bar.set_length(of as u64);
    }
    bar.set_message(what);
    bar.set_position(done as u64);
}

fn report(error: &CliError, for_scripts: bool) {
    let mut stderr = io::stderr().lock();
    // Nobody is left to tell when stderr fails, too.
    let _ = writeln!(stderr, "ibgib: {}", shown(&error.message));
    if let Some(hint) = &error.hint {
        let _ = writeln!(stderr, "hint: {}", shown(hint));
    }
    if for_scripts {
        let mut body: Map = [("code", Value::from(error.code.as_str())), ("message", error.message.as_str().into())]
            .into_iter()
            .collect();
        body.insert("subject", error.subject.as_deref().map_or(Value::Null, Value::from));
        body.insert("hint", error.hint.as_deref().map_or(Value::Null, Value::from));
        let whole: Map = [("error", Value::Object(body))].into_iter().collect();
        let _ = writeln!(stderr, "{}", Value::Object(whole).to_json());
    }
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
        // Nobody is left to tell when stderr fails, too.
        let _ = error.print();
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
