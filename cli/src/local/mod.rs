//! The local stack: a vault, an identity endpoint and Azurite behind taps, on 127.0.0.1.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that meets an error has failed"))]

pub mod certificates;
pub mod identity;
pub mod listener;
pub mod proxy;
pub mod tap;
pub mod vault;

#[cfg(test)]
mod test_client;
