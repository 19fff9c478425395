//! The sender's peer: one connection to a receiver, told to establish, connect, sync and disconnect.

use crate::desk::{SenderDesk, Staging};
use crate::guard::Guard;
use crate::index::Indexes;
use crate::link::{AtWork, Link};
use crate::receipts::check_revision;
use crate::remote::Remote;
use crate::session::{SenderIdentity, SessionSigner, establish_session_identity, introduce};
use crate::trusted;
use ibgib::Addr;
use ibgib_saga::{
    Code, Envelope, Limits, Message, MsgType, Packet, Refusal, SagaError, SagaStatus, Sender, SenderAnswer,
    SenderInput, SenderOutput, SenderQuery, Summary, SyncRequest,
};
use ibgib_spaces::{Space, Walked};
use std::sync::Arc;
use std::time::Duration;

/// One sender's connection to one receiver.
pub struct SyncPeer {
    remote: Arc<dyn Remote>,
    identity: Option<SenderIdentity>,
    machine: Sender,
    desk: SenderDesk,
    link: Option<Link>,
    limits: Limits,
    progress: Option<Progress>,
}

impl std::fmt::Debug for SyncPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncPeer").field("phase", &self.machine.phase()).finish_non_exhaustive()
    }
}

/// Told as a saga goes on: how far it has come.
pub type Progress = Arc<dyn Fn(SagaStatus) + Send + Sync>;

enum Event {
    Connected,
    Done(Box<Summary>),
    Glanced(bool),
}

impl SyncPeer {
    /// A peer that is not connected yet. Without identity it can only reach receivers that allow that.
    pub fn new(
        space: Arc<dyn Space>,
        remote: Arc<dyn Remote>,
        identity: Option<SenderIdentity>,
        limits: Limits,
    ) -> Self {
        let desk = SenderDesk {
            space,
            signer: None,
            limits: limits.clone(),
            mends: false,
            guard: None,
            indexes: Indexes::default(),
            under: None,
            walked: Walked::default(),
            staging: Staging::default(),
        };
        Self { remote, identity, machine: Sender::new(limits.clone()), desk, link: None, limits, progress: None }
    }

    /// Calls `progress` as the saga goes on.
    pub fn on_progress(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    /// The session identity's signer, once established.
    pub fn session(&self) -> Option<&SessionSigner> {
        self.desk.signer.as_ref()
    }

    /// Phase 1: makes the session identity S, evolves the domain identity I → I1 for it, delivers both. Does nothing
    /// without an identity.
    ///
    /// # Errors
    /// As [`establish_session_identity`].
    pub async fn establish_session_identity(&mut self) -> Result<(), SagaError> {
        if let Some(identity) = &self.identity {
            self.desk.signer = Some(establish_session_identity(&self.desk.space, &*self.remote, identity).await?);
        }
        Ok(())
    }

    /// Phases 1 and 2: the connection is opened while the receiver looks at what is delivered, which spares waiting for one
    /// after the other. Delivering may take longer than the receiver waits for who has connected; then it is opened again.
    ///
    /// # Errors
    /// As of the phases.
    pub(crate) async fn begin(&mut self) -> Result<(), SagaError> {
        let Some(identity) = &self.identity else { return self.connect().await };
        let (signer, link) = introduce(&self.desk.space, &*self.remote, identity, self.remote.open()).await?;
        self.desk.signer = Some(signer);
        match self.prove(link?).await {
            Err(error) if self.was_too_early(&error) => {
                self.machine = Sender::new(self.limits.clone());
                self.connect().await
            }
            proven => proven,
        }
    }

    /// Whether the receiver was tired of waiting before it heard anything on the connection: for none of its challenges has
    /// the session signed.
    fn was_too_early(&self, error: &SagaError) -> bool {
        let is_over =
            matches!(error, SagaError::Cut | SagaError::PeerRefused { why: Refusal::Known(Code::Timeout), .. });
        is_over && self.session().is_some_and(|signer| signer.chain().n() == 0)
    }

    /// Phase 2: opens the connection and proves the session identity on it.
    ///
    /// # Errors
    /// The peer is not reachable, refuses, or breaks the protocol. The socket is closed then.
    pub async fn connect(&mut self) -> Result<(), SagaError> {
        let link = self.remote.open().await?;
        self.prove(link).await
    }

    async fn prove(&mut self, link: Link) -> Result<(), SagaError> {
        self.link = Some(link);
        let session = self.desk.signer.as_ref().map(|s| (s.chain().tjp().clone(), s.chain().tip().addr().clone()));
        match self.drive(SenderInput::Connect(session)).await? {
            Event::Connected => self.check_receipts().await,
            _ => Err(SagaError::defect("a saga ended before it began")),
        }
    }

    /// A receiver whose space is at less than what it has signed before has lost something, or hides it.
    async fn check_receipts(&mut self) -> Result<(), SagaError> {
        let Some(signer) = &self.desk.signer else { return Ok(()) };
        let checked = check_revision(&*self.desk.space, signer.audience(), self.machine.revision()).await;
        if checked.is_err() {
            self.disconnect().await;
        }
        checked
    }

    /// Phase 3: runs one saga; several may follow each other on one connection.
    ///
    /// # Errors
    /// What went wrong; the socket is closed then.
    pub async fn sync(&mut self, request: SyncRequest) -> Result<Summary, SagaError> {
        match self.drive_in_time(SenderInput::Sync(Box::new(request))).await? {
            Event::Done(summary) => Ok(*summary),
            _ => Err(SagaError::defect("a saga ended as none can")),
        }
    }

    /// Asks, on an open and idle connection, whether the receiver's living tips, or those [under](ibgib_saga::Scope::Under) `root`,
    /// have this fingerprint ([`ibgib_saga::Fingerprint`]). Costs one small message each way; nothing is read from the sender's space.
    /// As long as they have, the receiver may take `wait` to say so; whoever stops waiting may go on with the connection.
    ///
    /// # Errors
    /// The connection is gone, or the receiver refuses; the socket is closed then.
    pub async fn glance(&mut self, fingerprint: &str, root: Option<&Addr>, wait: Duration) -> Result<bool, SagaError> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match self.drive_in_time(SenderInput::Glance(fingerprint.to_owned(), root.cloned(), wait_ms)).await? {
            Event::Glanced(equal) => Ok(equal),
            _ => Err(SagaError::defect("a glance ended as none can")),
        }
    }

    /// Asks `guard` before anything that came is published.
    pub(crate) fn set_guard(&mut self, guard: Option<Arc<dyn Guard>>) {
        self.desk.guard = guard;
    }

    /// Uses what others found out about where tips lead.
    pub(crate) fn share(&mut self, indexes: &Indexes) {
        self.desk.indexes = indexes.clone();
    }

    /// Goes on with this space from now on: the same store, closed and opened again between two sagas.
    pub(crate) fn set_space(&mut self, space: Arc<dyn Space>) {
        self.desk.space = space;
    }

    /// Lets go of the space, and of whatever may hold it or is of use to one saga only. The stand-in takes its place.
    pub(crate) fn rest(&mut self, stand_in: Arc<dyn Space>) {
        self.desk.space = stand_in;
        self.desk.guard = None;
        self.desk.walked = Walked::default();
    }

    /// Says goodbye and closes the connection. Calling it again does nothing.
    pub async fn disconnect(&mut self) {
        // Nothing of a saga comes into the space afterwards.
        let _ = self.desk.staging.done().await;
        if let Some(link) = self.link.take() {
            // Best effort: the peer may be gone.
            let _ = link.tx.try_send(Message::Bye.packet());
        }
    }

    /// As long as a saga may take: a peer that always says just enough, or that it is at work, is not waited for for ever.
    async fn drive_in_time(&mut self, input: SenderInput) -> Result<Event, SagaError> {
        let whole = Duration::from_millis(self.limits.saga_ms_max);
        match tokio::time::timeout(whole, self.drive(input)).await {
            Ok(done) => done,
            Err(_) => {
                self.disconnect().await;
                Err(SagaError::TimedOut)
            }
        }
    }

    async fn drive(&mut self, input: SenderInput) -> Result<Event, SagaError> {
        let mut input = input;
        let mut told = SagaStatus::default();
        // Before each side knows who the other one is, no sign of being at work counts.
        let connected = !matches!(input, SenderInput::Connect(_));
        let signs = self.link.as_ref().filter(|_| connected).map(|link| link.signs.clone());
        let mut at_work = AtWork::new(signs, &self.limits);
        loop {
            self.machine.handle(input);
            if let Some(progress) = &self.progress {
                let status = self.machine.status();
                if status != told {
                    progress(status);
                }
                told = status;
            }
            let mut next = None;
            let mut event = None;
            let mut refused = None;
            while let Some(output) = self.machine.poll() {
                match output {
                    SenderOutput::Send(packet) => {
                        // What the peer said before it went is heard once; what follows has nobody to go to.
                        if refused.is_none() {
                            refused = send(self.link.as_mut(), packet).await.err();
                            at_work.begin();
                        }
                    }
                    SenderOutput::Ask(SenderQuery::Warrant(warrant)) => {
                        let space = self.desk.signer.as_ref().map_or("", SessionSigner::audience);
                        let checked = trusted::check(&self.desk.space, &*self.remote, &warrant, space);
                        let checked = at_work.on(checked).await;
                        let answer = checked.map_or_else(SenderAnswer::Failed, |()| SenderAnswer::Warrant);
                        next = Some(SenderInput::Answer(answer));
                    }
                    SenderOutput::Ask(query) => {
                        next = Some(SenderInput::Answer(at_work.on(self.desk.answer(query)).await));
                    }
                    SenderOutput::Connected => event = Some(Event::Connected),
                    SenderOutput::Done(summary) => event = Some(Event::Done(summary)),
                    SenderOutput::Glanced(equal) => event = Some(Event::Glanced(equal)),
                    SenderOutput::Failed(error) => {
                        // Nothing of this saga comes into the space afterwards.
                        let _ = self.desk.staging.done().await;
                        // Dropping the link flushes what was sent, then closes.
                        self.link = None;
                        return Err(error);
                    }
                }
            }
            if let Some(event) = event {
                return Ok(event);
            }
            if let Some(next) = refused.or(next) {
                input = next;
                continue;
            }
            let Some(link) = &mut self.link else { return Err(SagaError::Cut) };
            let wait = Duration::from_millis(self.machine.deadline_ms().unwrap_or(self.limits.idle_ms_max));
            input = loop {
                tokio::select! {
                    biased;
                    packet = link.rx.recv() => break packet.map_or(SenderInput::Closed, SenderInput::Packet),
                    () = tokio::time::sleep(wait) => break SenderInput::TimedOut,
                    // From then on it is waited for as long again.
                    () = link.signs.come(), if connected => {}
                }
            };
            at_work.begin();
        }
    }
}

/// Sends; when the peer is gone, answers what it said before it went.
async fn send(link: Option<&mut Link>, packet: Packet) -> Result<(), SenderInput> {
    let Some(link) = link else { return Err(SenderInput::Closed) };
    if link.tx.send(packet).await.is_ok() {
        return Ok(());
    }
    while let Some(packet) = link.rx.recv().await {
        if let Packet::Text(text) = &packet
            && let Ok(message) = Envelope::parse(text)
            && matches!(message.kind(), MsgType::AuthFail | MsgType::SyncError)
        {
            return Err(SenderInput::Packet(packet));
        }
    }
    Err(SenderInput::Closed)
}
