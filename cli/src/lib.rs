//! The operator's tool: a local stack of real services, and what is told about results.

pub mod local;
