//! More than can be done at once, and hosts that are slow or gone: what is too much is handed back at once, memory stays
//! bounded, and nothing is held for longer than an item's time. On Linux, which tells what a process holds.
#![cfg(target_os = "linux")]

use std::{
    fs, io,
    time::{Duration, Instant},
};

use futures::future::join_all;
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use signet::local::tap::{Action, Fault};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    wire::{Connection, exchange, invocation},
    world::{Setup, World, eventually},
};

const AT_ONCE: usize = 10_000;
/// `SIGNET_CONCURRENCY`, and those that may wait for a place.
const TAKEN: usize = 64 + 512;
/// Connections at once that all find a place, and more than wait to be accepted by default.
const BURST: usize = 500;
/// What all of it may cost.
const LIMIT_KIB: u64 = 48 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_are_done_or_handed_back_at_once_in_bounded_memory() {
    allow_connections();
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "60")).await;
    assert!(world.sign(&item(0)).await.outcome.succeeded());
    let descriptors = descriptors(&world);
    world.deployment.taps.vault.fail(Fault::new(Action::Hang).method("POST").path("/sign"));

    let begun = Instant::now();
    let port = world.host.port();
    let mut invocations = JoinSet::new();
    for number in 1..=AT_ONCE {
        invocations.spawn(async move { (status(port, &item(number)).await, begun.elapsed()) });
    }
    // Of a connection that is slow to ask, nothing but its end may be seen: to the host that is the same.
    let (mut last, mut cut) = (Duration::ZERO, 0);
    for _ in TAKEN..AT_ONCE {
        match invocations.join_next().await.expect("an answer to each").expect("no panic") {
            (Ok(503), took) => last = took,
            (Err(_), _) => cut += 1,
            answer => panic!("{answer:?}"),
        }
    }
    let peak = peak_kib(&world);
    println!("{AT_ONCE} at once: {TAKEN} taken, the others handed back within {last:?}, {cut} cut; {peak} KiB at most");
    assert!(cut < AT_ONCE / 100, "{cut} had no answer");
    assert!(peak < LIMIT_KIB, "{peak} KiB at the peak");
    assert!(last < Duration::from_secs(20), "{last:?}");

    world.deployment.taps.vault.heal();
    for (answer, _) in invocations.join_all().await {
        assert_eq!(answer.expect("an answer"), 200, "what was taken is done");
    }
    assert_eq!(world.result_names().await.len(), TAKEN + 1);
    // 64 connections each to the vault and to storage are kept for the next items.
    let are_closed = async || (self::descriptors(&world) <= descriptors + 160).then_some(());
    eventually("the end of the connections", are_closed).await;
    assert!(world.sign(&item(AT_ONCE + 1)).await.outcome.succeeded());
}

/// The largest messages that a queue delivers, encoded as large as they get.
#[tokio::test]
async fn memory_is_bounded_by_bytes_as_well() {
    allow_connections();
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "5")).await;
    world.deployment.taps.vault.fail(Fault::new(Action::Hang).method("POST").path("/sign"));
    let idle = peak_kib(&world);
    let port = world.host.port();
    let message = format!(r#"{{"payload":"{}"}}"#, "x".repeat(64_000));
    let body = format!(r#"{{"pad":"{}",{}"#, "x".repeat(900_000), &invocation(&message)[1..]);
    let (taken, refused) = join_all((0..200).map(|_| exchange(port, "POST", "/sign", body.as_bytes())))
        .await
        .iter()
        .fold((0, 0), |(taken, refused), answer| match (answer.status, answer.code()) {
            (503, "overloaded") => (taken, refused + 1),
            (503, "deadline") | (200, _) => (taken + 1, refused),
            _ => panic!("{answer:?}"),
        });
    let grown = peak_kib(&world) - idle;
    println!("{taken} of 1 MB taken, {refused} refused, {grown} KiB more");
    assert!(refused > 0);
    assert!(grown < 112 * 1024, "{grown} KiB");
}

#[tokio::test]
async fn a_host_that_is_slow_or_gone_leaves_nothing_behind() {
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "5")).await;
    assert!(world.sign(&item(0)).await.outcome.succeeded());
    world.settled().await;
    let before = descriptors(&world);
    let port = world.host.port();
    let body = invocation(&item(1));

    // The head, and half of the body: answered when an item's time is over, and the connection ended.
    let begun = Instant::now();
    let mut slow = Connection::open(port).await;
    let head = format!("POST /sign HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len());
    slow.write(format!("{head}{}", &body[..body.len() / 2]).as_bytes()).await;
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.code()), (408, "deadline"));
    assert!((5..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());

    // Gone in the middle of the head, of the body, and while the item is under way.
    for part in [&b"POST /sign HT"[..], head.as_bytes(), format!("{head}{}", &body[..20]).as_bytes()] {
        for _ in 0..100 {
            Connection::open(port).await.write(part).await;
        }
    }
    let slowly = Fault::new(Action::Delay(Duration::from_secs(1))).method("POST").path("/sign");
    world.deployment.taps.vault.fail(slowly);
    let signed = world.sign_requests();
    let mut under_way = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(port).await;
        connection.write(format!("{head}{body}").as_bytes()).await;
        under_way.push(connection);
    }
    eventually("an item under way", async || (world.sign_requests() > signed).then_some(())).await;
    drop(under_way);
    world.deployment.taps.vault.heal();
    // The items' own connections are kept for the next ones: up to 64 to the vault, and as many to storage.
    let are_closed = async || (descriptors(&world) <= before + 128).then_some(());
    eventually("the end of the connections", are_closed).await;
    eventually("the item's result", async || world.result("1.jws.json").await).await;
    assert!(world.sign(&item(2)).await.outcome.succeeded());
}

/// Who has no place is told so, and may well be told before it has asked.
#[tokio::test]
async fn connections_above_the_limit_are_turned_away_with_an_answer() {
    allow_connections();
    let world = World::start().await;
    let port = world.host.port();
    let open = || async { TcpStream::connect(("127.0.0.1", port)).await.expect("a connection") };
    let idle = join_all((0..TAKEN + 64).map(|_| open())).await;
    let mut answer = String::new();
    eventually("an answer to one that asked nothing", async || {
        let mut stream = open().await;
        let read = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(1), read).await.is_ok_and(|read| read.is_ok()).then_some(())
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("overloaded"), "{answer}");
    drop(idle);
    eventually("a place", async || {
        let answer = exchange(port, "GET", "/", b"").await;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// A machine that stands still for a moment holds up nothing but that moment: what the host opens meanwhile waits to be accepted,
/// and is not left to the system to try again, which takes up to a minute.
#[tokio::test]
async fn a_burst_of_connections_waits_while_nothing_moves() {
    allow_connections();
    let world = World::start().await;
    let port = world.host.port();
    let pid = Pid::from_raw(world.host.pid().expect("a handler").try_into().expect("a process id"));

    kill(pid, Signal::SIGSTOP).expect("a signal");
    let opening = join_all((0..BURST).map(|_| Connection::open(port)));
    let opened = timeout(Duration::from_millis(900), opening).await;
    kill(pid, Signal::SIGCONT).expect("a signal");

    let mut burst = opened.expect("room for a burst: a connection that is tried again takes a second");
    for connection in &mut burst {
        connection.send("GET", "/", b"").await;
    }
    let begun = Instant::now();
    for mut connection in burst {
        assert_eq!(connection.answer().await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn item(number: usize) -> String {
    format!(r#"{{"id":"{number}","payload":{number}}}"#)
}

/// The status with which an invocation is answered, with as little work as can be: there are ten thousand of them.
async fn status(port: u16, message: &str) -> io::Result<u16> {
    let body = invocation(message);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = format!("POST /sign HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|status| std::str::from_utf8(status).ok());
    status.and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other("no HTTP"))
}

/// This process, and the handler that it starts, may have as many connections as the system allows.
fn allow_connections() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(most > AT_ONCE as u64 + 500, "{most} open files are too few for this test: raise the hard limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a limit");
}

fn descriptors(world: &World) -> usize {
    fs::read_dir(format!("/proc/{}/fd", world.host.pid().expect("a handler"))).expect("it runs").count()
}

/// The handler's largest resident set so far, `VmHWM` of proc(5).
pub(crate) fn peak_kib(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.host.pid().expect("a handler"))).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
