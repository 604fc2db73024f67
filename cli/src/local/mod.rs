//! The local stack: a vault, an identity endpoint and Azurite behind taps, on 127.0.0.1.

pub mod certificates;
pub mod identity;
pub mod listener;
pub mod tap;

#[cfg(test)]
mod test_client;
