//! ibgib-folder.
