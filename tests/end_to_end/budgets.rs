//! What the shipping binary takes of a machine, counted. On Linux, which can tell.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use nix::{
    libc,
    sys::{
        ptrace,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use signet::local::{
    app::AppRoot,
    tap::{Action, Fault},
};
use tokio::task::spawn_blocking;

use crate::{
    process::free_port,
    world::{Setup, World, app_root, eventually},
};

/// Of a binary that is linked to musl, or to glibc; statically or not.
const LARGEST_BINARY: (u64, u64) = (3_000_000, 4_000_000);
const MOST_SYSTEM_CALLS: usize = 80;
const MOST_FILES: usize = 3;
const MOST_THREADS: u64 = 2;
const IDLE_KIB: u64 = 6 * 1024;
const LOADED_KIB: u64 = 12 * 1024;
/// Of one item in the steady state: a JWS with ES256, of a payload in the message.
const MOST_ALLOCATIONS: u64 = 420;

#[tokio::test]
async fn the_binary_is_small() {
    let handler = app_root().await.join("bin/handler");
    let bytes = fs::read(&handler).expect("the shipping binary");
    let is_musl = is_musl(&bytes);
    let limit = if is_musl { LARGEST_BINARY.0 } else { LARGEST_BINARY.1 };
    let libc = if is_musl { "musl" } else { "glibc" };
    println!("{} bytes ({libc}), at most {limit}", bytes.len());
    assert!(bytes.len() as u64 <= limit, "{} bytes", bytes.len());
}

#[tokio::test]
async fn it_listens_after_few_system_calls() {
    let handler = app_root().await.join("bin/handler");
    let world = World::start().await;
    let mut settings = world.deployment.settings(&world.key);
    settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), free_port().to_string());
    // glibc looks for the main thread's stack in /proc/self/maps.
    let of_libc = usize::from(!is_musl(&fs::read(&handler).expect("the shipping binary")));
    for (roots, files) in [("a file of roots", of_libc + 1), ("the built-in roots", of_libc)] {
        let (handler, environment) = (handler.clone(), settings.clone());
        let calls = spawn_blocking(move || until_listening(&handler, &environment)).await.expect("a trace");
        let opened = calls.iter().filter(|call| OPENING.contains(call)).count();
        println!("with {roots}: {} system calls and {opened} files opened from exec to listening", calls.len());
        assert!(calls.len() <= MOST_SYSTEM_CALLS, "{calls:?}");
        assert!(opened <= MOST_FILES, "{calls:?}");
        assert_eq!(opened, files, "{calls:?}");
        settings.remove("SSL_CERT_FILE");
    }
}

#[tokio::test]
async fn it_is_small_in_memory_and_of_one_thread() {
    let world = World::start().await;
    let sign = async |id: String| {
        let reply = world.sign(&format!(r#"{{"id":"{id}","payload":"{id}"}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    };
    sign("first".to_owned()).await;
    world.settled().await;
    let idle = status(&world, "VmHWM:");
    let threads = status(&world, "Threads:");
    // Slow enough for all of them to be in flight at the same time.
    world.deployment.taps.vault.fail(Fault::new(Action::Delay(Duration::from_secs(3))));
    world.clear_taps();
    join_all((0..64).map(|number| sign(format!("of-64-{number}")))).await;
    let loaded = status(&world, "VmHWM:");
    println!("{idle} KiB and {threads} threads idle, {loaded} KiB with 64 items in flight, at their peaks");
    assert!(threads <= MOST_THREADS, "{threads}");
    assert!(idle <= IDLE_KIB, "{idle} KiB");
    assert!(loaded <= LOADED_KIB, "{loaded} KiB");
}

#[tokio::test]
async fn an_item_makes_few_allocations() {
    const ITEMS: u64 = 50;
    let world = World::with(Setup { app_root: Some(instrumented_app().await), ..Setup::default() }).await;
    let sign = async |id: u64| {
        let reply = world.sign(&format!(r#"{{"id":"{id}","payload":{{"amount":"12.50","currency":"EUR"}}}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        let text = format!("results={id}.jws.json");
        let line = eventually("a count", async || {
            world.host.log().into_iter().map(|line| line.text).find(|line| line.contains(&text))
        });
        let line = line.await;
        let count = line.split(' ').find_map(|word| word.strip_prefix("allocations=")).expect("it is counted");
        count.parse::<u64>().expect("a number")
    };
    sign(0).await;
    world.settled().await;
    let before = sign(1).await;
    let mut after = before;
    for id in 2..2 + ITEMS {
        after = sign(id).await;
    }
    let each = (after - before) / ITEMS;
    println!("{each} allocations per item");
    assert!(each <= MOST_ALLOCATIONS, "{each}");
}

/// An app like the checkout, whose handler counts what it allocates, and fails where it is told to. It is built without
/// optimisation, which can only leave allocations out.
pub(crate) async fn instrumented_app() -> PathBuf {
    static BUILT: tokio::sync::OnceCell<tempfile::TempDir> = tokio::sync::OnceCell::const_new();
    let app = BUILT.get_or_init(async || {
        let root = AppRoot::find().expect("the checkout");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = tokio::process::Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "handler"]);
        build.args(["--features", "count-allocations,fault-points"]);
        assert!(build.current_dir(root.directory()).status().await.expect("cargo").success());
        let app = tempfile::tempdir().expect("a directory");
        for file in ["host.json", "sign/function.json", "poison/function.json"] {
            let to = app.path().join(file);
            fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
            fs::copy(root.directory().join(file), to).expect("a copy");
        }
        fs::create_dir(app.path().join("bin")).expect("a directory");
        fs::copy(root.target().join("debug/handler"), app.path().join("bin/handler")).expect("a copy");
        app
    });
    app.await.path().to_owned()
}

/// A number of proc(5)'s status of the handler.
fn status(world: &World, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.host.pid().expect("a handler"))).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn is_musl(binary: &[u8]) -> bool {
    !contains(binary, b"GLIBC_2.") && !contains(binary, b"glibc ")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The numbers of the system calls that a handler makes, from its `execve` to its `listen`; ptrace(2).
fn until_listening(handler: &Path, settings: &BTreeMap<String, String>) -> Vec<i64> {
    // A shell that waits to be traced, and becomes the handler.
    let mut child = Command::new("/bin/sh")
        .args(["-c", r#"kill -STOP $$; exec "$0""#])
        .arg(handler)
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let pid = Pid::from_raw(child.id().try_into().expect("a process"));
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("it stops");
    ptrace::attach(pid).expect("children may be traced");
    waitpid(pid, None).expect("it is attached to");
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options).expect("options");
    kill(pid, Signal::SIGCONT).expect("it goes on");

    let mut calls = Vec::new();
    let mut is_entry = false;
    let mut signal = None;
    while !calls.contains(&libc::SYS_listen) {
        ptrace::syscall(pid, signal.take()).expect("it goes on");
        match waitpid(pid, None).expect("a stop") {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => {
                calls.push(libc::SYS_execve);
                // The next stop is the end of this call.
                is_entry = false;
            }
            WaitStatus::PtraceSyscall(_) if calls.is_empty() => {}
            WaitStatus::PtraceSyscall(_) if is_entry => {
                calls.push(system_call(pid));
                is_entry = false;
            }
            WaitStatus::PtraceSyscall(_) => is_entry = true,
            WaitStatus::Stopped(_, other) => signal = (other != Signal::SIGSTOP).then_some(other),
            end => panic!("the handler did not listen: {end:?} after {calls:?}"),
        }
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    calls
}

#[cfg(target_arch = "x86_64")]
fn system_call(pid: Pid) -> i64 {
    ptrace::getregs(pid).expect("a stopped process").orig_rax.try_into().expect("a number")
}

#[cfg(target_arch = "aarch64")]
fn system_call(pid: Pid) -> i64 {
    ptrace::getregs(pid).expect("a stopped process").regs[8].try_into().expect("a number")
}

#[cfg(target_arch = "x86_64")]
const OPENING: &[i64] = &[libc::SYS_open, libc::SYS_openat, libc::SYS_creat];
#[cfg(target_arch = "aarch64")]
const OPENING: &[i64] = &[libc::SYS_openat];
