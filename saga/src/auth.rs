//! Proving who one is on a connection, as a pair of small machines: [`Prove`] for the side that proves, [`Check`] for
//! the side that checks. Neither knows whether it runs in a sender or in a receiver.
//!
//! `hello` names the session identity; the challenge names a fresh target and the challenges to solve; the proof is
//! the session identity's next frame, whose claim has that target. Without identity `hello` is answered at once, where
//! that is allowed.

use crate::ask::Audience;
use crate::error::{IdentityRefusal, SagaError};
use crate::wire::message::{ConnectChallenge, Hello, Message, MsgType};
use crate::wire::packet::Encoding;
use crate::wire::word::{Said, Word};
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Expect, Step, VERB_CONNECT, VERB_SYNC};

/// The side that proves its identity, or says that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prove {
    /// `hello` named an identity.
    AwaitChallenge,
    /// The challenge is being signed.
    Signing,
    /// The proof is sent, or none is needed.
    AwaitOk,
}

impl Prove {
    /// Begins with the session identity's newest frame, or without identity.
    pub(crate) fn begin(session: Option<Addr>) -> (Self, Message) {
        let state = if session.is_some() { Self::AwaitChallenge } else { Self::AwaitOk };
        let versions = Encoding::ALL.map(|way| way.subprotocol().to_owned()).into();
        (state, Message::Hello(Hello { session, versions, reads_packed: true }))
    }

    /// The message that may come now.
    pub(crate) fn expects(self) -> Option<MsgType> {
        match self {
            Self::AwaitChallenge => Some(MsgType::ConnectChallenge),
            Self::Signing => None,
            Self::AwaitOk => Some(MsgType::ConnectOk),
        }
    }

    /// What to send once the challenge is signed.
    pub(crate) fn signed(frame: Verified<IbGib>) -> (Self, Message) {
        (Self::AwaitOk, Message::ConnectProof(frame))
    }
}

/// The side that checks.
#[derive(Debug)]
pub(crate) enum Check {
    /// Nothing has come yet.
    AwaitHello,
    /// The session that `hello` named is being looked up.
    LookUp,
    /// The challenge is sent.
    AwaitProof(Box<Challenge>),
    /// The proof holds and is being stored.
    Storing(Proven),
    /// It is stored, and that the connection is open is being signed.
    Signing(Proven),
}

/// A challenge that is open: one attempt, on this connection.
#[derive(Debug)]
pub(crate) struct Challenge {
    chain: Box<Chain>,
    target: String,
    demanded: Vec<String>,
    audience: Audience,
}

/// Whom a `hello` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Greeted {
    /// Nobody, which is allowed here.
    Nobody,
    /// The session identity that this frame belongs to.
    Session(Addr),
}

impl Check {
    /// The message that may come now.
    pub(crate) fn expects(&self) -> Option<MsgType> {
        match self {
            Self::AwaitHello => Some(MsgType::Hello),
            Self::AwaitProof(_) => Some(MsgType::ConnectProof),
            Self::LookUp | Self::Storing(_) | Self::Signing(_) => None,
        }
    }

    /// Whom the peer says it is, and the best version that it speaks.
    pub(crate) fn greeted(hello: &Hello, allow_anonymous: bool) -> Result<(Greeted, Encoding), SagaError> {
        let Some(encoding) = Encoding::best(hello.versions.iter().map(String::as_str)) else {
            let ours = Encoding::ALL.map(Encoding::subprotocol).join(" and ");
            return Err(SagaError::PeerIncompatible(format!(
                "we speak {ours} only; the newer program is needed there"
            )));
        };
        match &hello.session {
            Some(addr) => Ok((Greeted::Session(addr.clone()), encoding)),
            None if allow_anonymous => Ok((Greeted::Nobody, encoding)),
            None => Err(IdentityRefusal::Required.into()),
        }
    }

    /// Challenges the session that was looked up.
    pub(crate) fn challenge(
        chain: Box<Chain>,
        target: String,
        demanded: Vec<String>,
        audience: Audience,
        expires_ms: u64,
    ) -> (Self, Message) {
        let message = ConnectChallenge { challenge_uuid: target.clone(), demanded: demanded.clone(), expires_ms };
        (
            Self::AwaitProof(Box::new(Challenge { chain, target, demanded, audience })),
            Message::ConnectChallenge(message),
        )
    }
}

impl Challenge {
    /// Checks the proof: a strict step from the session's newest frame that solves what was demanded.
    pub(crate) fn check(self, proof: &Verified<IbGib>) -> Result<(Proven, Step), SagaError> {
        let mut proven = Proven { chain: self.chain, audience: self.audience };
        let step = proven.advance(proof, VERB_CONNECT, self.target, self.demanded)?;
        Ok((proven, step))
    }
}

/// A peer's session identity that has signed on this connection; every turn of the peer is a strict step of it.
#[derive(Debug)]
pub(crate) struct Proven {
    chain: Box<Chain>,
    audience: Audience,
}

impl Proven {
    /// The session identity's timeline.
    pub(crate) fn tjp(&self) -> &Addr {
        self.chain.tjp()
    }

    /// What our side says to it now.
    pub(crate) fn word(&self, said: Said) -> Word {
        Word { session: self.tjp().clone(), last: self.chain.tip().addr().clone(), said }
    }

    /// Checks the frame that signs a turn. `context` is the address recomputed from the context that arrived, not one
    /// that was told.
    pub(crate) fn turn(&mut self, frame: &Verified<IbGib>, context: &Addr) -> Result<Step, SagaError> {
        self.advance(frame, VERB_SYNC, context.to_string(), Vec::new())
    }

    fn advance(
        &mut self,
        frame: &Verified<IbGib>,
        verb: &str,
        target: String,
        demanded: Vec<String>,
    ) -> Result<Step, SagaError> {
        let Audience { space: audience, nonce } = self.audience.clone();
        let (verb, target, demanded) = (Some(verb.to_owned()), Some(target), Some(demanded));
        let expect = Expect { verb, target, audience, nonce, demanded };
        self.chain.advance(frame, &expect).map_err(|errors| IdentityRefusal::invalid(&errors).into())
    }
}

#[cfg(test)]
mod tests;
