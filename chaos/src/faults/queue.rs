//! The faults of the queue that replicas meet: there is no host between it and them.

use std::time::Duration;

use signet::local::tap::{Action, Fault};

use super::{
    Service,
    catalogue::{Make, status},
    one_in,
};
use crate::dice::Dice;

const RECEIVE: (&str, &str) = ("GET", "/messages");
/// To renew a lease, or to give it back.
const HIDE: (&str, &str) = ("PUT", "/messages/");
const DELETE: (&str, &str) = ("DELETE", "/messages/");

/// Names, and what they do; the more often, the greater their weight.
pub(super) const ALL: &[(u32, (&str, Make))] = &[
    (2, ("receives refused", |dice| refused(dice, RECEIVE))),
    (2, ("receives lost on the way", |dice| some(dice, RECEIVE, Action::ResetAfter))),
    (
        2,
        ("receives cut off", |dice| {
            let bytes = dice.below(600);
            some(dice, RECEIVE, Action::Truncate { bytes })
        }),
    ),
    (2, ("receives that cannot be read", |dice| some(dice, RECEIVE, unreadable()))),
    (1, ("receives that hang", |dice| some(dice, RECEIVE, Action::Hang))),
    (3, ("renewals and releases refused", |dice| long(dice, |dice| refused(dice, HIDE)))),
    (3, ("renewals and releases lost on the way", |dice| long(dice, |dice| some(dice, HIDE, Action::ResetAfter)))),
    (2, ("renewals and releases that hang", |dice| long(dice, |dice| some(dice, HIDE, Action::Hang)))),
    (2, ("deletes refused", |dice| refused(dice, DELETE))),
    (2, ("deletes lost on the way", |dice| some(dice, DELETE, Action::ResetAfter))),
    (1, ("deletes that hang", |dice| some(dice, DELETE, Action::Hang))),
];

fn some(dice: &mut Dice, (method, path): (&str, &str), action: Action) -> Vec<(Service, Fault)> {
    let share = dice.between(1, 3);
    vec![(Service::Queue, Fault::new(action).method(method).path(path).when(one_in(share)))]
}

fn refused(dice: &mut Dice, what: (&str, &str)) -> Vec<(Service, Fault)> {
    let action = match dice.below(6) {
        0 => Action::respond(401, &[("x-ms-error-code", "AuthenticationFailed")], ""),
        1 => Action::respond(429, &[("retry-after", "2")], ""),
        2 => Action::ResetBefore,
        _ => status(*dice.pick(&[429, 500, 503])),
    };
    some(dice, what, action)
}

/// With signatures that take longer than half a lease, so that it must be renewed.
fn long(dice: &mut Dice, faults: impl Fn(&mut Dice) -> Vec<(Service, Fault)>) -> Vec<(Service, Fault)> {
    let wait = Duration::from_millis(dice.between(7000, 9500));
    let slow = Fault::new(Action::Delay(wait)).method("POST").path("/sign").when(one_in(6));
    let mut both = faults(dice);
    both.push((Service::Vault, slow));
    both
}

/// An answer that is no XML, as no message may make it.
fn unreadable() -> Action {
    Action::alter(|answer| answer.map(|_| "<QueueMessagesList><QueueMessage>".into()))
}
