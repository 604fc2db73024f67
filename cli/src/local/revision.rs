//! Which state of the checkout is built, as git knows it.

use std::{ffi::OsStr, path::Path};

use time::OffsetDateTime;
use tokio::process::Command;

/// The time of a checkout that has no history: the earliest that a zip archive can say.
const EARLIEST: i64 = 315_532_800;

/// A commit, and whether something was changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The commit's full name; none outside a git repository.
    pub commit: Option<String>,
    /// Whether files that git knows differ from the commit.
    pub modified: bool,
    /// `SOURCE_DATE_EPOCH` where that is set, else the commit's time, else 1980-01-01.
    pub time: OffsetDateTime,
}

impl Revision {
    /// Looks at the checkout in a directory.
    pub async fn of(directory: &Path) -> Self {
        let commit = git(directory, &["rev-parse", "HEAD"]).await;
        let changes = git(directory, &["status", "--porcelain", "--untracked-files=no"]).await;
        let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => Some(seconds),
            Err(_) => git(directory, &["log", "-1", "--format=%ct"]).await,
        };
        let seconds = seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(EARLIEST).max(EARLIEST);
        let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self { commit, modified: changes.is_some_and(|changes| !changes.is_empty()), time }
    }

    /// The commit as the handler's `--version` shows it: `0123456789ab`, `0123456789ab-dirty` or `unknown`.
    #[must_use]
    pub fn short(&self) -> String {
        let commit = self.commit.as_deref().and_then(|commit| commit.get(..12)).unwrap_or("unknown");
        format!("{commit}{}", if self.modified { "-dirty" } else { "" })
    }
}

async fn git(directory: &Path, arguments: &[impl AsRef<OsStr>]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(directory).output().await.ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}
