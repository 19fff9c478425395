//! Databases of PostgreSQL, for tests that run beside `tools/postgres`.
#![allow(clippy::disallowed_methods, reason = "where the server is, only who started it knows")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Makes an empty database on the server that IBGIB_POSTGRES names (docs/testing.md); answers its URL.
pub(crate) fn database(name: &str) -> String {
    let url = std::env::var("IBGIB_POSTGRES")
        .expect("this test needs PostgreSQL: tools/postgres cargo test -p ibgib-cli --test postgres");
    let name = format!("{name}_{}", process::id());
    sql(&url, &format!("CREATE DATABASE {name}"));
    format!("{}/{name}", url.rsplit_once('/').expect("the URL names a database").0)
}

/// What a database answers, a row a line.
pub(crate) fn sql(url: &str, statement: &str) -> String {
    let asked = Command::new("psql").args(["-qAt", "-v", "ON_ERROR_STOP=1", url, "-c", statement]).output().unwrap();
    assert!(asked.status.success(), "{statement}: {}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).unwrap().trim().to_owned()
}

/// A PostgreSQL of a test's own, which may be killed: it is started again then, unless it has a standby.
pub(crate) struct Own {
    child: Child,
    pub(crate) url: String,
    data: PathBuf,
}

impl Own {
    pub(crate) fn start() -> Self {
        Self::start_as(&[])
    }

    /// With a standby, which has whatever was acknowledged; the URL names both.
    pub(crate) fn with_standby() -> Self {
        Self::start_as(&["--standby"])
    }

    fn start_as(options: &[&str]) -> Self {
        let tell = "echo $IBGIB_POSTGRES; echo $IBGIB_POSTGRES_DATA; exec cat";
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/postgres"));
        command.args(options).args(["bash", "-c", tell]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let [url, data] = [(); 2].map(|()| {
            let mut line = String::new();
            printed.read_line(&mut line).unwrap();
            line.trim().to_owned()
        });
        Self { child, url, data: data.into() }
    }

    /// Kills it; the standby, if there is one, goes on.
    pub(crate) fn kill(&self) {
        let pids = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pids.lines().next().unwrap()]).status().unwrap().success());
    }

    /// Lets the standby take writes.
    pub(crate) fn promote(&self) {
        let (head, options) = self.url.split_once('?').unwrap();
        let (hosts, database) = head.rsplit_once('/').unwrap();
        let (user, standby) = (hosts.rsplit_once('@').unwrap().0, hosts.rsplit_once(',').unwrap().1);
        assert_eq!(options, "target_session_attrs=read-write");
        assert_eq!(sql(&format!("{user}@{standby}/{database}"), "SELECT pg_promote()"), "t");
    }

    /// Waits until it answers.
    pub(crate) fn is_back(&self) {
        let started = Instant::now();
        loop {
            let asked = Command::new("psql").args(["-q", &self.url, "-c", "SELECT"]).output().unwrap();
            if asked.status.success() {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(180), "{}", String::from_utf8_lossy(&asked.stderr));
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // With its input it ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
