//! Who may do what only one of many should.

use super::{Held, hold, same};
use crate::space::Space;
use std::sync::Arc;
use std::time::Duration;

/// Nothing that is checked here takes so long.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(20);
/// A store that is asked so often, with a pause each time, and still refuses will go on to refuse.
const ASKED_MAX: usize = 6_000;

pub(super) async fn a_lease_has_one_holder(space: Arc<dyn Space>) -> Held {
    let mut takers = Vec::new();
    for i in 0..8 {
        let space = Arc::clone(&space);
        takers.push(tokio::spawn(async move { space.lease("work", &format!("taker {i}"), LONG).await }));
    }
    let mut holders = Vec::new();
    for (i, taker) in takers.into_iter().enumerate() {
        if taker.await?? {
            holders.push(format!("taker {i}"));
        }
    }
    hold!(holders.len() == 1, "of eight who asked for one lease these got it: {holders:?}");
    let holder = &holders[0];
    hold!(space.lease("work", holder, LONG).await?, "a holder cannot renew his lease");
    hold!(!space.lease("work", "late", LONG).await?, "a second holder got a lease that was renewed");
    hold!(space.lease("other work", "late", LONG).await?, "a lease of another name was refused");
    space.give_up("work", "late").await?;
    space.give_up("unknown", "late").await?;
    hold!(!space.lease("work", "late", LONG).await?, "somebody else gave a lease up");
    space.give_up("work", holder).await?;
    hold!(space.lease("work", "late", LONG).await?, "a lease that was given up was refused");
    hold!(!space.lease("work", holder, LONG).await?, "whoever gave a lease up still has it");
    Ok(())
}

pub(super) async fn a_lease_runs_out(space: Arc<dyn Space>) -> Held {
    let revision = space.revision().await?;
    hold!(space.lease("work", "first", LONG).await?, "the first who asked for a lease was refused");
    // Who renews it for a shorter time has it for a shorter time.
    hold!(space.lease("work", "first", SHORT).await?, "a holder cannot renew his lease");
    let mut asked = 0;
    while !space.lease("work", "second", LONG).await? {
        asked += 1;
        hold!(asked < ASKED_MAX, "a lease never ran out");
        tokio::time::sleep(SHORT / 4).await;
    }
    hold!(!space.lease("work", "first", LONG).await?, "whoever let a lease run out still has it");
    same!(space.revision().await?, revision, "the revision after leases");
    Ok(())
}
