//! `ibgib-bench keep`: a device as an embedding program is one, which keeps its connection to a server: the client of the
//! workloads W2-open and W3-open. It is a process of its own, so that it is seen what it takes, and is told what to do a
//! line at a time ([`Program`](crate::node::Program)).

use crate::Res;
use crate::engine::{document_of, revised};
use crate::workload::{self, Revision};
use ibgib::{IbGib, Verified};
use ibgib_peer::SyncConnection;
use ibgib_peer::entropy::random_hex;
use ibgib_peer::prelude::*;
use ibgib_peer::saga::SyncRequest;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::runtime::Runtime;

/// Which store it has, with which server it syncs, and how many documents with how many revisions are in the store.
pub(crate) struct Options {
    store: PathBuf,
    url: String,
    documents: usize,
    revisions: usize,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (store, url) = (arguments.next()?.into(), arguments.next()?);
        let mut number = || arguments.next()?.parse().ok();
        Some(Self { store, url, documents: number()?, revisions: number()? })
    }
}

/// The device of this store, which is synced once before it says that it is there.
pub(crate) fn command(store: &Path, url: &str, documents: usize, revisions: usize) -> Res<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("keep").arg(store).args([url, &documents.to_string(), &revisions.to_string()]);
    Ok(command)
}

/// What can be asked of an open connection to do, once everything of both sides, as `ibgib sync --all` does.
pub(crate) fn everything() -> SyncRequest {
    SyncRequest {
        saga_id: random_hex(),
        scope: Scope::All,
        direction: Direction::Both,
        skip_when_equal: true,
        dry_run: false,
        moves_max: None,
    }
}

/// Somebody new.
pub(crate) async fn identity(space: &dyn Space) -> Res<SenderIdentity> {
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(space, &secret).await?.tjp().clone();
    Ok(SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) })
}

/// Does what it is told: `sync`, after which it says the bytes that told who is who, or `change` some of the documents.
pub(crate) fn run(options: &Options) -> Res<()> {
    let runtime = Runtime::new()?;
    let space = durable::open(&options.store)?;
    let me = runtime.block_on(identity(&*space))?;
    let remote = Arc::new(WebSocketRemote::new(&options.url, Limits::default().message_bytes_max)?);
    let mut connection = SyncConnection::new(remote, Limits::default());
    let mut out = std::io::stdout();
    let mut sync = || runtime.block_on(connection.sync(&space, Some(me.clone()), everything()));
    sync()?;
    writeln!(out, "ok")?;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "sync" => {
                let identity = sync()?.identity_bytes;
                writeln!(out, "ok\n{identity}")?;
            }
            "change" => {
                runtime.block_on(admit(&*space, &changed(options)?))?;
                writeln!(out, "ok")?;
            }
            other => return Err(format!("{other:?} is not known").into()),
        }
    }
    Ok(())
}

/// One more revision of each document that one side changes.
fn changed(options: &Options) -> Res<Vec<Verified<IbGib>>> {
    let mut nodes = Vec::new();
    for document in workload::changed(options.documents) {
        let tip = document_of(document, options.revisions)?.pop().ok_or("a document without a frame")?;
        nodes.extend(revised(&tip, document, Revision::of(document, options.revisions))?);
    }
    Ok(nodes)
}
