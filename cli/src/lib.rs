//! The operator's tool, and the local stack that it shares with the end-to-end tests.

pub mod local;
