//! The sender's turns: makes one, has it signed, sends its stream, takes the receiver's.

use super::{Sender, State};
use crate::ask::{Finish, SenderQuery};
use crate::error::{Breach, SagaError};
use crate::flow::{Incoming, Next, Outgoing, Received};
use crate::plan::{Item, Plan};
use crate::request::Direction;
use crate::summary::Summary;
use crate::transcript::Transcript;
use crate::wire::message::{Message, TurnRequest};
use crate::wire::named::Named;
use crate::wire::stream::{Measure, ReceiverLine, SenderLine};
use crate::wire::turn::{ATTEMPTS_MAX, Asked, Stage, Turn};
use crate::wire::word::Receipt;
use ibgib::timeline::Ancestry;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::KeystoneError;
use std::collections::HashSet;

/// A saga that opens or is open.
#[derive(Debug)]
pub(super) struct Saga {
    pub(super) direction: Direction,
    pub(super) plan: Plan,
    /// What is to be sent travels with `init`, which asks for the commit.
    pub(super) inline: bool,
    pub(super) transcript: Transcript,
    pub(super) received: Received,
    pub(super) summary: Summary,
    /// What the receiver has signed about its last answer.
    pub(super) receipt: Option<Box<Receipt>>,
    /// What both sides have named, between two turns.
    pub(super) named: Named,
}

/// Where a saga is in its turns.
#[derive(Debug)]
pub(super) enum Turning {
    /// The payload is loaded to see whether it is small enough to travel with `init`.
    Measuring,
    /// The session identity signs our turn.
    Signing(Box<Draft>),
    /// Our turn is sent; its stream waits for nodes.
    Sending(Outgoing<SenderLine>),
    /// It is the receiver's turn.
    Waiting,
    /// The receiver's stream comes in.
    Receiving(Box<Incoming<ReceiverLine>>),
    /// Nodes of it are being staged.
    Staging(Box<Incoming<ReceiverLine>>),
}

/// A turn of ours before it is sent.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) turn: Turn,
    pub(super) lines: Vec<SenderLine>,
    pub(super) payload: Vec<Addr>,
    /// The payload, if it was loaded already.
    pub(super) loaded: Vec<Verified<IbGib>>,
    /// Targets that could not be bound.
    pub(super) attempts: u32,
}

impl Sender {
    /// Makes our next turn; `loaded`: its payload, if that is in memory already.
    pub(super) fn begin(
        &mut self,
        mut saga: Box<Saga>,
        init: bool,
        loaded: Vec<Verified<IbGib>>,
    ) -> Result<State, SagaError> {
        let turns_max = self.limits.turns_max;
        if saga.transcript.sender_turns() >= turns_max {
            return Err(SagaError::Limit { name: "turns_max", limit: u64::from(turns_max) });
        }
        let lines = saga.lines(init);
        let asked = Asked { commit: !init || saga.inline, adopt: saga.direction.adopts() };
        let stage = if init { Stage::Init(asked) } else { Stage::Delta(asked) };
        // What is to be sent goes with the first turn that asks for the commit, and only with that.
        let payload = if asked.commit { std::mem::take(&mut saga.plan.push) } else { Vec::new() };
        let turn = saga.transcript.next(stage, Measure::of_lines(&lines), Measure::of_nodes(&payload), 0);
        self.sign(saga, Draft { turn, lines, payload, loaded, attempts: 0 })
    }

    pub(super) fn sign(&mut self, saga: Box<Saga>, draft: Draft) -> Result<State, SagaError> {
        if self.session.is_none() {
            return self.send_turn(saga, draft, None);
        }
        self.ask(SenderQuery::SignTurn(draft.turn.context().addr().clone()));
        Ok(State::Saga(saga, Turning::Signing(Box::new(draft))))
    }

    /// The same turn under another context address.
    pub(super) fn redraft(&mut self, saga: Box<Saga>, mut draft: Draft) -> Result<State, SagaError> {
        draft.attempts += 1;
        if draft.attempts > ATTEMPTS_MAX {
            return Err(KeystoneError::BindingExhausted.into());
        }
        let old = &draft.turn;
        draft.turn = saga.transcript.next(old.stage(), old.list().clone(), old.payload().clone(), draft.attempts);
        self.sign(saga, draft)
    }

    pub(super) fn send_turn(
        &mut self,
        mut saga: Box<Saga>,
        draft: Draft,
        signed: Option<Verified<IbGib>>,
    ) -> Result<State, SagaError> {
        let named = std::mem::take(&mut saga.named);
        let mut outgoing = Outgoing::new(draft.lines, draft.payload, &self.limits, self.encoding, named);
        if !draft.loaded.is_empty() {
            outgoing.loaded(&draft.loaded)?;
        }
        let request = TurnRequest { turn: draft.turn, signed };
        saga.transcript.add(request.turn.clone());
        if let Some(frame) = &request.signed {
            self.signed(frame);
        }
        // The session identity's number: one for connecting, one for each turn.
        saga.summary.turns = 1 + saga.transcript.sender_turns();
        self.send(&Message::SyncFrameRequest(Box::new(request)));
        self.go_on_sending(saga, outgoing)
    }

    pub(super) fn go_on_sending(
        &mut self,
        mut saga: Box<Saga>,
        mut outgoing: Outgoing<SenderLine>,
    ) -> Result<State, SagaError> {
        let (packets, next) = outgoing.send()?;
        for packet in packets {
            self.push(packet);
        }
        Ok(match next {
            Next::Load(load) => {
                self.ask(SenderQuery::Load(load));
                State::Saga(saga, Turning::Sending(outgoing))
            }
            Next::Sent { nodes, named } => {
                saga.named = named;
                saga.summary.nodes_sent += nodes;
                State::Saga(saga, Turning::Waiting)
            }
        })
    }

    pub(super) fn chunk(
        &mut self,
        saga: Box<Saga>,
        mut incoming: Box<Incoming<ReceiverLine>>,
        chunk: &[u8],
    ) -> Result<State, SagaError> {
        incoming.chunk(chunk)?;
        self.go_on_staging(saga, incoming)
    }

    /// Has the next nodes of what came staged, if there are any.
    pub(super) fn go_on_staging(
        &mut self,
        mut saga: Box<Saga>,
        mut incoming: Box<Incoming<ReceiverLine>>,
    ) -> Result<State, SagaError> {
        let Some(nodes) = incoming.load(&self.limits)? else { return self.received(saga, incoming) };
        saga.summary.nodes_received += nodes.len() as u64;
        self.ask(SenderQuery::Stage(nodes));
        Ok(State::Saga(saga, Turning::Staging(incoming)))
    }

    fn received(&mut self, mut saga: Box<Saga>, mut incoming: Box<Incoming<ReceiverLine>>) -> Result<State, SagaError> {
        saga.received = incoming.received;
        if !incoming.is_complete() {
            return Ok(State::Saga(saga, Turning::Receiving(incoming)));
        }
        saga.named = incoming.named();
        saga.check_statuses(&incoming.lines)?;
        saga.share(&mut incoming.lines);
        let stage = saga.transcript.last().map(Turn::stage);
        if let Some(Stage::Ack(told) | Stage::Commit(told)) = stage {
            saga.summary.merges += told.merges;
            saga.summary.conflicts += told.conflicts;
        }
        match stage {
            Some(Stage::Commit(_)) => {
                let Saga { direction, plan, transcript, summary, receipt, .. } = *saga;
                let timelines = plan.items.into_iter().map(|(tjp, item)| (tjp, item.mine));
                let constants = plan.constants.into_iter().map(|c| (c.clone(), Some(c)));
                self.ask(SenderQuery::Finish(Box::new(Finish {
                    statuses: incoming.lines,
                    offered: timelines.chain(constants).collect(),
                    direction,
                    transcript: transcript.into_turns(),
                    receipt,
                })));
                Ok(State::Finishing(Box::new(summary)))
            }
            Some(Stage::Ack(_)) if saga.transcript.sender_turns() == 1 => self.begin(saga, false, Vec::new()),
            _ => Err(SagaError::misbehaved(Breach::NotCommitted, "the receiver answered a delta without committing")),
        }
    }
}

impl Saga {
    fn lines(&self, init: bool) -> Vec<SenderLine> {
        let timelines = self.plan.items.iter().map(|(tjp, item)| {
            // Without offering, our tip still says how far we are where the receiver is ahead.
            let tells = self.direction.offers() || item.ancestry == Ancestry::Behind;
            SenderLine::Timeline {
                tjp: tjp.clone(),
                tip: item.mine.clone().filter(|_| tells),
                // An empty space asks for everything under the receiver's tip, so it names nothing as asked for.
                theirs: item.theirs.clone().filter(|_| !self.plan.takes_all),
            }
        });
        let constants = self.offered_constants().cloned().map(SenderLine::Constant);
        let wants = self.plan.want.iter().filter(|_| init).cloned().map(SenderLine::Want);
        timelines.chain(constants).chain(wants).collect()
    }

    /// Of the addresses that lines tell and that are known, those that are known take the places: there are as many as
    /// timelines in the saga.
    fn share(&self, lines: &mut [ReceiverLine]) {
        for line in lines {
            let Some((tjp, Item { mine, theirs, .. })) = self.plan.items.get_key_value(&line.tjp) else { continue };
            line.tjp = tjp.clone();
            let known = [mine, theirs].into_iter().find(|known| **known == line.tip);
            line.tip = known.cloned().unwrap_or_else(|| line.tip.take());
        }
    }

    fn offered_constants(&self) -> impl Iterator<Item = &Addr> {
        self.plan.constants.iter().filter(|_| self.direction.offers())
    }

    /// The receiver answers once for each timeline and constant that was offered, and for nothing else.
    fn check_statuses(&self, lines: &[ReceiverLine]) -> Result<(), SagaError> {
        let mut open: HashSet<&Addr> = self.plan.items.keys().chain(self.offered_constants()).collect();
        for ReceiverLine { tjp, .. } in lines {
            if !open.remove(tjp) {
                let why = format!("the receiver answers for {tjp}, which is not open");
                return Err(SagaError::misbehaved(Breach::Unasked, why));
            }
        }
        match open.into_iter().min() {
            None => Ok(()),
            Some(tjp) => {
                Err(SagaError::misbehaved(Breach::Unanswered, format!("the receiver does not answer for {tjp}")))
            }
        }
    }
}
