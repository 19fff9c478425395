//! Stating who may do what in the space of a server.

use crate::grant::Statement;
use crate::identity::{self, frames_after};
use crate::remote::Remote;
use crate::session::{SenderIdentity, deliver_identity, refresh_identity};
use crate::signing::{Act, Signing};
use crate::websocket::WebSocketRemote;
use ibgib::{IbGib, Value, Verified};
use ibgib_saga::SagaError;
use ibgib_spaces::Space;
use std::sync::Arc;

/// States something about the space of a server, in a frame that the identity signs, and answers what the server tells of
/// its grants then. The frame is durable here before the server sees it; if it cannot be brought now, the next delivery of
/// the identity brings it.
///
/// # Errors
/// `not_granted`; what else the server refuses; it is not reachable; the identity cannot sign, or the space fails.
pub async fn state_grant(
    space: &Arc<dyn Space>,
    remote: &WebSocketRemote,
    sender: &SenderIdentity,
    statement: &Statement,
) -> Result<Vec<Value>, SagaError> {
    let frames = stated(space, remote, sender, statement).await?;
    remote.post_grants(&sender.tjp, &frames).await
}

/// Signs a frame with a statement, durable here; answers what the remote lacks of the identity then.
pub(crate) async fn stated(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    sender: &SenderIdentity,
    statement: &Statement,
) -> Result<Vec<Verified<IbGib>>, SagaError> {
    let audience = remote.audience().await?;
    deliver_identity(space, remote, &sender.tjp).await?;
    let chain = refresh_identity(space, remote, &sender.tjp).await?;
    let act = Act::State(Statement::claim(&audience), statement.to_details());
    let secret = sender.secret.read()?;
    let signed = Signing::lasting().sign(&**space, &chain, &secret, act, Vec::new()).await?;
    drop(secret);
    let (known, frame) = (chain.tip().addr().clone(), signed.frame.clone());
    identity::store(&**space, signed).await?;
    frames_after(&**space, &frame, &known).await
}
