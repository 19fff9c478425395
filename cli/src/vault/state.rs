//! The file `.ibgib/vault`.

use crate::codes::Code;
use crate::error::CliError;
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use ibgib_keystone::Secret;
use ibgib_peer::entropy::random;
use ibgib_vault::blob::{self, BlobError};
use ibgib_vault::derive::{ClientKeys, SaltSeed};
use ibgib_vault::device::{Change, Conflict, Device};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a nonce of XChaCha20.
const NONCE: usize = 24;

/// What is in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) url: String,
    pub(crate) email: String,
    /// What the server knows this device by.
    pub(crate) device: String,
    /// The salt seed that the keys are derived from.
    pub(crate) seed: String,
    /// The sequence last shared with the server.
    pub(crate) sequence: u64,
    /// Whether something here is not on the server.
    pub(crate) changed: bool,
    /// How many conflicts wait to be settled.
    pub(crate) conflicts: usize,
    /// The document as the server had it.
    pub(crate) blob: String,
    /// [`Device`], under the root password that belongs to `document_seed`.
    document: String,
    document_seed: String,
    /// [`Keys`], under the device's secret.
    keys: String,
}

/// What is encrypted under the device's secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Keys {
    server_password: Zeroizing<String>,
    hmac_key: Zeroizing<String>,
    /// None before the device is logged in.
    pub(crate) token: Option<String>,
    /// What was not pushed yet, and what of it is in conflict.
    pub(crate) changes: Vec<Change>,
    pub(crate) conflicts: Vec<Conflict>,
}

impl Keys {
    pub(crate) fn new(keys: &ClientKeys, token: Option<String>) -> Self {
        Self {
            server_password: keys.server_password.clone(),
            hmac_key: Zeroizing::new(hex::encode(keys.hmac_key())),
            token,
            changes: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// As they were derived.
    pub(crate) fn derived(&self) -> Result<ClientKeys, CliError> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(self.hmac_key.as_bytes(), &mut *key).map_err(|_| damaged("its keys do not hold"))?;
        Ok(ClientKeys::from_parts(self.server_password.clone(), key))
    }
}

fn damaged(why: &str) -> CliError {
    CliError::new(Code::DamagedVault, format!("what this device keeps of its vault is damaged: {why}"))
        .hint("move .ibgib/vault away and log in again; what was not pushed is lost with it")
}

/// The key under which a device encrypts what it keeps of a vault.
pub(crate) fn lock_key(secret: &Secret) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let expanded = Hkdf::<Sha256>::new(None, secret.as_bytes()).expand(b"ibgib vault v1", &mut *out);
    expanded.expect("HKDF gives 32 bytes");
    out
}

impl State {
    /// What is kept before a device has seen anything.
    pub(crate) fn new(url: &str, email: &str, device: &str) -> Self {
        Self {
            url: url.into(),
            email: email.into(),
            device: device.into(),
            seed: String::new(),
            sequence: 0,
            changed: false,
            conflicts: 0,
            blob: String::new(),
            document: String::new(),
            document_seed: String::new(),
            keys: String::new(),
        }
    }

    /// Reads the file, if it is there.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CliError> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(&e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(CliError::io(path, &e)),
        }
    }

    /// Writes the file: the old one or the new one stands there, whenever this is cut short.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CliError> {
        let fresh = path.with_extension("new");
        let text = serde_json::to_vec(self).expect("texts and numbers can be written");
        let written = || {
            let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            // The directory has to know it, too.
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        written().map_err(|e| CliError::io(path, &e))
    }

    /// What is encrypted under the device's secret.
    pub(crate) fn keys(&self, key: &[u8; 32]) -> Result<Keys, CliError> {
        let other = || {
            CliError::new(Code::TokenInvalid, "the device's secret is not the one that it was logged in with")
                .hint("log in again: ibgib vault login")
        };
        let sealed = hex::decode(&self.keys).map_err(|_| damaged("its keys are no hex"))?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(other)?;
        let opened = XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), sealed).map_err(|_| other())?;
        let opened = Zeroizing::new(opened);
        serde_json::from_slice(&opened).map_err(|e| damaged(&e.to_string()))
    }

    /// Keeps keys.
    pub(crate) fn set_keys(&mut self, key: &[u8; 32], keys: &Keys) {
        let text = Zeroizing::new(serde_json::to_vec(keys).expect("texts and numbers can be written"));
        let nonce = random::<NONCE>();
        let sealed = XChaCha20Poly1305::new(key.into()).encrypt(&XNonce::from(nonce), text.as_slice());
        let sealed = sealed.expect("memory is all that encrypting needs");
        self.keys = hex::encode([nonce.as_slice(), &sealed].concat());
    }

    /// Whether there is anything of a document that could be lost.
    pub(crate) fn is_any(&self) -> bool {
        self.sequence > 0 || self.changed || self.conflicts > 0
    }

    /// Whether the document is under the password that the keys are derived from.
    pub(crate) fn is_current(&self) -> bool {
        self.document_seed == self.seed
    }

    /// The document, with what this device makes of it.
    pub(crate) fn open(&self, keys: &Keys, password: &str) -> Result<Device, CliError> {
        // Told apart from a wrong password: nobody but this device can have written what its keys vouch for.
        let (text, proof) = self.document.rsplit_once('.').ok_or_else(|| damaged("its document is cut short"))?;
        if self.is_current() && !keys.derived()?.verify(0, text, proof) {
            return Err(damaged("its document is not the one that was written"));
        }
        let opened = blob::open(text, password).map_err(|error| match error {
            BlobError::WrongPassword | BlobError::Damaged => wrong_password(),
            error => damaged(&error.to_string()),
        })?;
        serde_json::from_str(&opened).map_err(|_| wrong_password())
    }

    /// Keeps a document, under a password that the keys are derived from.
    pub(crate) fn set_document(&mut self, key: &[u8; 32], keys: &mut Keys, device: &Device, password: &str) {
        let json = Zeroizing::new(serde_json::to_string(device).expect("a document can be written"));
        let text = blob::seal(&json, password, random());
        let proof = keys.derived().map(|derived| derived.hmac(0, &text)).unwrap_or_default();
        self.document = format!("{text}.{proof}");
        self.document_seed.clone_from(&self.seed);
        self.sequence = device.sequence();
        self.changed = device.is_changed();
        self.conflicts = device.conflicts().len();
        keys.changes = device.changes();
        keys.conflicts = device.conflicts().to_vec();
        self.set_keys(key, keys);
    }

    pub(crate) fn set_seed(&mut self, seed: &SaltSeed) {
        seed.as_str().clone_into(&mut self.seed);
    }
}

/// The password is another.
pub(crate) fn wrong_password() -> CliError {
    CliError::new(Code::WrongPassword, "the password does not open the vault")
}
