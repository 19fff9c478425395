//! JSON as the hash sees it: values, reading, printing, pointers, and what ECMAScript makes of a value.
//!
//! Hashes depend on details that general JSON libraries lose, so this crate has its own: the order of members, how a
//! number prints, which member comes first when a name looks like an array index. Source: ECMA-262 (`JSON.parse`,
//! `JSON.stringify`, OrdinaryOwnPropertyKeys), which the original implementation runs on.
//!
//! ```
//! use ibgib::json::{Spacing, Mode, Value};
//! let value = Value::parse(r#"{"b":1,"10":[],"9":{"x":2}}"#, Mode::Strict)?;
//! assert_eq!(value.to_json(), r#"{"9":{"x":2},"10":[],"b":1}"#);
//! assert_eq!(Value::integer(3u64).to_json_as(Spacing::Indented("  ")), "3");
//! # Ok::<(), ibgib::json::JsonError>(())
//! ```

pub mod js;
mod parse;
pub mod pointer;
mod print;
mod value;

pub use parse::{DEPTH_MAX, JsonError, JsonErrorKind, Mode, VALUES_MAX};
pub use print::{Spacing, write_number, write_string};
pub(crate) use print::{write_json, write_members};
pub use value::{Map, Value, array_index, object, strings};

/// Bytes of JSON text that one ibgib may have unless a caller sets another limit: 16 MiB.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
