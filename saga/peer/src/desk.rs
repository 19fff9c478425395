//! Desks do on a space what the machines ask for. The sender's is here, with what both need; the receiver's is a job of
//! the host.

mod sender;

pub(crate) use sender::{MENDER, SenderDesk, add_transcript};

use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::{SagaError, SpaceFailure};
use ibgib_spaces::store::{Nodes, Tips, nodes_within};
use ibgib_spaces::{Space, SpaceError, View, Walked};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Timeline and tip that any address of a timeline belongs to; a constant answers itself twice.
pub(crate) async fn resolve(view: &dyn View, addr: &Addr) -> Result<Option<(Addr, Addr)>, SpaceError> {
    let one = std::slice::from_ref(addr);
    if let Some(tip) = view.tips(Tips::Of(one)).await?.pop() {
        return Ok(Some((tip.tjp, tip.addr)));
    }
    let Some(node) = view.nodes(Nodes::Committed(one)).await?.pop().flatten() else { return Ok(None) };
    match node.tjp() {
        None => Ok(Some((addr.clone(), addr.clone()))),
        Some(tjp) => Ok(view.tips(Tips::Of(&[tjp])).await?.pop().map(|tip| (tip.tjp, tip.addr))),
    }
}

/// Why nodes that are all here are not taken all the same.
pub(crate) fn stuck(addr: &Addr, from: &Addr) -> String {
    format!("{from} relates to {addr}, which does not travel with data: nobody else could take it from here")
}

/// Why nodes are not taken that stand on what was dropped.
pub(crate) fn dropped(addr: &Addr) -> String {
    format!("it stands on {addr}, which the owner of the space has dropped")
}

/// Nodes that came, on their way into the space: meanwhile the next ones are unpacked and checked. Whatever else is asked
/// of the space has to wait until these are there.
#[derive(Debug, Default)]
pub(crate) struct Staging(Option<JoinHandle<Result<(), SpaceError>>>);

impl Staging {
    /// Stages nodes for an owner, once those before are there.
    pub(crate) async fn begin(
        &mut self,
        space: Arc<dyn Space>,
        owner: &str,
        nodes: Vec<Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        self.done().await?;
        let owner = owner.to_owned();
        self.0 = Some(tokio::spawn(async move { space.stage(&owner, &nodes).await }));
        Ok(())
    }

    /// Waits until all of them are there. Whoever waits no longer can do so again.
    pub(crate) async fn done(&mut self) -> Result<(), SagaError> {
        let Some(task) = &mut self.0 else { return Ok(()) };
        let done = task.await;
        self.0 = None;
        done.map_err(|error| SagaError::defect(error.to_string()))?.map_err(space_error)
    }
}

/// A prefix of `addrs`, at least one node and about `bytes_max` bytes; those in `walked` are taken from there.
pub(crate) async fn load(
    space: &dyn Space,
    addrs: &[Addr],
    bytes_max: usize,
    walked: &mut Walked,
) -> Result<Vec<Verified<IbGib>>, SagaError> {
    let mut out = Vec::new();
    let mut bytes = 0;
    let moment = space.view().await.map_err(space_error)?;
    let mut rest = addrs.iter();
    while bytes < bytes_max
        && let Some(addr) = rest.as_slice().first()
    {
        if let Some(node) = walked.take(addr) {
            bytes += node.json().len();
            out.push(node);
            rest.next();
            continue;
        }
        let lacking: Vec<Addr> = rest.as_slice().iter().filter(|addr| !walked.has(addr)).cloned().collect();
        let found = nodes_within(&*moment, &lacking, bytes_max - bytes).await.map_err(space_error)?;
        for (addr, node) in lacking.iter().zip(found) {
            let missing = || SagaError::OwnSpace {
                failure: SpaceFailure::Missing,
                message: format!("{addr} is not in the space"),
            };
            walked.put(node.ok_or_else(missing)?);
        }
    }
    Ok(out)
}
