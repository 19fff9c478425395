//! ibgib-server.
