//! The faults that requests meet, by service.

use std::time::Duration;

use signet::local::tap::{Action, Fault};

use super::{Service, one_in, signatures};
use crate::dice::Dice;

pub(super) type Make = fn(&mut Dice) -> Vec<(Service, Fault)>;

/// Names, and what they do; the more often, the greater their weight.
pub(super) const ALL: &[(u32, (&str, Make))] = &[
    (3, ("429 with Retry-After", throttled_politely)),
    (2, ("429 without Retry-After", |dice| anywhere(dice, &[status(429)]))),
    (2, ("429 in a burst", |dice| on_one(dice, |_| Fault::status(429).times(40)))),
    (
        5,
        ("500, 502, 503, 504, 408", |dice| {
            let codes = [500, 502, 503, 504, 408].map(status);
            anywhere(dice, &codes)
        }),
    ),
    (2, ("401 at random", |dice| refused(dice, 401))),
    (1, ("403 for a moment", |dice| refused(dice, 403))),
    (4, ("reset before the service has done it", |dice| anywhere(dice, &[Action::ResetBefore]))),
    (4, ("reset after the service has done it", |dice| anywhere(dice, &[Action::ResetAfter]))),
    (3, ("hangs", |dice| anywhere(dice, &[Action::Hang]))),
    (
        3,
        ("slow", |dice| {
            let wait = Duration::from_millis(dice.between(500, 6000));
            anywhere(dice, &[Action::Delay(wait)])
        }),
    ),
    (
        2,
        ("a body that trickles", |dice| {
            let pause = Duration::from_millis(dice.between(20, 400));
            anywhere(dice, &[Action::Trickle { bytes: 40, pause }])
        }),
    ),
    (
        3,
        ("a body that is cut off", |dice| {
            let bytes = dice.below(60);
            anywhere(dice, &[Action::Truncate { bytes }])
        }),
    ),
    (
        3,
        ("the challenge fails", |dice| {
            let fault = match dice.below(3) {
                0 => Fault::status(503),
                1 => Fault::new(Action::ResetBefore),
                _ => Fault::new(Action::ResetAfter),
            };
            vec![(Service::Vault, fault.unauthenticated().times(3))]
        }),
    ),
    (3, ("a signature that is not good", |dice| vec![(Service::Vault, signatures::spoilt(dice).when(one_in(3)))])),
    (
        2,
        ("a signature of another version", |_| {
            vec![(Service::Vault, signatures::of_another_version().when(one_in(3)))]
        }),
    ),
    (1, ("a version whose time is over by the vault's clock", |_| by_the_clock("KeyExpired"))),
    (1, ("a version whose time has not come by the vault's clock", |_| by_the_clock("KeyNotYetValid"))),
    (
        3,
        ("409, 412 or 503 on creating a blob", |dice| {
            let answer = *dice.pick(&[(409, "BlobBeingRehydrated"), (412, "LeaseIdMissing"), (503, "ServerBusy")]);
            let action = Action::respond(answer.0, &[("x-ms-error-code", answer.1)], "");
            vec![(Service::Blob, Fault::new(action).method("PUT").when(one_in(2)))]
        }),
    ),
    (
        4,
        ("leases lost while a service is slow", |dice| {
            let wait = Duration::from_millis(dice.between(4000, 7000));
            let slow = *dice.pick(&[Service::Vault, Service::Blob]);
            vec![
                (Service::Queue, Fault::status(503).method("PUT")),
                (slow, Fault::new(Action::Delay(wait)).when(one_in(3))),
            ]
        }),
    ),
    (
        3,
        ("messages that cannot be deleted", |dice| {
            let fault = *dice.pick(&[0, 1]);
            let fault = if fault == 0 { Fault::status(503) } else { Fault::new(Action::ResetBefore) };
            vec![(Service::Queue, fault.method("DELETE").when(one_in(2)))]
        }),
    ),
    (
        1,
        ("messages received and lost on the way", |_| {
            vec![(Service::Queue, Fault::new(Action::ResetAfter).method("GET").path("/messages").times(2))]
        }),
    ),
    (3, ("the identity endpoint answers oddly", odd_identity)),
    (
        2,
        ("the identity endpoint throttles", |dice| {
            let action = Action::respond(429, &[("retry-after", *dice.pick(&["0", "1", "soon"]))], "{}");
            vec![(Service::Identity, Fault::new(action))]
        }),
    ),
];

pub(super) fn status(status: u16) -> Action {
    Action::respond(status, &[], format!("status {status} by the chaos run"))
}

fn throttled_politely(dice: &mut Dice) -> Vec<(Service, Fault)> {
    let body = r#"{"error":{"code":"Throttled","message":"slow down"}}"#;
    let (name, wait) = *dice.pick(&[
        ("retry-after", "1"),
        ("retry-after", "2"),
        ("retry-after", "60"),
        ("x-ms-retry-after-ms", "300"),
    ]);
    let action = Action::respond(429, &[(name, wait)], body);
    anywhere(dice, &[action])
}

/// One of the actions on a share of one service's requests; the queue has fewer, as the host counts on it.
fn anywhere(dice: &mut Dice, actions: &[Action]) -> Vec<(Service, Fault)> {
    let action = dice.pick(actions).clone();
    on_one(dice, move |share| Fault::new(action.clone()).when(one_in(share)))
}

fn on_one(dice: &mut Dice, fault: impl Fn(u64) -> Fault) -> Vec<(Service, Fault)> {
    let service =
        dice.weighted(&[(4, Service::Vault), (4, Service::Blob), (2, Service::Identity), (1, Service::Queue)]);
    let share = if service == Service::Queue { 4 } else { dice.between(1, 4) };
    vec![(service, fault(share))]
}

/// By the vault or the storage, whatever the token is; with a code that means nothing else.
fn refused(dice: &mut Dice, status: u16) -> Vec<(Service, Fault)> {
    let action = Action::respond(status, &[("x-ms-error-code", "AuthorizationFailure")], "{}");
    let service = *dice.pick(&[Service::Vault, Service::Blob]);
    vec![(service, Fault::new(action).authenticated().when(one_in(3)))]
}

fn by_the_clock(code: &str) -> Vec<(Service, Fault)> {
    let body = format!(r#"{{"error":{{"code":"Forbidden","message":"m","innererror":{{"code":"{code}"}}}}}}"#);
    let action = Action::respond(403, &[], body);
    vec![(Service::Vault, Fault::new(action).method("POST").path("/sign").when(one_in(4)))]
}

fn odd_identity(dice: &mut Dice) -> Vec<(Service, Fault)> {
    let html = ("text/html", "<html><body>Please sign in</body></html>");
    let (kind, body) = *dice.pick(&[
        html,
        ("application/json", ""),
        ("application/json", "not json"),
        ("application/json", "{}"),
        ("application/json", r#"{"access_token":1,"expires_on":"never"}"#),
    ]);
    vec![(Service::Identity, Fault::new(Action::respond(200, &[("content-type", kind)], body)))]
}
