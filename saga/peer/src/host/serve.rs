//! Driving one connection: the machine, its desk, and whatever ends it.

use super::desk::ReceiverDesk;
use super::{Host, HostEvent, MessageEvent};
use crate::link::{AtWork, Link, Signs};
use crate::view::space_error;
use futures_util::FutureExt as _;
use ibgib_saga::{
    PACKED, Packet, Peek, Receiver, ReceiverAnswer, ReceiverInput, ReceiverOutput, ReceiverQuery, SagaError,
};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// For so long what a peer was told is told again without looking at who it is and what it may read: somebody may have
/// taken it off a list.
const TOLD_FOR: Duration = Duration::from_secs(3600);
/// Peers that wait for news are answered that there are none at whole multiples of this: of thousands several are then
/// answered at one waking.
const TOGETHER: Duration = Duration::from_secs(1);
/// Whoever waits for less is answered when he asked to be.
const TOGETHER_FROM: Duration = Duration::from_secs(10);

/// That a peer's tips are ours, which it was told.
struct ToldEqual {
    peek: Peek,
    /// As of this revision of the space, at least.
    revision: u64,
    at: Instant,
    answer: ReceiverAnswer,
}

impl ToldEqual {
    fn answers(&self, query: &ReceiverQuery) -> bool {
        matches!(query, ReceiverQuery::Peek(peek) if *peek == self.peek) && self.at.elapsed() < TOLD_FOR
    }
}

/// When a peer is answered that has waited so long from `now` on: then or, of what was counted from `began`, at the last
/// multiple of [`TOGETHER`] before.
fn together(began: Instant, now: Instant, wait: Duration) -> Instant {
    let until = now + wait;
    if wait < TOGETHER_FROM {
        return until;
    }
    let whole = until.saturating_duration_since(began).as_nanos() / TOGETHER.as_nanos();
    u32::try_from(whole).map_or(until, |whole| began + TOGETHER * whole)
}

/// Whether a peer has still to say what it finds to do, once it is answered so: after a peek, unless all is equal.
fn is_told_of_more(answer: &ReceiverAnswer, plans: bool) -> bool {
    match answer {
        ReceiverAnswer::Peek(peeked) => !peeked.equal,
        _ => plans,
    }
}

impl Host {
    /// Serves one connection to its end. `shutdown` ends it once no commit is under way.
    pub async fn serve(self: Arc<Self>, mut link: Link, shutdown: CancellationToken) {
        let id = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(HostEvent::Opened(id));
        let cut = CancellationToken::new();
        let mut desk = ReceiverDesk::new(Arc::clone(&self), id, cut.clone());
        let mut machine = Receiver::new(self.limits.clone(), self.allow_anonymous);
        let mut phase = "";
        let mut input: Option<ReceiverInput> = None;
        let mut saga_ends: Option<Instant> = None;
        // The peer has still to say what it finds to do: it has just connected, or it was told that not all is equal.
        let mut plans = false;
        let mut at_work = AtWork::new(Some(link.signs.clone()), &self.limits);
        // What came while its peer was to be told of something new.
        let mut heard: Option<Option<Packet>> = None;
        // What a peer that waits for news was told last.
        let mut told: Option<ToldEqual> = None;
        let mut lists = self.hold_lists();
        let after = |ms| Instant::now() + Duration::from_millis(ms);
        // Why the connection ends before its peer lets it. Nothing may be being committed.
        let ends = async |until: Instant| {
            tokio::select! {
                () = cut.cancelled() => SagaError::Superseded,
                () = shutdown.cancelled() => SagaError::ShuttingDown,
                () = tokio::time::sleep_until(until) => SagaError::TimedOut,
            }
        };
        // As long as the peer may be silent. That it is at work is a sign of life where that counts, up to the end.
        let silent = async |signs: &Signs, counts: bool, ms: u64, end: Instant| loop {
            tokio::select! {
                biased;
                error = ends(end.min(after(ms))) => break error,
                () = signs.come(), if counts => {}
            }
        };
        let ended = 'connection: loop {
            if let Some(mut next) = input.take() {
                let mut place = None;
                if machine.is_work(&next) {
                    // Nothing is being committed: it ends with the peer for whom it is.
                    let wait = after(machine.deadline_ms().unwrap_or(self.limits.idle_ms_max));
                    let wait = saga_ends.map_or(wait, |end| wait.min(end));
                    let entered = tokio::select! {
                        biased;
                        place = self.checks.enter() => Ok(place),
                        () = link.tx.closed() => Err(SagaError::Cut),
                        error = ends(wait) => Err(error),
                    };
                    match entered {
                        Ok(entered) => place = Some(entered),
                        Err(error) => next = ReceiverInput::Answer(Box::new(ReceiverAnswer::Failed(error))),
                    }
                }
                match place {
                    None => machine.handle(next),
                    Some(place) => {
                        let work = move || {
                            machine.handle(next);
                            machine
                        };
                        machine = match place.run(work).await {
                            Ok(machine) => machine,
                            Err(error) => break Some(error),
                        };
                    }
                }
            }
            let mut answer: Option<ReceiverAnswer> = None;
            // Why nothing more can be sent.
            let mut stuck: Option<SagaError> = None;
            while let Some(output) = machine.poll() {
                match output {
                    ReceiverOutput::Send(_) | ReceiverOutput::Ask(_) if stuck.is_some() => {}
                    ReceiverOutput::Send(packet) => {
                        // However long this peer takes to hear it.
                        desk.lets_others();
                        self.tell_message(id, false, &packet);
                        let end = saga_ends.unwrap_or_else(|| after(self.limits.saga_ms_max));
                        let counts = plans || machine.in_saga();
                        // Nothing is being committed while the machine sends.
                        tokio::select! {
                            biased;
                            // A peer that is gone is noticed when we wait for it.
                            _ = link.tx.send(packet) => {}
                            error = silent(&link.signs, counts, self.limits.idle_ms_max, end) => stuck = Some(error),
                        }
                        at_work.begin();
                    }
                    ReceiverOutput::Ask(query) => {
                        if machine.phase() != phase {
                            phase = machine.phase();
                            self.tell(HostEvent::Phase(id, phase));
                        }
                        // Looking commits nothing, so it ends with the peer for whom it is.
                        let looks = matches!(query, ReceiverQuery::Evaluate(_) | ReceiverQuery::Peek(_));
                        // One message may hold much to stage: between its portions whatever ends the connection is heard.
                        if matches!(query, ReceiverQuery::Stage(_)) {
                            let end = saga_ends.unwrap_or_else(|| after(self.limits.saga_ms_max));
                            let counted = lists.set(machine.list_bytes()).err();
                            if let Some(error) = counted.or_else(|| ends(end).now_or_never()) {
                                answer = Some(ReceiverAnswer::Failed(error));
                                continue;
                            }
                        }
                        if let ReceiverQuery::Peek(Peek::Equal(_, _, wait_ms @ 1..)) = query {
                            let wait_ms = wait_ms.min(self.limits.idle_ms_max / 2);
                            let until = together(self.began, Instant::now(), Duration::from_millis(wait_ms));
                            let waiting = (&mut desk, &mut link, &mut heard, &mut told);
                            let equal = self.equal(query, waiting, &mut at_work, ends(until)).await;
                            plans = is_told_of_more(&equal, plans);
                            answer = Some(equal);
                            continue;
                        }
                        let end = saga_ends.unwrap_or_else(|| after(self.limits.saga_ms_max));
                        let answered = tokio::select! {
                            biased;
                            answer = at_work.on(desk.answer(query)) => answer,
                            () = link.tx.closed(), if looks => ReceiverAnswer::Failed(SagaError::Cut),
                            error = ends(end), if looks => ReceiverAnswer::Failed(error),
                        };
                        plans = is_told_of_more(&answered, plans);
                        answer = Some(answered);
                    }
                    ReceiverOutput::Connected => {
                        plans = true;
                        self.tell(HostEvent::Connected(id, desk.identity().cloned()));
                    }
                    ReceiverOutput::Done(done) => {
                        plans = false;
                        self.tell(HostEvent::Done(id, done));
                    }
                    ReceiverOutput::Closed(error) => break 'connection error,
                }
            }
            if stuck.is_some() {
                break stuck;
            }
            if let Some(answer) = answer {
                input = Some(ReceiverInput::Answer(Box::new(answer)));
                continue;
            }
            if let Err(error) = lists.set(machine.list_bytes()) {
                input = Some(ReceiverInput::Answer(Box::new(ReceiverAnswer::Failed(error))));
                continue;
            }
            saga_ends = machine.in_saga().then(|| saga_ends.unwrap_or_else(|| after(self.limits.saga_ms_max)));
            let wait_ms = machine.deadline_ms().unwrap_or(self.limits.idle_ms_max);
            // A peer that always says just enough does not hold its place for ever.
            let end = saga_ends.unwrap_or_else(|| after(self.limits.saga_ms_max));
            let counts = plans || machine.in_saga();
            let next = async {
                match heard.take() {
                    Some(packet) => packet,
                    None => link.rx.recv().await,
                }
            };
            tokio::select! {
                packet = next => input = Some(match packet {
                    Some(packet) => {
                        self.tell_message(id, true, &packet);
                        ReceiverInput::Packet(packet)
                    }
                    None => ReceiverInput::Closed,
                }),
                // Here nothing is being committed: the machine waits for its peer.
                error = silent(&link.signs, counts, wait_ms, end) => {
                    input = Some(ReceiverInput::Answer(Box::new(ReceiverAnswer::Failed(error))));
                }
            }
            at_work.begin();
        };
        if let Some(identity) = desk.identity() {
            let mut live = self.live();
            if live.get(identity).is_some_and(|l| l.connection == id) {
                live.remove(identity);
            }
        }
        desk.close().await;
        self.tell(HostEvent::Closed(id, ended));
    }

    /// Answers whether a peer's tips are ours: as long as they are, once anything comes from it or there is an end. What came
    /// is left in `heard`.
    async fn equal(
        &self,
        query: ReceiverQuery,
        (desk, link, heard, told): (&mut ReceiverDesk, &mut Link, &mut Option<Option<Packet>>, &mut Option<ToldEqual>),
        at_work: &mut AtWork,
        end: impl Future<Output = SagaError>,
    ) -> ReceiverAnswer {
        let mut end = pin!(end);
        // Of thousands that wait most ask the same again, and nothing was committed since.
        let known = told.take().filter(|told| told.answers(&query));
        let known = known.filter(|told| self.space.changed(told.revision).now_or_never().is_none());
        let mut now = match known {
            Some(known) => known,
            None => match self.space.revision().await {
                Ok(revision) => match at_work.on(self.look(desk, &query, revision)).await {
                    Ok(now) => now,
                    Err(answer) => return answer,
                },
                Err(error) => return ReceiverAnswer::Failed(space_error(error)),
            },
        };
        loop {
            tokio::select! {
                biased;
                packet = link.rx.recv() => {
                    *heard = Some(packet);
                    break;
                }
                error = &mut end => match error {
                    SagaError::TimedOut => break,
                    error => return ReceiverAnswer::Failed(error),
                },
                moved = self.moved(now.revision) => {
                    let looked = match moved {
                        Ok(revision) => at_work.on(self.look(desk, &query, revision)).await,
                        Err(error) => return ReceiverAnswer::Failed(error),
                    };
                    match looked {
                        Ok(looked) => now = looked,
                        Err(answer) => return answer,
                    }
                },
            }
        }
        let answer = now.answer.clone();
        *told = Some(now);
        answer
    }

    /// That the tips are the same at least as of a revision; what else there is to answer if they are not.
    async fn look(
        &self,
        desk: &mut ReceiverDesk,
        query: &ReceiverQuery,
        revision: u64,
    ) -> Result<ToldEqual, ReceiverAnswer> {
        let answer = desk.answer(query.clone()).await;
        match (query, &answer) {
            (ReceiverQuery::Peek(peek), ReceiverAnswer::Peek(told)) if told.equal => {
                Ok(ToldEqual { peek: peek.clone(), revision, at: Instant::now(), answer })
            }
            _ => Err(answer),
        }
    }

    fn tell_message(&self, id: u64, incoming: bool, packet: &Packet) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let (kind, signer) = match packet {
            Packet::Binary(bytes) if bytes.first() == Some(&PACKED) => {
                (if incoming { "peek" } else { "peek_ok" }, None)
            }
            Packet::Binary(_) => ("chunk", None),
            Packet::Text(text) => ibgib_saga::Envelope::parse(text)
                .map_or(("?", None), |message| (message.kind().as_str(), message.signer())),
        };
        self.tell(HostEvent::Message(MessageEvent { connection: id, incoming, kind, bytes: packet.len(), signer }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_long_is_answered_with_others_and_never_later_than_he_asked() {
        let (began, ms) = (Instant::now(), Duration::from_millis);
        let answered = |asked, wait| together(began, began + ms(asked), ms(wait)) - began;
        assert_eq!(answered(200, 55_000), answered(900, 55_000));
        assert_eq!([answered(200, 55_000), answered(1_000, 55_000)], [ms(55_000), ms(56_000)]);
        assert_eq!(answered(200, 9_999), ms(10_199), "short waits stay as they are");
    }
}
