//! How much identities may bring, and how often.
//!
//! What an identity has brought is a local record, `usage/<I>`: nodes and bytes of their texts, counted when they are staged,
//! so that a saga which never ends counts, too. It is kept only where one of the limits is set, since it costs a commit for
//! each portion of nodes; it begins with the first sync after that.

use super::Host;
use crate::entropy::now_ms;
use crate::view::{commit_error, space_error};
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::SagaError;
use ibgib_spaces::{Commit, CommitError};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const USAGE: &str = "usage/";
/// Another server over the same space may count for the same identity; each loses against the other at most so often.
const TRIES: usize = 64;
const HOUR_MS: i64 = 3_600_000;
/// Identities whose sagas are counted; those that began the least are forgotten first.
const COUNTED_MAX: usize = 4_096;

/// What was brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    nodes: u64,
    bytes: u64,
}

impl Usage {
    fn parse(record: &[u8]) -> Option<Self> {
        let (nodes, bytes) = std::str::from_utf8(record).ok()?.split_once(' ')?;
        Some(Self { nodes: nodes.parse().ok()?, bytes: bytes.parse().ok()? })
    }

    fn of(nodes: &[Verified<IbGib>]) -> Self {
        let bytes = nodes.iter().map(|node| node.to_json().len() as u64).sum();
        Self { nodes: nodes.len() as u64, bytes }
    }

    fn plus(self, more: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(more.nodes), bytes: self.bytes.saturating_add(more.bytes) }
    }

    fn record(self, key: &str) -> (String, Option<Vec<u8>>) {
        (key.to_owned(), Some(format!("{} {}", self.nodes, self.bytes).into_bytes()))
    }
}

/// Sagas of the last hour, of each identity: how many, and since when.
#[derive(Debug, Default)]
pub(super) struct Sagas(Mutex<HashMap<Addr, (u64, i64)>>);

impl Host {
    /// Counts what `identity` is about to stage.
    ///
    /// # Errors
    /// [`SagaError::Limit`], and nothing is counted; when the space fails.
    pub(super) async fn count_brought(&self, identity: &Addr, nodes: &[Verified<IbGib>]) -> Result<(), SagaError> {
        let limits = &self.host_limits;
        let (nodes_max, bytes_max) = (limits.brought_nodes_per_identity_max, limits.brought_bytes_per_identity_max);
        if [nodes_max, bytes_max, limits.brought_bytes_max] == [u64::MAX; 3] {
            return Ok(());
        }
        let (key, more) = (format!("{USAGE}{identity}"), Usage::of(nodes));
        for _ in 0..TRIES {
            let all = self.space.records(USAGE).await.map_err(space_error)?;
            let old = all.iter().find(|(found, _)| *found == key).map(|(_, record)| record.clone());
            let now = old.as_deref().and_then(Usage::parse).unwrap_or_default().plus(more);
            let total = all.iter().filter_map(|(_, record)| Usage::parse(record)).fold(more, Usage::plus);
            for (name, limit, found) in [
                ("brought_nodes_per_identity_max", nodes_max, now.nodes),
                ("brought_bytes_per_identity_max", bytes_max, now.bytes),
                ("brought_bytes_max", limits.brought_bytes_max, total.bytes),
            ] {
                if found > limit {
                    return Err(SagaError::Limit { name, limit });
                }
            }
            let (records, expect) = (vec![now.record(&key)], vec![(key.clone(), old)]);
            match self.space.commit(Commit { records, expect, ..Commit::default() }).await {
                Ok(_) => return Ok(()),
                Err(CommitError::RecordsChanged(_)) => {}
                Err(error) => return Err(commit_error(error)),
            }
        }
        Err(SagaError::Busy(TRIES as u32))
    }

    /// Counts a saga that `identity` begins.
    ///
    /// # Errors
    /// [`SagaError::Limit`] when it has begun as many within an hour.
    pub(super) fn begin_saga(&self, identity: &Addr) -> Result<(), SagaError> {
        let limit = self.host_limits.sagas_per_identity_and_hour_max;
        match self.sagas.begin(identity, limit, now_ms()) {
            true => Ok(()),
            false => Err(SagaError::Limit { name: "sagas_per_identity_and_hour_max", limit }),
        }
    }
}

impl Sagas {
    /// Whether one more may begin.
    fn begin(&self, identity: &Addr, max: u64, now_ms: i64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= COUNTED_MAX && !all.contains_key(identity) {
            all.retain(|_, (_, since)| now_ms.saturating_sub(*since) < HOUR_MS);
            let least = all.iter().min_by_key(|(_, (count, _))| *count).map(|(identity, _)| identity.clone());
            if let Some(least) = least.filter(|_| all.len() >= COUNTED_MAX) {
                all.remove(&least);
            }
        }
        let (count, since) = all.entry(identity.clone()).or_insert((0, now_ms));
        if now_ms.saturating_sub(*since) >= HOUR_MS {
            (*count, *since) = (0, now_ms);
        }
        let may = *count < max;
        *count += u64::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HostLimits, HostOptions};
    use ibgib_spaces::{MemorySpace, Space};
    use std::sync::Arc;

    fn identity(n: usize) -> Addr {
        format!("keystone^{n:064X}").parse().unwrap()
    }

    #[test]
    fn an_hour_later_as_many_sagas_may_begin_again() {
        let (sagas, alice) = (Sagas::default(), identity(1));
        assert!(sagas.begin(&alice, 2, 0) && sagas.begin(&alice, 2, 1) && !sagas.begin(&alice, 2, HOUR_MS - 1));
        assert!(sagas.begin(&identity(2), 2, 2), "each by itself");
        assert!(sagas.begin(&alice, 2, HOUR_MS));
        for n in 3..2 * COUNTED_MAX {
            assert!(sagas.begin(&identity(n), 2, HOUR_MS));
        }
        assert_eq!(sagas.0.lock().unwrap().len(), COUNTED_MAX);
    }

    #[tokio::test]
    async fn what_was_brought_is_counted_over_hosts_and_what_is_refused_is_not() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("counted"));
        let host = |host_limits| Host::new(Arc::clone(&space), HostOptions { host_limits, ..HostOptions::default() });
        let node = |name: &str| IbGib { ib: name.to_owned(), ..IbGib::default() }.seal().unwrap();
        let size = node("a").to_json().len() as u64;
        let limits =
            HostLimits { brought_nodes_per_identity_max: 3, brought_bytes_max: 4 * size, ..HostLimits::default() };
        let refused = |done: Result<(), SagaError>| match done {
            Err(SagaError::Limit { name, .. }) => name,
            other => panic!("{other:?}"),
        };
        let (alice, bob) = (identity(1), identity(2));
        host(limits.clone()).count_brought(&alice, &[node("a"), node("b")]).await.unwrap();
        let again = host(limits);
        let more = again.count_brought(&alice, &[node("c"), node("d")]).await;
        assert_eq!(refused(more), "brought_nodes_per_identity_max");
        again.count_brought(&alice, &[node("c")]).await.unwrap();
        assert_eq!(refused(again.count_brought(&bob, &[node("x"), node("y")]).await), "brought_bytes_max");
        again.count_brought(&bob, &[node("x")]).await.unwrap();
        // Without a limit nothing is written.
        host(HostLimits::default()).count_brought(&bob, &[node("z")]).await.unwrap();
        let kept = space.records(USAGE).await.unwrap();
        assert_eq!(
            kept.iter().filter_map(|(_, record)| Usage::parse(record)).map(|u| u.nodes).collect::<Vec<_>>(),
            [3, 1]
        );
    }
}
