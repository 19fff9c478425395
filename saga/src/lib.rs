//! ibgib-saga.
