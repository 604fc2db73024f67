//! Messages in the poison queue, as if the host had given them up.

use super::{Expect, Maker, Message, Route, bad, good, sources};

/// Their results do not stand, and never will.
pub(super) fn given_up(maker: &mut Maker<'_>) {
    let make =
        maker.dice.weighted::<fn(&mut Maker<'_>)>(&[(3, good::payload), (1, sources::small), (1, bad::rejected)]);
    let first = maker.messages.len();
    make(maker);
    for message in &mut maker.messages[first..] {
        message.kind = "given up";
        message.route = Route::Poison;
        message.expect = Expect::Rejected("attempts-exhausted");
    }
}

/// Their results stand already: only the deletion was lost.
pub(super) fn done_before(maker: &mut Maker<'_>) {
    // There is no room for a pair at the end.
    if maker.messages.len() + 2 > maker.count {
        return good::payload(maker);
    }
    let make = maker.dice.weighted::<fn(&mut Maker<'_>)>(&[
        (3, good::payload),
        (1, good::several_formats),
        (1, sources::small),
        (1, sources::named_by_content),
    ]);
    make(maker);
    let Some(done) = maker.messages.last().cloned() else { return };
    let number = maker.messages.len();
    maker.messages.push(Message {
        number,
        kind: "given up, but done",
        route: Route::Poison,
        expect: Expect::Nothing,
        after: Some(done.number),
        ..done
    });
}
