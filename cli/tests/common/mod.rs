//! The command as its users run it: real processes, real files, real sockets.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::disallowed_methods, reason = "the environment chooses how long and with which seed it runs")]

pub(crate) mod events;
pub(crate) mod postgres;

use ibgib::{Mode, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use tempfile::TempDir;

/// A directory with devices and stores in it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
}

/// How a command ended.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.expect(0)
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        Value::parse(self.stdout.trim_end(), Mode::Strict).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// JSON Lines on stdout.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| Value::parse(l, Mode::Strict).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// The error that stderr ends with.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        let value = Value::parse(last, Mode::Strict).unwrap_or_else(|e| panic!("{e}: {}", self.stderr));
        for member in ["code", "message", "subject", "hint"] {
            assert!(value.get("error").is_some_and(|e| e.get(member).is_some()), "{member} is missing: {last}");
        }
        value.get("error").unwrap().clone()
    }

    /// Fails with this exit code and error code.
    #[track_caller]
    pub(crate) fn fails(self, exit: i32, code: &str) -> Self {
        let done = self.expect(exit);
        assert_eq!(text(&done.error(), "code"), code, "{}", done.stderr);
        done
    }
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("{key} in {value}"))
}

pub(crate) fn number(value: &Value, path: &[&str]) -> u64 {
    let found = path.iter().try_fold(value, |v, key| v.get(key)).and_then(Value::as_u53);
    found.unwrap_or_else(|| panic!("{path:?} in {value}"))
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibgib"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IBGIB_")) {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", self.path("xdg"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::from(self.command(args).output().unwrap())
    }

    /// Runs with `input` on stdin.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Done {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that ends early closes its stdin.
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        Done::from(output)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// A server in `server` that nobody owns yet, and the token by which its owner comes.
    pub(crate) fn serve_for_owner(&self) -> (Server, String) {
        let args = ["serve", "--space", "server", "--listen", "127.0.0.1:0"];
        let (server, mut printed) = Server::start_and_read(self, &args);
        let mut line = String::new();
        printed.read_line(&mut line).unwrap();
        (server, line.trim().strip_prefix("owner token ").unwrap().to_owned())
    }

    pub(crate) fn serve(&self, space: &str) -> Server {
        Server::start(self, &["serve", "--space", space, "--policy", "open", "--listen", "127.0.0.1:0"])
    }

    /// A server with its developer tools, and the address of their page.
    pub(crate) fn serve_tools(&self, listen: &str, policy: &[&str]) -> (Server, String) {
        let args = [&["serve", "--dev-tools", "--space", "server", "--listen", listen, "--policy"], policy].concat();
        let (server, mut printed) = Server::start_and_read(self, &args);
        // After the lines of its doors.
        let mut line = String::new();
        while !line.starts_with("dev-tools ") {
            line.clear();
            assert_ne!(printed.read_line(&mut line).unwrap(), 0, "no page");
        }
        (server, line.trim().replacen("dev-tools ", "", 1))
    }

    /// A device `alice` with one file, synced with a server.
    pub(crate) fn with_alice(&self) -> Server {
        let server = self.serve("server");
        self.write("alice/notes.txt", "one\n\ntwo\n\nthree\n");
        self.run(&["init", "alice", "--remote", &server.url]).ok();
        self.run(&["-C", "alice", "sync"]).ok();
        server
    }

    pub(crate) fn tips(&self, device: &str) -> String {
        self.run(&["-C", device, "tips", "--json"]).ok().stdout
    }

    #[track_caller]
    pub(crate) fn fsck(&self, store: &[&str]) -> Value {
        self.run(&[store, &["fsck", "--json"]].concat()).ok().json()
    }
}

/// A server process; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(world: &World, args: &[&str]) -> Self {
        Self::start_and_read(world, args).0
    }

    /// Starts one and answers what else it prints.
    pub(crate) fn start_and_read(world: &World, args: &[&str]) -> (Self, BufReader<ChildStdout>) {
        let log = fs::File::options().create(true).append(true).open(world.path("server.log")).unwrap();
        let mut command = world.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        printed.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        (Self { child, url }, printed)
    }

    /// One that was started elsewhere, and will listen at this address.
    pub(crate) fn running(child: Child, url: String) -> Self {
        Self { child, url }
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Asks it to end and answers its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file of a device, with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|n| n == ".ibgib") {
                continue;
            }
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                out.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    out
}

/// Damages a closed store: what it keeps of a node becomes what `change` makes of it, or goes.
pub(crate) fn damage(store: &Path, addr: &str, change: impl FnOnce(String) -> Option<String>) {
    ibgib_spaces::fault::damage(store, &addr.parse().unwrap(), change).unwrap();
}

/// The file of a store that holds its nodes.
pub(crate) const LOG: &str = "log/00000000.log";

/// How often a random test does what it does: as the variable says, else `or` times.
pub(crate) fn times(variable: &str, or: usize) -> usize {
    std::env::var(variable).map_or(or, |told| told.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}

/// Random numbers that a seed repeats.
pub(crate) struct Random(u64);

impl Random {
    /// From `IBGIB_SEED`: a number, or `random` for one of the system's; else always the same. Printed, so that a
    /// failing run can be repeated.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("IBGIB_SEED") {
            Err(_) => 7,
            Ok(told) if told == "random" => u64::from_le_bytes(ibgib_peer::entropy::random()),
            Ok(told) => told.parse().expect("IBGIB_SEED is a number or 'random'"),
        };
        println!("IBGIB_SEED={seed}");
        // No difference to a neighbour may be lost, and it must not be zero.
        Self(seed.wrapping_mul(2) | 1)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The token in the address of a developer tools page.
pub(crate) fn token(page: &str) -> &str {
    page.split_once("#token=").unwrap().1
}

/// One request, byte by byte as told, since browsers do not let pages set `Host` and `Origin`: status, and all of the
/// answer.
pub(crate) fn http(server: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    http_body(server, method, path, headers, "")
}

/// The same with a body.
pub(crate) fn http_body(server: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let address = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all((request + "\r\n" + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    (status, answer)
}

/// The body of what a `GET` answers.
pub(crate) fn get(server: &str, path: &str) -> String {
    let (status, answer) = http(server, "GET", path, &[]);
    assert_eq!(status, 200, "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
