//! Fuzzes one target after another, each for so many minutes of CPU time, and prints what came of it: what `scripts/fuzz`
//! calls. It needs a nightly toolchain and cargo-fuzz.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use fuzz_targets::TARGETS;

const USAGE: &str =
    "usage: scripts/fuzz MINUTES [TARGET…]; MINUTES of CPU time for each target, all targets unless some are named";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().and_then(|text| text.parse().ok()).ok_or(USAGE)?;
    let named: Vec<String> = arguments.collect();
    if let Some(unknown) = named.iter().find(|name| !TARGETS.iter().any(|(target, _)| target == name)) {
        return Err(format!("there is no target {unknown}; {USAGE}").into());
    }
    let mut campaigns = Vec::new();
    for (target, _) in TARGETS.iter().filter(|(target, _)| named.is_empty() || named.iter().any(|name| name == target))
    {
        let mut campaign =
            Campaign { target, executions: 0, took: Duration::ZERO, coverage: String::new(), findings: 0 };
        campaign.run(Duration::from_secs_f64(60.0 * minutes))?;
        println!("{}", campaign.row());
        campaigns.push(campaign);
    }
    println!("\n| target | executions | minutes | coverage | findings |\n|---|---:|---:|---|---:|");
    for campaign in &campaigns {
        println!("{}", campaign.row());
    }
    let found = campaigns.iter().any(|campaign| campaign.findings > 0);
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What came of fuzzing one target.
struct Campaign {
    target: &'static str,
    executions: u64,
    /// CPU time, where the system tells it, else time on the wall.
    took: Duration,
    /// The last that libFuzzer said of coverage.
    coverage: String,
    findings: usize,
}

impl Campaign {
    /// Cores are shared with others: libFuzzer is started again until it has had its time, or has found something.
    fn run(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        // To build it is no part of the time.
        let built = cargo_fuzz("build", self.target).status()?;
        if !built.success() {
            return Err(format!("{} was not built: {built}", self.target).into());
        }
        while self.took < time && self.findings == 0 {
            let (before, since) = (cpu_time_of_children(), Instant::now());
            let known = self.artifacts();
            self.run_once(time.saturating_sub(self.took).as_secs() + 1)?;
            self.findings = self.artifacts() - known;
            self.took += match (before, cpu_time_of_children()) {
                (Some(before), Some(after)) => after.saturating_sub(before),
                _ => since.elapsed(),
            };
        }
        Ok(())
    }

    fn run_once(&mut self, seconds: u64) -> Result<(), Box<dyn Error>> {
        let target = self.target;
        let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        fs::create_dir_all(root().join(&corpus))?;
        let dictionary = if matches!(target, "cbor" | "cose" | "raw") { "binary" } else { "json" };
        let mut fuzzer = cargo_fuzz("run", target)
            .args([corpus.as_str(), &seeds, "--"])
            // Time on the wall, of a machine that others use as well: what is slow in itself, the tests notice.
            .args([
                "-rss_limit_mb=2048",
                "-max_len=65536",
                "-timeout=100",
                "-report_slow_units=100",
                "-print_final_stats=1",
            ])
            .arg(format!("-dict=fuzz/dictionaries/{dictionary}.dict"))
            .arg(format!("-max_total_time={seconds}"))
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(fuzzer.stderr.take().ok_or("no output")?);
        let (mut executions, mut last) = (None::<u64>, String::new());
        for line in lines.split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
                executions = number.trim().parse().ok();
            }
            if let Some(at) = line.find("cov: ").filter(|_| line.starts_with('#')) {
                line[at..].split(" corp:").next().unwrap_or_default().clone_into(&mut self.coverage);
            }
            if !line.starts_with('#') {
                last.push_str(&line);
                last.push('\n');
            }
        }
        let ended = fuzzer.wait()?;
        if !ended.success() {
            eprintln!("{last}");
        }
        // It says how many, found something or not; otherwise it was not built, or could not start.
        self.executions += executions.ok_or_else(|| format!("{target} did not run: {ended}"))?;
        Ok(())
    }

    /// How many inputs are kept that the target failed with.
    fn artifacts(&self) -> usize {
        fs::read_dir(root().join("fuzz/artifacts").join(self.target)).map_or(0, Iterator::count)
    }

    fn row(&self) -> String {
        let Self { target, executions, took, coverage, findings } = self;
        let minutes = took.as_secs_f64() / 60.0;
        format!("| {target} | {executions} | {minutes:.1} | {coverage} | {findings} |")
    }
}

fn cargo_fuzz(verb: &str, target: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(["+nightly", "fuzz", verb, "--release", target]);
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// CPU time in user mode of all processes that were waited for, on Linux.
fn cpu_time_of_children() -> Option<Duration> {
    const TICKS_IN_A_SECOND: u64 = 100;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in parentheses and may hold anything; `cutime` is the fourteenth after it (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(13)?.parse().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_IN_A_SECOND))
}
