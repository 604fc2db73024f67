//! Where the numbers were made.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use serde::Serialize;

use crate::{Error, Result};

/// The machine and its system.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor, as it names itself.
    pub processor: String,
    /// How many cores there are for this process.
    pub cores: usize,
    /// The distribution and the kernel.
    pub system: String,
    /// Versions of tools and packages, by name.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one, with the versions that the contenders' apps were made with.
    #[must_use]
    pub fn this(versions: BTreeMap<String, String>) -> Self {
        let value = |path: &str, name: &str, separator: char| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches([' ', '\t', separator]).trim_matches('"').to_owned())
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let distribution = value("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "Linux".to_owned());
        Self {
            processor: value("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            system: format!("{distribution}, Linux {}", kernel.trim()),
            versions,
        }
    }
}

/// CPU time that nobody on the machine has wanted since it was started, all cores together.
///
/// `idle` and `iowait` in the first line of `/proc/stat`, which counts in ticks of 10 ms.
pub fn idle_time() -> Result<Duration> {
    let path = "/proc/stat";
    let text = fs::read_to_string(path).map_err(|e| Error::new(path, e))?;
    // The first field is `cpu`; then user, nice, system, idle, iowait.
    let fields: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [4, 5].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
