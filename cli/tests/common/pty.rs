//! A command on a real pseudo-terminal, and what its user sees there.

use crate::common::World;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};

/// A terminal of some width with a command on it.
pub(crate) struct Terminal {
    child: Child,
    device: File,
    screen: vt100::Parser,
    /// All that was written to it, as it came.
    pub(crate) written: String,
}

/// How a command on a terminal ended, and what is to be seen then.
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    /// Lines of the screen, without the empty ones at its end.
    pub(crate) lines: Vec<String>,
    pub(crate) written: String,
}

impl World {
    /// Runs a command to its end with all three streams on a terminal.
    pub(crate) fn on_terminal(&self, columns: u16, args: &[&str]) -> Seen {
        self.terminal(columns, args, |_| {}).wait()
    }

    /// Starts a command with all three streams on a terminal.
    pub(crate) fn terminal(&self, columns: u16, args: &[&str], with: impl FnOnce(&mut Command)) -> Terminal {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&device).unwrap();
        unlockpt(&device).unwrap();
        tcsetwinsize(&device, Winsize { ws_row: 200, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&device, Vec::new()).unwrap();
        let end = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = self.command(args);
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("PAGER");
        command.stdin(end.try_clone().unwrap()).stdout(end.try_clone().unwrap()).stderr(end);
        with(&mut command);
        let child = command.spawn().unwrap();
        // The command's own ends are the only ones from here on, so that reading ends when it does.
        drop(command);
        Terminal {
            child,
            device: File::from(device),
            screen: vt100::Parser::new(200, columns, 0),
            written: String::new(),
        }
    }
}

impl Terminal {
    /// Reads once; false when nobody writes to it any more.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // Linux tells of a terminal without a writer by an error.
        let Ok(n @ 1..) = self.device.read(&mut bytes) else { return false };
        self.screen.process(&bytes[..n]);
        self.written.push_str(&String::from_utf8_lossy(&bytes[..n]));
        true
    }

    /// Waits until `text` was written.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) {
        while !self.written.contains(text) {
            assert!(self.read(), "{text:?} does not come: {:?}", self.written);
        }
    }

    /// Whether what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.device).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.device.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until it ends.
    pub(crate) fn wait(mut self) -> Seen {
        while self.read() {}
        let code = self.child.wait().unwrap().code();
        let mut lines: Vec<String> = self.screen.screen().contents().lines().map(|l| l.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Seen { code, lines, written: self.written }
    }
}
