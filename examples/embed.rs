//! Two peers in one process, a to-do document that both edit, and a sync that merges it.
//!
//! `cargo run --example embed`

use ibgib_peer::prelude::*;
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn moment() -> Moment {
    Moment { now_ms: now_ms(), random: random() }
}

/// Ticks or adds an item: the next frame of the document, in the given space.
async fn set(space: &Arc<dyn Space>, tjp: &Addr, item: &str, state: &str) -> Result<()> {
    let tip = space.tip(tjp).await?.ok_or("the document is not here")?.addr;
    let now = space.get(&[tip]).await?.remove(0).ok_or("its newest frame is not here")?;
    let items: Map = [(item, state)].into_iter().collect();
    let patch: Map = [("items", items)].into_iter().collect();
    let opts = Mut8Opts { patch: Some(patch), dna: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
    admit(&**space, &transform::mut8(&now, &opts, &moment())?.nodes()).await?;
    Ok(())
}

async fn items(space: &Arc<dyn Space>, tjp: &Addr) -> Result<String> {
    let tip = space.tip(tjp).await?.ok_or("the document is not here")?.addr;
    let now = space.get(&[tip]).await?.remove(0).ok_or("its newest frame is not here")?;
    Ok(now.datum("items").map(Value::to_json).unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<()> {
    // Two peers, each with a space of its own; a server would stand behind a WebSocketRemote instead.
    let alice: Arc<dyn Space> = Arc::new(MemorySpace::new("alice"));
    let bob: Arc<dyn Space> = Arc::new(MemorySpace::new("bob"));
    let remote = Arc::new(Innerspace::new(Host::new(Arc::clone(&bob), HostOptions::default())));

    // Alice's identity. Keep the secret where secrets are kept; the engine only asks for it.
    let secret = Secret::new(random::<32>().to_vec());
    let identity = create_identity(&*alice, &secret).await?;
    let source = SecretSource::new(move || Ok(secret.clone()));
    let identity = Some(SenderIdentity { tjp: identity.tjp().clone(), secret: source });
    let options = SyncOptions { identity, ..SyncOptions::default() };
    let coordinator = SyncSagaCoordinator::new(Arc::clone(&alice));

    // A document: the first frame of a timeline, then an edit.
    let tjp = Some(TjpOpts { uuid: true, timestamp: true });
    let first = ForkOpts { dest_ib: Some("todo".into()), tjp, dna: true, n_counter: true, ..ForkOpts::default() };
    let first = transform::fork(&IbGib::primitive("todo")?, &first, &moment())?;
    admit(&*alice, &first.nodes()).await?;
    let todo = first.frame.addr().clone();
    set(&alice, &todo, "milk", "open").await?;
    coordinator.sync(remote.clone(), options.clone()).done().await?;

    // Both edit it without knowing of each other; one sync, and both have both edits.
    set(&alice, &todo, "bread", "open").await?;
    set(&bob, &todo, "milk", "done").await?;
    let synced = coordinator.sync(remote, options).done().await?;

    println!("{} turns, {} merge", synced.summary.turns, synced.summary.merges);
    println!("alice: {}\nbob:   {}", items(&alice, &todo).await?, items(&bob, &todo).await?);
    assert_eq!(items(&alice, &todo).await?, items(&bob, &todo).await?);
    Ok(())
}
