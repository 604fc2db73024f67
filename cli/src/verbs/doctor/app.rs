//! The function app's own files, as the host will read them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{places::Places, report::Report};
use crate::local::host::config::{App, DataType, MessageEncoding};

/// With fewer, a message that comes too early at the poison queue is given up there.
const FEWEST_ATTEMPTS: i64 = 3;
/// An outage that lasts longer than messages are tried makes rejections of them.
const SHORTEST_PATIENCE: Duration = Duration::from_hours(1);

/// Where the handler of an app is, if there is one.
pub(super) fn handler(root: &Path) -> Option<PathBuf> {
    Some(read(root).ok()?.handler.executable).filter(|executable| executable.is_absolute())
}

/// Reports what the host would stumble on, or would do otherwise than Signet needs it.
pub(super) fn check(root: &Path, places: &Places, report: &mut Report) {
    report.area("app");
    let app = match read(root) {
        Ok(app) => app,
        Err(why) => return report.failure("host.json", why, "take the files of the checkout as they are"),
    };
    let deadline = Duration::from_secs(places.deadline);
    match app.function_timeout {
        Some(timeout) if timeout <= deadline => {
            let detail = format!("{} s, and SIGNET_DEADLINE is {} s", timeout.as_secs(), deadline.as_secs());
            report.failure(
                "functionTimeout",
                detail,
                "set a SIGNET_DEADLINE below it: the host ends all items at once",
            );
        }
        Some(timeout) => report.ok("functionTimeout", format!("{} s", timeout.as_secs())),
        None => report.ok("functionTimeout", "none"),
    }
    if app.queues.message_encoding == MessageEncoding::None {
        report.ok("messageEncoding", "none");
    } else {
        let remedy = "set extensions.queues.messageEncoding to \"none\" in host.json";
        report.failure("messageEncoding", "base64: messages that are plain text never arrive", remedy);
    }
    let attempts = app.queues.max_dequeue_count;
    let patience = app.queues.visibility_timeout.saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX));
    let detail = format!("{attempts} attempts, in {} min at the least", patience.as_secs() / 60);
    let remedy = "set extensions.queues.maxDequeueCount and visibilityTimeout in host.json";
    if attempts < FEWEST_ATTEMPTS {
        report.failure("maxDequeueCount", detail, remedy);
    } else if patience < SHORTEST_PATIENCE {
        report.warning("maxDequeueCount", detail + ": what an outage outlasts is rejected", remedy);
    } else {
        report.ok("maxDequeueCount", detail);
    }
    check_functions(&app, places, report);
    check_executable(&app.handler.executable, report);
}

fn check_functions(app: &App, places: &Places, report: &mut Report) {
    let queue = places.queue.as_deref().unwrap_or_default();
    for (name, queue) in [("sign", queue.to_owned()), ("poison", format!("{queue}-poison"))] {
        let remedy = format!("take {name}/function.json of the checkout as it is");
        match app.functions.iter().find(|function| function.name == name) {
            None => report.failure(name, "there is no such function, or it is disabled", remedy),
            Some(function) if function.data_type != DataType::Binary => {
                let detail = "dataType is not binary: a message's members can forge its metadata";
                report.failure(name, detail, remedy);
            }
            Some(function) if function.queue != queue => {
                report.failure(name, format!("reads the queue {}, and not {queue}", function.queue), remedy);
            }
            Some(_) => report.ok(name, format!("reads {queue}")),
        }
    }
}

fn check_executable(executable: &Path, report: &mut Report) {
    let (name, remedy) = (executable.display().to_string(), "run scripts/package");
    // The host takes a name that is no file of the app for one on the search path.
    let Some(bytes) = executable.is_absolute().then(|| fs::read(executable).ok()).flatten() else {
        return report.failure(name, "host.json names it, and it is not there", remedy);
    };
    if !is_executable(executable) {
        return report.failure(name, "it may not be executed", remedy);
    }
    if is_for_linux_on_x86_64(&bytes) {
        report.ok(name, "executable, for Linux on x86-64");
    } else {
        let remedy = "run scripts/package --target x86_64-unknown-linux-musl";
        report.warning(name, "it is not for Linux on x86-64, which the app runs on", remedy);
    }
}

fn read(root: &Path) -> Result<App, String> {
    let settings: BTreeMap<String, String> = std::env::vars().collect();
    App::read(root, &settings, &|_| None).map_err(|error| error.to_string())
}

/// ELF's magic number, 64 bits, and the machine (System V ABI, ELF header).
fn is_for_linux_on_x86_64(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF\x02") && bytes.get(18..20) == Some(&[0x3e, 0])
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}
