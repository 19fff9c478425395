//! automerge-repo, both sides over its adapter for files, through its WebSocket. Documents have their whole history, and
//! what diverged merges by itself. A sync is done when both sides have the same heads of every document.

use crate::Res;
use crate::measure::{self, Memory};
use crate::node::Program;
use crate::peer::{Cost, Peer};
use crate::proxy::Proxy;
use crate::workload::{self, FIRST, Revision, Shape, What};
use ibgib::{Value, object};
use std::path::Path;
use std::time::Instant;

pub(crate) struct AutomergeRepo;

/// Revisions made at once.
const BATCH: usize = 1_000;
/// With more documents than this it is not measured: for each that its server does not know it looks through the names of
/// all files that it wrote, and after a minute's wait for them it ends.
const DOCUMENTS_MAX: usize = 1_000;
/// With more revisions of one it is not measured, either: making them takes longer than all the rest.
const REVISIONS_MAX: usize = 5_000;

struct Running {
    client: Program,
    server: Program,
    proxy: Proxy,
}

impl Running {
    fn start(dir: &Path) -> Res<Self> {
        let mut server = Program::start("automerge-server.mjs", &dir.join("server"))?;
        let proxy = Proxy::to(server.line()?.parse()?)?;
        Ok(Self { client: Program::start("automerge-client.mjs", &dir.join("client"))?, server, proxy })
    }

    fn put(program: &mut Program, revisions: impl Iterator<Item = Revision>) -> Res<()> {
        let revisions: Vec<Value> = revisions.map(|revision| revision.into_value("id")).collect();
        for batch in revisions.chunks(BATCH) {
            program.run(&object([("put", Value::Array(batch.to_vec()))]).to_json())?;
        }
        Ok(())
    }

    fn here(&mut self, revisions: impl Iterator<Item = Revision>) -> Res<()> {
        Self::put(&mut self.client, revisions)
    }

    fn there(&mut self, revisions: impl Iterator<Item = Revision>) -> Res<()> {
        Self::put(&mut self.server, revisions)
    }

    fn sync(&mut self, dir: &Path) -> Res<Cost> {
        let pids = [self.client.id(), self.server.id()];
        let (wire, spent) = (self.proxy.counts(), [measure::cpu(pids[0])?, measure::cpu(pids[1])?]);
        let memory = pids.map(Memory::watch);
        let started = Instant::now();
        self.client.run(&object([("sync", format!("ws://127.0.0.1:{}", self.proxy.port).into())]).to_json())?;
        let wall = started.elapsed().as_secs_f64();
        // It writes to its files in between and a moment later: that is no part of how long it took, but of what it took.
        let flush = object([("flush", true.into())]).to_json();
        self.client.run(&flush)?;
        self.server.run(&flush)?;
        let now = self.proxy.counts();
        Ok(Cost {
            wall,
            cpu: [measure::cpu(pids[0])? - spent[0], measure::cpu(pids[1])? - spent[1]],
            memory: memory.map(Memory::most),
            wire: [now[0] - wire[0], now[1] - wire[1]],
            disk: [measure::disk(&dir.join("client"))?, measure::disk(&dir.join("server"))?],
            ..Cost::default()
        })
    }

    /// One document that goes on on one side, and then on both.
    fn goes(&mut self, shape: &Shape, dir: &Path, revisions: usize) -> Res<Vec<(&'static str, Cost)>> {
        self.here((0..revisions).map(|revision| Revision::of(0, revision)))?;
        self.sync(dir)?;
        let next = Revision::of(0, revisions);
        self.here([next.clone()].into_iter())?;
        let one = self.sync(dir)?;
        self.here([next.clone().here()].into_iter())?;
        self.there([next.there()].into_iter())?;
        Ok(vec![(shape.name, one), (workload::merged(shape.name), self.sync(dir)?)])
    }
}

impl Peer for AutomergeRepo {
    fn name(&self) -> &'static str {
        "automerge-repo"
    }

    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>> {
        let (documents, revisions) = match shape.what {
            What::Text(..) | What::Files(..) => return Ok(Vec::new()),
            What::Documents(documents, _) if documents > DOCUMENTS_MAX => return Ok(Vec::new()),
            What::Goes(revisions) if revisions > REVISIONS_MAX => return Ok(Vec::new()),
            What::Goes(revisions) => return Running::start(dir)?.goes(shape, dir, revisions),
            What::Documents(documents, revisions) => (documents, revisions),
        };
        let mut run = Running::start(dir)?;
        for revision in 0..revisions {
            run.here((0..documents).map(|document| Revision::of(document, revision)))?;
        }
        let mut out = vec![(shape.name, run.sync(dir)?)];
        if shape.name == FIRST {
            out.push(("W2", run.sync(dir)?));
            run.here(workload::changed(documents).map(|document| Revision::of(document, revisions)))?;
            out.push(("W3", run.sync(dir)?));
            let last = |document| Revision::of(document, revisions - 1);
            run.here(workload::diverged(documents).map(|document| last(document).here()))?;
            run.there(workload::diverged(documents).map(|document| last(document).there()))?;
            out.push(("W5", run.sync(dir)?));
        }
        Ok(out)
    }
}
