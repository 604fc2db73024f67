//! The shipping binary, started by the stand-in host, against the local stack.
//!
//! Each test has a vault, an identity, a queue and containers of its own, so that it may count and break what it likes.

mod budgets;
mod costs;
mod doctor;
mod events;
mod exactly_once;
mod faults;
mod foreign;
mod json_texts;
mod keys;
mod main_path;
mod memory;
#[cfg(unix)]
mod output;
mod overload;
mod package;
mod process;
mod protocol;
mod pull;
mod rejected;
mod rejections;
mod rotation;
mod secrets;
mod settings;
mod smoke;
mod sources;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod telemetry;
mod tokens;
mod tool;
mod verbs;
mod wire;
mod witness;
mod world;
