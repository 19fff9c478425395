//! What must be true, told once: conformance vectors of the original implementation, and the scenarios.
#![forbid(unsafe_code)]

pub mod vectors;
