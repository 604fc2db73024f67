//! The archive that is deployed: what the Functions host needs, and nothing else.

use std::{
    fs,
    io::{self, Cursor, Write as _},
    path::Path,
};

use time::OffsetDateTime;
use zip::{CompressionMethod, DateTime, System, ZipWriter, write::SimpleFileOptions};

use crate::local::app::HANDLER;

/// The files of the function app beside the handler. A file that is not named here is not deployed.
const FILES: [&str; 3] = ["host.json", "poison/function.json", "sign/function.json"];

/// Makes the archive. The same files and the same time are the same bytes, on every system.
///
/// Entries are sorted and have Unix modes: without its mode the host could not start the handler.
pub(super) fn make(root: &Path, handler: &[u8], time: OffsetDateTime) -> io::Result<Vec<u8>> {
    let mut entries = vec![(HANDLER, handler.to_vec(), 0o755)];
    for name in FILES {
        entries.push((name, fs::read(root.join(name))?, 0o644));
    }
    entries.sort();
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(date_time(time))
        .system(System::Unix);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, mode) in entries {
        archive.start_file(name, options.unix_permissions(mode))?;
        archive.write_all(&content)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// The time in UTC, as the archive says it: in steps of two seconds.
fn date_time(time: OffsetDateTime) -> DateTime {
    let year = u16::try_from(time.year()).unwrap_or_default();
    DateTime::from_date_and_time(year, time.month().into(), time.day(), time.hour(), time.minute(), time.second())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, process::Command};

    use time::macros::datetime;
    use zip::ZipArchive;

    use super::*;
    use crate::local::app::AppRoot;

    #[test]
    fn the_same_files_are_the_same_bytes() {
        let root = AppRoot::find().unwrap();
        let time = datetime!(2026-11-21 10:00:01 UTC);
        let bytes = make(root.directory(), b"binary", time).unwrap();
        assert_eq!(bytes, make(root.directory(), b"binary", time).unwrap());
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(
            archive.file_names().map(|name| name.unwrap().into_owned()).collect::<Vec<_>>(),
            ["bin/handler", "host.json", "poison/function.json", "sign/function.json"]
        );
        let handler = archive.by_name("bin/handler").unwrap();
        assert_eq!(handler.unix_mode(), Some(0o100_755));
        assert_eq!(handler.last_modified().unwrap().to_string(), "2026-11-21 10:00:00");
    }

    #[test]
    fn a_file_that_is_missing_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(make(empty.path(), b"", OffsetDateTime::UNIX_EPOCH).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Core Tools deploy what `.funcignore` lets through. It has the form of `.gitignore`, so git can tell.
    #[test]
    fn core_tools_would_deploy_the_same_files() {
        let root = AppRoot::find().unwrap();
        let listed = |more: &[&str]| -> BTreeSet<String> {
            let mut git = Command::new("git");
            git.args(["ls-files", "--cached"]).args(more).current_dir(root.directory());
            String::from_utf8(git.output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
        };
        let ignored = listed(&["--ignored", "--exclude-from=.funcignore"]);
        let deployed: Vec<_> = listed(&[]).difference(&ignored).cloned().collect();
        assert_eq!(deployed, FILES);
    }
}
