//! What can go wrong, told by whose doing it is.

/// Why a wormhole was misused, refused or broken. Nothing of it depends on the text of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// A code does not look like `7-crossover-clockwork`.
    #[error("{code:?} is no code: {why}")]
    BadCode {
        /// What was given.
        code: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The program did something at the wrong moment, or twice.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// Both sides derived different keys: the code was mistyped, or somebody in between guessed. The code is burnt.
    #[error("the code was wrong, or somebody tried to guess it; a new code is needed")]
    WrongCode,
    /// The other side's message is our own, sent back.
    #[error("our own message came back: somebody reflects it")]
    Reflected,
    /// More than two sides came to one number.
    #[error("more than two devices used this number; a new code is needed")]
    Crowded,
    /// The number was given back before and cannot be used again.
    #[error("this number was given back already; a new code is needed")]
    Reclaimed,
    /// The server does not want this client: its own words.
    #[error("the server serves nobody: {0}")]
    Unwelcome(String),
    /// The server does not do what it was asked for: its own words. That is how it tells of its limits.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server demands a permission that this client cannot give.
    #[error("the server demands a permission that is not known here")]
    NoPermission,
    /// The server answered what the protocol forbids.
    #[error("the server broke the protocol: {0}")]
    BadServer(String),
    /// The peer sent what the protocol forbids.
    #[error("the other device broke the protocol: {0}")]
    BadPeer(&'static str),
    /// The peer ended without having been heard to the end.
    #[error("the other device went away")]
    Lonely,
    /// The time given was over.
    #[error("nobody came in time")]
    TimedOut,
    /// What was saved is not a wormhole's state.
    #[error("the saved state cannot be used: {0}")]
    BadState(&'static str),
}

/// A call at the wrong moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// A wormhole has one code, from one of allocating, setting and typing.
    #[error("a wormhole has one code, and it has it already")]
    OnlyOneCode,
    /// The code comes before everything that needs it.
    #[error("the wormhole has no code yet")]
    NoCode,
    /// A schedule has to begin at 0, to go on in order, and to pause each time.
    #[error("a schedule begins at 0, its times go up, and no pause is 0")]
    BadSchedule,
    /// The number of a code was chosen before.
    #[error("the number is chosen already")]
    AlreadyChoseNumber,
    /// Words were asked for or chosen before the number.
    #[error("the number is chosen before the words")]
    ChooseNumberFirst,
    /// The words of a code were chosen before.
    #[error("the words are chosen already")]
    AlreadyChoseWords,
    /// A key is derived only once there is one.
    #[error("there is no key yet")]
    NoKey,
    /// The state can be saved only after the code is known and before the peer was heard.
    #[error("a wormhole is saved after its code is known and before the other device is heard")]
    NotNow,
    /// Data goes out once, where the form allows one message.
    #[error("the message was given already")]
    AlreadySent,
    /// The first form of wormholes has sides that can do less.
    #[error("this side of a wormhole of 2015 cannot do that")]
    NotThisForm,
    /// Nothing can be done with a wormhole that was closed.
    #[error("the wormhole is closed")]
    Closed,
}
