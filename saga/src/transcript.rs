//! The turns of a saga as both sides keep them.

use crate::error::{Breach, SagaError};
use crate::wire::stream::Measure;
use crate::wire::turn::{Stage, Turn, TurnLink, validate_return_context};
use ibgib::Addr;

/// The turns of a saga under way, of both sides, each checked against the one before.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    saga_id: String,
    session: Option<Addr>,
    turns: Vec<Turn>,
}

impl Transcript {
    /// Of a saga that has not begun.
    pub(crate) fn new(saga_id: String, session: Option<Addr>) -> Self {
        Self { saga_id, session, turns: Vec::new() }
    }

    /// The turn that would follow.
    pub(crate) fn next(&self, stage: Stage, list: Measure, payload: Measure, attempt: u32) -> Turn {
        let link = TurnLink { saga_id: &self.saga_id, session: self.session.as_ref(), before: self.turns.last() };
        Turn::build(link, stage, list, payload, attempt)
    }

    /// Checks that a turn of the peer follows what was said so far.
    pub(crate) fn follows(&self, turn: &Turn) -> Result<(), SagaError> {
        let errors = match self.turns.last() {
            Some(ours) => validate_return_context(ours, turn),
            None if turn.n() != 0 || !matches!(turn.stage(), Stage::Init(_)) => {
                vec!["a saga starts with init, n 0".to_owned()]
            }
            None => Vec::new(),
        };
        if errors.is_empty() { Ok(()) } else { Err(SagaError::misbehaved(Breach::BadTurn, errors.join("; "))) }
    }

    /// Adds a turn of ours, or one of the peer that [`Self::follows`].
    pub(crate) fn add(&mut self, turn: Turn) {
        self.turns.push(turn);
    }

    /// The newest turn.
    pub(crate) fn last(&self) -> Option<&Turn> {
        self.turns.last()
    }

    /// Turns of the sender so far.
    pub(crate) fn sender_turns(&self) -> u32 {
        self.turns.iter().filter(|t| t.stage().is_senders()).count() as u32
    }

    /// All turns, in order.
    pub(crate) fn into_turns(self) -> Vec<Turn> {
        self.turns
    }
}

#[cfg(test)]
mod tests;
