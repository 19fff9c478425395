//! Following a server whose TLS shows another key than the known one.
//!
//! Nothing is said to it that is not public until its space's keystone, as it is known here, was found to have signed that the key
//! follows the known one. The connection over which that is asked takes the key that was shown, and no other; what comes over
//! it proves itself, or not.

use crate::http::{HttpClient, HttpError};
use crate::signing::aside;
use crate::tls::{ServerKey, Trust};
use ibgib::{Addr, IbGib, Mode, Value, Verified};
use ibgib_keystone::{Chain, Succession};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where a server tells it.
pub(crate) const PATH: &str = "/api/v1/succession";
/// Bytes of an answer that are read: the succession, and the frames of the keystone up to the one that signed it.
pub(crate) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the succession alone, and of one frame.
const SUCCESSION_BYTES_MAX: usize = 16 * 1024;
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// A server was followed from one key to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The key that was known.
    pub before: ServerKey,
    /// The key that is known now.
    pub key: ServerKey,
    /// The number of the succession, than which no older one is followed any more.
    pub number: u64,
}

/// What a remote follows its server by; clones share it.
#[derive(Debug, Default)]
pub(crate) struct Leading {
    /// The space's keystone, as it is known here.
    pub(crate) keystone: OnceLock<Addr>,
    /// One follows, the others wait for it.
    pub(crate) one: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest succession that was followed.
    seen: u64,
    last: Option<Followed>,
    /// Nobody was told yet.
    is_news: bool,
}

impl Leading {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seen(&self) -> u64 {
        self.state().seen
    }

    pub(crate) fn has_seen(&self, number: u64) {
        let mut state = self.state();
        state.seen = state.seen.max(number);
    }

    pub(crate) fn followed(&self, last: Followed) {
        *self.state() = State { seen: last.number, last: Some(last), is_news: true };
    }

    pub(crate) fn last(&self) -> Option<Followed> {
        self.state().last
    }

    pub(crate) fn news(&self) -> Option<Followed> {
        let mut state = self.state();
        if std::mem::take(&mut state.is_news) { state.last } else { None }
    }
}

/// Who shows a key, and what is known of whom it should be.
pub(crate) struct Question<'a> {
    /// The server's URL.
    pub(crate) at: &'a str,
    pub(crate) space: &'a str,
    pub(crate) keystone: &'a Addr,
    /// The key that is known.
    pub(crate) known: ServerKey,
    /// The number of the newest succession that was followed.
    pub(crate) seen: u64,
    /// The key that was shown.
    pub(crate) shown: ServerKey,
}

/// Why nobody is followed.
pub(crate) enum Refused {
    /// What came proves nothing.
    Unproven(String),
    /// Nothing came.
    Http(HttpError),
    /// Something else than a succession came: the status, and what was said.
    Answer(u16, String),
}

impl Question<'_> {
    /// Asks whoever shows the key for what proves that it follows the known one; answers the number of that.
    pub(crate) async fn ask(&self) -> Result<u64, Refused> {
        let client = Trust::key(self.shown).client().map_err(|e| Refused::Unproven(e.to_string()))?;
        let http = HttpClient::new(Some(client));
        let (mut told, mut other) =
            (Told { question: self, succession: None, line: Vec::new(), frames: Vec::new() }, Vec::new());
        let take = |status, piece: &[u8]| match status {
            200 => told.take(piece),
            // An error's words are few.
            _ if other.len() + piece.len() > FRAME_BYTES_MAX => Err("the answer is too long for an error".to_owned()),
            _ => {
                other.extend_from_slice(piece);
                Ok(())
            }
        };
        let status = http.read(&format!("{}{PATH}", self.at), None, ANSWER_BYTES_MAX, take).await;
        match status {
            Ok(200) => {}
            Ok(status) => return Err(Refused::Answer(status, String::from_utf8_lossy(&other).into_owned())),
            Err(HttpError::Unwanted(why)) => return Err(Refused::Unproven(why)),
            Err(error) => return Err(Refused::Http(error)),
        }
        let Told { succession: Some(succession), line, frames, .. } = told else {
            return Err(Refused::Unproven("it tells no succession".into()));
        };
        if !line.is_empty() {
            return Err(Refused::Unproven("what it tells ends in the middle of a line".into()));
        }
        let (number, keystone, space) = (succession.number(), self.keystone.clone(), self.space.to_owned());
        let proven = aside(move || {
            let (chain, _) =
                Chain::replay(frames).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
            match *chain.tjp() == keystone && succession.holds(&chain, &space) {
                true => Ok(()),
                false => Err(format!("{keystone} has not signed it for the space {space}")),
            }
        });
        let proven = proven.await.map_err(|e| Refused::Unproven(e.to_string()))?;
        proven.map(|()| number).map_err(Refused::Unproven)
    }

    /// What can be seen of a succession before its signature is looked at.
    fn check(&self, succession: &Succession) -> Result<(), String> {
        let (known, shown) = (self.known.to_string(), self.shown.to_string());
        if succession.keystone() != *self.keystone {
            return Err(format!("{} has signed it, and not {}", succession.keystone(), self.keystone));
        }
        if succession.key() != shown {
            return Err(format!("it is about the key {}, and {shown} was shown", succession.key()));
        }
        if !succession.leads_from(&known, self.seen) {
            return Err(format!("it does not lead from {known}, or is no newer than what was followed before"));
        }
        Ok(())
    }
}

/// What comes, checked as it comes: nothing else is taken, however much is sent.
struct Told<'a> {
    question: &'a Question<'a>,
    succession: Option<Succession>,
    line: Vec<u8>,
    frames: Vec<Verified<IbGib>>,
}

impl Told<'_> {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            self.check_length()?;
            self.end_line()?;
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
        self.check_length()
    }

    fn check_length(&self) -> Result<(), String> {
        let most = if self.succession.is_none() { SUCCESSION_BYTES_MAX } else { FRAME_BYTES_MAX };
        if self.line.len() > most { Err(format!("a line has more than {most} bytes")) } else { Ok(()) }
    }

    fn end_line(&mut self) -> Result<(), String> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).map_err(|e| e.to_string())?;
        let Some(succession) = &self.succession else {
            let value = Value::parse(text, Mode::Strict).map_err(|e| e.to_string())?;
            let succession = Succession::parse(&value).ok_or("what it tells is no succession")?;
            self.question.check(&succession)?;
            self.succession = Some(succession);
            return Ok(());
        };
        if self.frames.last().is_some_and(|frame| frame.addr() == succession.frame()) {
            return Err("more came than the frames that prove it".into());
        }
        self.frames.push(Verified::parse(text).map_err(|e| e.to_string())?);
        Ok(())
    }
}
