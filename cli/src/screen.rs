//! The terminal: a line of progress at its end, which goes away for everything else that is written.
//!
//! Whoever writes to a terminal does so through [`Screen::without_line`], or what is written would end up behind a
//! half-drawn line. The line is never longer than the terminal is wide: one that wraps cannot be taken away again.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Drawn no more often than people can read.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Of a terminal that does not tell.
const COLUMNS: usize = 80;
/// Back to the start of the line, and empty it.
const CLEAR: &[u8] = b"\r\x1b[K";
/// Rates and what is left are guesses before this time.
const GUESS_AFTER: Duration = Duration::from_millis(500);

/// How far a piece of work has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headway {
    /// What is being done: "reading".
    pub(crate) doing: &'static str,
    /// What is counted: "files".
    pub(crate) things: &'static str,
    pub(crate) done: u64,
    /// 0 while nobody knows.
    pub(crate) of: u64,
    pub(crate) bytes: u64,
    /// 0 while nobody knows.
    pub(crate) bytes_of: u64,
}

/// The line of progress; its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Screen(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    /// False where nobody sees it.
    wanted: bool,
    /// Something of it stands on the terminal.
    stands: bool,
    doing: &'static str,
    began: Instant,
    drawn: Option<Instant>,
}

impl Screen {
    /// A screen that shows progress if it is `wanted` and stderr is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let wanted = wanted && io::stderr().is_terminal();
        Self(Arc::new(Mutex::new(Line { wanted, stands: false, doing: "", began: Instant::now(), drawn: None })))
    }

    /// Shows how far the work has come.
    pub(crate) fn show(&self, headway: &Headway) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fresh = line.doing != headway.doing;
        if !line.wanted || (!fresh && line.drawn.is_some_and(|then| now - then < DRAW_EVERY)) {
            return;
        }
        if fresh {
            (line.doing, line.began) = (headway.doing, now);
        }
        let columns = terminal_size::terminal_size_of(io::stderr()).map_or(COLUMNS, |(width, _)| usize::from(width.0));
        let text = told(headway, now - line.began, columns.saturating_sub(1));
        // Progress that cannot be shown is no failure.
        let _ = io::stderr().lock().write_all(&[CLEAR, text.as_bytes()].concat());
        (line.stands, line.drawn) = (true, Some(now));
    }

    /// Writes where the line stood. It comes back when the work goes on.
    pub(crate) fn without_line<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.take_away();
        write()
    }

    /// Takes the line away: the work is over.
    pub(crate) fn clear(&self) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.take_away();
        line.doing = "";
    }
}

impl Line {
    fn take_away(&mut self) {
        if std::mem::take(&mut self.stands) {
            let _ = io::stderr().lock().write_all(CLEAR);
            self.drawn = None;
        }
    }
}

/// Log lines, which the line of progress makes room for.
pub(crate) struct Logs(pub(crate) Screen);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.without_line(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The line: as much of it as fits, the more important first.
fn told(headway: &Headway, took: Duration, columns: usize) -> String {
    let Headway { doing, things, done, of, bytes, bytes_of } = *headway;
    let mut parts = vec![match (done, of) {
        (0, 0) => doing.to_owned(),
        (done, 0) => format!("{doing} {done} {things}"),
        (done, of) => format!("{doing} {done}/{of} {things}"),
    }];
    let seconds = took.as_secs_f64();
    if bytes > 0 {
        parts.push(match bytes_of {
            0 => amount(bytes),
            of => format!("{}/{}", amount(bytes), amount(of)),
        });
        if took >= GUESS_AFTER {
            parts.push(format!("{}/s", amount((bytes as f64 / seconds) as u64)));
        }
    }
    let (part, whole) = if bytes_of > 0 { (bytes, bytes_of) } else { (done, of) };
    if part > 0 && part < whole && took >= GUESS_AFTER {
        let left = seconds * (whole - part) as f64 / part as f64;
        parts.push(format!("{} left", span(left as u64)));
    }
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { "  " };
        if line.len() + gap.len() + part.len() > columns {
            break;
        }
        line.push_str(gap);
        line.push_str(&part);
    }
    line
}

/// Bytes as people read them.
pub(crate) fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_known_and_never_wraps() {
        let headway =
            Headway { doing: "reading", things: "files", done: 12, of: 340, bytes: 13 << 20, bytes_of: 52 << 20 };
        let after = |seconds, columns| told(&headway, Duration::from_secs(seconds), columns);
        assert_eq!(after(4, 79), "reading 12/340 files  13.0 MiB/52.0 MiB  3.2 MiB/s  12 s left");
        assert_eq!(after(400, 79), "reading 12/340 files  13.0 MiB/52.0 MiB  33.3 KiB/s  20 min left");
        assert_eq!(after(0, 79), "reading 12/340 files  13.0 MiB/52.0 MiB");
        assert_eq!(after(4, 49), "reading 12/340 files  13.0 MiB/52.0 MiB");
        assert_eq!(after(4, 5), "");
        let sending = Headway { doing: "sending", things: "nodes", done: 5, of: 10, bytes: 2048, bytes_of: 0 };
        assert_eq!(told(&sending, Duration::from_secs(2), 79), "sending 5/10 nodes  2.0 KiB  1.0 KiB/s  2 s left");
        let waiting = Headway { doing: "connecting", ..Headway::default() };
        assert_eq!(told(&waiting, Duration::from_secs(2), 79), "connecting");
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")]
        {
            assert_eq!(amount(bytes), text);
        }
    }
}
