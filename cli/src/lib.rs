//! The operator's tool, and the local stack that it shares with the end-to-end tests.
//!
//! - [`verbs`]: one file for each thing that the tool does
//! - [`local`]: the local stack
//! - [`settings`]: the app settings, as the tool finds them
//! - [`remote`]: reading blobs and key sets from where they are published
//! - [`table`]: what people see

pub mod local;
pub mod remote;
pub mod settings;
pub mod table;
pub mod verbs;
