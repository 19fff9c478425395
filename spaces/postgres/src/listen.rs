//! How a server hears of what other servers wrote: one connection that listens, whoever waits here.
//!
//! A notification is a hint, which may be lost with the connection; the truth is the revision in the space's row. It is
//! read when the connection is made, after every hint, and now and then without one.

use crate::address::Address;
use crate::error::fail;
use crate::kept::Kept;
use futures_util::future::poll_fn;
use ibgib_spaces::SpaceError;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

/// Without a hint the revision is read so often.
const UNASKED: Duration = Duration::from_secs(5);
/// How long the database may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// After a failure, the connection is made again after so long.
const AGAIN: Duration = Duration::from_millis(250);

/// Listens for ever.
pub(crate) async fn listen(address: Address, revision: watch::Sender<u64>, kept: Arc<Kept>) {
    loop {
        // The database may be another one now, a standby that lacks what was committed last.
        kept.forget();
        let Err(error) = listen_once(&address, &revision).await;
        tracing::debug!(%error, "the connection that listens for changes ended");
        sleep(AGAIN).await;
    }
}

async fn listen_once(address: &Address, revision: &watch::Sender<u64>) -> Result<Infallible, SpaceError> {
    let (client, mut connection) = address.config.connect(address.tls.clone()).await.map_err(fail)?;
    // Hints that come while the revision is read are one hint.
    let (hint, mut hinted) = watch::channel(());
    let pumped = async move {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(_))) => drop(hint.send(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(fail(error)),
                None => return Err(SpaceError::Unavailable("the database closed the connection".into())),
            }
        }
    };
    let asked = async {
        client.batch_execute("LISTEN ibgib").await.map_err(fail)?;
        loop {
            // One that went away without a word would not be noticed for long.
            let read = timeout(ANSWER_MAX, read(&client)).await;
            tell(revision, read.map_err(|_| SpaceError::Unavailable("the database does not answer".into()))??);
            if let Ok(Err(_)) = timeout(UNASKED, hinted.changed()).await {
                return Err(SpaceError::Closed);
            }
        }
    };
    tokio::select! {
        ended = pumped => ended,
        ended = asked => ended,
    }
}

async fn read(client: &Client) -> Result<u64, SpaceError> {
    let row = client.query_one("SELECT revision FROM ibgib.space", &[]).await.map_err(fail)?;
    Ok(row.try_get::<_, i64>(0).map_err(fail)? as u64)
}

/// Tells a revision to whoever waits. Whoever committed later may have told his earlier.
pub(crate) fn tell(revision: &watch::Sender<u64>, now: u64) {
    revision.send_if_modified(|told| {
        let newer = now > *told;
        *told = now.max(*told);
        newer
    });
}
