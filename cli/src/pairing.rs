//! Wormholes of the command: how they meet, and what people see of it.

use crate::args::{Meet, NewCode};
use crate::codes::Code;
use crate::error::CliError;
use crate::output::Output;
use crate::report::Shown;
use ibgib_pairing::PairingError;
use ibgib_pairing::client::{Event, Input};
use ibgib_pairing::connect::Session;
use ibgib_pairing::error::Misuse;
use std::io::BufRead;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The first device's code: the one given, or a new one.
pub(crate) fn new_code(args: &NewCode) -> Result<Input, CliError> {
    Ok(match &args.code {
        Some(code) => Input::SetCode(code.parse_code()?),
        None => Input::Allocate { words: args.words },
    })
}

/// Text that should be a code.
pub(crate) trait ParseCode {
    fn parse_code(&self) -> Result<ibgib_pairing::code::Code, CliError>;
}

impl ParseCode for str {
    fn parse_code(&self) -> Result<ibgib_pairing::code::Code, CliError> {
        Ok(ibgib_pairing::code::Code::parse(self.trim())?)
    }
}

impl From<PairingError> for CliError {
    fn from(error: PairingError) -> Self {
        let text = error.to_string();
        match error {
            PairingError::BadCode { .. } => {
                Self::usage(text).hint("a code is a number and words, as in 7-crossover-clockwork")
            }
            PairingError::WrongCode | PairingError::Reflected => {
                Self::new(Code::Guessed, text).hint("begin again on both devices, with a new code")
            }
            PairingError::Crowded | PairingError::Reclaimed => {
                Self::new(Code::UsedUp, text).hint("begin again on both devices, with a new code")
            }
            PairingError::Unwelcome(_) | PairingError::Refused(_) | PairingError::NoPermission => {
                Self::new(Code::MailboxRefused, text).hint("try later, or name another mailbox server with --server")
            }
            PairingError::BadServer(_) => Self::new(Code::BadMailbox, text),
            PairingError::BadPeer(_) => Self::new(Code::BadPeer, text),
            PairingError::Lonely | PairingError::TimedOut => {
                Self::new(Code::NobodyCame, text).hint("begin again on both devices, with a new code")
            }
            PairingError::Misuse(Misuse::NotNow) | PairingError::BadState(_) => Self::new(Code::BadState, text),
            _ => Self::new(Code::BadPeer, text),
        }
    }
}

/// A wormhole whose other side has proven that it has the same key.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) session: Session,
    deadline: Instant,
}

/// Tells the code to `show`, waits for the other device, and with `--verify` for the person here.
pub(crate) async fn meet(out: &Output, args: &Meet, session: Session, show: bool) -> Result<Met, CliError> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let mut met = Met { session, deadline };
    let mut verifier = None;
    loop {
        match met.event().await? {
            Event::Welcome(welcome) => {
                if let Some(notice) = welcome.motd {
                    out.say(&format!("the mailbox server says: {notice}"));
                }
            }
            Event::Code(code) if show => out.item(&Shown { member: "code", text: code.as_str() })?,
            Event::Verifier(bytes) => verifier = Some(hex::encode(bytes)),
            Event::Confirmed(_) => break,
            _ => {}
        }
    }
    if let (true, Some(verifier)) = (args.verify, verifier) {
        out.item(&Shown { member: "verifier", text: &verifier })?;
        if !is_yes(out).await? {
            let refused = CliError::new(Code::VerifierRefused, "the verifiers were not said to be equal");
            return Err(met.give_up(refused, "the verifier was refused").await);
        }
    }
    Ok(met)
}

/// Whether the person here answers `yes`.
async fn is_yes(out: &Output) -> Result<bool, CliError> {
    out.say("does the other device show the same? (yes/no)");
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(|e| CliError::new(Code::Io, e.to_string()))?;
    let answer = answer.map_err(|e| CliError::io(std::path::Path::new("stdin"), &e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

impl Met {
    /// What happens next, before the time is over.
    pub(crate) async fn event(&mut self) -> Result<Event, CliError> {
        match timeout_at(self.deadline, self.session.next()).await {
            Ok(Ok(Event::Ended(how))) => Err(how.err().unwrap_or(PairingError::Lonely).into()),
            Ok(event) => Ok(event?),
            Err(_) => Err(self.late().await),
        }
    }

    async fn late(&mut self) -> CliError {
        // Whoever comes later must not find an open door.
        let closing = async {
            let _ = self.session.give(Input::Close);
            while !matches!(self.session.next().await, Ok(Event::Ended(_)) | Err(_)) {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
        PairingError::TimedOut.into()
    }

    /// The next message of the other side. People take their time now, so nothing limits it but `limited`.
    pub(crate) async fn message(&mut self, limited: bool) -> Result<Vec<u8>, CliError> {
        loop {
            let event = if limited {
                self.event().await?
            } else {
                match self.session.next().await? {
                    Event::Ended(how) => return Err(how.err().unwrap_or(PairingError::Lonely).into()),
                    event => event,
                }
            };
            if let Event::Received(message) = event {
                return Ok(message);
            }
        }
    }

    pub(crate) fn send(&mut self, message: Vec<u8>) -> Result<(), CliError> {
        Ok(self.session.give(Input::Send(message))?)
    }

    /// Tells the other side why it ends, and answers the error to end with.
    pub(crate) async fn give_up(mut self, error: CliError, why: &str) -> CliError {
        let note = ibgib_pairing::transfer::Note::Refused(why.to_owned());
        // The error that is told is the one that matters.
        let _ = self.send(note.to_message());
        self.session.end().await;
        error
    }
}
