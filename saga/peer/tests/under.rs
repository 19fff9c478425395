//! What it costs to find out what is under a timeline.

use ibgib::transform::{self, Moment, Rel8Opts, linked};
use ibgib_peer::prelude::*;
use ibgib_peer::tips_under;
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use ibgib_spaces::settle::admit;
use ibgib_spaces::{Commit, MemorySpace};
use std::sync::Arc;

/// A list that leads to so many notes, in a space of its own, and the list's address.
async fn list_of(notes: usize) -> (FaultSpace, Addr) {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
    let list = Document::create(&space, "list", Map::new()).await.unwrap();
    let mut targets = Vec::new();
    for _ in 0..notes {
        targets.push(Document::create(&space, "note", Map::new()).await.unwrap().address().clone());
    }
    let tip = space.node(list.address()).await.unwrap().unwrap();
    let add = vec![("note".to_owned(), targets)];
    let opts = Rel8Opts { add, dna: true, n_counter: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
    let moment = Moment { now_ms: now_ms(), random: random() };
    admit(&*space, &transform::rel8(&tip, &opts, &moment).unwrap().nodes()).await.unwrap();
    (FaultSpace::new(space, FaultPlan::default()), list.address().clone())
}

/// How often a space is asked until it is known what is under a timeline.
async fn questions(space: &FaultSpace, root: &Addr, under: usize) -> u64 {
    let before = space.calls(Op::Read);
    assert_eq!(tips_under(space, root).await.unwrap().len(), under);
    space.calls(Op::Read) - before
}

/// A folder's files lead nowhere, and each may be as large as its limit.
#[tokio::test]
async fn timelines_that_lead_nowhere_are_not_read() {
    let (few, some) = (list_of(2).await, list_of(200).await);
    // Each process begins with nothing in its memory. The first one of a space finds out what was there before.
    questions(&few.0, &few.1, 3).await;
    questions(&some.0, &some.1, 201).await;
    assert_eq!(questions(&some.0, &some.1, 201).await, questions(&few.0, &few.1, 3).await);
    // A space that cannot be written to, and that nobody looked through, is read.
    let (space, root) = list_of(200).await;
    let records = space.records("leads").await.unwrap().into_iter().map(|(key, _)| (key, None)).collect();
    space.commit(Commit { records, ..Commit::default() }).await.unwrap();
    let read_only = FaultSpace::new(Arc::clone(space.inner()), FaultPlan::default().after(Op::Commit, 0));
    assert_eq!(tips_under(&read_only, &root).await.unwrap().len(), 201);
}
