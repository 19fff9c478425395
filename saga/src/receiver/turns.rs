//! The receiver's turns: checks the sender's, has it evaluated and committed, answers.

use super::{Peer, Receiver, ReceiverDone, ReceiverOutput, State};
use crate::ask::{Evaluate, Evaluated, ReceiverQuery};
use crate::auth::Proven;
use crate::error::{Breach, IdentityRefusal, SagaError};
use crate::flow::{Incoming, Next, Outgoing, Received};
use crate::transcript::Transcript;
use crate::wire::message::{Message, TurnAnswer, TurnRequest};
use crate::wire::named::Named;
use crate::wire::stream::{Measure, ReceiverLine, SenderLine};
use crate::wire::turn::{Stage, Told, Turn};
use crate::wire::word::{Said, Signature};
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::Step;
use std::sync::Arc;

/// A saga that is open.
#[derive(Debug)]
pub(super) struct Saga {
    pub(super) transcript: Transcript,
    /// The session identity's frames of this saga, and the steps that they are, joined.
    pub(super) session_frames: Vec<Verified<IbGib>>,
    pub(super) step: Option<Step>,
    /// Nodes that came in all of its turns.
    pub(super) payload: Arc<Vec<Addr>>,
    pub(super) received: Received,
    pub(super) told: ReceiverDone,
    /// What both sides have named, between two turns.
    pub(super) named: Named,
}

/// Where a saga is in a turn.
#[derive(Debug)]
pub(super) enum Turning {
    /// The sender's stream comes in.
    Receiving(Box<Incoming<SenderLine>>),
    /// Nodes of it are being staged.
    Staging(Box<Incoming<SenderLine>>),
    /// The whole turn is here, and is related to what our side has.
    Evaluating(Box<Trial>),
    /// Our side commits, this answer included.
    Committing(Box<Trial>, Box<Answer>),
    /// Our side signs the answer.
    Signing(Box<Answer>),
    /// The answer is sent; its stream waits for nodes.
    Sending(Outgoing<ReceiverLine>),
}

/// A turn that our side tries to commit: anew, when tips moved under it.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) evaluate: Evaluate,
    pub(super) tries: u32,
}

/// Our turn before it is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) turn: Turn,
    pub(super) lines: Vec<ReceiverLine>,
    pub(super) payload: Vec<Addr>,
}

impl Receiver {
    pub(super) fn turn(
        &mut self,
        mut peer: Peer,
        saga: Option<Box<Saga>>,
        request: TurnRequest,
    ) -> Result<State, SagaError> {
        let TurnRequest { turn, signed } = request;
        let mut saga = saga.unwrap_or_else(|| {
            let named = Named::before(&self.packing);
            Box::new(Saga { named, ..Saga::new(turn.saga_id(), peer.as_ref()) })
        });
        saga.transcript.follows(&turn)?;
        if saga.told.turns >= self.limits.turns_max {
            return Err(SagaError::Limit { name: "turns_max", limit: u64::from(self.limits.turns_max) });
        }
        if turn.session() != peer.as_ref().map(|p| p.tjp().as_str()) {
            return Err(SagaError::misbehaved(Breach::OtherSession, "the saga frame names another session identity"));
        }
        if let Some(proven) = &mut peer {
            let missing = || IdentityRefusal::BadFrame("sync_frame_request: signedSessionIdentity is missing".into());
            let frame = signed.ok_or_else(missing)?;
            let step = proven.turn(&frame, turn.context().addr())?;
            saga.signed(frame, step)?;
        }
        let named = std::mem::take(&mut saga.named);
        let incoming = Incoming::expect(&turn, &self.limits, saga.received, self.encoding, named)?;
        saga.transcript.add(turn);
        saga.told.turns += 1;
        Ok(State::Saga(peer, saga, Turning::Receiving(Box::new(incoming))))
    }

    pub(super) fn chunk(
        &mut self,
        peer: Peer,
        saga: Box<Saga>,
        mut incoming: Box<Incoming<SenderLine>>,
        chunk: &[u8],
    ) -> Result<State, SagaError> {
        incoming.chunk(chunk)?;
        self.go_on_staging(peer, saga, incoming)
    }

    /// Has the next nodes of what came staged, if there are any.
    pub(super) fn go_on_staging(
        &mut self,
        peer: Peer,
        mut saga: Box<Saga>,
        mut incoming: Box<Incoming<SenderLine>>,
    ) -> Result<State, SagaError> {
        let Some(nodes) = incoming.load(&self.limits)? else { return self.received(peer, saga, incoming) };
        saga.told.nodes_received += nodes.len() as u64;
        self.ask(ReceiverQuery::Stage(nodes));
        Ok(State::Saga(peer, saga, Turning::Staging(incoming)))
    }

    fn received(
        &mut self,
        peer: Peer,
        mut saga: Box<Saga>,
        mut incoming: Box<Incoming<SenderLine>>,
    ) -> Result<State, SagaError> {
        saga.received = incoming.received;
        if !incoming.is_complete() {
            return Ok(State::Saga(peer, saga, Turning::Receiving(incoming)));
        }
        saga.named = incoming.named();
        let (asked, is_init) = match saga.transcript.last().map(Turn::stage) {
            Some(Stage::Init(asked)) => (asked, true),
            Some(Stage::Delta(asked)) => (asked, false),
            _ => return Err(SagaError::defect("a stream came in that belongs to no turn of the sender")),
        };
        Arc::make_mut(&mut saga.payload).append(&mut incoming.payload);
        let evaluate = Evaluate {
            lines: incoming.lines,
            payload: Arc::clone(&saga.payload),
            commit: asked.commit,
            is_init,
            adopt: asked.adopt,
        };
        self.evaluate(peer, saga, Box::new(Trial { evaluate, tries: 0 }))
    }

    pub(super) fn evaluate(&mut self, peer: Peer, saga: Box<Saga>, mut trial: Box<Trial>) -> Result<State, SagaError> {
        trial.tries += 1;
        if trial.tries > self.limits.commit_tries_max {
            return Err(SagaError::Busy(self.limits.commit_tries_max));
        }
        self.ask(ReceiverQuery::Evaluate(trial.evaluate.clone()));
        Ok(State::Saga(peer, saga, Turning::Evaluating(trial)))
    }

    pub(super) fn evaluated(
        &mut self,
        peer: Peer,
        saga: Box<Saga>,
        trial: Box<Trial>,
        evaluated: Evaluated,
    ) -> Result<State, SagaError> {
        let Evaluated { statuses, send, commit, merges, conflicts } = evaluated;
        let told = Told { merges, conflicts };
        let stage = if commit { Stage::Commit(told) } else { Stage::Ack(told) };
        let turn = saga.transcript.next(stage, Measure::of_lines(&statuses), Measure::of_nodes(&send), 0);
        let answer = Answer { turn, lines: statuses, payload: send };
        if !commit {
            return self.sign(peer, saga, Box::new(answer));
        }
        let mut whole = saga.transcript.clone();
        whole.add(answer.turn.clone());
        self.ask(ReceiverQuery::Commit {
            transcript: whole.into_turns(),
            session_frames: saga.session_frames.clone(),
            step: saga.step.clone(),
        });
        Ok(State::Saga(peer, saga, Turning::Committing(trial, Box::new(answer))))
    }

    /// Has the answer signed, for a peer that has an identity.
    pub(super) fn sign(&mut self, peer: Peer, saga: Box<Saga>, answer: Box<Answer>) -> Result<State, SagaError> {
        let Some(proven) = &peer else { return self.respond(peer, saga, *answer, None) };
        self.ask(ReceiverQuery::Sign(proven.word(Said::of(&answer.turn))));
        Ok(State::Saga(peer, saga, Turning::Signing(answer)))
    }

    pub(super) fn respond(
        &mut self,
        peer: Peer,
        mut saga: Box<Saga>,
        answer: Answer,
        signature: Option<Signature>,
    ) -> Result<State, SagaError> {
        let Answer { turn, lines, payload } = answer;
        saga.transcript.add(turn.clone());
        self.send(&Message::SyncFrameResponse(Box::new(TurnAnswer { turn, signature })));
        let named = std::mem::take(&mut saga.named);
        let outgoing = Outgoing::new(lines, payload, &self.limits, self.encoding, named);
        self.go_on_sending(peer, saga, outgoing)
    }

    pub(super) fn go_on_sending(
        &mut self,
        peer: Peer,
        mut saga: Box<Saga>,
        mut outgoing: Outgoing<ReceiverLine>,
    ) -> Result<State, SagaError> {
        let (packets, next) = outgoing.send()?;
        self.out.extend(packets.into_iter().map(ReceiverOutput::Send));
        match next {
            Next::Load(load) => {
                self.ask(ReceiverQuery::Load(load));
                return Ok(State::Saga(peer, saga, Turning::Sending(outgoing)));
            }
            Next::Sent { nodes, named } => {
                saga.named = named;
                saga.told.nodes_sent += nodes;
            }
        }
        if !matches!(saga.transcript.last().map(Turn::stage), Some(Stage::Commit(_))) {
            return Ok(State::Idle(peer, Some(saga)));
        }
        self.out.push_back(ReceiverOutput::Done(saga.told));
        Ok(State::Idle(peer, None))
    }
}

impl Saga {
    fn new(saga_id: &str, peer: Option<&Proven>) -> Self {
        Self {
            transcript: Transcript::new(saga_id.to_owned(), peer.map(|p| p.tjp().clone())),
            session_frames: Vec::new(),
            step: None,
            payload: Arc::default(),
            received: Received::default(),
            told: ReceiverDone { saga_id: saga_id.to_owned(), ..ReceiverDone::default() },
            named: Named::default(),
        }
    }

    /// Adds the session identity's frame that signs a turn.
    fn signed(&mut self, frame: Verified<IbGib>, step: Step) -> Result<(), SagaError> {
        let broken = || SagaError::defect("a session's steps do not follow each other");
        self.step = Some(step.after(self.step.take()).ok_or_else(broken)?);
        self.session_frames.push(frame);
        Ok(())
    }
}
