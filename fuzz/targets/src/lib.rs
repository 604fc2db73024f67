//! Every parser that meets foreign bytes, and what must hold of it whatever the bytes are: not only that nothing panics.
//!
//! Each target takes any bytes. It panics where a promise is broken: what is accepted obeys the reference, says the same to
//! another library, and is the same again when it is printed and read; what is not signed is not valid; and the memory that
//! reading takes is in proportion to what is read.

#![allow(clippy::missing_panics_doc, reason = "to panic where a promise is broken is what a target is for")]

mod base64;
mod bounds;
mod cbor;
mod cose;
mod documents;
mod dsse;
mod envelope;
mod event;
mod foreign;
mod json;
mod jwks;
mod jws;
mod keys;
mod raw;
mod results;
mod verify;
mod work_item;

pub use self::{
    base64::base64, cbor::cbor, cose::cose, dsse::dsse, envelope::envelope, event::event, json::json, jwks::jwks,
    jws::jws, raw::raw, results::results, verify::verify, work_item::work_item,
};
pub use documents::good_documents;
pub use verify::is_good;

/// A target by its name, which is also that of its seeds and of its program.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("base64", base64),
    ("cbor", cbor),
    ("cose", cose),
    ("dsse", dsse),
    ("envelope", envelope),
    ("event", event),
    ("json", json),
    ("jwks", jwks),
    ("jws", jws),
    ("raw", raw),
    ("results", results),
    ("verify", verify),
    ("work_item", work_item),
];
