//! What waits for a thread. However many ask, one thread writes: it takes what waits, and then what came meanwhile, until
//! nothing waits any more. A few threads read in the same way ([`Readers`]). Whoever asked waits for the answer without a
//! thread.

use super::Opened;
use super::core::{Core, lock};
use crate::error::SpaceError;
use crate::store::{Batch, Written};
use ibgib::{IbGib, Verified};
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// One thing to do. It is done also when nobody waits for it any more.
pub(super) enum Job {
    Write(Batch, Asker<Written>),
    Stage(String, Vec<Verified<IbGib>>, Asker<()>),
    Unstage(String, Asker<()>),
}

/// Who asked, and of which store, which stays open until it is done.
pub(super) struct Asker<T> {
    opened: Arc<Opened>,
    answer: oneshot::Sender<Result<T, SpaceError>>,
}

impl Asker<()> {
    fn answer(self, work: impl FnOnce(&Core) -> Result<(), SpaceError>) {
        let done = self.opened.writing(work);
        // Whoever has the answer may close the store, and open it again.
        drop(self.opened);
        // Whoever does not wait any more does not want to know.
        let _ = self.answer.send(done);
    }
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Whether somebody does what waits, and will see what is added.
    is_drained: bool,
}

/// The duty to do what waits. It is done when this is dropped, so that nobody waits in vain: on the thread that it was given
/// to, or where a runtime ends that has not begun with it.
struct Duty(Arc<Queue>);

impl Drop for Duty {
    fn drop(&mut self) {
        while let Some(jobs) = self.0.next() {
            // What fails is the error of those who asked for it; this is so that nothing at all keeps the others waiting.
            let _ = catch_unwind(AssertUnwindSafe(|| do_all(jobs)));
        }
    }
}

impl Queue {
    /// Has a job of a store done in its turn, and waits for it.
    pub(super) async fn ask<T>(
        self: &Arc<Self>,
        opened: &Arc<Opened>,
        job: impl FnOnce(Asker<T>) -> Job,
    ) -> Result<T, SpaceError> {
        let (answer, answered) = oneshot::channel();
        let is_drained = {
            let mut waiting = lock(&self.waiting);
            waiting.jobs.push(job(Asker { opened: Arc::clone(opened), answer }));
            std::mem::replace(&mut waiting.is_drained, true)
        };
        if !is_drained {
            let duty = Duty(Arc::clone(self));
            tokio::task::spawn_blocking(move || drop(duty));
        }
        answered.await.unwrap_or(Err(SpaceError::Closed))
    }

    /// What waits now; `None` when that is nothing, and whoever comes next has to see to it.
    fn next(&self) -> Option<Vec<Job>> {
        let mut waiting = lock(&self.waiting);
        let jobs = std::mem::take(&mut waiting.jobs);
        waiting.is_drained = !jobs.is_empty();
        waiting.is_drained.then_some(jobs)
    }
}

/// Does these: what is staged one after the other, and then all batches with one wait for the disk. Only what concerns the
/// same owner stays in its order.
fn do_all(jobs: Vec<Job>) {
    let (mut batches, mut owners) = (Vec::new(), HashSet::new());
    for job in jobs {
        if let Job::Stage(owner, ..) | Job::Unstage(owner, _) = &job
            && owners.contains(owner)
        {
            write_all(std::mem::take(&mut batches));
            owners.clear();
        }
        match job {
            Job::Write(batch, asker) => {
                let named = [batch.publish().map(|(owner, _)| owner), batch.unstage()];
                owners.extend(named.into_iter().flatten().map(str::to_owned));
                batches.push((batch, asker));
            }
            Job::Stage(owner, nodes, asker) => asker.answer(|core| core.stage(&owner, &nodes)),
            Job::Unstage(owner, asker) => asker.answer(|core| core.unstage(&owner)),
        }
    }
    write_all(batches);
}

/// Writes these together; a failure is told to each who asked.
fn write_all(batches: Vec<(Batch, Asker<Written>)>) {
    let (batches, askers): (Vec<Batch>, Vec<_>) = batches.into_iter().unzip();
    let Some(opened) = askers.first().map(|asker| Arc::clone(&asker.opened)) else { return };
    let written = opened.writing(|core| core.write(&batches));
    if let Ok(written) = &written {
        opened.tell(written);
    }
    drop(opened);
    // None of them has the store in use when the first is told, who may close it.
    let answers: Vec<_> = askers.into_iter().map(|asker| asker.answer).collect();
    match written {
        Ok(written) => answers.into_iter().zip(written).for_each(|(answer, written)| drop(answer.send(Ok(written)))),
        Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
    }
}

/// Reading that takes a while, done by a few threads. Those who wait hold none of them, even if nobody polls them, as they
/// would hold a semaphore's permit: so they cannot wait for each other.
pub(super) struct Readers {
    waiting: Mutex<Reads>,
    threads_max: usize,
}

#[derive(Default)]
struct Reads {
    work: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
}

/// The duty to read what waits, as [`Duty`].
struct ReadingDuty(Arc<Readers>);

impl Drop for ReadingDuty {
    fn drop(&mut self) {
        while let Some(work) = self.0.next() {
            // Whoever asked for it sees that no answer comes.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}

impl Readers {
    pub(super) fn new(threads_max: usize) -> Self {
        Self { waiting: Mutex::default(), threads_max }
    }

    /// Reads, when a thread is free for it.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<T, SpaceError> + Send + 'static,
    ) -> Result<T, SpaceError> {
        let (answer, answered) = oneshot::channel();
        let is_one_more = {
            let mut waiting = lock(&self.waiting);
            // What the work has of the store is gone when it is answered.
            waiting.work.push_back(Box::new(move || drop(answer.send(work()))));
            let is_one_more = waiting.threads < self.threads_max;
            waiting.threads += usize::from(is_one_more);
            is_one_more
        };
        if is_one_more {
            let duty = ReadingDuty(Arc::clone(self));
            tokio::task::spawn_blocking(move || drop(duty));
        }
        answered.await.unwrap_or(Err(SpaceError::Closed))
    }

    fn next(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let mut waiting = lock(&self.waiting);
        let work = waiting.work.pop_front();
        waiting.threads -= usize::from(work.is_none());
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Commit;
    use crate::segments::SegmentSpace;
    use crate::space::Space;
    use crate::store::Store;
    use futures_util::future::join_all;
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use std::time::Duration;
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::timeout;

    /// So long nothing takes that comes to an end at all.
    const LONG: Duration = Duration::from_secs(60);
    const ASKING: usize = 400;

    fn runtime(blocking_threads: usize) -> Runtime {
        Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(blocking_threads)
            .enable_all()
            .build()
            .unwrap()
    }

    fn space() -> (tempfile::TempDir, SegmentSpace) {
        let dir = tempfile::tempdir().unwrap();
        let space = SegmentSpace::create(&dir.path().join("space")).unwrap();
        (dir, space)
    }

    fn leaf(nth: usize) -> Verified<IbGib> {
        IbGib { ib: format!("leaf {nth}"), ..IbGib::default() }.seal().unwrap()
    }

    async fn ask(space: &SegmentSpace, nth: usize) {
        let owner = format!("owner {nth}");
        if nth.is_multiple_of(2) {
            space.commit(Commit { nodes: vec![leaf(nth)], ..Commit::default() }).await.unwrap();
        } else {
            space.stage(&owner, &[leaf(nth)]).await.unwrap();
        }
    }

    /// Goes on with it until it has to wait.
    fn begin(asked: &mut Pin<Box<impl Future>>) {
        assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    /// Lets nobody write until what it answers is dropped.
    fn nobody_writes(space: &SegmentSpace) -> mpsc::Sender<()> {
        let ((end, ended), (begin, begun)) = (mpsc::channel(), mpsc::channel());
        let opened = Arc::clone(&space.opened);
        std::thread::spawn(move || {
            let writing = opened.writing.write().unwrap();
            begin.send(()).unwrap();
            let _: Result<(), _> = ended.recv();
            drop(writing);
        });
        begun.recv().unwrap();
        end
    }

    #[test]
    fn however_many_write_threads_are_left_for_others() {
        let ((_dir, space), runtime) = (space(), runtime(2));
        let end = nobody_writes(&space);
        runtime.block_on(async {
            let mut asked: Vec<_> = (0..ASKING).map(|nth| Box::pin(ask(&space, nth))).collect();
            asked.iter_mut().for_each(begin);
            // Some go away, the first too, who saw to it that somebody does what waits.
            let mut nth = 0..;
            asked.retain(|_| nth.next().is_some_and(|nth: usize| !nth.is_multiple_of(5)));
            let other = timeout(Duration::from_secs(10), tokio::task::spawn_blocking(|| 7)).await;
            assert_eq!(other.expect("those who write take all the threads").unwrap(), 7);
            drop(end);
            timeout(LONG, join_all(asked)).await.expect("somebody waits for ever");
            // All of it is there, also what nobody waited for.
            assert_eq!(space.revision().await, Ok(ASKING as u64 / 2));
            for nth in 0..ASKING {
                let staged = space.staged_addrs(&format!("owner {nth}")).await.unwrap();
                let committed = space.node(leaf(nth).addr()).await.unwrap();
                match nth.is_multiple_of(2) {
                    true => assert_eq!((committed, staged.len()), (Some(leaf(nth)), 0)),
                    false => assert_eq!((committed, staged), (None, vec![leaf(nth).addr().clone()])),
                }
            }
        });
    }

    #[test]
    fn what_concerns_one_owner_stays_in_its_order() {
        let ((_dir, space), runtime) = (space(), runtime(2));
        let end = nobody_writes(&space);
        runtime.block_on(async {
            let publish =
                |nth| Commit { publish: Some(("o".into(), vec![leaf(nth).addr().clone()])), ..Commit::default() };
            let unstage = || Commit { unstage: Some("o".into()), ..Commit::default() };
            drop(begun(space.commit(Commit::default())));
            drop(begun(space.stage("o", &[leaf(1), leaf(2)])));
            drop(begun(space.commit(unstage())));
            drop(begun(space.stage("o", &[leaf(3), leaf(4)])));
            drop(begun(space.unstage("o")));
            let last = begun(async { space.stage("o", &[leaf(5), leaf(6)]).await });
            drop(end);
            timeout(LONG, last).await.expect("it waits for ever").unwrap();
            space.commit(publish(5)).await.unwrap();
            assert_eq!(space.staged_addrs("o").await, Ok(vec![leaf(6).addr().clone()]));
            assert_eq!(space.count().await, Ok(1));
        });
    }

    fn begun<F: Future>(asked: F) -> Pin<Box<F>> {
        let mut asked = Box::pin(asked);
        begin(&mut asked);
        asked
    }

    #[test]
    fn whoever_was_answered_may_close_the_store_and_open_it_again() {
        let ((dir, mut space), runtime) = (space(), runtime(8));
        for round in 0..100 {
            runtime.block_on(async { join_all((0..3).map(|nth| ask(&space, round * 3 + nth))).await });
            drop(space);
            space = SegmentSpace::open(&dir.path().join("space")).unwrap();
        }
    }

    #[test]
    fn a_runtime_that_ends_leaves_nothing_undone() {
        let ((_dir, space), ending, other) = (space(), runtime(1), runtime(1));
        let (end, ended) = mpsc::channel::<()>();
        ending.spawn_blocking(move || ended.recv());
        ending.block_on(async { drop(begun(ask(&space, 0))) });
        ending.shutdown_background();
        other.block_on(async {
            let asked = begun(ask(&space, 2));
            drop(end);
            timeout(LONG, asked).await.expect("it waits for ever");
            assert_eq!(space.revision().await, Ok(2));
        });
    }

    #[test]
    fn a_panic_is_the_error_of_one() {
        let ((_dir, space), runtime) = (space(), runtime(1));
        runtime.block_on(async {
            let (answer, answered) = oneshot::channel();
            Asker { opened: Arc::clone(&space.opened), answer }.answer(|_| panic!("on purpose"));
            assert!(matches!(answered.await, Ok(Err(SpaceError::Damaged(_)))));
            ask(&space, 0).await;
            ask(&space, 1).await;
        });
    }

    #[test]
    fn however_many_read_threads_are_left_for_others_and_who_is_not_polled_keeps_none() {
        let ((_dir, space), runtime) = (space(), runtime(8));
        let readers = Arc::new(Readers::new(2));
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(Mutex::new(ended));
        runtime.block_on(async {
            let wait = || {
                let ended = Arc::clone(&ended);
                move || {
                    let _ = lock(&ended).recv();
                    Ok(())
                }
            };
            let unpolled: Vec<_> = (0..ASKING).map(|_| begun(readers.read(wait()))).collect();
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
            assert!(lock(&readers.waiting).threads == 2);
            drop(end);
            timeout(LONG, readers.read(|| Ok(()))).await.expect("it waits for ever").unwrap();
            timeout(LONG, join_all(unpolled)).await.expect("somebody waits for ever");
            // A panic is the error of one.
            let failed = readers.read(|| -> Result<(), SpaceError> { panic!("on purpose") }).await;
            assert_eq!(failed, Err(SpaceError::Closed));
            assert_eq!(readers.read(|| Ok(7)).await, Ok(7));
            ask(&space, 0).await;
        });
    }
}
