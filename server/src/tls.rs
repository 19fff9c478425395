//! TLS of the server: its certificate, from files or made by itself, and reading it again while serving.

use crate::error::ServeError;
use ibgib_peer::{Host, KeyStanding, ServerKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The file of a key that the server made for itself, in the directory it was given.
const KEY_FILE: &str = "tls.key";
/// The file of the key that is to follow it.
const NEXT_FILE: &str = "tls.key.next";

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

/// Makes another key for servers that sign their certificates themselves ([`Certificate::Own`]), in the directory with the
/// present one: it takes that one's place when the server starts the next time, or reads its certificate again. Answers both,
/// first the present one.
///
/// # Errors
/// There is no key yet, or it cannot be used; the new one cannot be written.
pub fn renew_key(dir: &Path) -> Result<(ServerKey, ServerKey), ServeError> {
    let (path, next) = (dir.join(KEY_FILE), dir.join(NEXT_FILE));
    let (now, whose) =
        fs::read_to_string(&path).and_then(|now| Ok((now, fs::metadata(&path)?))).map_err(|e| bad(&path, &e))?;
    let now = KeyPair::from_pem(&now).map_err(|e| bad(&path, &e))?;
    // One that was never taken into use goes: nobody knows it. Whoever makes it may be another user than the server's.
    Ok((key_of(&now), key_of(&make_key(&next, Some((whose.uid(), whose.gid())))?)))
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
    /// Reads, or makes, the certificate. The host signs that its key follows the one of before, if it is another.
    pub(crate) async fn new(from: Certificate, host: &Host) -> Result<Self, ServeError> {
        let provider = Arc::new(ring::default_provider());
        let key = RwLock::new(Arc::new(take(&from, &provider, host).await?));
        let current = Arc::new(Current { provider: Arc::clone(&provider), key });
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| bad(Path::new("TLS"), &e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        Ok(Self { from, current, config: Arc::new(config) })
    }

    /// Reads the certificate again; connections made from now on see it. After an error the old one stays.
    pub(crate) async fn reload(&self, host: &Host) -> Result<(), ServeError> {
        let fresh = take(&self.from, &self.current.provider, host).await?;
        *self.current.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// The key that clients may know the server by.
    pub(crate) fn key(&self) -> Result<ServerKey, ServeError> {
        shown_key(&Arc::clone(&self.current.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The key that a certificate is about.
fn shown_key(certified: &CertifiedKey) -> Result<ServerKey, ServeError> {
    let certificate = certified.end_entity_cert().map_err(|e| bad(Path::new("TLS"), &e))?;
    ServerKey::of(certificate).map_err(|e| bad(Path::new("TLS"), &e))
}

/// Takes the certificate into use: before anybody is shown its key, the space's keystone has signed that it follows the one of
/// before, and that is durable.
async fn take(from: &Certificate, provider: &CryptoProvider, host: &Host) -> Result<CertifiedKey, ServeError> {
    if let Certificate::Own { dir } = from {
        let (path, next) = (dir.join(KEY_FILE), dir.join(NEXT_FILE));
        match fs::read_to_string(&next) {
            Ok(text) => {
                let follows = key_of(&KeyPair::from_pem(&text).map_err(|e| bad(&next, &e))?);
                // Also where no server has noted yet which key it has.
                note(host, key_of(&own_key(&path)?)).await?;
                note(host, follows).await?;
                rename(&next, &path).map_err(|e| bad(&path, &e))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(bad(&next, &error)),
        }
    }
    let certified = load(from, provider)?;
    let key = shown_key(&certified)?;
    if note(host, key).await? == KeyStanding::GivenUp {
        tracing::warn!(%key, "another key has followed this one: clients that have met that refuse this one");
    }
    Ok(certified)
}

async fn note(host: &Host, key: ServerKey) -> Result<KeyStanding, ServeError> {
    let standing = host.serves_with(key).await.map_err(ServeError::Key)?;
    if standing == KeyStanding::Succeeds {
        tracing::info!(%key, "the space's keystone has signed that this key follows the one of before");
    }
    Ok(standing)
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
    make_key(path, None)
}

/// Makes a key and keeps it in the file, for this user and group.
fn make_key(path: &Path, whose: Option<(u32, u32)>) -> Result<KeyPair, ServeError> {
    let pair = KeyPair::generate().map_err(|e| bad(path, &e))?;
    let fresh = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            whose.map_or(Ok(()), |(user, group)| fchown(&file, Some(user), Some(group)))?;
            file.write_all(pair.serialize_pem().as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| rename(&fresh, path));
    written.map_err(|e| bad(path, &e))?;
    Ok(pair)
}

/// Renames durably. Clients will know what is in the file: it may not be gone after a power cut.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

fn key_of(pair: &KeyPair) -> ServerKey {
    ServerKey::of_public(&pair.subject_public_key_info())
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Tls { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibgib_peer::HostOptions;
    use ibgib_spaces::MemorySpace;

    fn host() -> Arc<Host> {
        Host::new(Arc::new(MemorySpace::new("7".repeat(64))), HostOptions::default())
    }

    #[tokio::test]
    async fn an_own_key_is_made_once() {
        let (dir, host) = (tempfile::tempdir().unwrap(), host());
        let own = async || Tls::new(Certificate::Own { dir: dir.path().to_owned() }, &host).await.unwrap();
        let first = own().await.key().unwrap();
        assert_eq!(own().await.key().unwrap(), first);
        own().await.reload(&host).await.unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(dir.path().join(KEY_FILE)).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(host.succession().await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_own_key_is_followed_by_another_once_that_is_signed_for_and_a_kill_in_between_does_not_matter() {
        let (dir, space) = (tempfile::tempdir().unwrap(), host());
        assert!(renew_key(dir.path()).is_err(), "there is none yet");
        let own = || Certificate::Own { dir: dir.path().to_owned() };
        let serving = Tls::new(own(), &space).await.unwrap();
        let first = serving.key().unwrap();
        let (now, never) = renew_key(dir.path()).unwrap();
        let (again, second) = renew_key(dir.path()).unwrap();
        assert_eq!((now, again), (first, first));
        assert!(never != second && second != first);
        assert_eq!(serving.key().unwrap(), first, "the server was not told yet");
        let next = fs::read(dir.path().join(NEXT_FILE)).unwrap();
        serving.reload(&space).await.unwrap();
        assert_eq!(serving.key().unwrap(), second);
        assert!(!dir.path().join(NEXT_FILE).exists());
        let told = space.succession().await.unwrap().unwrap();
        assert!(told.contains(&second.to_string()) && !told.contains(&never.to_string()), "{told}");
        // It was killed between signing and renaming: the files are still as before.
        let (_, third) = renew_key(dir.path()).unwrap();
        space.serves_with(third).await.unwrap();
        let started = Tls::new(own(), &space).await.unwrap();
        assert_eq!(started.key().unwrap(), third);
        // What cannot be read changes nothing.
        fs::write(dir.path().join(NEXT_FILE), "no key").unwrap();
        assert!(started.reload(&space).await.is_err());
        assert_eq!(started.key().unwrap(), third);
        // A key that was given up may be served, and is followed by nobody.
        fs::write(dir.path().join(NEXT_FILE), next).unwrap();
        let told = space.succession().await.unwrap();
        started.reload(&space).await.unwrap();
        assert_eq!((started.key().unwrap(), space.succession().await.unwrap()), (second, told));
    }

    #[tokio::test]
    async fn files_that_are_no_certificate_are_named() {
        let (dir, host) = (tempfile::tempdir().unwrap(), host());
        let (chain, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let files = || Certificate::Files { chain: chain.clone(), key: key.clone() };
        let told = async || Tls::new(files(), &host).await.unwrap_err().to_string();
        assert!(told().await.contains("cert.pem"), "{}", told().await);
        fs::write(&chain, "no certificate").unwrap();
        fs::write(&key, "no key").unwrap();
        assert!(told().await.contains("cert.pem"), "{}", told().await);
        // A certificate with the key of another.
        let [one, other] = [0, 1].map(|_| KeyPair::generate().unwrap());
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        fs::write(&chain, params.self_signed(&one).unwrap().pem()).unwrap();
        assert!(told().await.contains("key.pem"), "{}", told().await);
        fs::write(&key, other.serialize_pem()).unwrap();
        assert!(told().await.contains("key.pem"), "{}", told().await);
        fs::write(&key, one.serialize_pem()).unwrap();
        let tls = Tls::new(files(), &host).await.unwrap();
        let before = tls.key().unwrap();
        // Read again: a broken pair leaves the old one in use, a whole one takes its place.
        fs::write(&chain, params.self_signed(&other).unwrap().pem()).unwrap();
        assert!(tls.reload(&host).await.is_err());
        assert_eq!(tls.key().unwrap(), before);
        fs::write(&key, other.serialize_pem()).unwrap();
        tls.reload(&host).await.unwrap();
        assert_ne!(tls.key().unwrap(), before);
    }
}
