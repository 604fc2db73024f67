//! The operator's tool, and the local stack that it shares with the end-to-end tests.
//!
//! - [`verbs`]: one file for each thing that the tool does
//! - [`local`]: the local stack
//! - [`settings`]: the app settings, as the tool finds them
//! - [`remote`], [`content`]: reading what is published, and what was signed
//! - [`key_set`], [`vault`]: the published keys, and the vaults' own
//! - [`table`]: what people see

pub mod content;
pub mod key_set;
pub mod local;
pub mod remote;
pub mod settings;
pub mod table;
pub mod vault;
pub mod verbs;
