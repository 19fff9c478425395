//! Where the database is, and how it is spoken to.

use ibgib_spaces::SpaceError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// A parsed URL of a database.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
    /// For messages: without password and options.
    pub(crate) shown: String,
}

fn refused(shown: &str, why: impl std::fmt::Display) -> SpaceError {
    SpaceError::Address { url: shown.to_owned(), why: why.to_string() }
}

/// The URL of a database without what is secret in it, for messages: a password may have any sign but `@`, so that what
/// comes before the last one may belong to it.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "a URL".into() };
    let (user, place) = match rest.rsplit_once('@') {
        Some((who, place)) => (who.split([':', '@']).next(), place),
        None => (None, rest),
    };
    let place = place.split(['?', '#']).next().unwrap_or_default();
    user.map_or_else(|| format!("{scheme}://{place}"), |user| format!("{scheme}://{user}@{place}"))
}

impl Address {
    /// Takes `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…` apart. `sslmode` is `disable` or `require`, which means a
    /// certificate that is checked against the host's name; `sslrootcert` is a file of authorities to check it by.
    pub(crate) fn parse(url: &str) -> Result<Self, SpaceError> {
        let shown = shown(url);
        // A password may have a `?`, too.
        let options = url.find('@').unwrap_or_default();
        let options = url[options..].find('?').map_or(url.len(), |at| options + at);
        let (base, query) = (&url[..options], url[options..].trim_start_matches('?'));
        let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("sslmode", "disable")) => mode = Some(SslMode::Disable),
                Some(("sslmode", "require" | "verify-full")) => mode = Some(SslMode::Require),
                Some(("sslmode", other)) => {
                    return Err(refused(&shown, format_args!("sslmode is disable or require, not {other:?}")));
                }
                Some(("sslrootcert", file)) => roots = Some(file.to_owned()),
                _ => rest.push(option),
            }
        }
        let parsed = Config::from_str(&format!("{base}?{}", rest.join("&")));
        let mut config = parsed.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            refused(&shown, format_args!("{error}{cause}"))
        })?;
        if config.get_hosts().is_empty() {
            return Err(refused(&shown, "it names no host"));
        }
        if config.get_dbname().is_none() {
            return Err(refused(&shown, "it names no database"));
        }
        // What leaves the machine is encrypted unless somebody says otherwise.
        // An address that is given beside the name is the one that is connected to.
        let here = match config.get_hostaddrs() {
            [] => config.get_hosts().iter().all(is_here),
            addrs => addrs.iter().all(std::net::IpAddr::is_loopback),
        };
        config.ssl_mode(mode.unwrap_or(if here { SslMode::Disable } else { SslMode::Require }));
        if config.get_application_name().is_none() {
            config.application_name("ibgib");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_keepalives_idle() > KEEPALIVE {
            config.keepalives_idle(KEEPALIVE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVE_AGAIN);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(CONNECT);
        }
        let store = match (config.get_ssl_mode(), roots) {
            (SslMode::Disable, _) => RootCertStore::empty(),
            (_, Some(file)) => given(&shown, &file)?,
            (_, None) => machine(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|e| refused(&shown, e))?.with_root_certificates(store).with_no_client_auth();
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), shown })
    }
}

/// A connection on which nothing is said is looked at after so long, three times with a pause between, before it counts as
/// broken; one on which something was said that is not taken counts as broken as soon as one that cannot be made.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(3);

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        Host::Unix(_) => true,
    }
}

fn given(shown: &str, file: &str) -> Result<RootCertStore, SpaceError> {
    let mut roots = RootCertStore::empty();
    let failed = |why: String| refused(shown, format_args!("sslrootcert {file}: {why}"));
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| failed(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| failed(e.to_string()))?;
        roots.add(certificate).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() { Err(failed("no certificate in it".into())) } else { Ok(roots) }
}

/// The authorities that this machine trusts.
fn machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_is_encrypted() {
        let mode = |url: &str| Address::parse(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://me@localhost/notes"), SslMode::Disable);
        assert_eq!(mode("postgres://me@%2Frun%2Fpostgresql/notes"), SslMode::Disable);
        assert_eq!(mode("postgres://me@127.0.0.1:5433,[::1]/notes"), SslMode::Disable);
        assert_eq!(mode("postgres://me@db.example/notes"), SslMode::Require);
        assert_eq!(mode("postgres://me@127.0.0.1,db.example/notes"), SslMode::Require);
        assert_eq!(mode("postgresql://me@db.example/notes?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://me@localhost/notes?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://me@localhost/notes?hostaddr=203.0.113.5"), SslMode::Require);
        assert_eq!(mode("postgres://me@db.example/notes?hostaddr=127.0.0.1"), SslMode::Disable);
    }

    #[test]
    fn a_password_of_any_signs_is_not_shown() {
        for password in ["secret", "s#secret", "s?secret", "s:secret", "s/secret"] {
            let address = Address::parse(&format!("postgres://me:{password}@localhost/notes?sslmode=disable")).unwrap();
            assert_eq!(address.shown, "postgres://me@localhost/notes");
            assert_eq!(address.config.get_password(), Some(password.as_bytes()));
        }
    }

    #[test]
    fn a_bad_url_is_told_without_its_password() {
        for (url, why) in [
            ("postgres://me:secret@db.example/notes?sslmode=prefer", "sslmode"),
            ("postgres://me:secret@db.example/notes?colour=red", "colour"),
            ("postgres://me:secret@db.example", "names no database"),
            ("postgres://me:secret@/notes", "host"),
            ("postgres://me:secret@db.example:port/notes", "port"),
            ("postgres://me:secret@db.example/notes?sslrootcert=/nowhere.pem", "/nowhere.pem"),
        ] {
            let error = Address::parse(url).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
