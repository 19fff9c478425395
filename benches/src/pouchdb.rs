//! PouchDB, both sides over LevelDB, through its HTTP protocol, which is CouchDB's. It sends the newest revision of a
//! document and the names of the older ones: it has no history. A conflict is its program's to merge.

use crate::Res;
use crate::measure::{self, Memory};
use crate::node::Program;
use crate::peer::{Cost, Peer};
use crate::proxy::Proxy;
use crate::workload::{self, FIRST, Revision, Shape, What};
use ibgib::{Map, Value, object};
use std::path::Path;
use std::time::Instant;

pub(crate) struct PouchDb;

/// Documents written at once.
const BATCH: usize = 5_000;

struct Running {
    client: Program,
    server: Program,
    proxy: Proxy,
    /// The server without the proxy.
    direct: u16,
}

impl Running {
    fn at(port: u16) -> String {
        format!("http://127.0.0.1:{port}/documents")
    }

    fn put(&mut self, documents: impl Iterator<Item = Revision>, there: bool) -> Res<()> {
        let documents: Vec<Value> = documents.map(|revision| revision.into_value("_id")).collect();
        for batch in documents.chunks(BATCH) {
            let mut command: Map = [("put", Value::Array(batch.to_vec()))].into_iter().collect();
            if there {
                command.insert("at", Self::at(self.direct));
            }
            self.client.run(&Value::from(command).to_json())?;
        }
        Ok(())
    }

    fn measure(&mut self, what: &'static str, dir: &Path) -> Res<Cost> {
        let pids = [self.client.id(), self.server.id()];
        let (wire, spent) = (self.proxy.counts(), [measure::cpu(pids[0])?, measure::cpu(pids[1])?]);
        let memory = pids.map(Memory::watch);
        let started = Instant::now();
        self.client.run(&object([(what, Self::at(self.proxy.port).into())]).to_json())?;
        let wall = started.elapsed().as_secs_f64();
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
}

impl Peer for PouchDb {
    fn name(&self) -> &'static str {
        "pouchdb"
    }

    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>> {
        let (documents, revisions) = match shape.what {
            // One document with many revisions would be sent as one revision; a folder it has none of.
            What::Documents(1, _) | What::Goes(_) | What::Text(..) | What::Files(..) => return Ok(Vec::new()),
            What::Documents(documents, revisions) => (documents, revisions),
        };
        std::fs::create_dir(dir.join("server"))?;
        let mut server = Program::start("pouchdb-server.js", &dir.join("server"))?;
        let direct = server.line()?.parse()?;
        let client = Program::start("pouchdb-client.js", &dir.join("client"))?;
        let mut run = Running { client, server, proxy: Proxy::to(direct)?, direct };
        for revision in 0..revisions {
            run.put((0..documents).map(|document| Revision::of(document, revision)), false)?;
        }
        let mut out = vec![(shape.name, run.measure("push", dir)?)];
        if shape.name == FIRST {
            out.push(("W2", run.measure("push", dir)?));
            run.put(workload::changed(documents).map(|document| Revision::of(document, revisions)), false)?;
            out.push(("W3", run.measure("push", dir)?));
            let last = |document| Revision::of(document, revisions - 1);
            run.put(workload::diverged(documents).map(|document| last(document).here()), false)?;
            run.put(workload::diverged(documents).map(|document| last(document).there()), true)?;
            out.push(("W5", run.measure("merge", dir)?));
        }
        Ok(out)
    }
}
