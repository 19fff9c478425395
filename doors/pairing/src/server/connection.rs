//! One WebSocket connection of the mailbox protocol.

use super::hub::{Listener, Seat};
use super::shared::{Shared, now};
use super::store::mailbox_key;
use crate::hashcash::Demand;
use crate::mailbox::{Ask, Conversation, Said, UsageOf};
use crate::wire::{Answer, Command, Received, Welcome};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::StreamExt as _;
use ibgib_peer::entropy::random_hex;
use ibgib_server::rows::RowError;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often a client is asked whether it is still there, as the original server does.
const PING: Duration = Duration::from_secs(60);
/// How long it may say nothing at all.
const SILENT_MAX: Duration = Duration::from_secs(600);
/// How long it may take nothing of what is sent to it.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Why a connection ends.
enum End {
    /// The client is gone, says nothing that has a meaning, or takes nothing.
    Client,
    /// The rows cannot be read or written.
    Rows(RowError),
    Stop,
}

impl From<RowError> for End {
    fn from(error: RowError) -> Self {
        Self::Rows(error)
    }
}

struct Connection {
    shared: Arc<Shared>,
    socket: WebSocket,
    peer: SocketAddr,
    conversation: Conversation,
    /// The work that this connection has not shown yet.
    demand: Option<Demand>,
    /// Of the open mailbox, and how many of its messages this connection has been told.
    listener: Option<Listener>,
    seen: usize,
}

/// Serves a connection to its end.
pub(super) async fn converse(shared: Arc<Shared>, socket: WebSocket, peer: SocketAddr, seat: Seat) {
    let bits = shared.options.hashcash_bits;
    // Another one for each connection, so that no work is shown twice.
    let demand = (bits > 0).then(|| Demand { bits, resource: random_hex() });
    let conversation = Conversation::new(demand.is_some());
    let mut connection = Connection { shared, socket, peer, conversation, demand, listener: None, seen: 0 };
    let code = match connection.serve().await {
        Ok(()) | Err(End::Client) => None,
        Err(End::Stop) => Some(1001),
        Err(End::Rows(error)) => {
            tracing::error!(%error, "a mailbox's rows cannot be read or written");
            Some(1011)
        }
    };
    let close = code.map(|code| CloseFrame { code, reason: "".into() });
    // Whoever is gone already needs no goodbye.
    let _ = timeout(WRITE_MAX, connection.socket.send(Message::Close(close))).await;
    drop(seat);
}

impl Connection {
    async fn serve(&mut self) -> Result<(), End> {
        let demanded = self.demand.as_ref().map(|demand| json!({"bits": demand.bits, "resource": demand.resource}));
        let welcome = Welcome {
            motd: self.shared.options.motd.clone(),
            your_address: Some(self.peer),
            permission_required: demanded.map(|demanded| [("hashcash".to_owned(), demanded)].into_iter().collect()),
            ..Welcome::default()
        };
        self.send(Answer::Welcome(welcome)).await?;
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.shared.stop.clone();
        let mut heard = Instant::now();
        loop {
            let news = async {
                match &mut self.listener {
                    Some(listener) => listener.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = self.socket.next() => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(Message::Text(text))) => self.take(&text).await?,
                        Some(Ok(Message::Binary(bytes))) => {
                            let text = std::str::from_utf8(&bytes).map_err(|_| End::Client)?;
                            self.take(text).await?;
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                    }
                }
                () = news => self.tell().await?,
                _ = pings.tick() => {
                    if heard.elapsed() > SILENT_MAX {
                        return Err(End::Client);
                    }
                    self.write(Message::Ping(Vec::new().into())).await?;
                }
                () = stop.cancelled() => return Err(End::Stop),
            }
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Client),
        }
    }

    async fn send(&mut self, answer: Answer) -> Result<(), End> {
        self.write(Message::text(answer.frame(now()))).await
    }

    async fn take(&mut self, frame: &str) -> Result<(), End> {
        // What is no JSON has no meaning at all.
        let received = Command::receive(frame).ok_or(End::Client)?;
        if !received.untyped {
            self.send(Answer::Ack { id: received.id.clone().unwrap_or_default() }).await?;
        }
        match self.conversation.receive(&received) {
            Said::Answer(answer) => self.send(answer).await,
            Said::Bound { client_version, .. } => {
                tracing::debug!(?client_version, "a client bound");
                Ok(())
            }
            Said::Permission { method, stamp } => match &self.demand {
                Some(demand) if method != "hashcash" || !demand.is_met(&stamp) => {
                    self.refuse(received, "the stamp is not good for this connection".into()).await?;
                    Err(End::Client)
                }
                // Where nothing is asked for, whatever is shown is enough.
                _ => {
                    self.demand = None;
                    self.conversation.permit();
                    Ok(())
                }
            },
            Said::Ask(ask) => self.ask(&ask, received).await,
        }
    }

    async fn refuse(&mut self, received: Received, error: String) -> Result<(), End> {
        self.send(Answer::Error { error, orig: received.whole }).await
    }

    async fn ask(&mut self, ask: &Ask, received: Received) -> Result<(), End> {
        let Some(who) = self.conversation.who().cloned() else { return Err(End::Client) };
        let address = self.peer.ip();
        let guesses = &self.shared.guesses;
        match ask {
            Ask::Claim { .. } if !guesses.take(address) => {
                let why = "too many numbers were tried from your address; try again later";
                return self.refuse(received, why.into()).await;
            }
            Ask::Add { body, .. } if !self.shared.may_add(address, body.len()) => {
                return self.refuse(received, "too much came from your address; try again later".into()).await;
            }
            _ => {}
        }
        // Before the first message is read, so that none comes in between unnoticed.
        let listener = match ask {
            Ask::Open { mailbox } => Some(self.shared.hub.listen(mailbox_key(&who.app_id, mailbox))),
            _ => None,
        };
        let done = match self.shared.store.perform(&who, ask, now()).await {
            Ok(done) => done,
            // A number that is not exact, or nested too deep: in what the client chose freely.
            Err(RowError::Value { why, .. }) => {
                return self.refuse(received, format!("this cannot be kept: {why}")).await;
            }
            Err(error) => return Err(error.into()),
        };
        let outcome = match done.outcome {
            Ok(outcome) => outcome,
            Err(refusal) => return self.refuse(received, refusal.to_string()).await,
        };
        self.conversation.done(ask);
        self.shared.note(&outcome.usage);
        match ask {
            Ask::Claim { .. } => {
                if let Some(mailbox) = &done.mailbox {
                    self.shared.guesses.came(address, mailbox, now());
                }
            }
            Ask::Open { .. } => (self.listener, self.seen) = (listener, 0),
            Ask::Add { .. } => {
                self.shared.messages.fetch_add(1, Ordering::Relaxed);
            }
            Ask::Close { mailbox, .. } => {
                self.listener = None;
                if let Some(usage) = outcome.usage.iter().find(|usage| usage.of != UsageOf::Nameplate) {
                    let key = mailbox_key(&who.app_id, mailbox);
                    self.shared.guesses.ended(&key, usage.result == "happy");
                }
            }
            Ask::List | Ask::Allocate | Ask::Release { .. } => {}
        }
        match outcome.answer {
            Some(answer) => self.send(answer).await,
            None => self.tell().await,
        }
    }

    /// Tells what the open mailbox holds beyond what was told.
    async fn tell(&mut self) -> Result<(), End> {
        while let Some(listener) = &self.listener {
            let messages = self.shared.store.messages(listener.key(), self.seen).await?;
            if messages.is_empty() {
                break;
            }
            for kept in messages {
                self.seen += 1;
                self.send(kept.into()).await?;
            }
        }
        Ok(())
    }
}
