//! What the tool does, one file a verb.

pub mod demo;
pub mod dev;
pub mod doctor;
pub mod keys;
pub mod package;
pub mod rejected;
pub mod send;
pub mod smoke;
pub mod verify;
