//! A wormhole over connections to a real mailbox server: the clock and the sockets around [`Wormhole`].
//!
//! A connection that is lost is made anew, later and later; the wormhole says again what the server has not echoed. Only
//! a server that cannot be reached the first time is an error.
//!
//! ```no_run
//! use ibgib_pairing::client::{Event, Input, Wormhole};
//! use ibgib_pairing::connect::Session;
//! use ibgib_peer::entropy::OsEntropy;
//! use ibgib_peer::WebSocketRemote;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let wormhole = Wormhole::new("example.com/app", &mut OsEntropy);
//! let mut session = Session::start(wormhole, Session::remote("ws://127.0.0.1:4000/v1")?);
//! session.give(Input::default())?;
//! session.give(Input::Send(b"hello".to_vec()))?;
//! loop {
//!     match session.next().await? {
//!         Event::Code(code) => println!("type this at the other device: {}", code.as_str()),
//!         Event::Received(message) => println!("{}", String::from_utf8_lossy(&message)),
//!         Event::Ended(how) => break how?,
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

use crate::client::{Event, Input, Wormhole};
use crate::error::{Misuse, PairingError};
use crate::hashcash::Demand;
use crate::wire::FRAME_BYTES_MAX;
use futures_util::{SinkExt as _, StreamExt as _};
use ibgib::transform::Moment;
use ibgib_peer::entropy::{OsEntropy, now_ms, random};
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Trust, WebSocketRemote};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How often the server is shown that this device is still there.
const PING: Duration = Duration::from_secs(30);
/// How long it waits before the first new connection, and before any; each time it waits half as long again.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long the last words may take to leave.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);

/// How long to wait before connecting again, by how long it has been tried: as often as every half second for people who
/// sit next to each other, once an hour for a program that waits for days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<(Duration, Duration)>);

impl Schedule {
    /// Takes pairs: from the first time on, counted from the start, wait as long as the second says.
    ///
    /// # Errors
    /// [`Misuse::BadSchedule`] when the first does not begin at 0, the times do not go up, or a pause is 0.
    pub fn new(pairs: Vec<(Duration, Duration)>) -> Result<Self, Misuse> {
        let starts = pairs.first().is_some_and(|(when, _)| when.is_zero());
        let is_sorted = pairs.windows(2).all(|two| two[0].0 < two[1].0);
        if starts && is_sorted && pairs.iter().all(|(_, pause)| !pause.is_zero()) {
            Ok(Self(pairs))
        } else {
            Err(Misuse::BadSchedule)
        }
    }

    /// The same pause all the time, which is not 0.
    pub(crate) fn every(pause: Duration) -> Self {
        Self(vec![(Duration::ZERO, pause)])
    }

    pub(crate) fn pause(&self, after: Duration) -> Duration {
        self.0.iter().rev().find(|(when, _)| *when <= after).map_or(AGAIN, |(_, pause)| *pause)
    }
}

/// What the connection tells the session.
enum Happened {
    /// What is sent here goes over this connection, as long as it lasts.
    Connected(mpsc::UnboundedSender<String>),
    Frame(String),
    Lost,
    /// There was never a connection.
    Failed(SagaError),
}

/// A wormhole that is connected.
#[derive(Debug)]
pub struct Session {
    wormhole: Wormhole,
    /// What the caller has not been told yet.
    events: VecDeque<Event>,
    happened: mpsc::Receiver<Happened>,
    /// Of the connection that is open now.
    out: Option<mpsc::UnboundedSender<String>>,
    /// The work that the server demanded: the stamp, and what it is for.
    work: Option<JoinHandle<(String, String)>>,
    task: JoinHandle<()>,
}

impl Session {
    /// The mailbox server at a URL like `ws://HOST:PORT/v1`.
    ///
    /// # Errors
    /// `url` when the text is no such URL.
    pub fn remote(url: &str) -> Result<WebSocketRemote, SagaError> {
        Self::trusting(url, Trust::default())
    }

    /// As [`Session::remote`], but `trust` decides about the server's certificate.
    ///
    /// # Errors
    /// `url` when the text is no such URL.
    pub fn trusting(url: &str, trust: Trust) -> Result<WebSocketRemote, SagaError> {
        WebSocketRemote::trusting(url, trust, FRAME_BYTES_MAX)
    }

    /// Begins to connect; needs a runtime.
    pub fn start(wormhole: Wormhole, remote: WebSocketRemote) -> Self {
        Self::start_on(wormhole, remote, None)
    }

    /// As [`Session::start`]; a lost connection is made anew as `schedule` says.
    pub fn start_on(wormhole: Wormhole, remote: WebSocketRemote, schedule: Option<Schedule>) -> Self {
        let (tell, happened) = mpsc::channel(64);
        let task = tokio::spawn(keep_connected(remote, schedule, tell));
        Self { wormhole, events: VecDeque::new(), happened, out: None, work: None, task }
    }

    /// Does with the wormhole what the program wants. What it has to tell the server leaves at once, whether or not
    /// [`Session::next`] is called afterwards.
    ///
    /// # Errors
    /// As [`Wormhole::handle`].
    pub fn give(&mut self, input: Input) -> Result<(), PairingError> {
        let given = self.wormhole.handle(input, &mut OsEntropy);
        self.transmit();
        given
    }

    /// Brings on its way what the wormhole wants to. A connection that is gone takes nothing; the next one is told
    /// again.
    fn transmit(&mut self) {
        while let Some(event) = self.wormhole.poll() {
            match (event, &self.out) {
                (Event::Transmit(frame), Some(out)) => drop(out.send(frame)),
                (Event::Transmit(_), None) => {}
                (Event::Work(demand), _) => self.work = Some(spawn_blocking(move || work(demand))),
                (event, _) => self.events.push_back(event),
            }
        }
    }

    /// The wormhole, for what is derived from its key or saved.
    pub fn wormhole(&self) -> &Wormhole {
        &self.wormhole
    }

    /// What happens next. It may be given up at any point and asked again.
    ///
    /// # Errors
    /// The server could not be reached the first time.
    pub async fn next(&mut self) -> Result<Event, SagaError> {
        loop {
            if let Some(event) = self.step().await? {
                return Ok(event);
            }
        }
    }

    /// Takes one thing that happens; an event if it gave one. It may be given up at any point and asked again.
    pub(crate) async fn step(&mut self) -> Result<Option<Event>, SagaError> {
        self.transmit();
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        let worked = async {
            match &mut self.work {
                Some(work) => work.await,
                None => std::future::pending().await,
            }
        };
        let happened = tokio::select! {
            happened = self.happened.recv() => happened,
            worked = worked => {
                self.work = None;
                if let Ok((resource, stamp)) = worked {
                    // Not a misuse: one that comes too late is passed over.
                    let _ = self.give(Input::Permission { resource, stamp });
                }
                return Ok(None);
            }
        };
        let input = match happened {
            Some(Happened::Connected(out)) => {
                self.out = Some(out);
                Input::Connected
            }
            Some(Happened::Frame(frame)) => Input::Frame(frame),
            Some(Happened::Lost) => {
                self.out = None;
                Input::Lost
            }
            Some(Happened::Failed(error)) => return Err(error),
            // The task ends only after a failure that was told.
            None => return Err(SagaError::Cut),
        };
        // What the server says wrongly is told as the end of the wormhole, not as a call's error.
        if let Err(error) = self.wormhole.handle(input, &mut OsEntropy) {
            return Ok(Some(Event::Ended(Err(error))));
        }
        Ok(None)
    }

    /// Tells the server how it went, and waits until that has left.
    pub async fn end(mut self) {
        // A wormhole that is over has nothing to say any more.
        let _ = self.give(Input::Close);
        let closing = async { while !matches!(self.next().await, Ok(Event::Ended(_)) | Err(_)) {} };
        // A server that does not answer is left all the same.
        let _ = timeout(LAST_WORDS_MAX, closing).await;
        self.leave().await;
    }

    /// Goes without a word: the mailbox stays, for whoever goes on with the saved state.
    pub async fn leave(self) {
        let Self { happened, out, task, .. } = self;
        drop((happened, out));
        let _ = timeout(LAST_WORDS_MAX, task).await;
    }
}

/// Does what the server demands; for a moment a processor has nothing else to do.
fn work(demand: Demand) -> (String, String) {
    let stamp = demand.work(&date(now_ms()), &hex::encode(random::<8>()));
    (demand.resource, stamp)
}

/// The date as it stands in stamps, `261128`, which some servers look at.
fn date(now_ms: i64) -> String {
    // `Sat, 28 Nov 2026 12:30:00 GMT`
    let now = Moment { now_ms, random: [0; 16] }.timestamp();
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(&now[8..11]).map_or(0, |at| at / 3 + 1);
    format!("{}{month:02}{}", &now[14..16], &now[5..7])
}

/// Connects again and again until nobody listens any more.
async fn keep_connected(remote: WebSocketRemote, schedule: Option<Schedule>, tell: mpsc::Sender<Happened>) {
    let started = Instant::now();
    let mut pause = AGAIN;
    let mut first = true;
    loop {
        let connecting = tokio::select! {
            socket = remote.socket("", None, FRAME_BYTES_MAX) => socket,
            () = tell.closed() => return,
        };
        match connecting {
            Ok(socket) => {
                (first, pause) = (false, AGAIN);
                let (out, frames) = mpsc::unbounded_channel();
                if tell.send(Happened::Connected(out)).await.is_err() || !carry(socket, frames, &tell).await {
                    return;
                }
                if tell.send(Happened::Lost).await.is_err() {
                    return;
                }
            }
            Err(error) if first => {
                // Whoever has gone needs no reason.
                let _ = tell.send(Happened::Failed(error)).await;
                return;
            }
            Err(error) => tracing::debug!(%error, "the mailbox server is away"),
        }
        // Not all clients of a server that was away come back in the same moment.
        let next = schedule.as_ref().map_or(pause, |schedule| schedule.pause(started.elapsed()));
        let jitter = f64::from(random::<1>()[0]) / 255.0;
        tokio::select! {
            () = sleep(next.mul_f64(0.75 + jitter / 2.0)) => {}
            () = tell.closed() => return,
        }
        pause = pause.mul_f64(1.5).min(AGAIN_MAX);
    }
}

/// Carries frames both ways until the connection breaks: `true`; or until nobody wants them any more: `false`. Both ways
/// at once: a server that waits until its words are taken takes none meanwhile.
async fn carry(
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    mut frames: mpsc::UnboundedReceiver<String>,
    tell: &mpsc::Sender<Happened>,
) -> bool {
    let (mut sink, mut stream) = socket.split();
    let heard = AtomicBool::new(true);
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let writing = async {
        loop {
            let message = tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => Message::text(frame),
                    None => {
                        // All that was said has left before this; the server may be gone already.
                        let _ = timeout(LAST_WORDS_MAX, sink.close()).await;
                        return false;
                    }
                },
                _ = pings.tick() => {
                    if !heard.swap(false, Ordering::Relaxed) {
                        return true;
                    }
                    Message::Ping(Vec::new().into())
                }
            };
            if sink.send(message).await.is_err() {
                return true;
            }
        }
    };
    let reading = async {
        loop {
            let message = stream.next().await;
            heard.store(true, Ordering::Relaxed);
            let text = match message {
                Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
                // The document says that frames are binary.
                Some(Ok(Message::Binary(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return true,
                Some(Ok(_)) => continue,
            };
            if tell.send(Happened::Frame(text)).await.is_err() {
                // Nobody listens any more, but what was said last has to leave.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        broken = writing => broken,
        broken = reading => broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_six_digits() {
        assert_eq!((date(1_795_869_000_000), date(0)), ("261128".into(), "700101".into()));
    }

    #[test]
    fn a_schedule_waits_longer_the_longer_it_waits() {
        let s = Duration::from_secs;
        let schedule = Schedule::new(vec![(s(0), s(1)), (s(60), s(10)), (s(3_600), s(600))]).unwrap();
        for (after, pause) in [(0, 1), (59, 1), (60, 10), (3_599, 10), (1 << 20, 600)] {
            assert_eq!(schedule.pause(s(after)), s(pause), "{after}");
        }
        for bad in [vec![], vec![(s(1), s(1))], vec![(s(0), s(0))], vec![(s(0), s(1)), (s(0), s(2))]] {
            assert_eq!(Schedule::new(bad), Err(Misuse::BadSchedule));
        }
    }
}
