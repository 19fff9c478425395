//! What one connection may say, and when.

use crate::wire::{Answer, Command, Received};

/// The two things that every request of a bound connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Application id: numbers and mailboxes of one are invisible to another.
    pub app_id: String,
    /// Which side.
    pub side: String,
}

/// What a connection wants of the rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The numbers in use.
    List,
    /// A free number.
    Allocate,
    /// To take part in a number.
    Claim {
        /// The number.
        nameplate: String,
    },
    /// To give a number back.
    Release {
        /// The number.
        nameplate: String,
    },
    /// To listen to a mailbox.
    Open {
        /// The mailbox.
        mailbox: String,
    },
    /// To put a message into a mailbox.
    Add {
        /// The mailbox.
        mailbox: String,
        /// Which message of this side.
        phase: String,
        /// Its bytes in hex.
        body: String,
        /// The client's id of the command.
        id: Option<serde_json::Value>,
        /// The sender comes back within days.
        hold: bool,
    },
    /// To leave a mailbox.
    Close {
        /// The mailbox.
        mailbox: String,
        /// How it went.
        mood: Option<String>,
    },
}

/// Rows that have to be loaded before [`super::Rows::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants<'a> {
    /// The numbers that the application uses.
    Numbers,
    /// The number's row, and that of the mailbox it names; of a number that is not in use, those that are.
    Nameplate(&'a str),
    /// The mailbox's row, and that of the number that leads to it.
    Mailbox(&'a str),
}

impl Ask {
    /// What has to be loaded for it.
    pub fn wants(&self) -> Wants<'_> {
        match self {
            Self::List | Self::Allocate => Wants::Numbers,
            Self::Claim { nameplate } | Self::Release { nameplate } => Wants::Nameplate(nameplate),
            Self::Open { mailbox } | Self::Add { mailbox, .. } | Self::Close { mailbox, .. } => Wants::Mailbox(mailbox),
        }
    }
}

/// What comes of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Answer this; the rows are not concerned.
    Answer(Answer),
    /// A name and version, for statistics; nothing is answered.
    Bound {
        /// Who came.
        who: Who,
        /// Name and version of the client.
        client_version: Option<(String, String)>,
    },
    /// The stamp of a proof of work, to be checked by the caller; then [`Conversation::permit`].
    Permission {
        /// The method.
        method: String,
        /// The stamp.
        stamp: String,
    },
    /// Ask the rows.
    Ask(Ask),
}

/// One connection.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    needs_permission: bool,
    who: Option<Who>,
    allocated: bool,
    /// The number that was claimed.
    nameplate: Option<String>,
    released: bool,
    /// The mailbox that was asked for, whether or not it could be opened.
    mailbox: Option<String>,
    is_open: bool,
    closed: bool,
}

impl Conversation {
    /// A new connection. With `needs_permission`, `bind` is refused until [`Conversation::permit`].
    pub fn new(needs_permission: bool) -> Self {
        Self { needs_permission, ..Self::default() }
    }

    /// The permission was shown.
    pub fn permit(&mut self) {
        self.needs_permission = false;
    }

    /// Who this is, once it has bound.
    pub fn who(&self) -> Option<&Who> {
        self.who.as_ref()
    }

    /// The mailbox that this connection listens to.
    pub fn listens_to(&self) -> Option<&str> {
        self.mailbox.as_deref().filter(|_| self.is_open)
    }

    /// Takes a frame. Every frame with a type is acknowledged before what is answered here.
    pub fn receive(&mut self, received: &Received) -> Said {
        let said = match received.command.clone() {
            Ok(command) => self.command(command, received),
            Err(why) => Err(why),
        };
        said.unwrap_or_else(|why| Said::Answer(Answer::Error { error: why.into(), orig: received.whole.clone() }))
    }

    fn command(&mut self, command: Command, received: &Received) -> Result<Said, &'static str> {
        match command {
            Command::Ping { ping } => return Ok(Said::Answer(Answer::Pong { pong: ping })),
            Command::SubmitPermission { method, stamp } => return Ok(Said::Permission { method, stamp }),
            Command::Bind { app_id, side, client_version } => {
                if self.needs_permission {
                    return Err("must submit-permission first");
                }
                if self.who.is_some() {
                    return Err("already bound");
                }
                let who = Who { app_id, side };
                self.who = Some(who.clone());
                return Ok(Said::Bound { who, client_version });
            }
            _ if self.who.is_none() => return Err("must bind first"),
            _ => {}
        }
        Ok(Said::Ask(match command {
            Command::List => Ask::List,
            Command::Allocate => {
                if self.allocated {
                    return Err("you already allocated one, don't be greedy");
                }
                self.allocated = true;
                Ask::Allocate
            }
            Command::Claim { nameplate } => {
                if self.nameplate.is_some() {
                    return Err("only one claim per connection");
                }
                self.nameplate = Some(nameplate.clone());
                Ask::Claim { nameplate }
            }
            Command::Release { nameplate } => {
                if self.released {
                    return Err("only one release per connection");
                }
                let nameplate = one_of(
                    nameplate,
                    self.nameplate.as_ref(),
                    "release and claim must use same nameplate",
                    "release without nameplate must follow claim",
                )?;
                self.released = true;
                Ask::Release { nameplate }
            }
            Command::Open { mailbox } => {
                if self.is_open {
                    return Err("only one open per connection");
                }
                self.mailbox = Some(mailbox.clone());
                Ask::Open { mailbox }
            }
            Command::Add { phase, body, hold } => {
                let mailbox = self.listens_to().ok_or("must open mailbox before adding")?.to_owned();
                Ask::Add { mailbox, phase, body, id: received.id.clone(), hold }
            }
            Command::Close { mailbox, mood } => {
                if self.closed {
                    return Err("only one close per connection");
                }
                let mailbox = one_of(
                    mailbox,
                    self.mailbox.as_ref(),
                    "open and close must use same mailbox",
                    "close without mailbox must follow open",
                )?;
                Ask::Close { mailbox, mood }
            }
            Command::Bind { .. } | Command::Ping { .. } | Command::SubmitPermission { .. } => {
                unreachable!("these were answered above")
            }
        }))
    }

    /// An ask was done. From here on a mailbox is listened to, or no more.
    pub fn done(&mut self, ask: &Ask) {
        match ask {
            Ask::Open { .. } => self.is_open = true,
            Ask::Close { .. } => (self.is_open, self.closed) = (false, true),
            _ => {}
        }
    }
}

/// What a command names, or what this connection named before; both have to agree.
fn one_of(
    named: Option<String>,
    before: Option<&String>,
    differ: &'static str,
    neither: &'static str,
) -> Result<String, &'static str> {
    match (named, before) {
        (Some(named), Some(before)) if named != *before => Err(differ),
        (Some(named), _) => Ok(named),
        (None, Some(before)) => Ok(before.clone()),
        (None, None) => Err(neither),
    }
}
