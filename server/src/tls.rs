//! TLS of the server: its certificate, from files or made by itself, and reading it again while serving.

use crate::error::ServeError;
use ibgib_peer::ServerKey;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The file of a key that the server made for itself, in the directory it was given.
const KEY_FILE: &str = "tls.key";

/// Where the server's certificate comes from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// Files in PEM: the certificate with those between it and its authority, and its key.
    Files {
        /// The certificates, the server's own first.
        chain: PathBuf,
        /// The private key: PKCS #8, PKCS #1 or SEC 1.
        key: PathBuf,
    },
    /// One that the server signs itself, around a key that it makes once and keeps in a directory: whoever knows the
    /// key knows the server, whatever it is called.
    Own {
        /// The directory, which only its owner may read.
        dir: PathBuf,
    },
}

/// The certificate in use, which can be read again.
#[derive(Debug)]
pub(crate) struct Tls {
    from: Certificate,
    current: Arc<Current>,
    pub(crate) config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Current {
    provider: Arc<CryptoProvider>,
    key: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// Reads, or makes, the certificate.
    pub(crate) fn new(from: Certificate) -> Result<Self, ServeError> {
        let provider = Arc::new(ring::default_provider());
        let key = RwLock::new(Arc::new(load(&from, &provider)?));
        let current = Arc::new(Current { provider: Arc::clone(&provider), key });
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| bad(Path::new("TLS"), &e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        Ok(Self { from, current, config: Arc::new(config) })
    }

    /// Reads the certificate again; connections made from now on see it. After an error the old one stays.
    pub(crate) fn reload(&self) -> Result<(), ServeError> {
        let fresh = load(&self.from, &self.current.provider)?;
        *self.current.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// The key that clients may know the server by.
    pub(crate) fn key(&self) -> Result<ServerKey, ServeError> {
        let current = Arc::clone(&self.current.key.read().unwrap_or_else(PoisonError::into_inner));
        let certificate = current.end_entity_cert().map_err(|e| bad(Path::new("TLS"), &e))?;
        ServerKey::of(certificate).map_err(|e| bad(Path::new("TLS"), &e))
    }
}

fn load(from: &Certificate, provider: &CryptoProvider) -> Result<CertifiedKey, ServeError> {
    let (chain, key, about) = match from {
        Certificate::Files { chain, key } => {
            let read = |path: &Path| fs::read(path).map_err(|e| bad(path, &e));
            let certificates = CertificateDer::pem_slice_iter(&read(chain)?).collect::<Result<Vec<_>, _>>();
            let certificates = certificates.map_err(|e| bad(chain, &e))?;
            if certificates.is_empty() {
                return Err(bad(chain, &"no certificate (PEM) in it"));
            }
            let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| bad(key, &e))?;
            (certificates, private, key.clone())
        }
        Certificate::Own { dir } => {
            let path = dir.join(KEY_FILE);
            let pair = own_key(&path)?;
            let mut params = CertificateParams::new(["localhost".to_owned()]).map_err(|e| bad(&path, &e))?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "ibgib space server");
            let certificate = params.self_signed(&pair).map_err(|e| bad(&path, &e))?;
            let private = PrivatePkcs8KeyDer::from(pair.serialize_der());
            (vec![certificate.der().clone()], private.into(), path)
        }
    };
    // Also compares the key with the certificate.
    CertifiedKey::from_der(chain, key, provider).map_err(|e| bad(&about, &e))
}

/// The key kept in the file; made when there is none. It is written aside and renamed in, so that a half-written one never
/// stands there.
fn own_key(path: &Path) -> Result<KeyPair, ServeError> {
    match fs::read_to_string(path) {
        Ok(text) => return KeyPair::from_pem(&text).map_err(|e| bad(path, &e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(bad(path, &error)),
    }
    let pair = KeyPair::generate().map_err(|e| bad(path, &e))?;
    let fresh = path.with_extension("key.new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(pair.serialize_pem().as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, path))
        // Clients will know it: it may not be gone after a power cut.
        .and_then(|()| path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all()));
    written.map_err(|e| bad(path, &e))?;
    Ok(pair)
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Tls { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let own = || Tls::new(Certificate::Own { dir: dir.path().to_owned() }).unwrap();
        let first = own().key().unwrap();
        assert_eq!(own().key().unwrap(), first);
        own().reload().unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(dir.path().join(KEY_FILE)).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_are_no_certificate_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let files = || Certificate::Files { chain: chain.clone(), key: key.clone() };
        let told = || Tls::new(files()).unwrap_err().to_string();
        assert!(told().contains("cert.pem"), "{}", told());
        fs::write(&chain, "no certificate").unwrap();
        fs::write(&key, "no key").unwrap();
        assert!(told().contains("cert.pem"), "{}", told());
        // A certificate with the key of another.
        let [one, other] = [0, 1].map(|_| KeyPair::generate().unwrap());
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(&chain, params.self_signed(&one).unwrap().pem()).unwrap();
        assert!(told().contains("key.pem"), "{}", told());
        fs::write(&key, other.serialize_pem()).unwrap();
        assert!(told().contains("key.pem"), "{}", told());
        fs::write(&key, one.serialize_pem()).unwrap();
        let tls = Tls::new(files()).unwrap();
        let before = tls.key().unwrap();
        // Read again: a broken pair leaves the old one in use, a whole one takes its place.
        fs::write(&chain, params.self_signed(&other).unwrap().pem()).unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(tls.key().unwrap(), before);
        fs::write(&key, other.serialize_pem()).unwrap();
        tls.reload().unwrap();
        assert_ne!(tls.key().unwrap(), before);
    }
}
