//! Who reads without a connection: everybody at an open host; at one that has an owner, a program that shows the secret of
//! an invite for programs.
//!
//! Such an invite has no uses: no identity comes in with it. As long as it stands, whoever shows its secret may read its
//! folder, so it is looked at again whenever something is told.

use super::grants::{Permit, invite_key, is_over, member, read};
use super::roots::Roots;
use super::{Host, Policy};
use crate::entropy::now_ms;
use crate::grant::Rights;
use crate::invite::is_hex64;
use crate::view::space_error;
use ibgib::{Addr, Value};
use ibgib_saga::SagaError;
use ibgib_spaces::{Kind, Tip};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Somebody who reads without a connection, and what he may read.
#[derive(Clone, Debug)]
pub struct Reader {
    permit: Permit,
    /// Until when, in milliseconds since 1970.
    expires_ms: Option<u64>,
}

impl Reader {
    /// How long he may read from now on, unless that is taken from him; `None`: for good.
    pub fn lasts(&self) -> Option<Duration> {
        let left = self.expires_ms?.saturating_sub(u64::try_from(now_ms()).unwrap_or(u64::MAX));
        Some(Duration::from_millis(left))
    }
}

impl Host {
    /// Who reads with this secret, or without any; `None` when he may read nothing.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn reader(&self, secret: Option<&str>) -> Result<Option<Reader>, SagaError> {
        if self.is_open() {
            return Ok(Some(Reader { permit: Permit::all(), expires_ms: None }));
        }
        if self.policy_name() != Policy::Owner.as_str() {
            return Ok(None);
        }
        let Some(secret) = secret.filter(|secret| is_hex64(secret)) else { return Ok(None) };
        let key = invite_key(&hex::encode(Sha256::digest(secret)));
        let Some(bytes) = self.space.record(&key).await.map_err(space_error)? else { return Ok(None) };
        let Some(invite) = read(&bytes).filter(|_| !is_over(&bytes)) else { return Ok(None) };
        // One that identities come in with is read by none before it came: it would not be noticed that somebody else has it.
        let number = |name: &str| invite.get(name).and_then(Value::as_u53);
        if number("uses") != Some(0) || invite.get("rights").and_then(Rights::read).is_none() {
            return Ok(None);
        }
        let folder = member(&invite, "folder").and_then(|folder| folder.parse::<Addr>().ok());
        Ok(Some(Reader { permit: Permit::to_read(folder), expires_ms: number("expiresMs") }))
    }

    /// Whether a reader is shown a node: of a timeline that he may read, or one that stands in the graph of such a one. That
    /// of a node that belongs to no timeline costs the more the larger his folder is.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn is_shown(self: &Arc<Self>, reader: &Reader, addr: &Addr) -> Result<bool, SagaError> {
        if self.is_open() {
            return Ok(true);
        }
        if Kind::of(addr) != Kind::Living {
            return Ok(false);
        }
        let Some(node) = self.space.node(addr).await.map_err(space_error)? else { return Ok(false) };
        if let Some(timeline) = node.tjp() {
            let mut roots = Roots::default();
            roots.look_up(&*self.moment().await?, [&timeline]).await?;
            if reader.permit.may(&roots, &timeline, Rights::Read) {
                return Ok(true);
            }
        }
        if reader.permit.covers_all(Rights::Read) {
            return Ok(true);
        }
        let (host, permit, addr) = (Arc::clone(self), reader.permit.clone(), addr.clone());
        self.readers
            .run(async move { Ok(host.readable(&permit, std::slice::from_ref(&addr)).await?.contains(&addr)) })
            .await
    }

    /// Tips of living timelines that a reader is shown, whose first frame's ib is `ib`.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn shown_tips(&self, reader: &Reader, ib: &str) -> Result<Vec<Tip>, SagaError> {
        let mut tips = self.readable_tips(&reader.permit).await?;
        tips.retain(|tip| tip.tjp.ib() == ib);
        Ok(tips)
    }

    /// Of tips those of living timelines that a reader is shown.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn shown(&self, reader: &Reader, mut tips: Vec<Tip>) -> Result<Vec<Tip>, SagaError> {
        tips.retain(|tip| tip.kind == Kind::Living);
        if !reader.permit.covers_all(Rights::Read) && !tips.is_empty() {
            let mut roots = Roots::default();
            roots.look_up(&*self.moment().await?, tips.iter().map(|tip| &tip.tjp)).await?;
            tips.retain(|tip| reader.permit.may(&roots, &tip.tjp, Rights::Read));
        }
        Ok(tips)
    }
}
