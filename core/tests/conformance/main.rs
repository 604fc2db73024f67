//! What standards and others have published to test verifiers with, through the public interface.

mod changes;
mod cose;
mod dsse;
mod other_libraries;
mod wycheproof;
