//! What must be true of ibgib, told once and run everywhere.
//!
//! * [`vectors`]: conformance vectors made by the original implementation; the binary `conformance` runs them.
//! * [`rigs`]: where the scenarios of `ibgib-scenarios` are played: in process, simulated, over a real WebSocket.
#![forbid(unsafe_code)]

pub mod rigs;
pub mod vectors;
