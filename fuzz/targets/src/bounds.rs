//! How much memory reading may take.

use std::{alloc::System, sync::LazyLock};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::keys::KEYS;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that may be allocated for each byte that is read, all allocations added up.
const FOR_EACH_BYTE: usize = 24;
/// Bytes that may be allocated beside that: for what keys have worked out once, mostly.
const FIXED: usize = 512 * 1024;

/// Does the work of reading so many bytes.
///
/// # Panics
/// It allocated more than is in proportion.
pub(crate) fn in_proportion<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // They are made once, and for no input.
    LazyLock::force(&KEYS);
    let region = Region::new(ALLOCATOR);
    let outcome = work();
    let allocated = region.change().bytes_allocated;
    assert!(allocated <= FOR_EACH_BYTE * bytes + FIXED, "{allocated} bytes allocated to read {bytes}");
    outcome
}
