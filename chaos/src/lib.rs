//! Whether anything is lost or doubled when everything fails at once: a run that is planned from one seed, made with the real
//! handler on the local stack, and counted from the storage itself.
//!
//! - [`items`]: the messages, each with what is expected of it; [`kills`], [`faults`]: what goes wrong meanwhile
//! - [`dice`]: the chance that all of it is drawn from
//! - [`arena`]: one deployment with two hosts or four replicas of `handler pull`, in which all of it happens
//! - [`app`], [`names`], [`workers`], [`replicas`], [`feed`]: the function app, what it can look up, who runs it, how they end,
//!   and who sends it messages
//! - [`census`], [`ledger`]: what stands in the end, and what was written on the way
//! - [`redelivery`]: what was done comes again; [`given_up`]: messages that are given up soon; [`points`]: a handler that ends itself
//! - [`guards`]: the handler without one of its guards, which the run must notice
//! - [`run`]: the phases of a run; [`findings`], [`story`], [`report`]: what came of it

pub mod app;
pub mod arena;
pub mod census;
pub mod dice;
pub mod error;
pub mod faults;
pub mod feed;
pub mod findings;
pub mod given_up;
pub mod guards;
pub mod items;
pub mod kills;
pub mod ledger;
pub mod names;
pub mod points;
pub mod redelivery;
pub mod replicas;
pub mod report;
pub mod run;
pub mod story;
pub mod workers;
