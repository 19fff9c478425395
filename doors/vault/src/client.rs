//! A client's questions to a vault's server, this one or the original.

use crate::account::{Refusal, WalletRow};
use crate::derive::{ClientKeys, SaltSeed};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Link, WebSocketRemote, link};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Bytes of a notice.
const NOTICE_BYTES_MAX: usize = 4_096;

/// Why a server did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It cannot be reached, or is not the one that is known.
    #[error(transparent)]
    Peer(#[from] SagaError),
    /// It has the account already.
    #[error("the account is registered already")]
    Registered,
    /// It has no such account.
    #[error("the server has no account for this address")]
    UnknownAccount,
    /// The password is another.
    #[error("the password is not the account's")]
    WrongPassword,
    /// The link in the e-mail was not opened yet.
    #[error("the address is not verified yet: open the link that was sent to it")]
    NotVerified,
    /// The token is of before a change of the password, or too old, or the device was logged in elsewhere.
    #[error("the server takes this device's token no more")]
    TokenInvalid,
    /// Another device wrote meanwhile.
    #[error("the server has something newer")]
    OutOfDate,
    /// It refuses for now.
    #[error("the server has too much to do, or was asked too often: try again later")]
    TooMuch,
    /// It refuses; its words.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// What answers there is no vault.
    #[error("what answers there is no vault: status {status} of {path}")]
    NoVault {
        /// Its status.
        status: u16,
        /// Where.
        path: &'static str,
    },
}

/// Asks a vault's server.
#[derive(Clone, Copy, Debug)]
pub struct VaultClient<'a> {
    remote: &'a WebSocketRemote,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl<'a> VaultClient<'a> {
    /// Asks the server behind this remote; its URL is without `/api/3`.
    pub fn new(remote: &'a WebSocketRemote) -> Self {
        Self { remote }
    }

    /// Posts or gets; the answer's status, and its text.
    async fn call(&self, path: &'static str, query: &str, body: Option<Value>) -> Result<(u16, Asked), ClientError> {
        let (status, text) =
            self.remote.call(&format!("/api/3{path}{query}"), body.map(|body| body.to_string())).await?;
        // A vault never says these, but a proxy does whose server is away.
        if matches!(status, 502 | 504) {
            let (url, why) = (self.remote.url().to_owned(), format!("status {status}"));
            return Err(SagaError::PeerUnreachable { url, why }.into());
        }
        Ok((status, Asked { status, path, text }))
    }

    /// Makes an account; whether it can be used at once.
    ///
    /// # Errors
    /// [`ClientError::Registered`]; as all calls.
    pub async fn register(&self, email: &str, keys: &ClientKeys, seed: &SaltSeed) -> Result<bool, ClientError> {
        #[derive(Deserialize)]
        struct SignedUp {
            verified: bool,
        }
        let body = json!({"email": email, "password": &*keys.server_password, "clientSaltSeed": seed.as_str()});
        match self.call("/signup", "", Some(body)).await? {
            (201, asked) => Ok(asked.read::<SignedUp>()?.verified),
            (409, _) => Err(ClientError::Registered),
            (_, asked) => Err(asked.refused()),
        }
    }

    /// What an account's keys are derived from.
    ///
    /// # Errors
    /// [`ClientError::UnknownAccount`]; as all calls.
    pub async fn seed(&self, email: &str) -> Result<SaltSeed, ClientError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Seed {
            client_salt_seed: String,
        }
        let query = BASE64_STANDARD.encode(email).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        match self.call("/client-salt-seed", &format!("?email={query}"), None).await? {
            (200, asked) => {
                let seed: Seed = asked.read()?;
                SaltSeed::parse(&seed.client_salt_seed).ok_or_else(|| asked.no_vault())
            }
            (404, asked) => {
                asked.read::<Refused>()?;
                Err(ClientError::UnknownAccount)
            }
            (_, asked) => Err(asked.refused()),
        }
    }

    /// Logs a device in; its token.
    ///
    /// # Errors
    /// [`ClientError::WrongPassword`], [`ClientError::NotVerified`]; as all calls.
    pub async fn log_in(&self, email: &str, keys: &ClientKeys, device_id: &str) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Token {
            token: String,
        }
        let body = json!({"email": email, "password": &*keys.server_password, "deviceId": device_id});
        match self.call("/auth/full", "", Some(body)).await? {
            (200, asked) => Ok(asked.read::<Token>()?.token),
            (401, asked) => Err(asked.wrong_password()?),
            (_, asked) => Err(asked.refused()),
        }
    }

    /// What the server has.
    ///
    /// # Errors
    /// [`ClientError::TokenInvalid`]; as all calls.
    pub async fn wallet(&self, token: &str) -> Result<Option<WalletRow>, ClientError> {
        match self.call("/wallet", &format!("?token={token}"), None).await? {
            (200, asked) => Ok(Some(asked.read()?)),
            (404, asked) => asked.read::<Refused>().map(|_| None),
            (401, _) => Err(ClientError::TokenInvalid),
            (_, asked) => Err(asked.refused()),
        }
    }

    /// Writes a wallet.
    ///
    /// # Errors
    /// [`ClientError::OutOfDate`], [`ClientError::TokenInvalid`]; as all calls.
    pub async fn put(&self, token: &str, wallet: &WalletRow) -> Result<(), ClientError> {
        let WalletRow { encrypted_wallet, sequence, hmac } = wallet;
        let body = json!({"token": token, "encryptedWallet": encrypted_wallet, "sequence": sequence, "hmac": hmac});
        match self.call("/wallet", "", Some(body)).await? {
            (200, _) => Ok(()),
            (409, _) => Err(ClientError::OutOfDate),
            (401, _) => Err(ClientError::TokenInvalid),
            (_, asked) => Err(asked.refused()),
        }
    }

    /// Changes the password, with the wallet under the new one if the server has one.
    ///
    /// # Errors
    /// [`ClientError::WrongPassword`], [`ClientError::OutOfDate`]; as all calls.
    pub async fn change_password(
        &self,
        email: &str,
        old: &ClientKeys,
        new: &ClientKeys,
        seed: &SaltSeed,
        wallet: Option<&WalletRow>,
    ) -> Result<(), ClientError> {
        let mut body = json!({
            "email": email,
            "oldPassword": &*old.server_password,
            "newPassword": &*new.server_password,
            "clientSaltSeed": seed.as_str(),
        });
        if let Some(WalletRow { encrypted_wallet, sequence, hmac }) = wallet {
            body["encryptedWallet"] = encrypted_wallet.as_str().into();
            body["sequence"] = (*sequence).into();
            body["hmac"] = hmac.as_str().into();
        }
        match self.call("/password", "", Some(body)).await? {
            (200, _) => Ok(()),
            (401, asked) => Err(asked.wrong_password()?),
            (409, _) => Err(ClientError::OutOfDate),
            (_, asked) => Err(asked.refused()),
        }
    }

    /// A socket on which the server tells of new sequences ([`sequence_of`]).
    ///
    /// # Errors
    /// As all calls.
    pub async fn notices(&self, token: &str) -> Result<Link, ClientError> {
        let path = format!("/api/3/websocket?token={token}");
        Ok(link(self.remote.socket(&path, None, NOTICE_BYTES_MAX).await?))
    }
}

/// The sequence that a notice tells; `None` for anything else.
pub fn sequence_of(notice: &str) -> Option<u64> {
    notice.strip_prefix("wallet-update:")?.parse().ok()
}

/// An answer, and where it came from.
struct Asked {
    status: u16,
    path: &'static str,
    text: String,
}

impl Asked {
    fn no_vault(&self) -> ClientError {
        ClientError::NoVault { status: self.status, path: self.path }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.text).map_err(|_| self.no_vault())
    }

    fn refused(&self) -> ClientError {
        match (self.status, self.read::<Refused>()) {
            (429 | 503, _) => ClientError::TooMuch,
            (_, Ok(refused)) => ClientError::Refused(refused.error),
            (_, Err(error)) => error,
        }
    }

    /// Which of the two: the protocol tells them apart by their words alone.
    fn wrong_password(&self) -> Result<ClientError, ClientError> {
        let refused: Refused = self.read()?;
        let not_verified = refused.error == Refusal::NotVerified.to_string();
        Ok(if not_verified { ClientError::NotVerified } else { ClientError::WrongPassword })
    }
}
