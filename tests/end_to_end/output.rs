//! What becomes of a verb where what it says finds no reader, or no room.

use tokio::process::Command;

use crate::{
    tool::{Desk, Ran, signet, url},
    world::World,
};

/// A pipe that nobody reads from any more.
pub(crate) const CLOSED_PIPE: &str = "mkfifo pipe && exec 3<>pipe 1>pipe 3>&- && rm pipe";
/// A file on a disk that is full.
#[cfg(target_os = "linux")]
pub(crate) const FULL_DISK: &str = "exec 1>/dev/full";

/// Runs the tool with its stdout where a shell has put it.
pub(crate) async fn run_onto(desk: &Desk, stdout: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("PATH=/usr/bin:/bin; {stdout} && exec \"$0\" \"$@\"")]);
    command.arg(signet().await).args(arguments);
    desk.run_command(command, b"").await
}

#[tokio::test]
async fn a_verdict_stands_where_nobody_reads_it_and_is_none_where_it_cannot_be_written() {
    let world = World::start().await;
    assert!(world.sign(r#"{"id":"doc","format":"jws-compact","payload":1}"#).await.outcome.succeeded());
    let desk = Desk::of(&world);
    desk.write("other.json", r#"{"keys":[]}"#);
    let result = url(&world, "doc.jws");
    let good = ["verify", &result];
    let bad = ["verify", &result, "--jwks", "other.json", "--json"];
    for (arguments, code) in [(&good[..], 0), (&bad, 1)] {
        let ran = run_onto(&desk, CLOSED_PIPE, arguments).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{ran:?}");
        let ran = run_onto(&desk, &format!("{CLOSED_PIPE} && exec 2>&1"), arguments).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
    }
    #[cfg(target_os = "linux")]
    for (arguments, code) in [(&good[..], 2), (&bad, 1)] {
        let ran = run_onto(&desk, FULL_DISK, arguments).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_eq!(ran.stderr.matches("cannot be written to stdout").count(), 1, "{ran:?}");
    }
}
