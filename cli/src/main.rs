//! The `ibgib` command.
fn main() {}
