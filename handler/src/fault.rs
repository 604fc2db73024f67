//! Points at which a test can end the process, as an accident would. What ships has none of them.

#[cfg(feature = "fault-points")]
mod points;

#[cfg(not(feature = "fault-points"))]
pub(crate) const fn point(_: &str) {}

/// Ends the process without a word to anybody if `SIGNET_FAULT_POINT` names this point, as `name` or `name:n` for the `n`th
/// pass; or panics, where it is `name:panic`.
#[cfg(feature = "fault-points")]
pub(crate) fn point(name: &'static str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static PASSES: AtomicU32 = AtomicU32::new(0);
    static WANTED: LazyLock<(String, String)> = LazyLock::new(|| {
        let wanted = std::env::var("SIGNET_FAULT_POINT").unwrap_or_default();
        let (name, how) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        (name.to_owned(), how.to_owned())
    });
    debug_assert!(points::POINTS.contains(&name) || points::PULL_POINTS.contains(&name), "{name} is in no list");
    let (wanted, how) = &*WANTED;
    if wanted != name {
        return;
    }
    assert!(how != "panic", "fault point {name}");
    if PASSES.fetch_add(1, Ordering::Relaxed).checked_add(1) == how.parse().ok() {
        eprintln!("fault point {name}");
        std::process::abort();
    }
}
