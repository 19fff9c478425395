//! All spaces keep every promise of the contract, one test each, and the durable ones keep what they have.

use ibgib_spaces::{Commit, DurableSpace, MemorySpace, SegmentSpace, Space, SpaceError, Store, contract, each_promise};
use std::path::Path;
use std::sync::{Arc, Barrier};
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

macro_rules! segments {
    ($($promise:ident,)*) => {
        mod segments {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                contract::$promise(Arc::new(SegmentSpace::create(dir.path()).unwrap())).await.unwrap();
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
each_promise!(segments);
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

/// Two processes, say, that are started on one new directory: an acknowledged commit must not go into a file that the
/// other one replaced.
fn one_of_those_who_come_at_once_has_it<S: Send + std::fmt::Debug>(
    open_or_create: fn(&Path) -> Result<S, SpaceError>,
    files: &[&str],
) {
    for _ in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let start = Barrier::new(4);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let come = || {
                start.wait();
                open_or_create(dir.path())
            };
            let all: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let (ours, others): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!((ours.len(), others.len()), (1, 3));
        assert!(others.iter().all(|other| matches!(other, Err(SpaceError::Locked(_)))), "{others:?}");
        drop(ours);
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, files);
    }
}

#[test]
fn of_those_who_make_one_store_at_once_one_has_it_and_the_others_are_locked_out() {
    one_of_those_who_come_at_once_has_it(DurableSpace::open_or_create, &[ibgib_spaces::FILE]);
}

#[test]
fn of_those_who_make_one_log_at_once_one_has_it_and_the_others_are_locked_out() {
    one_of_those_who_come_at_once_has_it(SegmentSpace::open_or_create, &["index.redb", "log"]);
}
