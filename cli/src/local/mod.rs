//! The local stack.

pub mod app;
pub mod azurite;
pub mod host;
