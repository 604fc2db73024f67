//! The operator's tool, and the local stack that it shares with the end-to-end tests.
//!
//! - [`verbs`]: one file for each thing that the tool does
//! - [`local`]: the local stack
//! - [`settings`]: the app settings, as the tool finds them
//! - [`remote`], [`content`]: reading what is published, and what was signed
//! - [`key_set`], [`vault`]: the published keys, and the vaults' own
//! - [`queue`], [`rejections`]: the work queue, and the records of what could not be signed
//! - [`out`]: saying it, come what may
//! - [`table`], [`text`], [`moment`]: what people see, and the times that they name

// Its macros must not panic where nobody reads on: `out` has ours.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod out;

pub mod content;
pub mod key_set;
pub mod local;
pub mod moment;
pub mod queue;
pub mod rejections;
pub mod remote;
pub mod settings;
pub mod table;
pub mod text;
pub mod vault;
pub mod verbs;
