//! TLS towards a server: TLS 1.3, and whose word is taken for the server's key.
//!
//! A server's certificate is either signed by an authority that this machine (or the caller) trusts, or its *key* is
//! known: from an invite, from an earlier connection, or, the first time, because it was the first one seen. A known key
//! stays known when the certificate around it is made anew; another key is refused, unless the keystone of the server's space
//! has signed that it follows the known one.

use ibgib_saga::SagaError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError,
    RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::str::FromStr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::{fmt, io};

/// The key of a server, by the SHA-256 of its SubjectPublicKeyInfo (as RFC 7469 pins keys); written `sha256:` and 64
/// hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerKey([u8; 32]);

impl ServerKey {
    /// The key that a certificate (DER) is about.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn of(certificate: &[u8]) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from(certificate);
        let parsed = ParsedCertificate::try_from(&certificate)?;
        Ok(Self::of_public(&parsed.subject_public_key_info()))
    }

    /// A key by its SubjectPublicKeyInfo (DER).
    pub fn of_public(info: &[u8]) -> Self {
        Self(Sha256::digest(info).into())
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// No key of a server: `sha256:` and 64 hex digits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server's key is written sha256: and 64 hex digits")]
pub struct ServerKeyError;

impl FromStr for ServerKey {
    type Err = ServerKeyError;

    fn from_str(text: &str) -> Result<Self, ServerKeyError> {
        let mut out = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or(ServerKeyError)?;
        hex::decode_to_slice(digits, &mut out).map_err(|_| ServerKeyError)?;
        Ok(Self(out))
    }
}

/// Certificates that cannot be used as authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificates of authorities (PEM): {0}")]
pub struct AuthorityError(String);

/// Whose word is taken for a server's key.
#[derive(Clone, Debug)]
enum Whose {
    /// The authorities of this machine; a certificate that none of them signed is taken the first time, and then its
    /// key alone.
    MachineOrFirst,
    /// These authorities alone.
    Given(Arc<RootCertStore>),
    /// The key is known.
    Known(ServerKey),
}

/// Decides about servers' certificates. Clones share what they saw: a key taken because it was the first is the only one
/// that later connections take, until another one has followed it
/// ([`WebSocketRemote::knowing`](crate::WebSocketRemote::knowing)).
#[derive(Clone, Debug)]
pub struct Trust {
    whose: Whose,
    /// Taken because it was the first.
    first: Arc<OnceLock<ServerKey>>,
    /// Taken because it has followed the known one.
    successor: Arc<RwLock<Option<ServerKey>>>,
}

impl Default for Trust {
    /// The authorities of this machine, or else the first key seen.
    fn default() -> Self {
        Self::new(Whose::MachineOrFirst)
    }
}

impl Trust {
    fn new(whose: Whose) -> Self {
        Self { whose, first: Arc::default(), successor: Arc::default() }
    }

    /// Only servers that one of these authorities (certificates in PEM) vouches for.
    ///
    /// # Errors
    /// The text holds no certificate, or a broken one.
    pub fn authorities(pem: &[u8]) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| AuthorityError(e.to_string()))?;
            roots.add(certificate).map_err(|e| AuthorityError(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(AuthorityError("there is none".into()));
        }
        Ok(Self::new(Whose::Given(Arc::new(roots))))
    }

    /// Only the server with this key, whatever its certificate says about names and dates.
    pub fn key(known: ServerKey) -> Self {
        Self::new(Whose::Known(known))
    }

    /// The key that was taken because it was the first one seen; whoever keeps it gives it to [`Trust::key`] next time.
    pub fn first_seen(&self) -> Option<ServerKey> {
        self.first.get().copied()
    }

    /// The key that alone is taken, if there is one.
    pub(crate) fn known(&self) -> Option<ServerKey> {
        let successor = *self.successor.read().unwrap_or_else(PoisonError::into_inner);
        let told = if let Whose::Known(known) = self.whose { Some(known) } else { None };
        successor.or(told).or_else(|| self.first_seen())
    }

    /// Takes this key alone from now on: it has followed the known one.
    pub(crate) fn go_on_to(&self, key: ServerKey) {
        *self.successor.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// What a TLS client needs to connect so.
    ///
    /// # Errors
    /// None that can happen with the cryptography that is built in; they are passed on all the same.
    pub(crate) fn client(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = match &self.whose {
            Whose::Known(_) => None,
            Whose::Given(roots) => Some(Arc::clone(roots)),
            Whose::MachineOrFirst => Some(machine()),
        };
        let authorities = match roots.filter(|roots| !roots.is_empty()) {
            None => None,
            Some(roots) => Some(
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|e| TlsError::General(e.to_string()))?,
            ),
        };
        let judge = Judge { trust: self.clone(), authorities, provider: Arc::clone(&provider) };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth();
        // A session that is taken up again shows no certificate: every connection is to be judged.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// What TLS says about a connection that failed, among the causes of `error`.
pub(crate) fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error answers the cause of what it carries, not what it carries.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = carried.map_or_else(|| error.source(), |carried| Some(carried));
    }
    None
}

/// Why there is no connection to `url`, of which TLS says this.
pub(crate) fn failure(url: &str, error: &TlsError) -> SagaError {
    let url = url.to_owned();
    match error {
        TlsError::InvalidCertificate(why) => match other_key(error) {
            Some(OtherKey { known, shown }) => {
                SagaError::PeerChanged { url, what: "key", known: known.to_string(), shown: shown.to_string() }
            }
            None => SagaError::PeerUntrusted { url, why: why.to_string() },
        },
        // What came is not even the beginning of a conversation, or there is none in common.
        TlsError::InvalidMessage(_)
        | TlsError::PeerIncompatible(_)
        | TlsError::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            SagaError::PeerNoTls { url, why: error.to_string() }
        }
        error => SagaError::PeerUnreachable { url, why: error.to_string() },
    }
}

/// The key that was shown, where a connection failed because it is not the known one.
pub(crate) fn other_key(error: &TlsError) -> Option<&OtherKey> {
    let TlsError::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else { return None };
    other.downcast_ref()
}

/// The authorities that this machine's administrator trusts; none where there is no list.
fn machine() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
}

#[derive(Debug)]
struct Judge {
    trust: Trust,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

/// Why a certificate is refused; [`failure`] finds it in what rustls says then.
#[derive(Debug, thiserror::Error)]
#[error("the server shows the key {shown}, not the known one, {known}")]
pub(crate) struct OtherKey {
    known: ServerKey,
    pub(crate) shown: ServerKey,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let shown = ServerKey::of(certificate)?;
        let same = |known: ServerKey| match known == shown {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::Other(OtherError(Arc::new(OtherKey { known, shown }))).into()),
        };
        if let Some(known) = self.trust.known() {
            return same(known);
        }
        let vouched = match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(certificate, others, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        // A certificate that an authority signed, but which is expired or for another name, is not a first key: taking
        // it would hide what its owner should mend.
        let unsigned = matches!(vouched, Err(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)));
        match self.trust.whose {
            // Whoever was first, also if two connections are made at once.
            Whose::MachineOrFirst if unsigned => same(*self.trust.first.get_or_init(|| shown)),
            _ => vouched,
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printed_as_it_is_read() {
        let text = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(text.parse::<ServerKey>().unwrap().to_string(), text);
        for bad in ["", "sha256:", "0f", "sha256:zz", "sha1:00", &text[1..], &text[..70]] {
            assert_eq!(bad.parse::<ServerKey>(), Err(ServerKeyError), "{bad}");
        }
    }

    #[test]
    fn authorities_are_certificates() {
        let bad = ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"];
        bad.iter().for_each(|pem| assert!(Trust::authorities(pem.as_bytes()).is_err(), "{pem}"));
    }
}
