//! ibgib-respec.
