//! Sockets that are told of new sequences.
//!
//! A socket takes its seat first, and its token is checked afterwards; a change of the password is committed first, and
//! the account's seats are cleared afterwards. Whichever comes first, no socket outlives the change.

use crate::ledger::Ledger;
use axum::extract::ws::{Message, WebSocket};
use ibgib_server::rows::RowError;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Sockets at once, and of one account.
const SOCKETS_MAX: usize = 10_000;
const SOCKETS_PER_ACCOUNT_MAX: usize = 1_000;
/// Notices that wait for a socket to take them; one more, and it is closed.
const NOTICES_MAX: usize = 5;
/// Bytes of what a client may say, which nobody reads.
pub(crate) const HEARD_BYTES_MAX: usize = 512;
/// How often it is looked whether another server over the same space wrote, when something was written.
const LOOK: Duration = Duration::from_millis(250);
/// How often a client is asked whether it is there, and how long it may say nothing.
const PING_EVERY: Duration = Duration::from_secs(25);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a client may take nothing, and how long it is waited for when the socket is closed.
const WRITE_MAX: Duration = Duration::from_secs(10);
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// What a socket is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The wallet's new sequence.
    Sequence(u64),
    /// The account changed: the token may be over.
    Check,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: usize,
    by_account: HashMap<String, HashMap<u64, mpsc::Sender<Notice>>>,
}

impl Seats {
    fn leave(&mut self, account: &str, id: u64) {
        let Some(of_account) = self.by_account.get_mut(account) else { return };
        if of_account.remove(&id).is_some() {
            self.taken -= 1;
        }
        if of_account.is_empty() {
            self.by_account.remove(account);
        }
    }
}

/// Who is told.
#[derive(Debug, Default)]
pub(crate) struct Hall {
    seats: Mutex<Seats>,
    missed: AtomicU64,
}

impl Hall {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a socket of this account, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, account: String) -> Option<Seat> {
        let mut seats = self.seats();
        let of_account = seats.by_account.get(&account).map_or(0, HashMap::len);
        if seats.taken >= SOCKETS_MAX || of_account >= SOCKETS_PER_ACCOUNT_MAX {
            return None;
        }
        let (sender, notices) = mpsc::channel(NOTICES_MAX);
        let id = seats.next;
        seats.next += 1;
        seats.taken += 1;
        seats.by_account.entry(account.clone()).or_default().insert(id, sender);
        Some(Seat { hall: Arc::clone(self), account, id, notices })
    }

    /// How many sockets of an account wait.
    pub(crate) fn taken_by(&self, account: &str) -> usize {
        self.seats().by_account.get(account).map_or(0, HashMap::len)
    }

    /// Tells all sockets of an account; one that takes nothing loses its seat.
    pub(crate) fn tell(&self, account: &str, notice: Notice) {
        let mut seats = self.seats();
        let Some(of_account) = seats.by_account.get(account) else { return };
        let late: Vec<u64> =
            of_account.iter().filter(|(_, sender)| sender.try_send(notice).is_err()).map(|(id, _)| *id).collect();
        for id in late {
            self.missed.fetch_add(1, Ordering::Relaxed);
            seats.leave(account, id);
        }
    }

    /// Clears an account's seats.
    pub(crate) fn clear(&self, account: &str) {
        let mut seats = self.seats();
        let cleared = seats.by_account.remove(account).map_or(0, |of_account| of_account.len());
        seats.taken -= cleared;
    }

    /// Sockets that are open.
    pub(crate) fn taken(&self) -> usize {
        self.seats().taken
    }

    /// Notices that a socket did not take.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// A socket's place among those that are told; it is free when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    hall: Arc<Hall>,
    account: String,
    id: u64,
    notices: mpsc::Receiver<Notice>,
}

impl Seat {
    /// What is told next; `None` when the seat was cleared.
    pub(crate) async fn told(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hall.seats().leave(&self.account, self.id);
    }
}

/// What a socket is kept open with.
pub(crate) struct Keeping {
    pub(crate) seat: Seat,
    pub(crate) token: String,
    /// The sequence when its token was checked.
    pub(crate) told: u64,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) stop: CancellationToken,
}

/// Tells for ever what other servers over the same space wrote; what this one wrote, a socket was told already.
pub(crate) async fn tell_of_others(ledger: &Ledger, hall: &Hall) {
    let mut since = None;
    loop {
        let told = async {
            let Some(before) = since else { return ledger.revision().await };
            ledger.changed(before).await?;
            tell_since(ledger, hall, before).await
        };
        match told.await {
            Ok(newest) => since = Some(newest),
            Err(error) => tracing::debug!(%error, "what other servers wrote could not be looked at"),
        }
        sleep(LOOK).await;
    }
}

/// Tells what came after a revision; answers up to which one.
pub(crate) async fn tell_since(ledger: &Ledger, hall: &Hall, before: u64) -> Result<u64, RowError> {
    let news = ledger.news(before).await?;
    news.sequences.iter().for_each(|(account, sequence)| hall.tell(account, Notice::Sequence(*sequence)));
    news.accounts.iter().for_each(|account| hall.tell(account, Notice::Check));
    Ok(news.revision)
}

/// Tells a socket of new sequences until either side ends it, and closes it without a status, as the original does.
pub(crate) async fn keep(mut socket: WebSocket, keeping: Keeping) {
    if tell(&mut socket, keeping).await {
        let _ = in_time(socket.send(Message::Close(None))).await;
        // Letting go of a socket that still sends would reset it, and the close would be lost.
        let _ = timeout(CLOSE_MAX, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
    }
}

async fn in_time<E>(sending: impl Future<Output = Result<(), E>>) -> bool {
    matches!(timeout(WRITE_MAX, sending).await, Ok(Ok(())))
}

/// Whether the socket is to be closed in order.
async fn tell(socket: &mut WebSocket, keeping: Keeping) -> bool {
    let Keeping { mut seat, token, mut told, ledger, stop } = keeping;
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        let newer = tokio::select! {
            () = stop.cancelled() => return true,
            notice = seat.told() => match notice {
                Some(Notice::Sequence(sequence)) => Some(sequence),
                Some(Notice::Check) => match ledger.open(&token).await {
                    Ok(opened) => opened.sequence(),
                    Err(_) => return true,
                },
                None => return true,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return false,
                Some(Ok(_)) => {
                    heard = Instant::now();
                    None
                }
            },
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE_MAX || !in_time(socket.send(Message::Ping(Vec::new().into()))).await {
                    return false;
                }
                // Tokens end, and another server over the same space may have written.
                match ledger.open(&token).await {
                    Ok(opened) => opened.sequence(),
                    Err(_) => return true,
                }
            }
        };
        if let Some(sequence) = newer.filter(|sequence| *sequence > told) {
            told = sequence;
            if !in_time(socket.send(Message::text(format!("wallet-update:{sequence}")))).await {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn seats_are_told_cleared_and_freed() {
        let hall = Arc::new(Hall::default());
        let mut seat = hall.enter("a".into()).unwrap();
        let mut other = hall.enter("b".into()).unwrap();
        hall.tell("a", Notice::Sequence(7));
        assert_eq!(seat.told().await, Some(Notice::Sequence(7)));
        (1..=5).for_each(|n| hall.tell("b", Notice::Sequence(n)));
        assert_eq!((hall.missed(), hall.taken()), (0, 2));
        // The sixth finds no room: what waits is told still, then it is over.
        hall.tell("b", Notice::Check);
        assert_eq!((hall.missed(), hall.taken()), (1, 1));
        for n in 1..=5 {
            assert_eq!(other.told().await, Some(Notice::Sequence(n)));
        }
        assert_eq!(other.told().await, None);
        hall.clear("a");
        assert_eq!(seat.told().await, None);
        assert_eq!(hall.taken(), 0);
        drop((seat, other));
        let seats: Vec<Seat> = (0..SOCKETS_PER_ACCOUNT_MAX).map(|_| hall.enter("a".into()).unwrap()).collect();
        assert!(hall.enter("a".into()).is_none());
        drop(seats);
        assert_eq!(hall.taken(), 0);
        assert!(hall.seats().by_account.is_empty());
    }
}
