//! What `wormhole` and `pair` are told.

use clap::ValueHint;
use ibgib_pairing::code::WORDS;
use ibgib_pairing::first_form::Form;
use ibgib_pairing::transfer::Place;
use std::path::PathBuf;

/// Which application, and how the two devices find each other.
#[derive(Debug, clap::Args)]
pub(crate) struct Meet {
    /// The mailbox server, as in ws://HOST:PORT/v1 [default: that of the device's server]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The application: both sides have to say the same
    #[arg(long, value_name = "ID")]
    pub(crate) app_id: Option<String>,
    /// Show a number that is equal on both devices only if nobody stands between, and wait for `yes` before anything
    /// travels
    #[arg(long)]
    pub(crate) verify: bool,
    /// Give up when the other device has not come after so many seconds
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
}

/// Where the code of the first device comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct NewCode {
    /// A code of your own, instead of a new one
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Words of a new code: each makes guessing 256 times harder
    #[arg(long, value_name = "N", default_value_t = WORDS, conflicts_with = "code", value_parser = words)]
    pub(crate) words: usize,
}

fn words(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=16).contains(n)).ok_or_else(|| "1 to 16 words".to_owned())
}

/// How the bytes of a file go.
#[derive(Debug, clap::Args)]
pub(crate) struct Transit {
    /// The relay for files where the two devices do not reach each other directly
    #[arg(long, value_name = "tcp:HOST:PORT", value_parser = place)]
    pub(crate) transit_relay: Option<Place>,
    /// Do not let the other device come directly
    #[arg(long)]
    pub(crate) no_listen: bool,
}

fn place(text: &str) -> Result<Place, String> {
    Place::parse(text).ok_or_else(|| "write tcp:HOST:PORT".to_owned())
}

/// The form of 2015, which carries one text.
#[derive(Debug, clap::Args)]
pub(crate) struct Seed {
    /// Speak the form of 2015, as this side of it: --server is an HTTP relay then, as in
    /// http://HOST:PORT/wormhole-relay/. Sending is the initiator's and receiving the receiver's in the programs of that
    /// time; symmetric meets symmetric
    #[arg(long, value_name = "initiator|receiver|symmetric", value_parser = form)]
    #[arg(conflicts_with_all = ["transit_relay", "no_listen"])]
    pub(crate) seed: Option<Form>,
}

fn form(text: &str) -> Result<Form, String> {
    match text {
        "initiator" => Ok(Form::Initiator),
        "receiver" => Ok(Form::Receiver),
        "symmetric" => Ok(Form::Symmetric),
        _ => Err("write initiator, receiver or symmetric".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wormhole {
    #[command(subcommand)]
    pub(crate) action: WormholeAction,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum WormholeAction {
    /// Send a text, a file or a directory: print a code, and wait until it is typed at the other device
    Send(WormholeSend),
    /// Receive what another device sends, by its code
    Receive(WormholeReceive),
    /// Go on with what `wormhole send --save` kept
    Resume(WormholeResume),
}

#[derive(Debug, clap::Args)]
pub(crate) struct WormholeSend {
    /// The text, - for stdin
    #[arg(required_unless_present = "file")]
    pub(crate) text: Option<String>,
    /// A file or a directory instead of a text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "seed"], value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// End once the code is known, and keep in this file what `wormhole resume` goes on with; whoever has it can
    #[arg(long, value_name = "FILE", conflicts_with = "seed", value_hint = ValueHint::FilePath)]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) code: NewCode,
    #[command(flatten)]
    pub(crate) meet: Meet,
    #[command(flatten)]
    pub(crate) transit: Transit,
    #[command(flatten)]
    pub(crate) seed: Seed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WormholeReceive {
    /// The code that the other device shows; it is asked for when it is missing
    pub(crate) code: Option<String>,
    /// Where a file or a directory goes
    #[arg(short, long, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,
    /// Take a file or a directory without asking
    #[arg(long)]
    pub(crate) accept: bool,
    #[command(flatten)]
    pub(crate) meet: Meet,
    #[command(flatten)]
    pub(crate) transit: Transit,
    #[command(flatten)]
    pub(crate) seed: Seed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WormholeResume {
    /// What `wormhole send --save` wrote; it is removed once the other device has come
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) meet: Meet,
    #[command(flatten)]
    pub(crate) transit: Transit,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pair {
    /// The code that the other device shows; without one this device shows a new one and waits
    #[arg(conflicts_with_all = ["code", "words"], id = "known", value_name = "CODE")]
    pub(crate) known: Option<String>,
    /// With a code: a new directory, which ends as a clone of the other device's folder. Without it the device that is
    /// here comes to know the other one
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath, id = "device")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) code: NewCode,
    #[command(flatten)]
    pub(crate) meet: Meet,
}
