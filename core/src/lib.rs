//! What a message means and what a signature is. Pure code: no I/O, no clock, no async.
//!
//! In the order in which a message passes through:
//!
//! - [`envelope`]: what the Functions host posts, down to the message's bytes
//! - [`work_item`]: the bytes as a work item: what to sign, in which formats, under which name
//! - [`event`]: the bytes as an event, which is a work item that nobody has written
//! - [`draft`]: a result that still lacks its signature; only a verified one completes it
//! - [`rejection`]: why a message can never succeed, and the record that says so
//!
//! And what these stand on:
//!
//! - [`algorithm`], [`key`]: signature algorithms and public keys, and whether a signature is good
//! - [`jwks`]: the published set of keys
//! - [`format`], [`content`]: what is signed, and the forms in which results are written
//! - [`jws`], [`dsse`], [`cose`], [`raw`]: reading results back
//! - [`base64`], [`json`], [`cbor`]: strict decoding

// No input reaches a panic: what could is written otherwise, or proved not to, where it stands.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice))]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used))]

pub mod algorithm;
pub mod base64;
pub mod cbor;
pub mod content;
pub mod cose;
pub mod draft;
pub mod dsse;
pub mod envelope;
pub mod event;
pub mod format;
pub mod json;
pub mod jwks;
pub mod jws;
pub mod key;
pub mod raw;
pub mod rejection;
pub mod work_item;

#[cfg(test)]
mod testing;
