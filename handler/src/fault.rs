//! Points at which a test can end the process, as an accident would. What ships has none of them.

#[cfg(feature = "fault-points")]
mod points;

#[cfg(not(feature = "fault-points"))]
pub(crate) const fn point(_: &str) {}

/// Ends the process without a word to anybody if `SIGNET_FAULT_POINT` names this point, as `name` or `name:n` for the `n`th
/// pass.
#[cfg(feature = "fault-points")]
pub(crate) fn point(name: &'static str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static PASSES: AtomicU32 = AtomicU32::new(0);
    static WANTED: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let wanted = std::env::var("SIGNET_FAULT_POINT").ok()?;
        let (name, pass) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), pass.parse().unwrap_or(1)))
    });
    debug_assert!(points::POINTS.contains(&name), "{name} is in no list");
    if let Some((wanted, pass)) = &*WANTED
        && wanted == name
        && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *pass
    {
        eprintln!("fault point {name}");
        std::process::abort();
    }
}
