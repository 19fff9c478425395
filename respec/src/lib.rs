//! What must be true of ibgib, told once and run everywhere.
//!
//! * [`vectors`]: conformance vectors made by the original implementation; the binary `conformance` runs them.
//! * [`scenarios`]: the phases of the plan as three steps each (setup, sync, check), told with a [`play::Play`].
//! * [`rigs`]: where scenarios are played: in process, simulated, over a real WebSocket.
#![forbid(unsafe_code)]

pub mod play;
pub mod rigs;
pub mod scenarios;
pub mod vectors;
