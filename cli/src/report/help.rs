//! What the command tells of itself.

use super::Report;
use ibgib::{Value, object};
use std::path::PathBuf;

/// The help of one command.
pub(crate) struct Helped(pub(crate) String);

impl Report for Helped {
    fn to_json(&self) -> Value {
        object([("help", self.0.as_str().into())])
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Manual pages that were written.
pub(crate) struct ManPages {
    pub(crate) dir: PathBuf,
}

impl Report for ManPages {
    fn to_json(&self) -> Value {
        object([("man", self.dir.display().to_string().into())])
    }

    fn to_text(&self) -> String {
        let dir = self.dir.display();
        format!("manual pages are in {dir}; 'man {dir}/ibgib.1' shows the first")
    }
}
