//! The server's rules, without sockets, clock or store: accounts, tokens, wallets, and the change of a password.
//!
//! The server keeps three kinds of *rows*. A request is done in three steps: the caller loads the rows that it names,
//! calls the function for it here, and writes what comes back in one commit on the condition that the rows it read are
//! still the same; if not, it starts again. The answer leaves only after the commit.
//!
//! Every token carries the account's *epoch*, which each change of the password raises. Whoever uses a token is checked
//! against the account's row in the same commit, so neither a login nor a socket that races a change can outlive it.

use crate::derive::{SaltSeed, StoredPassword};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 100_000;
/// Bytes that a derived password has at least.
const PASSWORD_BYTES_MIN: usize = 8;
/// Bytes that the name of a device has at most; the original's clients send a UUID.
const DEVICE_BYTES_MAX: usize = 256;
/// Tokens that an account has at most.
const TOKENS_MAX: usize = 100;
/// Milliseconds that a token lives.
const TOKEN_MS: i64 = 14 * 24 * 3_600_000;
/// Milliseconds that a link in an e-mail works.
const VERIFY_MS: i64 = 2 * 24 * 3_600_000;

/// Why a request is not done: an HTTP status and the words that the original's clients know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: the request is none, in these words.
    BadRequest(String),
    /// 400: what was to become a WebSocket cannot.
    NoHandshake,
    /// 401: no such token, or it is of before the password's change, or too old.
    TokenNotFound,
    /// 401: no such account or another password; which, is not told.
    WrongCredentials,
    /// 401: the e-mail address was not verified yet.
    NotVerified,
    /// 401: nobody with this address has to verify it.
    NoMatchForEmail,
    /// 403: the token is not for this.
    Scope,
    /// 403: the server does not take this address.
    NotAdmitted,
    /// 403: this server verifies nobody.
    NoVerification,
    /// 404: no account has this address.
    UnknownEmail,
    /// 404: nothing was written yet.
    NoWallet,
    /// 404: this version has no such path.
    UnknownEndpoint,
    /// 404: another version is asked for.
    OtherVersion,
    /// 405: the path takes another method.
    MethodNotAllowed,
    /// 409: the account is there already.
    Registered,
    /// 409: the address was verified before.
    Verified,
    /// 409: somebody wrote meanwhile; what is there now, if anything.
    WrongSequence(Option<WalletRow>),
    /// 409: a change of the password has to bring the wallet under the new one, one further.
    WrongSequenceOrNone,
    /// 409: a change of the password without a wallet, where there is one.
    WalletExists,
    /// 413.
    BodyTooLarge,
    /// 429: too many attempts; try again later.
    TooManyAttempts,
    /// 503: the server has more to do than it takes on; try again later.
    Busy,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::NoHandshake => 400,
            Self::TokenNotFound | Self::WrongCredentials | Self::NotVerified | Self::NoMatchForEmail => 401,
            Self::Scope | Self::NotAdmitted | Self::NoVerification => 403,
            Self::UnknownEmail | Self::NoWallet | Self::UnknownEndpoint | Self::OtherVersion => 404,
            Self::MethodNotAllowed => 405,
            Self::Registered
            | Self::Verified
            | Self::WrongSequence(_)
            | Self::WrongSequenceOrNone
            | Self::WalletExists => 409,
            Self::BodyTooLarge => 413,
            Self::TooManyAttempts => 429,
            Self::Busy => 503,
        }
    }
}

impl fmt::Display for Refusal {
    /// The member `error` of the answer's body: the status in words, a colon, and what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRequest(why) => return write!(f, "Bad Request: {why}"),
            Self::NoHandshake => "Bad Request",
            Self::TokenNotFound => "Unauthorized: Token Not Found",
            Self::WrongCredentials => "Unauthorized: No match for email and/or password",
            Self::NotVerified => "Unauthorized: Account is not verified",
            Self::NoMatchForEmail => "Unauthorized: No match for email",
            Self::Scope => "Forbidden: Scope",
            Self::NotAdmitted => "Forbidden: Account not whitelisted",
            Self::NoVerification => "Forbidden: Account verification mode is not set to EmailVerify",
            Self::UnknownEmail => "Not Found: No match for email",
            Self::NoWallet => "Not Found: No wallet",
            Self::UnknownEndpoint => "Not Found: Unknown Endpoint",
            Self::OtherVersion => "Not Found: Wrong API version. Current version is 3.",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::Registered => "Conflict: Error registering",
            Self::Verified => "Conflict: Account is already verified",
            Self::WrongSequence(_) => "Conflict: Bad sequence number",
            Self::WrongSequenceOrNone => "Conflict: Bad sequence number or wallet does not exist",
            Self::WalletExists => "Conflict: Wallet exists; need an updated wallet when changing password",
            Self::BodyTooLarge => "Request Entity Too Large",
            Self::TooManyAttempts => "Too Many Requests",
            Self::Busy => "Service Unavailable",
        })
    }
}

impl std::error::Error for Refusal {}

/// Who may sign up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everybody, at once.
    All,
    /// Nobody.
    Nobody,
    /// These addresses, as typed.
    Listed(Vec<String>),
    /// Everybody who opens a link sent to the address.
    ByLink,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// The number that clients are told.
    pub user_id: u64,
    /// The address as typed at sign-up.
    pub email: String,
    /// The derived password.
    pub password: StoredPassword,
    /// What clients derive their keys from.
    pub seed: String,
    /// Raised by each change of the password.
    pub epoch: u64,
    /// The link that is still to be opened; none once verified.
    pub link: Option<EmailLink>,
}

/// A link in an e-mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailLink {
    /// [`digest`] of the token in it.
    pub digest: String,
    /// Until when it works, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// One device's right to use an account. A device has one: a new one takes the old one's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Whose: the address in lower case.
    pub account: String,
    /// `*`: everything.
    pub scope: String,
    /// The account's epoch when it was given.
    pub epoch: u64,
    /// Until when it works, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// The devices of an account that have a token, the one that logged in last at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesRow {
    /// Digests of each device's name and of its token.
    devices: Vec<(String, String)>,
}

impl DevicesRow {
    /// Gives a device a token, told as its [`digest`]. Answers those that go for it: the one that the device had, and
    /// where the account has too many the one whose device has not logged in for longest.
    pub fn log_in(&mut self, device_id: &str, token: &str) -> Vec<String> {
        let device = digest(device_id);
        let (mut gone, stay): (Vec<_>, Vec<_>) = self.devices.drain(..).partition(|(other, _)| *other == device);
        self.devices = stay;
        self.devices.push((device, token.to_owned()));
        gone.extend(self.devices.drain(..self.devices.len().saturating_sub(TOKENS_MAX)));
        gone.into_iter().map(|(_, token)| token).collect()
    }

    /// How many devices have a token.
    pub fn count(&self) -> usize {
        self.devices.len()
    }

    /// Forgets a token that works no more.
    pub fn forget(&mut self, token: &str) {
        self.devices.retain(|(_, other)| other != token);
    }

    /// Whether no device has a token.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}

/// An account's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletRow {
    /// What clients encrypted.
    pub encrypted_wallet: String,
    /// 1 for the first, each one more.
    pub sequence: u64,
    /// The clients' proof that both belong together; the server cannot check it.
    pub hmac: String,
}

/// What a server keeps instead of a token, so that a stolen store opens nothing: its SHA-256 in hex.
pub fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// An address under which accounts are kept: lower case.
pub fn account_key(email: &str) -> String {
    email.to_lowercase()
}

/// Whether a text is an address and nothing else (no name, no white space), by the rules that mail programs share:
/// words of letters, digits and some signs, joined by dots, an `@`, and a domain.
pub fn is_email(text: &str) -> bool {
    let atoms = |text: &str| {
        text.split('.').all(|atom| {
            !atom.is_empty()
                && atom.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii())
        })
    };
    text.len() <= 254 && text.rsplit_once('@').is_some_and(|(local, domain)| atoms(local) && atoms(domain))
}

/// The rules of one request's members, in the original's order and words.
pub mod request {
    use super::{AccountRow, Admission, DEVICE_BYTES_MAX, PASSWORD_BYTES_MIN, Refusal, SaltSeed, WalletRow, is_email};
    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    /// `POST /signup`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct SignUp {
        /// The address.
        #[serde(default)]
        pub email: String,
        /// The derived password.
        #[serde(default)]
        pub password: String,
        /// What it was derived from, beside the root password.
        #[serde(default)]
        pub client_salt_seed: String,
    }

    /// `POST /verify/resend`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Resend {
        /// The address.
        #[serde(default)]
        pub email: String,
    }

    /// `POST /auth/full`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct LogIn {
        /// Which device.
        #[serde(default)]
        pub device_id: String,
        /// The address.
        #[serde(default)]
        pub email: String,
        /// The derived password.
        #[serde(default)]
        pub password: String,
    }

    /// `POST /wallet`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct Put {
        /// The device's token.
        #[serde(default)]
        pub token: String,
        /// What is to be kept.
        #[serde(default)]
        pub encrypted_wallet: String,
        /// One more than what is kept now.
        #[serde(default)]
        pub sequence: u64,
        /// The clients' proof.
        #[serde(default)]
        pub hmac: String,
    }

    /// `POST /password`.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct ChangePassword {
        /// The address.
        #[serde(default)]
        pub email: String,
        /// The derived password of now.
        #[serde(default)]
        pub old_password: String,
        /// The derived password that is to be.
        #[serde(default)]
        pub new_password: String,
        /// What the new one was derived from.
        #[serde(default)]
        pub client_salt_seed: String,
        /// The wallet under the new password, if there is one.
        #[serde(default)]
        pub encrypted_wallet: String,
        /// One more than what is kept now.
        #[serde(default)]
        pub sequence: u64,
        /// The clients' proof under the new password.
        #[serde(default)]
        pub hmac: String,
    }

    /// What every request's members have to be.
    pub trait Check: DeserializeOwned {
        /// The first member that is wrong, in words.
        fn wrong(&self) -> Option<&'static str>;
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] in the original's words; [`Refusal::BodyTooLarge`].
    pub fn read<T: Check>(body: &[u8]) -> Result<T, Refusal> {
        if body.len() > super::BODY_BYTES_MAX {
            return Err(Refusal::BodyTooLarge);
        }
        // A list of members without their names would be taken, too.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refusal::BadRequest("Error parsing JSON".into()));
        }
        let read: serde_json::Result<T> = serde_json::from_slice(body);
        let request = read.map_err(|error| {
            // serde says: unknown field `x`, expected …
            let text = error.to_string();
            let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
            Refusal::BadRequest(match unknown {
                Some((name, _)) => format!("json: unknown field {name:?}"),
                None => "Error parsing JSON".into(),
            })
        })?;
        match request.wrong() {
            Some(why) => Err(Refusal::BadRequest(format!("Request failed validation: {why}"))),
            None => Ok(request),
        }
    }

    /// The first of some rules that does not hold.
    fn first(rules: &[(bool, &'static str)]) -> Option<&'static str> {
        rules.iter().find(|(holds, _)| !holds).map(|(_, why)| *why)
    }

    fn is_password(text: &str) -> bool {
        text.len() >= PASSWORD_BYTES_MIN
    }

    fn is_seed(text: &str) -> bool {
        SaltSeed::parse(text).is_some()
    }

    impl Check for SignUp {
        fn wrong(&self) -> Option<&'static str> {
            first(&[
                (is_email(&self.email), "Invalid or missing 'email'"),
                (is_password(&self.password), "Invalid or missing 'password'"),
                (is_seed(&self.client_salt_seed), "Invalid or missing 'clientSaltSeed'"),
            ])
        }
    }

    impl Check for Resend {
        fn wrong(&self) -> Option<&'static str> {
            first(&[(is_email(&self.email), "Invalid or missing 'email'")])
        }
    }

    impl Check for LogIn {
        fn wrong(&self) -> Option<&'static str> {
            first(&[
                (is_email(&self.email), "Invalid 'email'"),
                (is_password(&self.password), "Invalid or missing 'password'"),
                (!self.device_id.is_empty(), "Missing 'deviceId'"),
                (self.device_id.len() <= DEVICE_BYTES_MAX, "Invalid 'deviceId'"),
            ])
        }
    }

    impl Check for Put {
        fn wrong(&self) -> Option<&'static str> {
            first(&[
                (!self.token.is_empty(), "Missing 'token'"),
                (!self.encrypted_wallet.is_empty(), "Missing 'encryptedWallet'"),
                (!self.hmac.is_empty(), "Missing 'hmac'"),
                (self.sequence > 0, "Missing or zero-value 'sequence'"),
            ])
        }
    }

    impl Check for ChangePassword {
        fn wrong(&self) -> Option<&'static str> {
            let (wallet, hmac) = (self.encrypted_wallet.is_empty(), self.hmac.is_empty());
            let all_or_none = (wallet && hmac && self.sequence == 0) || (!wallet && !hmac && self.sequence > 0);
            first(&[
                (is_email(&self.email), "Invalid or missing 'email'"),
                (is_password(&self.old_password), "Invalid or missing 'oldPassword'"),
                (is_password(&self.new_password), "Invalid or missing 'newPassword'"),
                (self.old_password != self.new_password, "'oldPassword' and 'newPassword' should not be the same"),
                (is_seed(&self.client_salt_seed), "Invalid or missing 'clientSaltSeed'"),
                (
                    all_or_none,
                    "Fields 'encryptedWallet', 'sequence', and 'hmac' should be all non-empty and non-zero, or all \
                     omitted",
                ),
            ])
        }
    }

    impl ChangePassword {
        /// The wallet that comes along.
        pub fn wallet(&self) -> Option<WalletRow> {
            (self.sequence > 0).then(|| WalletRow {
                encrypted_wallet: self.encrypted_wallet.clone(),
                sequence: self.sequence,
                hmac: self.hmac.clone(),
            })
        }
    }

    impl SignUp {
        /// Whether this address may sign up, before any work is done for it. Then: whether a link is sent.
        ///
        /// # Errors
        /// [`Refusal::NotAdmitted`], [`Refusal::Registered`].
        pub fn admit(&self, admission: &Admission, there: Option<&AccountRow>) -> Result<bool, Refusal> {
            let by_link = match admission {
                Admission::All => false,
                Admission::Listed(list) if list.contains(&self.email) => false,
                Admission::ByLink => true,
                Admission::Nobody | Admission::Listed(_) => return Err(Refusal::NotAdmitted),
            };
            if there.is_some() { Err(Refusal::Registered) } else { Ok(by_link) }
        }
    }
}

/// A new account; with the token of a link, one that cannot be used before the link was opened.
pub fn sign_up(
    request: &request::SignUp,
    user_id: u64,
    password: StoredPassword,
    link: Option<&str>,
    now_ms: i64,
) -> AccountRow {
    AccountRow {
        user_id,
        email: request.email.clone(),
        password,
        seed: request.client_salt_seed.clone(),
        epoch: 0,
        link: link.map(|token| new_link(token, now_ms)),
    }
}

fn new_link(token: &str, now_ms: i64) -> EmailLink {
    EmailLink { digest: digest(token), expires_ms: now_ms + VERIFY_MS }
}

/// A new link for an account that is not verified; the old one works no more.
///
/// # Errors
/// [`Refusal::NoMatchForEmail`], [`Refusal::Verified`].
pub fn resend(account: Option<&AccountRow>, token: &str, now_ms: i64) -> Result<AccountRow, Refusal> {
    let account = account.ok_or(Refusal::NoMatchForEmail)?;
    if account.link.is_none() {
        return Err(Refusal::Verified);
    }
    Ok(AccountRow { link: Some(new_link(token, now_ms)), ..account.clone() })
}

/// The account after its link was opened; `None` when the link is another, was used, or is too old.
pub fn verify(account: &AccountRow, token: &str, now_ms: i64) -> Option<AccountRow> {
    account.link.as_ref().filter(|link| link.digest == digest(token) && now_ms < link.expires_ms)?;
    Some(AccountRow { link: None, ..account.clone() })
}

/// What is kept of a new token for a device whose password was checked, under the token's [`digest`]. The account's row has to be the same when it is written.
///
/// # Errors
/// [`Refusal::WrongCredentials`], [`Refusal::NotVerified`].
pub fn log_in(account: Option<&AccountRow>, password_holds: bool, now_ms: i64) -> Result<TokenRow, Refusal> {
    let account = may_use(account, password_holds)?;
    Ok(TokenRow {
        account: account_key(&account.email),
        scope: "*".into(),
        epoch: account.epoch,
        expires_ms: now_ms + TOKEN_MS,
    })
}

fn may_use(account: Option<&AccountRow>, password_holds: bool) -> Result<&AccountRow, Refusal> {
    let account = account.filter(|_| password_holds).ok_or(Refusal::WrongCredentials)?;
    if account.link.is_some() { Err(Refusal::NotVerified) } else { Ok(account) }
}

/// Whether a token may be used now. The account's row has to be the same when something is written on its strength.
///
/// # Errors
/// [`Refusal::TokenNotFound`], [`Refusal::Scope`].
pub fn check_token(token: Option<&TokenRow>, account: Option<&AccountRow>, now_ms: i64) -> Result<(), Refusal> {
    match (token, account) {
        (Some(token), Some(account))
            if token.epoch == account.epoch
                && token.account == account_key(&account.email)
                && now_ms < token.expires_ms =>
        {
            if token.scope == "*" {
                Ok(())
            } else {
                Err(Refusal::Scope)
            }
        }
        _ => Err(Refusal::TokenNotFound),
    }
}

/// What is kept after a write: the wallet that came, if it is one further than what is there.
///
/// # Errors
/// [`Refusal::WrongSequence`] with what is there.
pub fn put(request: &request::Put, there: Option<&WalletRow>) -> Result<WalletRow, Refusal> {
    if request.sequence != there.map_or(0, |wallet| wallet.sequence) + 1 {
        return Err(Refusal::WrongSequence(there.cloned()));
    }
    Ok(WalletRow {
        encrypted_wallet: request.encrypted_wallet.clone(),
        sequence: request.sequence,
        hmac: request.hmac.clone(),
    })
}

/// Account and wallet after a change of the password, to be written in one commit. Every token of before is dead by it.
///
/// # Errors
/// [`Refusal::WrongCredentials`], [`Refusal::NotVerified`], [`Refusal::WrongSequenceOrNone`],
/// [`Refusal::WalletExists`].
pub fn change_password(
    account: Option<&AccountRow>,
    password_holds: bool,
    request: &request::ChangePassword,
    password: StoredPassword,
    there: Option<&WalletRow>,
) -> Result<(AccountRow, Option<WalletRow>), Refusal> {
    let account = may_use(account, password_holds)?;
    let wallet = request.wallet();
    match (&wallet, there) {
        (Some(new), Some(old)) if new.sequence == old.sequence + 1 => {}
        (Some(_), _) => return Err(Refusal::WrongSequenceOrNone),
        (None, Some(_)) => return Err(Refusal::WalletExists),
        (None, None) => {}
    }
    let account =
        AccountRow { password, seed: request.client_salt_seed.clone(), epoch: account.epoch + 1, ..account.clone() };
    Ok((account, wallet))
}

#[cfg(test)]
mod tests {
    use super::request::*;
    use super::*;

    fn seed() -> String {
        "ab".repeat(32)
    }

    fn account() -> AccountRow {
        let request = SignUp { email: "Joe@Example.com".into(), password: "derived!".into(), client_salt_seed: seed() };
        sign_up(&request, 7, StoredPassword::of_nobody(), None, 0)
    }

    fn wallet(sequence: u64) -> WalletRow {
        WalletRow { encrypted_wallet: format!("w{sequence}"), sequence, hmac: "h".into() }
    }

    fn told<T: Check + fmt::Debug>(body: &str) -> String {
        read::<T>(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn bodies_are_refused_in_the_original_words() {
        let failed = |why: &str| format!("Bad Request: Request failed validation: {why}");
        assert_eq!(told::<SignUp>("{"), "Bad Request: Error parsing JSON");
        assert_eq!(told::<SignUp>("null"), "Bad Request: Error parsing JSON");
        assert_eq!(told::<SignUp>(r#"{"emial":"a"}"#), "Bad Request: json: unknown field \"emial\"");
        assert_eq!(told::<SignUp>("{}"), failed("Invalid or missing 'email'"));
        assert_eq!(told::<SignUp>(r#"{"email":"a@b.c"}"#), failed("Invalid or missing 'password'"));
        assert_eq!(
            told::<SignUp>(r#"{"email":"a@b.c","password":"12345678"}"#),
            failed("Invalid or missing 'clientSaltSeed'")
        );
        assert_eq!(told::<LogIn>("{}"), failed("Invalid 'email'"));
        assert_eq!(told::<LogIn>(r#"{"email":"a@b.c","password":"12345678"}"#), failed("Missing 'deviceId'"));
        let device = |bytes: usize| {
            let device = "d".repeat(bytes);
            format!(r#"{{"email":"a@b.c","password":"12345678","deviceId":"{device}"}}"#)
        };
        assert!(read::<LogIn>(device(DEVICE_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(told::<LogIn>(&device(DEVICE_BYTES_MAX + 1)), failed("Invalid 'deviceId'"));
        assert_eq!(told::<Put>("{}"), failed("Missing 'token'"));
        assert_eq!(
            told::<Put>(r#"{"token":"t","encryptedWallet":"w","hmac":"h"}"#),
            failed("Missing or zero-value 'sequence'")
        );
        assert!(told::<Put>(r#"{"token":"t","encryptedWallet":"w","hmac":"h","sequence":-1}"#).contains("JSON"));
        let change = |rest: &str| {
            let seed = seed();
            told::<ChangePassword>(&format!(
                r#"{{"email":"a@b.c","oldPassword":"12345678","newPassword":"123456789","clientSaltSeed":"{seed}"{rest}}}"#
            ))
        };
        assert!(change(r#","sequence":1"#).contains("all non-empty and non-zero"));
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(read::<Put>(&large).unwrap_err(), Refusal::BodyTooLarge);
    }

    #[test]
    fn addresses_are_addresses_and_nothing_else() {
        for good in ["joe@example.com", "j.o+e@x", "joe-1@example.com", "jö@exämple.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "joe", "@x", "joe@", " joe@example.com", "Joe <joe@example.com>", "a..b@x", "a@b@c", "a@b c"] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn who_may_sign_up_is_decided_before_any_work() {
        let request = SignUp { email: "a@b.c".into(), password: String::new(), client_salt_seed: String::new() };
        let listed = |list: &[&str]| Admission::Listed(list.iter().map(|e| (*e).to_owned()).collect());
        assert_eq!(request.admit(&Admission::All, None), Ok(false));
        assert_eq!(request.admit(&Admission::ByLink, None), Ok(true));
        assert_eq!(request.admit(&Admission::Nobody, None), Err(Refusal::NotAdmitted));
        assert_eq!(request.admit(&listed(&["a@b.c"]), None), Ok(false));
        assert_eq!(request.admit(&listed(&["A@b.c"]), None), Err(Refusal::NotAdmitted));
        assert_eq!(request.admit(&Admission::All, Some(&account())), Err(Refusal::Registered));
    }

    #[test]
    fn sequences_grow_by_one() {
        let put_at = |sequence, there: Option<&WalletRow>| {
            let request = Put { token: "t".into(), encrypted_wallet: "w".into(), sequence, hmac: "h".into() };
            put(&request, there)
        };
        assert_eq!(put_at(1, None).unwrap().sequence, 1);
        assert_eq!(put_at(2, None), Err(Refusal::WrongSequence(None)));
        assert_eq!(put_at(4, Some(&wallet(3))).unwrap().sequence, 4);
        for wrong in [1, 3, 5] {
            assert_eq!(put_at(wrong, Some(&wallet(3))), Err(Refusal::WrongSequence(Some(wallet(3)))));
        }
    }

    #[test]
    fn a_device_has_one_token_and_an_account_so_many() {
        let mut row = DevicesRow::default();
        assert_eq!(row.log_in("first", "t0"), [""; 0]);
        assert_eq!(row.log_in("laptop", "t1"), [""; 0]);
        assert_eq!(row.log_in("first", "t2"), ["t0"]);
        for n in 2..TOKENS_MAX {
            assert_eq!(row.log_in(&format!("device {n}"), "t"), [""; 0]);
        }
        assert_eq!(row.log_in("one more", "t3"), ["t1"]);
        assert_eq!(row.log_in("laptop", "t4"), ["t2"]);
        assert_eq!(row.devices.len(), TOKENS_MAX);
        for token in ["t", "t3", "t4"] {
            row.forget(token);
        }
        assert!(row.is_empty());
    }

    #[test]
    fn a_changed_password_ends_every_token_of_before() {
        let before = account();
        let token = log_in(Some(&before), true, 0).unwrap();
        assert_eq!(check_token(Some(&token), Some(&before), 1), Ok(()));
        assert_eq!(check_token(Some(&token), Some(&before), TOKEN_MS), Err(Refusal::TokenNotFound));
        assert_eq!(check_token(None, Some(&before), 1), Err(Refusal::TokenNotFound));
        let change = |sequence| ChangePassword {
            email: "joe@example.com".into(),
            old_password: "derived!".into(),
            new_password: "derived?".into(),
            client_salt_seed: "cd".repeat(32),
            encrypted_wallet: if sequence > 0 { "w".into() } else { String::new() },
            sequence,
            hmac: if sequence > 0 { "h".into() } else { String::new() },
        };
        let run = |holds, sequence, there: Option<&WalletRow>| {
            change_password(Some(&before), holds, &change(sequence), StoredPassword::of_nobody(), there)
        };
        assert_eq!(run(false, 0, None), Err(Refusal::WrongCredentials));
        assert_eq!(run(true, 0, Some(&wallet(3))), Err(Refusal::WalletExists));
        assert_eq!(run(true, 3, Some(&wallet(3))), Err(Refusal::WrongSequenceOrNone));
        assert_eq!(run(true, 1, None), Err(Refusal::WrongSequenceOrNone));
        let (after, wallet) = run(true, 4, Some(&wallet(3))).unwrap();
        assert_eq!((after.epoch, wallet.unwrap().sequence, after.seed.as_str()), (1, 4, "cd".repeat(32).as_str()));
        assert_eq!(check_token(Some(&token), Some(&after), 1), Err(Refusal::TokenNotFound));
    }

    #[test]
    fn links_work_once_and_for_two_days() {
        let request = SignUp { email: "a@b.c".into(), password: "12345678".into(), client_salt_seed: seed() };
        let new = sign_up(&request, 1, StoredPassword::of_nobody(), Some("second"), 0);
        assert_eq!(log_in(Some(&new), true, 0), Err(Refusal::NotVerified));
        assert_eq!(verify(&new, "second", VERIFY_MS), None);
        assert_eq!(verify(&new, "other", 0), None);
        let again = resend(Some(&new), "third", 5).unwrap();
        assert_eq!(verify(&again, "second", 6), None);
        let done = verify(&again, "third", 6).unwrap();
        assert!(log_in(Some(&done), true, 0).is_ok());
        assert_eq!(resend(Some(&done), "fourth", 7), Err(Refusal::Verified));
        assert_eq!(resend(None, "fourth", 7), Err(Refusal::NoMatchForEmail));
    }
}
