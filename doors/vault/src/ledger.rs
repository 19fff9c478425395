//! Accounts, tokens and wallets as rows of the host's space. Each request reads the rows that it concerns, asks the rules
//! ([`crate::account`]), and writes what comes of it in one commit that holds only while those rows are the same; if
//! another request was faster, it begins again.

use crate::account::request::{ChangePassword, LogIn, Put, SignUp};
use crate::account::{self, AccountRow, Admission, DevicesRow, Refusal, TokenRow, WalletRow, account_key, digest};
use crate::derive::StoredPassword;
use crate::work::Work;
use ibgib_peer::entropy::{now_ms, random, random_hex};
use ibgib_server::rows::{Edits, Row, RowError, Rows, Table};

/// By address in lower case.
const ACCOUNTS: Table = Table::history("account");
/// By the account's address in lower case. A row has had as many values as its sequence says.
const WALLETS: Table = Table::history("wallet");
/// By the token's digest.
const TOKENS: Table = Table::passing("token");
/// The devices of an account that have a token, by the account's digest.
const DEVICES: Table = Table::passing("devices");
/// The account that a link in an e-mail is for, by the digest of the link's token.
const LINKS: Table = Table::passing("link");
/// The last user's number.
const COUNTERS: Table = Table::passing("counter");
const USERS: &str = "users";

/// How often a request begins again. Each time another one has come through, so that this is far more than happens.
const TRIES_MAX: usize = 1_000;

/// Why a request is not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The rules say no.
    Refused(Refusal),
    /// The store fails.
    Rows(RowError),
    /// The link could not be sent.
    Mail(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RowError> for Failure {
    fn from(error: RowError) -> Self {
        Self::Rows(error)
    }
}

/// What a token gives access to.
pub(crate) struct Opened {
    token: Row<TokenRow>,
    account: Row<AccountRow>,
    wallet: Row<WalletRow>,
}

impl Opened {
    pub(crate) fn wallet(&self) -> Option<&WalletRow> {
        self.wallet.value.as_ref()
    }

    pub(crate) fn sequence(&self) -> Option<u64> {
        self.wallet().map(|wallet| wallet.sequence)
    }
}

/// A token that was given.
pub(crate) struct Given {
    pub(crate) token: String,
    pub(crate) user_id: u64,
}

/// How an account stands, as far as it is the server's.
pub(crate) struct Standing {
    pub(crate) key: String,
    pub(crate) email: String,
    pub(crate) is_verified: bool,
    /// How often its password was changed.
    pub(crate) epoch: u64,
    /// How many devices have a token.
    pub(crate) devices: usize,
    /// 0 before there is a wallet.
    pub(crate) sequence: u64,
}

/// What servers over one space wrote.
pub(crate) struct News {
    /// Up to this revision.
    pub(crate) revision: u64,
    /// The accounts whose wallet was written, and its sequence.
    pub(crate) sequences: Vec<(String, u64)>,
    /// The accounts that changed: their password, or that they were verified.
    pub(crate) accounts: Vec<String>,
}

/// A link that is to be sent.
pub(crate) struct Link {
    pub(crate) to: String,
    pub(crate) token: String,
}

/// What was found out about the passwords of a [`ChangePassword`]. Deriving takes long, and ends when whoever asked goes
/// away; what comes after it is short.
#[derive(Default)]
pub(crate) struct Passwords {
    /// The key that the old one was compared with, and whether it holds.
    checked: Option<(StoredPassword, bool)>,
    /// Of the new one, if the old one holds.
    new: Option<StoredPassword>,
}

/// What the door keeps.
#[derive(Debug)]
pub(crate) struct Ledger {
    rows: Rows,
    work: Work,
}

impl Ledger {
    pub(crate) fn new(rows: Rows) -> Self {
        Self { rows, work: Work::new() }
    }

    async fn account(&self, key: &str) -> Result<Row<AccountRow>, RowError> {
        self.rows.one(ACCOUNTS, key).await
    }

    /// An account's salt seed.
    pub(crate) async fn seed(&self, email: &str) -> Result<Option<String>, Failure> {
        Ok(self.account(&account_key(email)).await?.value.map(|account| account.seed))
    }

    /// The password of an account that may be made, derived.
    pub(crate) async fn password(&self, request: &SignUp, admission: &Admission) -> Result<StoredPassword, Failure> {
        request.admit(admission, self.account(&account_key(&request.email)).await?.value.as_ref())?;
        Ok(self.derive(&request.password).await?)
    }

    /// Makes an account, if it still may be made.
    pub(crate) async fn sign_up(
        &self,
        request: &SignUp,
        admission: &Admission,
        password: &StoredPassword,
    ) -> Result<Option<Link>, Failure> {
        let key = account_key(&request.email);
        let mut link = None;
        for _ in 0..TRIES_MAX {
            let account = self.account(&key).await?;
            let by_link = request.admit(admission, account.value.as_ref())?;
            link = link.or_else(|| by_link.then(|| Link { to: request.email.clone(), token: random_hex() }));
            let users = self.rows.one::<u64>(COUNTERS, USERS).await?;
            let user_id = users.value.unwrap_or(0) + 1;
            let token = link.as_ref().map(|link| link.token.as_str());
            let new = account::sign_up(request, user_id, password.clone(), token, now_ms());
            let mut edits = Edits::default();
            edits.set(&account, &new)?;
            edits.set(&users, &user_id)?;
            if let Some(token) = token {
                edits.set(&self.rows.one::<String>(LINKS, &digest(token)).await?, &key)?;
            }
            if self.rows.write(edits).await? {
                return Ok(link);
            }
        }
        Err(Refusal::Busy.into())
    }

    /// A new link for an account; the old one works no more.
    pub(crate) async fn resend(&self, email: &str) -> Result<Link, Failure> {
        let key = account_key(email);
        let token = random_hex();
        for _ in 0..TRIES_MAX {
            let account = self.account(&key).await?;
            let new = account::resend(account.value.as_ref(), &token, now_ms())?;
            let to = new.email.clone();
            let mut edits = Edits::default();
            edits.set(&account, &new)?;
            edits.set(&self.rows.one::<String>(LINKS, &digest(&token)).await?, &key)?;
            if let Some(old) = account.value.and_then(|account| account.link) {
                self.let_go::<String>(LINKS, &old.digest, &mut edits).await?;
            }
            if self.rows.write(edits).await? {
                return Ok(Link { to, token });
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Opens a link; `false` when it is unknown, was used, or is too old.
    pub(crate) async fn verify(&self, token: &str) -> Result<bool, Failure> {
        for _ in 0..TRIES_MAX {
            let link = self.rows.one::<String>(LINKS, &digest(token)).await?;
            let Some(key) = &link.value else { return Ok(false) };
            let account = self.account(key).await?;
            let new = account.value.as_ref().and_then(|account| account::verify(account, token, now_ms()));
            let Some(new) = new else { return Ok(false) };
            let mut edits = Edits::default();
            edits.set(&account, &new)?;
            edits.drop(&link);
            if self.rows.write(edits).await? {
                return Ok(true);
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Gives a device a token, which takes its old one's place. It is written only while the account is as it was when
    /// its password was checked: a change of the password meanwhile is seen, and the password checked again.
    pub(crate) async fn log_in(&self, request: &LogIn) -> Result<Given, Failure> {
        let key = account_key(&request.email);
        let mut checked = None;
        for _ in 0..TRIES_MAX {
            let account = self.account(&key).await?;
            let holds = self.holds(account.value.as_ref(), &request.password, &mut checked).await?;
            let new = account::log_in(account.value.as_ref(), holds, now_ms())?;
            let user_id = account.value.as_ref().map_or(0, |account| account.user_id);
            let token = random_hex();
            let devices = self.rows.one::<DevicesRow>(DEVICES, &digest(&key)).await?;
            let mut with_token = devices.value.clone().unwrap_or_default();
            let gone = with_token.log_in(&request.device_id, &digest(&token));
            let mut edits = Edits::default();
            edits.keep(&account);
            edits.set(&self.rows.one::<TokenRow>(TOKENS, &digest(&token)).await?, &new)?;
            edits.set(&devices, &with_token)?;
            for old in &gone {
                self.let_go::<TokenRow>(TOKENS, old, &mut edits).await?;
            }
            if self.rows.write(edits).await? {
                return Ok(Given { token, user_id });
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Whose a token is, whether it works or not.
    pub(crate) async fn account_of(&self, token: &str) -> Result<Option<String>, Failure> {
        Ok(self.rows.one::<TokenRow>(TOKENS, &digest(token)).await?.value.map(|token| token.account))
    }

    /// What a token gives access to. The wallet is read before the account: as long as the account is still of the
    /// token's epoch then, so was the wallet.
    pub(crate) async fn open(&self, token: &str) -> Result<Opened, Failure> {
        let token = self.rows.one::<TokenRow>(TOKENS, &digest(token)).await?;
        let key = token.value.as_ref().map(|token| token.account.clone()).ok_or(Refusal::TokenNotFound)?;
        let wallet = self.rows.one::<WalletRow>(WALLETS, &key).await?;
        let account = self.account(&key).await?;
        account::check_token(token.value.as_ref(), account.value.as_ref(), now_ms())?;
        Ok(Opened { token, account, wallet })
    }

    /// Writes a wallet; answers whose it is, and what is there now.
    pub(crate) async fn put(&self, request: &Put) -> Result<(String, WalletRow), Failure> {
        for _ in 0..TRIES_MAX {
            let Opened { token, account, wallet } = self.open(&request.token).await?;
            let new = account::put(request, wallet.value.as_ref())?;
            let mut edits = Edits::default();
            edits.keep(&token);
            edits.keep(&account);
            edits.set(&wallet, &new)?;
            if self.rows.write(edits).await? {
                return Ok((account.key, new));
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Looks into the passwords of a change, unless that was done and still holds; whether the old one is the account's.
    pub(crate) async fn look_into(
        &self,
        request: &ChangePassword,
        account: Option<&AccountRow>,
        passwords: &mut Passwords,
    ) -> Result<bool, Failure> {
        let holds = self.holds(account, &request.old_password, &mut passwords.checked).await?;
        if holds && passwords.new.is_none() {
            passwords.new = Some(self.derive(&request.new_password).await?);
        }
        Ok(holds)
    }

    /// The passwords of a change, as [`Ledger::change_password`] takes them.
    pub(crate) async fn passwords(&self, request: &ChangePassword) -> Result<Passwords, Failure> {
        let mut passwords = Passwords::default();
        let account = self.account(&account_key(&request.email)).await?;
        self.look_into(request, account.value.as_ref(), &mut passwords).await?;
        Ok(passwords)
    }

    /// Changes a password, and the wallet with it; answers whose. Every token of before is dead then: its epoch is over.
    pub(crate) async fn change_password(
        &self,
        request: &ChangePassword,
        mut passwords: Passwords,
    ) -> Result<String, Failure> {
        let key = account_key(&request.email);
        for _ in 0..TRIES_MAX {
            let account = self.account(&key).await?;
            let holds = self.look_into(request, account.value.as_ref(), &mut passwords).await?;
            let wallet = self.rows.one::<WalletRow>(WALLETS, &key).await?;
            // Without the right password it is refused, and nothing is kept of the new one.
            let password = passwords.new.clone().unwrap_or_else(StoredPassword::of_nobody);
            let (old, there) = (account.value.as_ref(), wallet.value.as_ref());
            let (new, new_wallet) = account::change_password(old, holds, request, password, there)?;
            let mut edits = Edits::default();
            edits.set(&account, &new)?;
            match new_wallet {
                Some(new) => edits.set(&wallet, &new)?,
                None => edits.keep(&wallet),
            }
            if self.rows.write(edits).await? {
                return Ok(key);
            }
        }
        Err(Refusal::Busy.into())
    }

    /// The newest revision.
    pub(crate) async fn revision(&self) -> Result<u64, RowError> {
        self.rows.revision().await
    }

    /// Waits until something was written after a revision.
    pub(crate) async fn changed(&self, since: u64) -> Result<u64, RowError> {
        self.rows.changed(since).await
    }

    /// What was written after a revision, at whichever server.
    pub(crate) async fn news(&self, since: u64) -> Result<News, RowError> {
        // What comes between the two questions is told twice, and not never.
        let (revision, moved) = self.rows.moved(WALLETS, since).await?;
        let (_, accounts) = self.rows.moved(ACCOUNTS, since).await?;
        let wallets = self.rows.get::<WalletRow>(WALLETS, &moved).await?;
        let sequences = wallets.into_iter().filter_map(|row| Some((row.key, row.value?.sequence))).collect();
        Ok(News { revision, sequences, accounts })
    }

    /// The first accounts, with their devices and the sequence of their wallet, and how many there are.
    pub(crate) async fn accounts(&self, max: usize) -> Result<(Vec<Standing>, usize), RowError> {
        let (accounts, count) = self.rows.first::<AccountRow>(ACCOUNTS, max).await?;
        let mut all = Vec::new();
        for account in accounts {
            let Some(row) = account.value else { continue };
            let devices = self.rows.one::<DevicesRow>(DEVICES, &digest(&account.key)).await?.value;
            let wallet = self.rows.one::<WalletRow>(WALLETS, &account.key).await?.value;
            all.push(Standing {
                key: account.key,
                email: row.email,
                is_verified: row.link.is_none(),
                epoch: row.epoch,
                devices: devices.map_or(0, |devices| devices.count()),
                sequence: wallet.map_or(0, |wallet| wallet.sequence),
            });
        }
        Ok((all, count))
    }

    /// Lets go of tokens and links that work no more, some at a time: their keys are digests, spread evenly.
    pub(crate) async fn sweep(&self) -> Result<(), Failure> {
        for prefix in (0..=u8::MAX).map(|byte| format!("{byte:02x}")) {
            for token in self.rows.all::<TokenRow>(TOKENS, &prefix).await? {
                self.sweep_token(&token).await?;
            }
            for link in self.rows.all::<String>(LINKS, &prefix).await? {
                self.sweep_link(&link).await?;
            }
        }
        Ok(())
    }

    /// Where somebody was faster, the next time is early enough.
    async fn sweep_token(&self, token: &Row<TokenRow>) -> Result<(), Failure> {
        let Some(value) = &token.value else { return Ok(()) };
        let account = self.account(&value.account).await?;
        if account::check_token(Some(value), account.value.as_ref(), now_ms()) != Err(Refusal::TokenNotFound) {
            return Ok(());
        }
        let devices = self.rows.one::<DevicesRow>(DEVICES, &digest(&value.account)).await?;
        let mut edits = Edits::default();
        edits.drop(token);
        if let Some(mut with_token) = devices.value.clone() {
            with_token.forget(&token.key);
            if with_token.is_empty() { edits.drop(&devices) } else { edits.set(&devices, &with_token)? }
        }
        self.rows.write(edits).await?;
        Ok(())
    }

    /// As with tokens.
    async fn sweep_link(&self, link: &Row<String>) -> Result<(), Failure> {
        let Some(key) = &link.value else { return Ok(()) };
        let open = self.account(key).await?.value.and_then(|account| account.link);
        if open.is_none_or(|open| open.digest != link.key || open.expires_ms <= now_ms()) {
            let mut edits = Edits::default();
            edits.drop(link);
            self.rows.write(edits).await?;
        }
        Ok(())
    }

    async fn let_go<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
        key: &str,
        edits: &mut Edits,
    ) -> Result<(), RowError> {
        let row = self.rows.one::<T>(table, key).await?;
        if row.value.is_some() {
            edits.drop(&row);
        }
        Ok(())
    }

    async fn derive(&self, password: &str) -> Result<StoredPassword, Refusal> {
        let password = zeroize::Zeroizing::new(password.to_owned());
        self.work.run(move || StoredPassword::derive(&password, random())).await
    }

    /// Whether a password is the account's, which takes as long when there is no account. `checked` is what was found out
    /// before, so that a request that begins again works anew only if the password was changed.
    async fn holds(
        &self,
        account: Option<&AccountRow>,
        password: &str,
        checked: &mut Option<(StoredPassword, bool)>,
    ) -> Result<bool, Refusal> {
        let stored = account.map_or_else(StoredPassword::of_nobody, |account| account.password.clone());
        if let Some((before, holds)) = checked
            && *before == stored
        {
            return Ok(*holds);
        }
        let (against, password) = (stored.clone(), zeroize::Zeroizing::new(password.to_owned()));
        let holds = self.work.run(move || against.is(&password)).await?;
        *checked = Some((stored, holds));
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibgib_spaces::MemorySpace;
    use std::sync::Arc;

    fn request<T: account::request::Check>(body: serde_json::Value) -> T {
        account::request::read(body.to_string().as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn what_works_no_more_is_let_go_of_and_the_rest_stays() {
        let ledger = Ledger::new(Rows::new(Arc::new(MemorySpace::new("sweep")), "vault"));
        let (joe, ann, seed) = ("joe@example.com", "ann@example.com", "ab".repeat(32));
        for email in [joe, ann] {
            let body = serde_json::json!({"email": email, "password": "12345678", "clientSaltSeed": seed});
            let request = request::<SignUp>(body);
            let admission = if email == joe { Admission::All } else { Admission::ByLink };
            let password = ledger.password(&request, &admission).await.unwrap();
            ledger.sign_up(&request, &admission, &password).await.unwrap();
        }
        let log_in = async |device: &str, password: &str| {
            let body = serde_json::json!({"email": joe, "password": password, "deviceId": device});
            ledger.log_in(&request::<LogIn>(body)).await.unwrap().token
        };
        for device in ["a", "b", "c"] {
            log_in(device, "12345678").await;
        }
        let change = request::<ChangePassword>(serde_json::json!({
            "email": joe, "oldPassword": "12345678", "newPassword": "abcdefgh", "clientSaltSeed": seed
        }));
        let passwords = ledger.passwords(&change).await.unwrap();
        ledger.change_password(&change, passwords).await.unwrap();
        let token = log_in("c", "abcdefgh").await;
        // An address that is asked twice: the first link is let go of at once.
        ledger.resend(ann).await.unwrap();
        ledger.sweep().await.unwrap();
        let tokens = ledger.rows.all::<TokenRow>(TOKENS, "").await.unwrap();
        assert_eq!(tokens.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [digest(&token)]);
        let devices = ledger.rows.all::<DevicesRow>(DEVICES, "").await.unwrap();
        let mut last = devices[0].value.clone().unwrap();
        last.forget(&digest(&token));
        assert!(devices.len() == 1 && last.is_empty());
        assert_eq!(ledger.rows.all::<String>(LINKS, "").await.unwrap().len(), 1);
    }
}
