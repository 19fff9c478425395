//! Peers that are programs of Node.js: what they need is installed from its registry, and each is told what to do a line
//! at a time.

use crate::Res;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The programs, and what they need.
const FILES: [(&str, &str); 6] = [
    ("package.json", include_str!("../peers/package.json")),
    ("pouchdb-server.js", include_str!("../peers/pouchdb-server.js")),
    ("pouchdb-client.js", include_str!("../peers/pouchdb-client.js")),
    ("automerge-documents.mjs", include_str!("../peers/automerge-documents.mjs")),
    ("automerge-server.mjs", include_str!("../peers/automerge-server.mjs")),
    ("automerge-client.mjs", include_str!("../peers/automerge-client.mjs")),
];

/// The folder with the programs and what they need, beside this program.
fn folder() -> Res<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("peers"))
}

/// What PouchDB's programs need.
pub(crate) const POUCHDB: &[&str] = &["pouchdb", "express-pouchdb", "express"];
/// What automerge-repo's programs need.
pub(crate) const AUTOMERGE: &[&str] = &[
    "@automerge/automerge",
    "@automerge/automerge-repo",
    "@automerge/automerge-repo-network-websocket",
    "@automerge/automerge-repo-storage-nodefs",
    "ws",
];

/// Whether a peer can run: what it needs has been installed.
pub(crate) fn is_installed(needs: &[&str]) -> bool {
    folder().is_ok_and(|dir| needs.iter().all(|name| dir.join("node_modules").join(name).is_dir()))
}

/// Installs what the peers need from the registry.
pub(crate) fn install() -> Res<()> {
    let dir = folder()?;
    fs::create_dir_all(&dir)?;
    for (name, text) in FILES {
        fs::write(dir.join(name), text)?;
    }
    let installed = Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(&dir).status();
    match installed.map_err(|error| format!("npm cannot be started: {error}"))?.success() {
        true => Ok(()),
        false => Err("npm install failed".into()),
    }
}

/// A running program; it ends with this.
pub(crate) struct Program {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    /// Starts one of [`FILES`].
    pub(crate) fn start(name: &str, argument: &Path) -> Res<Self> {
        let dir = folder()?;
        for (name, text) in FILES {
            fs::write(dir.join(name), text)?;
        }
        let mut command = Command::new("node");
        command.args(["--max-old-space-size=8000", "--no-deprecation"]).arg(dir.join(name)).arg(argument);
        Self::of(command)
    }

    /// Starts a program that is told what to do in the same way.
    pub(crate) fn of(mut command: Command) -> Res<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("a program without input")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("a program without output")?);
        Ok(Self { child, stdin, stdout })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> Res<String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line)? {
            0 => Err("a peer's program ended".into()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// Has it do something, and waits until it is done.
    pub(crate) fn run(&mut self, command: &str) -> Res<()> {
        writeln!(self.stdin, "{command}")?;
        match self.line()?.as_str() {
            "ok" => Ok(()),
            error => Err(format!("{command:.60}: {error}").into()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
