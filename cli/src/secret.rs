//! Where the identity's secret comes from. It is never logged, never shown, and one from outside is never copied.

use crate::args::Args;
use crate::codes::Code;
use crate::config::{ConfigFile, env};
use crate::error::CliError;
use crate::private::write_private;
use argon2::{Algorithm, Argon2, Params, Version};
use ibgib_keystone::Secret;
use ibgib_peer::{SecretSource, entropy};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

const TABLE: &str = "passphrase";
/// Parameters for new devices: the second recommendation of RFC 9106, section 4.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// A secret is a line, not a file.
const BYTES_MAX: u64 = 64 * 1024;

fn bad(message: impl Into<String>) -> CliError {
    CliError::new(Code::IdentitySecret, message)
}

fn read_all(mut source: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut out = Zeroizing::new(Vec::new());
    let read = source.by_ref().take(BYTES_MAX + 1).read_to_end(&mut out);
    read.map_err(|e| bad(format!("the secret cannot be read from {name}: {e}")))?;
    if out.len() as u64 > BYTES_MAX {
        return Err(bad(format!("what stands in {name} is too long for a secret")));
    }
    Ok(out)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let name = path.display().to_string();
    let file =
        fs::File::open(path).map_err(|e| bad(format!("the secret cannot be read from {name}: {e}")).about(&name))?;
    read_all(file, &name)
}

fn run(command: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| bad(format!("IBGIB_SECRET_COMMAND cannot be run: {e}")))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(bad(format!("IBGIB_SECRET_COMMAND failed ({})", output.status)));
    }
    read_all(&text[..], "IBGIB_SECRET_COMMAND")
}

/// The secret in the text: 64 hex digits are its bytes, anything else is a passphrase.
fn derive(text: &[u8], config: &mut ConfigFile) -> Result<Secret, CliError> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err(bad("the secret is empty"));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(text, &mut *bytes).is_ok() {
        return Ok(Secret::new(bytes.to_vec()));
    }
    let stored = config.in_table(TABLE, "salt");
    let salt = stored.clone().unwrap_or_else(|| hex::encode(entropy::random::<16>()));
    let number = |key: &str, usual: u32| config.number(TABLE, key).unwrap_or(usual);
    let (memory, passes, lanes) = (number("memory_kib", MEMORY_KIB), number("passes", PASSES), number("lanes", LANES));
    let wrong = |e: argon2::Error| CliError::new(Code::BadConfig, format!("parameters of the passphrase: {e}"));
    let salt_bytes =
        hex::decode(&salt).map_err(|_| CliError::new(Code::BadConfig, "the passphrase's salt is not hex"))?;
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(wrong)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text, &salt_bytes, &mut *bytes)
        .map_err(wrong)?;
    if stored.is_none() {
        let number = |n: u32| toml_edit::Value::from(i64::from(n));
        let members = [
            ("salt", salt.into()),
            ("memory_kib", number(memory)),
            ("passes", number(passes)),
            ("lanes", number(lanes)),
        ];
        config.set_table(TABLE, &members);
        config.write()?;
    }
    Ok(Secret::new(bytes.to_vec()))
}

/// Where the secret comes from: `--secret-file`, `IBGIB_SECRET_FILE`, `IBGIB_SECRET_COMMAND`, the device's own file,
/// whichever is first.
enum Origin {
    File(PathBuf),
    Stdin,
    Command(String),
    Device,
}

impl Origin {
    fn of(args: &Args) -> Self {
        let file = args.secret_file.clone().or_else(|| env("IBGIB_SECRET_FILE").map(PathBuf::from));
        match (file, env("IBGIB_SECRET_COMMAND")) {
            (Some(file), _) if file == Path::new("-") => Self::Stdin,
            (Some(file), _) => Self::File(file),
            (None, Some(command)) => Self::Command(command),
            (None, None) => Self::Device,
        }
    }

    /// The text from outside the device, if it comes from there. What may be had only once (from stdin, a pipe, or a
    /// command that may ask somebody) is kept for whoever asks again: a clone makes the identity and then syncs.
    fn outside(&self) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
        static ONCE: Mutex<Option<Zeroizing<Vec<u8>>>> = Mutex::new(None);
        match self {
            Self::Device => return Ok(None),
            Self::File(file) if file.is_file() => return read_file(file).map(Some),
            _ => {}
        }
        let mut once = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
        if once.is_none() {
            *once = match self {
                Self::File(file) => Some(read_file(file)?),
                Self::Stdin => Some(read_all(std::io::stdin(), "stdin")?),
                Self::Command(command) => Some(run(command)?),
                Self::Device => None,
            };
        }
        Ok(once.clone())
    }
}

/// The secret of a device that keeps its own, if it has one, in `file`.
pub(crate) fn find(args: &Args, file: &Path, config: &mut ConfigFile) -> Result<Secret, CliError> {
    let text = match Origin::of(args).outside()? {
        Some(text) => text,
        None => read_file(file)
            .map_err(|e| e.hint("give the secret with --secret-file, IBGIB_SECRET_FILE or IBGIB_SECRET_COMMAND"))?,
    };
    derive(&text, config)
}

/// A new device's secret: the device gets `file` with one of its own if none comes from outside.
pub(crate) fn find_or_make(args: &Args, file: &Path, config: &mut ConfigFile) -> Result<Secret, CliError> {
    let text = match Origin::of(args).outside()? {
        Some(text) => text,
        None => {
            let text = Zeroizing::new(entropy::random_hex());
            write_private(file, text.as_bytes())?;
            Zeroizing::new(text.as_bytes().to_vec())
        }
    };
    derive(&text, config)
}

/// The recovery secret that stands in `file`; one is made when none is there.
pub(crate) fn recovery(file: &Path) -> Result<Secret, CliError> {
    if !file.exists() {
        write_private(file, entropy::random_hex().as_bytes())?;
    }
    read_recovery(file)
}

/// A recovery secret: 64 hex digits in a file, or on stdin for `-`.
pub(crate) fn read_recovery(file: &Path) -> Result<Secret, CliError> {
    let text = if file == Path::new("-") { read_all(std::io::stdin(), "stdin")? } else { read_file(file)? };
    let mut bytes = Zeroizing::new([0; 32]);
    let read = hex::decode_to_slice(text.trim_ascii(), &mut *bytes);
    read.map_err(|_| bad(format!("what stands in {} is no recovery secret, which has 64 hex digits", file.display())))?;
    Ok(Secret::new(bytes.to_vec()))
}

/// A secret as a file of the device's own keeps it.
pub(crate) fn to_text(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(secret.as_bytes()))
}

/// The secret that [`to_text`] wrote.
pub(crate) fn from_text(text: &str) -> Result<Secret, CliError> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text, &mut *bytes).map_err(|_| bad("it is no secret, which has 64 hex digits"))?;
    Ok(Secret::new(bytes.to_vec()))
}

/// Sees that the device keeps its own secret, so that another one can take its place.
pub(crate) fn is_own(args: &Args) -> Result<(), CliError> {
    if matches!(Origin::of(args), Origin::Device) {
        return Ok(());
    }
    Err(CliError::usage("the device's secret comes from elsewhere, so that no new one can take its place")
        .hint("run it without --secret-file, IBGIB_SECRET_FILE and IBGIB_SECRET_COMMAND"))
}

/// Puts a secret into the place of the one in `file`, or of none: the old one or the new one stands there, whenever this is
/// cut short.
pub(crate) fn replace(file: &Path, secret: &Secret) -> Result<(), CliError> {
    let fresh = file.with_extension("new");
    remove(&fresh)?;
    write_private(&fresh, to_text(secret).as_bytes())?;
    let placed = fs::rename(&fresh, file).and_then(|()| fs::File::open(file.parent().unwrap_or(file))?.sync_all());
    placed.map_err(|e| CliError::io(file, &e))
}

/// Removes a file that need not be there.
pub(crate) fn remove(file: &Path) -> Result<(), CliError> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(CliError::io(file, &e)),
        _ => Ok(()),
    }
}

/// A new secret of the device's own, beside `file` until it takes its place: the path, and the secret.
pub(crate) fn make_beside(args: &Args, file: &Path) -> Result<(PathBuf, Secret), CliError> {
    is_own(args)?;
    let fresh = file.with_extension("new");
    // Of a recovery that was killed.
    remove(&fresh)?;
    let text = Zeroizing::new(entropy::random_hex());
    write_private(&fresh, text.as_bytes())?;
    Ok((fresh, from_text(&text)?))
}

/// A device's secret as the engine asks for it, at each connection. It is checked now, handed out once, and read
/// again where it is kept when another connection needs it: nothing keeps it meanwhile. Only what may be had
/// once ([`Origin::outside`]) is kept as long as the process.
pub(crate) fn source(args: &Args, own: PathBuf, config: &mut ConfigFile) -> Result<SecretSource, CliError> {
    let first = find(args, &own, config)?;
    let file = match Origin::of(args) {
        Origin::File(file) if file.is_file() => file,
        Origin::Device => own,
        _ => return Ok(SecretSource::new(move || Ok(first.clone()))),
    };
    let (first, config) = (Mutex::new(Some(first)), config.path().to_owned());
    Ok(SecretSource::new(move || {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let again = || derive(&read_file(&file)?, &mut ConfigFile::read(&config)?);
        first.map_or_else(|| again().map_err(|e| e.message), Ok)
    }))
}
