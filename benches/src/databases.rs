//! Databases for spaces.

use crate::Res;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A PostgreSQL of this program's own, which writes to the disk as one that matters does; it ends with this.
pub(crate) struct Own(Child);

impl Own {
    /// It, and its URL.
    pub(crate) fn start() -> Res<(Self, String)> {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/postgres"));
        command.args(["bash", "-c", "echo $IBGIB_POSTGRES; exec cat"]).env("IBGIB_POSTGRES_FSYNC", "on");
        let mut own = Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut url = String::new();
        BufReader::new(own.0.stdout.take().ok_or("no stdout")?).read_line(&mut url)?;
        if url.trim().is_empty() {
            Err("no database could be started".into())
        } else {
            Ok((own, url.trim().to_owned()))
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // With its input it ends.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a database answers to a statement.
fn sql(url: &str, statement: &str) -> Res<String> {
    let asked = Command::new("psql").args(["-qAt", "-v", "ON_ERROR_STOP=1", url, "-c", statement]).output()?;
    match asked.status.success() {
        true => Ok(String::from_utf8(asked.stdout)?.trim().to_owned()),
        false => Err(format!("{statement}: {}", String::from_utf8_lossy(&asked.stderr)).into()),
    }
}

/// Makes an empty database on the server of this URL; its own URL.
pub(crate) fn database(url: &str) -> Res<String> {
    static NTH: AtomicUsize = AtomicUsize::new(0);
    let name = format!("bench_{}_{}", std::process::id(), NTH.fetch_add(1, Ordering::Relaxed));
    sql(url, &format!("CREATE DATABASE {name}"))?;
    Ok(format!("{}/{name}", url.rsplit_once('/').ok_or("the URL names no database")?.0))
}

/// Bytes that a database takes.
pub(crate) fn size(url: &str) -> Res<u64> {
    Ok(sql(url, "SELECT pg_database_size(current_database())")?.parse()?)
}
