//! rsync: a folder to its daemon. It compares times and sizes, and keeps no history.

use crate::Res;
use crate::daemon::Daemon;
use crate::measure::{self, Memory};
use crate::peer::{Cost, Peer};
use crate::proxy::Proxy;
use crate::workload::{self, Shape, What};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) struct Rsync;

impl Peer for Rsync {
    fn name(&self) -> &'static str {
        "rsync"
    }

    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>> {
        let What::Files(files, bytes) = shape.what else { return Ok(Vec::new()) };
        let (client, server) = (dir.join("client"), dir.join("server"));
        workload::write_files(&client, files, bytes)?;
        fs::create_dir(&server)?;
        let daemon = daemon(dir, &server)?;
        let proxy = Proxy::to(daemon.1)?;
        let push = || {
            let (wire, served, spent) = (proxy.counts(), measure::cpu(daemon.0.id())?, measure::children_cpu()?);
            let memory = Memory::watch(daemon.0.id());
            let started = Instant::now();
            let mut push = Command::new("rsync");
            push.args(["--archive", "--compress", "--quiet", "--delete"]).arg(client.join(""));
            let mut push = push.arg(format!("rsync://127.0.0.1:{}/folder/", proxy.port)).spawn()?;
            let client_memory = Memory::watch(push.id());
            let ended = push.wait()?;
            let wall = started.elapsed().as_secs_f64();
            if !ended.success() {
                return Err("rsync failed".into());
            }
            // The daemon counts a child's time once it has waited for it, which it does a moment later.
            std::thread::sleep(Duration::from_millis(200));
            let now = proxy.counts();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Cost {
                wall,
                cpu: [measure::children_cpu()? - spent, measure::cpu(daemon.0.id())? - served],
                memory: [client_memory.most(), memory.most()],
                wire: [now[0] - wire[0], now[1] - wire[1]],
                // It keeps nothing beside the folder; at the server the folder is all there is.
                disk: [0, measure::disk(&server)?],
                ..Cost::default()
            })
        };
        let first = push()?;
        workload::change_files(&client, files)?;
        Ok(vec![(shape.name, first), ("W7-20", push()?)])
    }
}

/// rsync's daemon for a folder.
fn daemon(dir: &Path, folder: &Path) -> Res<Daemon> {
    let config = dir.join("rsyncd.conf");
    // Root's rights it would give up, and could not write then.
    let root = if fs::metadata(dir)?.uid() == 0 { "uid = root\ngid = root\n" } else { "" };
    fs::write(&config, format!("use chroot = no\n{root}[folder]\nread only = no\npath = {}\n", folder.display()))?;
    let mut daemon = Command::new("rsync");
    daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1"]).arg(format!("--config={}", config.display()));
    Daemon::start(daemon, |daemon, port| daemon.arg(format!("--port={port}")))
}
