/// Every point, before and after what an item waits for on its way, and what the publication of a key does.
pub(crate) const POINTS: [&str; 25] = [
    "look.before",
    "look.after",
    "key.before",
    "key.after",
    "draft.before",
    "draft.after",
    "range.before",
    "range.after",
    "sign.before",
    "sign.after",
    "retry.before",
    "retry.after",
    "publish.before",
    "publish.after",
    "create.before",
    "create.after",
    "adopt.before",
    "adopt.after",
    "reject.before",
    "reject.after",
    "rescue.before",
    "rescue.after",
    "keyset.read",
    "keyset.write.before",
    "keyset.write.after",
];

/// The same of `handler pull` alone: what it tells the queue of a message.
pub(crate) const PULL_POINTS: [&str; 6] =
    ["delete.before", "delete.after", "release.before", "release.after", "renew.before", "renew.after"];
