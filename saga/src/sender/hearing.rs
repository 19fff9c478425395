//! What the receiver says is believed once its signature holds: that the connection is open, and each of its turns.

use super::turns::{Saga, Turning};
use super::{Sender, SenderOutput, State};
use crate::ask::SenderQuery;
use crate::error::{Breach, SagaError};
use crate::flow::Incoming;
use crate::wire::packet::Encoding;
use crate::wire::turn::Turn;
use crate::wire::word::{Receipt, Said, Signature, Word};
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::Warrant;

/// What is known of the receiver's signatures on this connection.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// The tree that signs may do so.
    warrant: Option<Warrant>,
    /// The newest that it has told.
    pub(super) revision: u64,
    /// The frame that our session signed last.
    last: Option<Addr>,
}

/// What was said, while it is found out whether to believe it.
#[derive(Debug)]
pub(super) struct Hearing {
    word: Word,
    revision: u64,
    value: String,
    /// What the shell is asked about.
    warrant: Warrant,
    heard: Heard,
}

/// What follows once it is believed.
#[derive(Debug)]
pub(super) enum Heard {
    Connected(Encoding),
    Answer(Box<Saga>, Box<Turn>),
}

impl Hearing {
    pub(super) fn phase(&self) -> &'static str {
        match self.heard {
            Heard::Connected(_) => "connect",
            Heard::Answer(..) => "wait",
        }
    }
}

impl Sender {
    /// Our session has signed this frame.
    pub(super) fn signed(&mut self, frame: &Verified<IbGib>) {
        self.traffic.identity += frame.to_json().len() as u64;
        self.receiver.last = Some(frame.addr().clone());
    }

    /// Checks the signature of what the receiver says; without identity on our side nothing is signed on either.
    pub(super) fn hear(&mut self, said: Said, signature: Option<Signature>, heard: Heard) -> Result<State, SagaError> {
        let Some((session, last)) = self.session.clone().zip(self.receiver.last.clone()) else {
            return self.believe(heard, None);
        };
        let unsigned = || {
            SagaError::PeerIncompatible(
                "it does not sign what it says; a newer program is needed there, if it is the right one".into(),
            )
        };
        let signature = signature.ok_or_else(unsigned)?;
        self.traffic.identity += signature.to_value().to_json().len() as u64;
        let Signature { warrant, revision, value } = signature;
        let word = Word { session, last, said };
        match (warrant, &self.receiver.warrant) {
            (Some(warrant), known) if known.as_ref() != Some(&warrant) => {
                self.ask(SenderQuery::Warrant(Box::new(warrant.clone())));
                Ok(State::Hearing(Box::new(Hearing { word, revision, value, warrant, heard })))
            }
            (_, Some(known)) => {
                let warrant = known.clone();
                self.check(Hearing { word, revision, value, warrant, heard })
            }
            (_, None) => Err(bad("it comes without a warrant".into())),
        }
    }

    /// The warrant is one of the space that we mean.
    pub(super) fn warranted(&mut self, hearing: Hearing) -> Result<State, SagaError> {
        self.receiver.warrant = Some(hearing.warrant.clone());
        self.check(hearing)
    }

    fn check(&mut self, hearing: Hearing) -> Result<State, SagaError> {
        let Hearing { word, revision, value, warrant, heard } = hearing;
        if !warrant.has_signed(word.text(revision).as_bytes(), &value) {
            return Err(bad(match &word.said {
                Said::Connected(_) => "it is not one of this connection".to_owned(),
                Said::Answer { context, .. } => format!("it is not one of the answer {context} to our turn"),
            }));
        }
        if revision < self.receiver.revision {
            let before = self.receiver.revision;
            return Err(SagaError::PeerRolledBack(format!("its revision was {before} and is {revision}")));
        }
        self.receiver.revision = revision;
        let receipt = Receipt { word, revision, value, warrant, lines: Vec::new() };
        self.believe(heard, Some(Box::new(receipt)))
    }

    fn believe(&mut self, heard: Heard, receipt: Option<Box<Receipt>>) -> Result<State, SagaError> {
        match heard {
            Heard::Connected(encoding) => {
                self.encoding = encoding;
                self.packing.share(encoding == Encoding::Blocks);
                self.out.push_back(SenderOutput::Connected);
                Ok(State::Idle)
            }
            Heard::Answer(mut saga, turn) => {
                let named = std::mem::take(&mut saga.named);
                let incoming = Incoming::expect(&turn, &self.limits, saga.received, self.encoding, named)?;
                saga.transcript.add(*turn);
                saga.receipt = receipt;
                Ok(State::Saga(saga, Turning::Receiving(Box::new(incoming))))
            }
        }
    }
}

fn bad(why: String) -> SagaError {
    SagaError::misbehaved(Breach::BadSignature, format!("the receiver's signature does not hold: {why}"))
}
