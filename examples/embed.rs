//! Two peers in one process, a to-do document that both edit, and a sync that merges it.
//!
//! `cargo run --example embed`

use ibgib_peer::prelude::*;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Two peers, each with a space of its own; a server would stand behind a WebSocketRemote instead.
    let alice: Arc<dyn Space> = Arc::new(MemorySpace::new("alice"));
    let bob: Arc<dyn Space> = Arc::new(MemorySpace::new("bob"));
    let remote = Arc::new(Innerspace::new(Host::new(Arc::clone(&bob), HostOptions::default())));

    // Alice's identity. Keep the secret where secrets are kept; the engine only asks for it.
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*alice, &secret).await?.tjp().clone();
    let me = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };

    let todo = Document::create(&alice, "todo", Map::new()).await?;
    todo.set("/items/milk", "open").await?;
    sync(&alice, remote.clone(), &me).await?;

    // Both edit it without knowing of each other; one sync, and both have both edits.
    let bobs = Document::open(&bob, todo.address()).await?;
    todo.set("/items/bread", "open").await?;
    bobs.set("/items/milk", "done").await?;
    let synced = sync(&alice, remote, &me).await?;

    println!("{} turns, {} merge", synced.summary.turns, synced.summary.merges);
    println!("alice: {}\nbob:   {}", Value::from(todo.data().await?), Value::from(bobs.data().await?));
    assert_eq!(todo.data().await?, bobs.data().await?);
    Ok(())
}
