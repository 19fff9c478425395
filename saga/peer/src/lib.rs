//! ibgib-peer.
