//! ibgib-keystone.
