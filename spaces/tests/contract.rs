//! Both spaces keep every promise of the contract, one test each, and the durable one keeps what it has.

use ibgib_spaces::{Commit, DurableSpace, MemorySpace, Space, contract, each_promise};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

macro_rules! memory {
    ($($promise:ident,)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                contract::$promise(Arc::new(MemorySpace::new("fresh"))).await.unwrap();
            })*
        }
    };
}

macro_rules! durable {
    ($($promise:ident,)*) => {
        mod durable {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                contract::$promise(Arc::new(DurableSpace::create(dir.path()).unwrap())).await.unwrap();
            })*
        }
    };
}

macro_rules! names {
    ($($promise:ident,)*) => {
        const NAMES: &[&str] = &[$(stringify!($promise)),*];
    };
}

each_promise!(memory);
each_promise!(durable);
each_promise!(names);

#[test]
fn every_promise_has_a_test() {
    assert_eq!(NAMES, contract::PROMISES);
}

/// What a future that does not have to wait answers.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// Commits may tell their revisions in another order than they happened in.
#[test]
fn who_committed_is_told_of_it_at_once_however_many_commit() {
    let space = MemorySpace::new("told");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..300_000 {
                    let revision = at_once(space.commit(Commit::default())).expect("it waits for nobody").unwrap();
                    let told = at_once(space.changed(revision - 1)).expect("the revision went back").unwrap();
                    assert!(told >= revision);
                }
            });
        }
    });
}
