//! `--door vault`.

use crate::error::CliError;
use ibgib_peer::Host;
use ibgib_vault::account::{Admission, is_email};
use ibgib_vault::{Vault, VaultOptions};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(crate) struct VaultArgs {
    /// Who may sign up to the vault: `all`, `none` [default], a file with one e-mail address a line, # for comments,
    /// which is read again on SIGHUP, or `email`: whoever opens a link that is sent to the address. Links call the server
    /// by the first `--name`, which is HOST:PORT where people reach it at another port than 80, or 443 with TLS
    #[arg(long, value_name = "all|none|FILE|email")]
    vault_admit: Option<String>,
    /// What sends the links of `--vault-admit email`: a line for the shell, which gets {"to","link"} on stdin. Without
    /// one links are printed to the log
    #[arg(long, value_name = "CMD")]
    vault_mail_command: Option<String>,
}

impl VaultArgs {
    /// Whether anything is said about the vault.
    pub(crate) fn is_any(&self) -> bool {
        self.vault_admit.is_some() || self.vault_mail_command.is_some()
    }

    /// Who may sign up, as it stands in the file now if there is one.
    pub(crate) fn admission(&self) -> Result<Admission, CliError> {
        let admission = match self.vault_admit.as_deref() {
            None | Some("none") => Admission::Nobody,
            Some("all") => Admission::All,
            Some("email") => return Ok(Admission::ByLink),
            Some(file) => Admission::Listed(read_admitted(Path::new(file))?),
        };
        if self.vault_mail_command.is_some() {
            return Err(CliError::usage("--vault-mail-command goes with --vault-admit email"));
        }
        Ok(admission)
    }
}

pub(crate) fn open(
    args: &VaultArgs,
    host: &Arc<Host>,
    name: Option<&String>,
    listen: SocketAddr,
) -> Result<Vault, CliError> {
    let admission = args.admission()?;
    if admission == Admission::ByLink && name.is_none() && listen.ip().is_unspecified() {
        let why = format!("links to verify an address would call the server {listen}, where nobody reaches it");
        return Err(CliError::usage(why).hint("say by which name it is reached: --name HOST or --name HOST:PORT"));
    }
    let options = VaultOptions { admission, mail_command: args.vault_mail_command.clone(), name: name.cloned() };
    Ok(Vault::new(Arc::clone(host.space()), options))
}

fn read_admitted(path: &Path) -> Result<Vec<String>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| CliError::io(path, &e))?;
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        // An address may have a '#' in it; a comment stands alone or after a space.
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !is_email(line) {
            let why = format!("{} line {}: {line:?} is no e-mail address", path.display(), i + 1);
            return Err(CliError::usage(why)
                .about(path.display().to_string())
                .hint("one address a line, as its owner types it; # begins a comment"));
        }
        out.push(line.to_owned());
    }
    Ok(out)
}
