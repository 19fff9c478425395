//! `serve`.

use crate::args::{self, Args, PolicyKind, TlsKind};
use crate::codes::Code;
use crate::doors::{self, Doors};
use crate::error::{CliError, Exit};
use crate::kept::Kept;
use crate::output::Output;
use crate::report::{Listening, NewKey, Told};
use crate::spaces;
use ibgib::Addr;
use ibgib_dev_tools::DevTools;
use ibgib_peer::{Host, HostLimits, HostOptions, Policy};
use ibgib_server::{Certificate, Mount, ServeOptions, Server, renew_key};
use ibgib_spaces::Kind;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The token that makes its bearer the owner.
const OWNER_TOKEN: &str = "owner.token";
/// The token of the developer tools.
const TOOLS_TOKEN: &str = "dev-tools.token";

pub(crate) async fn serve(args: &Args, out: &Output, serve: &args::Serve) -> Result<Exit, CliError> {
    let Some(dir) = &args.space else {
        return Err(CliError::usage("serve needs its space")
            .hint("add --space DIR; it is made if it is not there. Several servers share --space postgres://USER@HOST/DATABASE"));
    };
    let in_database = spaces::database(dir).is_some();
    if in_database && matches!(serve.tls, Some(TlsKind::Own)) {
        return Err(CliError::usage("--tls self keeps a key with the space, and a database has no place for it")
            .hint("give all servers of the space one certificate: --tls-cert FILE --tls-key FILE"));
    }
    let mut options = ServeOptions {
        listen: doors::address(&serve.listen)?,
        tls: certificate(serve, dir),
        allow_plain_text: serve.allow_plain_text,
        names: serve.names.clone(),
        ..ServeOptions::default()
    };
    if serve.dev_tools && !options.listen.ip().is_loopback() {
        return Err(CliError::usage(format!("--dev-tools is for this machine only, not for {}", options.listen))
            .hint("listen on 127.0.0.1, or leave --dev-tools out"));
    }
    let mut host_limits = HostLimits::default();
    limits(&serve.limits, &mut host_limits, &mut options)?;
    let policy = policy(serve)?;
    let owner = serve.owner.as_deref().map(owner).transpose()?;
    let space = spaces::open_or_create(dir).await?;
    let kept = if in_database { Kept::In(Arc::clone(&space)) } else { Kept::Beside(dir) };
    let allow_strategies = serve.allow_strategy.clone();
    let host = Host::new(space, HostOptions { policy, allow_strategies, host_limits, ..HostOptions::default() });
    let tools = match serve.dev_tools {
        true => Some(DevTools::new(Arc::clone(&host), kept.token(TOOLS_TOKEN).await?)),
        false => None,
    };
    let doors = Doors::new(&serve.doors, &host, &kept, options.listen, serve.names.first()).await?;
    options.doors.extend(doors.mounts.iter().cloned());
    options.doors.extend(tools.iter().map(|tools| Mount::here(Arc::new(tools.clone()))));
    let catch = |kind| signal(kind).map_err(|e| CliError::new(Code::Signals, e.to_string()));
    let mut hangup = catch(SignalKind::hangup())?;
    let mut term = catch(SignalKind::terminate())?;
    let mut int = catch(SignalKind::interrupt())?;
    let owner_token = owner_token(&kept, &host, owner.as_ref()).await?;
    let server = Server::start(Arc::clone(&host), options).await?;
    let url = server.url();
    out.told(&Listening { url: url.clone(), doors: server.doors().to_vec(), owner_token })?;
    if let Some(key) = server.key()? {
        out.told(&Told { member: "key", word: "key", text: key.to_string() })?;
    }
    if let Some(tools) = &tools {
        tools.listening(&url);
        tools.beside(doors.mounts.iter().map(|mount| Arc::clone(&mount.door)).collect());
        if !in_database {
            tools.stored_in(dir);
        }
        let url = tools.page().unwrap_or_default();
        out.told(&Told { member: "dev_tools", word: "dev-tools", text: url })?;
    }
    tracing::info!(space = spaces::shown(dir), %url, id = host.space().id(), "serving");
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                read_again(&server, &host, serve).await;
                doors.read_again();
            }
            _ = term.recv() => break,
            _ = int.recv() => break,
        }
    }
    tracing::info!("shutting down");
    tokio::select! {
        () = server.shutdown() => {}
        _ = term.recv() => return Err(CliError::interrupted()),
        _ = int.recv() => return Err(CliError::interrupted()),
    }
    Ok(Exit::Done)
}

/// Makes the key that is to follow the one of a server's own certificate.
pub(crate) fn new_tls_key(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let Some(dir) = &args.space else {
        return Err(CliError::usage("new-tls-key needs the space of its server")
            .hint("add --space DIR, the directory that 'ibgib serve --tls self' has"));
    };
    if spaces::database(dir).is_some() {
        return Err(CliError::usage("a database has no key of a server's own")
            .hint("put another pair in the place of --tls-cert and --tls-key, and send the servers SIGHUP"));
    }
    let (before, key) = renew_key(dir)?;
    out.result(&NewKey { before: before.to_string(), key: key.to_string() })?;
    Ok(Exit::Done)
}

/// The identity that `--owner` names.
fn owner(text: &str) -> Result<Addr, CliError> {
    let bad = |why: String| {
        CliError::usage(format!("{text:?} is no identity: {why}"))
            .about(text)
            .hint("the address that 'ibgib identity show' prints")
    };
    let addr: Addr = text.parse().map_err(|e: ibgib::AddrError| bad(e.to_string()))?;
    if Kind::of(&addr) == Kind::Keystone { Ok(addr) } else { Err(bad("it names no keystone".into())) }
}

/// The token that makes whoever brings it the owner: as long as there is none, and only where nobody else is let in.
async fn owner_token(kept: &Kept<'_>, host: &Host, named: Option<&Addr>) -> Result<Option<String>, CliError> {
    if let Some(owner) = named {
        host.set_owner(owner).await?;
    }
    if host.policy_name() != Policy::Owner.as_str() {
        return Ok(None);
    }
    if host.owner().await?.is_some() {
        // Nobody can come with it any more.
        kept.forget(OWNER_TOKEN).await?;
        return Ok(None);
    }
    let token = kept.token(OWNER_TOKEN).await?;
    host.set_owner_token(Some(token.clone()));
    Ok(Some(token))
}

/// What can change while serving: the certificate and the allow-list. What cannot be read stays as it was.
async fn read_again(server: &Server, host: &Host, serve: &args::Serve) {
    match server.reload_certificate().await {
        Ok(false) => {}
        Ok(true) => tracing::info!("certificate read again"),
        Err(error) => tracing::error!(%error, "the certificate could not be read again"),
    }
    match policy(serve) {
        Ok(policy) => {
            host.set_policy(policy);
            tracing::info!("allow-list read again");
        }
        Err(error) => tracing::error!(%error, "the allow-list could not be read again"),
    }
}

/// Sets the limits that were given.
fn limits(told: &[String], host: &mut HostLimits, options: &mut ServeOptions) -> Result<(), CliError> {
    for told in told {
        let bad = |why: &str| {
            CliError::usage(format!("--limit {told}: {why}"))
                .about(told.as_str())
                .hint("NAME=N with a name of docs/limits.md, as in brought_bytes_per_identity_max=1000000000")
        };
        let (name, number) = told.split_once('=').ok_or_else(|| bad("no number is given"))?;
        let number: u64 = number.parse().map_err(|_| bad("no whole number"))?;
        if number == 0 {
            return Err(bad("a server that may do nothing of it stands still; 1 is the least"));
        }
        if !host.set(name, number) && !options.set(name, number) {
            return Err(bad("there is no such limit"));
        }
    }
    Ok(())
}

/// What the options say about TLS.
fn certificate(serve: &args::Serve, dir: &Path) -> Option<Certificate> {
    match (serve.tls, &serve.tls_cert, &serve.tls_key) {
        (Some(TlsKind::Own), ..) => Some(Certificate::Own { dir: dir.to_owned() }),
        (None, Some(chain), Some(key)) => Some(Certificate::Files { chain: chain.clone(), key: key.clone() }),
        _ => None,
    }
}

fn policy(serve: &args::Serve) -> Result<Policy, CliError> {
    match (serve.policy, &serve.allow) {
        (None | Some(PolicyKind::Open), Some(_)) => Err(CliError::usage("--allow goes with --policy allow")),
        (None, None) => Ok(Policy::Owner),
        (Some(PolicyKind::Open), None) => Ok(Policy::Open),
        (Some(PolicyKind::Allow), Some(file)) => read_allowed(file).map(Policy::Allow),
        (Some(PolicyKind::Allow), None) => Err(CliError::usage("--policy allow needs --allow FILE")),
    }
}

fn read_allowed(path: &Path) -> Result<HashSet<Addr>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| CliError::io(path, &e))?;
    let mut out = HashSet::new();
    for (i, line) in text.lines().enumerate() {
        // An identity's address holds no '#'.
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let addr = line.parse().map_err(|e: ibgib::AddrError| {
            CliError::usage(format!("{} line {}: {line:?} is no identity: {e}", path.display(), i + 1))
                .about(path.display().to_string())
                .hint("one identity's address a line, as 'ibgib identity show' prints it")
        })?;
        out.insert(addr);
    }
    Ok(out)
}
