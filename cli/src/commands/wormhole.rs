//! `wormhole`: a text, a file or a directory to another device, by a code.

use super::wormhole_of_2015;
use crate::archive::{self, Packed};
use crate::args;
use crate::args::{Args, Meet, Transit, WormholeAction, WormholeReceive, WormholeResume, WormholeSend};
use crate::codes::Code;
use crate::confirm::confirm;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::pairing::{MAILBOX, NUMBERS_MAX, give_code, give_up, mailbox, meet, options, part, refused, told};
use crate::private::write_private;
use crate::report::{Shown, Transferred};
use crate::screen::{Headway, amount};
use crate::typing::{self, is_typed, read_plainly};
use ibgib::{Mode, Value, object};
use ibgib_pairing::PairingError;
use ibgib_pairing::carry::{Connection, Endpoint};
use ibgib_pairing::transcribe::{Options, SymmetricWormhole};
use ibgib_pairing::transfer::{APP_ID, Contents, Hint, Note, Offer, file_name, read_receipt, receipt};
use ibgib_pairing::transit::{Role, TransitKey};
use ibgib_peer::WebSocketRemote;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a file that are read, sealed and sent at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of a text: an offer is one message.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// How long the other device may take for what no person decides.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long the receipt may take: what is still under way has to arrive and to be stored before.
const RECEIPT_MAX: Duration = Duration::from_secs(600);

async fn endpoint(transit: &Transit) -> Result<Endpoint, CliError> {
    let opened = Endpoint::open(!transit.no_listen, transit.transit_relay.iter().cloned().collect()).await;
    opened.map_err(|e| CliError::new(Code::Io, format!("no port for the other device: {e}")))
}

/// What is sent.
enum Sending {
    Text(String),
    /// A file, or a directory's archive with what is in it.
    File {
        file: File,
        path: PathBuf,
        name: String,
        size: u64,
        contents: Option<Contents>,
    },
}

impl Sending {
    fn file(out: &Output, path: &Path) -> Result<Self, CliError> {
        let whole = fs::canonicalize(path).map_err(|e| CliError::io(path, &e))?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let meta = fs::metadata(&whole).map_err(|e| CliError::io(path, &e))?;
        if meta.is_file() {
            let file = File::open(&whole).map_err(|e| CliError::io(path, &e))?;
            return Ok(Self::File { file, path: whole, name, size: meta.len(), contents: None });
        }
        if !meta.is_dir() || name.is_empty() {
            return Err(CliError::usage(format!("{} is neither a file nor a directory with a name", path.display()))
                .about(path.display().to_string()));
        }
        let Packed { file, size, contents, left_out } = archive::pack(&whole)?;
        for (path, why) in left_out {
            out.say(&format!("left out: {} {why}", path.display()));
        }
        Ok(Self::File { file, path: whole, name, size, contents: Some(contents) })
    }

    fn text(text: &str) -> Result<Self, CliError> {
        if text != "-" {
            return Ok(Self::Text(text.to_owned()));
        }
        let mut read = String::new();
        let stdin = std::io::stdin().lock();
        stdin.take(TEXT_BYTES_MAX + 1).read_to_string(&mut read).map_err(|e| CliError::io(Path::new("stdin"), &e))?;
        if read.len() as u64 > TEXT_BYTES_MAX {
            return Err(CliError::usage("the text is longer than 1 MiB").hint("send it as a file, with --file"));
        }
        Ok(Self::Text(read))
    }
}

pub(crate) async fn wormhole(args: &Args, out: &Output, wormhole: &args::Wormhole) -> Result<Exit, CliError> {
    match &wormhole.action {
        WormholeAction::Send(options) => send(args, out, options).await,
        WormholeAction::Receive(options) => receive(args, out, options).await,
        WormholeAction::Resume(options) => resume(args, out, options).await,
    }
}

fn app_id(meet: &Meet) -> &str {
    meet.app_id.as_deref().unwrap_or(APP_ID)
}

async fn send(args: &Args, out: &Output, given: &WormholeSend) -> Result<Exit, CliError> {
    let sending = match (&given.text, &given.file) {
        (_, Some(path)) => Sending::file(out, path)?,
        (Some(text), None) => Sending::text(text)?,
        (None, None) => return Err(CliError::usage("a text or --file is needed")),
    };
    if let (Some(form), Sending::Text(text)) = (given.seed.seed, &sending) {
        return wormhole_of_2015::send(args, out, given, form, text).await;
    }
    let remote = mailbox(args, given.meet.server.as_deref(), MAILBOX).await?;
    if let Some(path) = &given.save {
        return save(out, given, remote, &sending, path).await;
    }
    let mut wormhole = SymmetricWormhole::start(app_id(&given.meet), remote, options(&given.meet));
    out.item(&give_code(&mut wormhole, &given.code).await?)?;
    meet(out, &given.meet, &mut wormhole).await?;
    let delivered = deliver(out, &mut wormhole, sending, &given.transit).await;
    told(&mut wormhole, delivered).await
}

/// Ends once the other device could go on, and keeps what this one goes on with.
async fn save(
    out: &Output,
    given: &WormholeSend,
    remote: WebSocketRemote,
    sending: &Sending,
    path: &Path,
) -> Result<Exit, CliError> {
    if path.exists() {
        return Err(CliError::file_exists(path));
    }
    let held = Options { held: true, ..options(&given.meet) };
    let mut wormhole = SymmetricWormhole::start(app_id(&given.meet), remote, held);
    let code = give_code(&mut wormhole, &given.code).await?;
    let state = wormhole.serialize().await?;
    let (member, what) = match sending {
        Sending::Text(text) => ("text", text.as_str()),
        Sending::File { path, .. } => {
            ("file", path.to_str().ok_or_else(|| CliError::usage("the file's name is no text"))?)
        }
    };
    let whole = object([("wormhole", state.as_str().into()), (member, what.into())]);
    write_private(path, whole.to_json().as_bytes())?;
    wormhole.suspend().await;
    out.item(&code)?;
    Ok(Exit::Done)
}

async fn resume(args: &Args, out: &Output, given: &WormholeResume) -> Result<Exit, CliError> {
    let path = &given.state;
    let bad = |why: &str| {
        CliError::new(Code::BadState, format!("{}: {why}", path.display())).about(path.display().to_string())
    };
    let text = fs::read_to_string(path).map_err(|e| CliError::io(path, &e))?;
    let saved = Value::parse(&text, Mode::Strict).map_err(|_| bad("it is not what --save wrote"))?;
    let part = |name: &str| saved.get(name).and_then(Value::as_str);
    let state = part("wormhole").ok_or_else(|| bad("it has no wormhole"))?;
    let sending = match (part("text"), part("file")) {
        (Some(text), _) => Sending::Text(text.to_owned()),
        (None, Some(file)) => Sending::file(out, Path::new(file))?,
        (None, None) => return Err(bad("it does not say what is sent")),
    };
    let remote = mailbox(args, given.meet.server.as_deref(), MAILBOX).await?;
    let mut wormhole = SymmetricWormhole::from_serialized(state, remote, &options(&given.meet))?;
    let met = meet(out, &given.meet, &mut wormhole).await;
    match met {
        // Nothing was said to anybody yet: the state is as good as before.
        Err(error) if wormhole.derive_key("state", 1).is_err() => {
            return Err(match error.code.as_str() {
                code if code == Code::NobodyCame.as_str() => {
                    error.hint("the saved wormhole stays: run 'ibgib wormhole resume' again")
                }
                _ => error,
            });
        }
        // The other side has heard this one: from here on the state is of no use.
        met => {
            fs::remove_file(path).map_err(|e| CliError::io(path, &e))?;
            met?;
        }
    }
    let delivered = deliver(out, &mut wormhole, sending, &given.transit).await;
    told(&mut wormhole, delivered).await
}

async fn deliver(
    out: &Output,
    wormhole: &mut SymmetricWormhole,
    sending: Sending,
    transit: &Transit,
) -> Result<Exit, CliError> {
    let (mut file, path, name, size, contents) = match sending {
        Sending::Text(text) => {
            wormhole.send(Note::Offer(Offer::Text(text)).to_message())?;
            loop {
                for note in Note::read(&wormhole.receive().await?)? {
                    match note {
                        Note::MessageTaken => {
                            part(wormhole).await;
                            return Ok(Exit::Done);
                        }
                        Note::Refused(why) => {
                            part(wormhole).await;
                            return Err(refused(&why));
                        }
                        _ => {}
                    }
                }
            }
        }
        Sending::File { file, path, name, size, contents } => (file, path, name, size, contents),
    };
    let endpoint = endpoint(transit).await?;
    wormhole.send(Note::Transit(endpoint.hints()).to_message())?;
    let offer = match contents {
        None => Offer::File { name: name.clone(), size },
        Some(contents) => Offer::Directory { name: name.clone(), size, contents },
    };
    wormhole.send(Note::Offer(offer).to_message())?;
    out.say("waiting until the other device takes it");
    let (mut theirs, mut wanted) = (None, false);
    while !wanted || theirs.is_none() {
        for note in Note::read(&wormhole.receive().await?)? {
            match note {
                Note::Transit(hints) => theirs = Some(hints),
                Note::FileWanted => wanted = true,
                Note::Refused(why) => {
                    part(wormhole).await;
                    return Err(refused(&why));
                }
                _ => {}
            }
        }
    }
    let key = transit_key(wormhole)?;
    let mut connection = endpoint.meet(&key, Role::Sender, &theirs.unwrap_or_default()).await?;
    let mut hash = Sha256::new();
    let mut sent = 0;
    let mut piece = vec![0; PIECE_BYTES];
    while sent < size {
        let most = usize::try_from(size - sent).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let read = file.read(&mut piece[..most]).map_err(|e| CliError::io(&path, &e))?;
        if read == 0 {
            return Err(CliError::new(Code::Io, format!("{} became shorter meanwhile", path.display()))
                .about(path.display().to_string()));
        }
        hash.update(&piece[..read]);
        connection.send(&piece[..read]).await?;
        sent += read as u64;
        out.screen().show(&headway("sending", sent, size));
    }
    connection.set_idle_max(RECEIPT_MAX);
    let told = read_receipt(&connection.receive().await?)?;
    let sha256 = hex::encode(hash.finalize());
    if told.is_some_and(|told| told != sha256) {
        return Err(PairingError::BadPeer("it received other bytes than were sent").into());
    }
    connection.close().await;
    part(wormhole).await;
    out.report(&Transferred { member: "sent", name, bytes: size, sha256 })?;
    Ok(Exit::Done)
}

fn headway(doing: &'static str, bytes: u64, bytes_of: u64) -> Headway {
    Headway { doing, bytes, bytes_of, ..Headway::default() }
}

fn transit_key(wormhole: &SymmetricWormhole) -> Result<TransitKey, CliError> {
    Ok(TransitKey::new(wormhole.derive_key(&format!("{}/transit-key", wormhole.app_id()), 32)?))
}

async fn receive(args: &Args, out: &Output, given: &WormholeReceive) -> Result<Exit, CliError> {
    let code = match &given.code {
        Some(code) => Some(code.trim().to_owned()),
        None if is_typed(out) => None,
        None => Some(read_plainly(out)?),
    };
    if let Some(form) = given.seed.seed {
        return wormhole_of_2015::receive(args, out, &given.meet, form, code).await;
    }
    let remote = mailbox(args, given.meet.server.as_deref(), MAILBOX).await?;
    let mut wormhole = SymmetricWormhole::start(app_id(&given.meet), remote, options(&given.meet));
    match code {
        Some(code) => wormhole.set_code(&code)?,
        None => type_code(&mut wormhole).await?,
    }
    meet(out, &given.meet, &mut wormhole).await?;
    let taken = take(out, &mut wormhole, given).await;
    told(&mut wormhole, taken).await
}

/// Lets the person here type the code.
async fn type_code(wormhole: &mut SymmetricWormhole) -> Result<(), CliError> {
    let mut input = wormhole.input_code()?;
    let numbers = match timeout(NUMBERS_MAX, input.complete_number("")).await {
        Ok(numbers) => numbers?,
        Err(_) => Vec::new(),
    };
    let code = typing::typed(numbers).await?;
    let (number, words) = code.split_once('-').unwrap_or((&code, ""));
    input.choose_number(number)?;
    Ok(input.choose_words(words)?)
}

/// Takes what the other device offers.
async fn take(out: &Output, wormhole: &mut SymmetricWormhole, given: &WormholeReceive) -> Result<Exit, CliError> {
    let mut theirs = None;
    loop {
        for note in Note::read(&wormhole.receive().await?)? {
            match note {
                Note::Transit(hints) => theirs = Some(hints),
                Note::Offer(Offer::Text(text)) => {
                    wormhole.send(Note::MessageTaken.to_message())?;
                    part(wormhole).await;
                    out.result(&Shown { member: "text", text: text.into() })?;
                    return Ok(Exit::Done);
                }
                Note::Offer(Offer::File { name, size }) => {
                    let hints = theirs.take();
                    return take_file(out, wormhole, &Offered { name, size, contents: None }, hints, given).await;
                }
                Note::Offer(Offer::Directory { name, size, contents }) => {
                    let (hints, contents) = (theirs.take(), Some(contents));
                    return take_file(out, wormhole, &Offered { name, size, contents }, hints, given).await;
                }
                Note::Offer(_) => {
                    let error = CliError::new(Code::TransferRefused, "what is offered is not known here")
                        .hint("send a text, a file or a directory");
                    return Err(give_up(wormhole, error, "only texts, files and directories are taken").await);
                }
                Note::Refused(why) => {
                    part(wormhole).await;
                    return Err(refused(&why));
                }
                _ => {}
            }
        }
    }
}

/// A file, or a directory's archive.
struct Offered {
    name: String,
    size: u64,
    contents: Option<Contents>,
}

/// Where a file would go, if nothing speaks against it; else the error, and what the sender is told.
fn target(out: &Output, offered: &Offered, options: &WormholeReceive) -> Result<PathBuf, (CliError, &'static str)> {
    let Some(name) = file_name(&offered.name) else {
        return Err((PairingError::BadPeer("the file has no name that can be used").into(), "the name cannot be used"));
    };
    let dir = &options.output;
    let path = dir.join(&name);
    if path.symlink_metadata().is_ok() {
        return Err((CliError::file_exists(&path), "the file is there already"));
    }
    // An archive stands beside its contents until they are whole.
    let (needed, what) = match offered.contents {
        None => (offered.size, format!("{name} ({})", amount(offered.size))),
        Some(Contents { files, .. }) if files > archive::ENTRIES_MAX => {
            let why = PairingError::BadPeer("more files are offered than are taken");
            return Err((why.into(), "there are too many files"));
        }
        Some(contents) if !archive::may_be(offered.size, contents) => {
            let why = PairingError::BadPeer("the archive that is offered is larger than its contents");
            return Err((why.into(), "the archive is too large"));
        }
        Some(Contents { bytes, files }) => (
            offered.size.saturating_add(bytes),
            format!("the directory {name} ({files} {}, {})", if files == 1 { "file" } else { "files" }, amount(bytes)),
        ),
    };
    match rustix::fs::statvfs(dir) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < needed => {
            let error = CliError::new(Code::DiskFull, format!("no room for {} in {}", amount(needed), dir.display()));
            return Err((error.about(dir.display().to_string()), "there is no room"));
        }
        Ok(_) => {}
        Err(error) => return Err((CliError::io(dir, &error.into()), "it cannot be written")),
    }
    let statement = format!("{what} would be received into {}", dir.display());
    match confirm(out, options.accept, &format!("Receive {what}?"), &statement) {
        Ok(()) => Ok(path),
        Err(error) => Err((error.hint("say --accept to take it without being asked"), "transfer rejected")),
    }
}

async fn take_file(
    out: &Output,
    wormhole: &mut SymmetricWormhole,
    offered: &Offered,
    theirs: Option<Vec<Hint>>,
    options: &WormholeReceive,
) -> Result<Exit, CliError> {
    let path = match target(out, offered, options) {
        Ok(path) => path,
        Err((error, why)) => return Err(give_up(wormhole, error, why).await),
    };
    let endpoint = endpoint(&options.transit).await?;
    wormhole.send(Note::Transit(endpoint.hints()).to_message())?;
    wormhole.send(Note::FileWanted.to_message())?;
    let mut theirs = theirs;
    while theirs.is_none() {
        let received = timeout(ANSWER_MAX, wormhole.receive()).await.map_err(|_| PairingError::Lonely)?;
        for note in Note::read(&received?)? {
            if let Note::Transit(hints) = note {
                theirs = Some(hints);
            }
        }
    }
    let key = transit_key(wormhole)?;
    let mut connection = endpoint.meet(&key, Role::Receiver, &theirs.unwrap_or_default()).await?;
    let size = offered.size;
    let sha256 = match offered.contents {
        None => write_file(out, &mut connection, &path, size, &options.output).await?,
        Some(contents) => {
            let io = |e: std::io::Error| CliError::io(&options.output, &e);
            let mut archive = tempfile::tempfile_in(&options.output).map_err(io)?;
            let sha256 = write_bytes(out, &mut connection, &mut archive, size, &path).await?;
            archive.rewind().map_err(io)?;
            archive::unpack(archive, &path, &options.output, contents).await?;
            sha256
        }
    };
    // It is whole and stored, whether or not the sender comes to know it.
    match connection.send(&receipt(&sha256)).await {
        Ok(()) => connection.close().await,
        Err(_) => out.say("the other device went away before it was told that the file is here"),
    }
    part(wormhole).await;
    let name = path.display().to_string();
    out.report(&Transferred { member: "received", name, bytes: size, sha256 })?;
    Ok(Exit::Done)
}

/// Writes beside the file's place, and puts it there when it is whole. What is there by then stays.
async fn write_file(
    out: &Output,
    connection: &mut Connection,
    path: &Path,
    size: u64,
    dir: &Path,
) -> Result<String, CliError> {
    let io = |e: &std::io::Error| CliError::io(path, e);
    // As any new file: the umask takes away what others may not.
    let permissions = fs::Permissions::from_mode(0o666);
    let made = tempfile::Builder::new().prefix(".wormhole-").permissions(permissions).tempfile_in(dir);
    let mut file = made.map_err(|e| io(&e))?;
    let sha256 = write_bytes(out, connection, file.as_file_mut(), size, path).await?;
    file.as_file().sync_all().map_err(|e| io(&e))?;
    file.persist_noclobber(path).map_err(|e| match e.error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::file_exists(path),
        _ => io(&e.error),
    })?;
    // The sender may delete the file once it has the receipt: the name has to outlast a power cut, too.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| CliError::io(dir, &e))?;
    Ok(sha256)
}

/// Writes what comes, and answers its SHA-256.
async fn write_bytes(
    out: &Output,
    connection: &mut Connection,
    file: &mut File,
    size: u64,
    path: &Path,
) -> Result<String, CliError> {
    let mut hash = Sha256::new();
    let mut received = 0;
    while received < size {
        let piece = connection.receive().await?;
        received += piece.len() as u64;
        if received > size {
            return Err(PairingError::BadPeer("more bytes came than were offered").into());
        }
        hash.update(&piece);
        file.write_all(&piece).map_err(|e| CliError::io(path, &e))?;
        out.screen().show(&headway("receiving", received, size));
    }
    Ok(hex::encode(hash.finalize()))
}
