//! The size of what is deployed: the app's directory as a zip.

use std::{
    fs,
    io::{Cursor, Write as _},
    path::Path,
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Error, Result, apps::App};

/// Bytes of an app's zip, with the strongest deflate.
pub fn size(app: &App) -> Result<u64> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut zip, &app.directory, "")?;
    let cursor = zip.finish().map_err(|e| Error::new("a zip", e))?;
    Ok(cursor.into_inner().len() as u64)
}

fn add(zip: &mut ZipWriter<Cursor<Vec<u8>>>, directory: &Path, prefix: &str) -> Result<()> {
    let broken = |e| Error::new(&directory.display().to_string(), e);
    let entries = fs::read_dir(directory).map_err(broken)?;
    let mut paths: Vec<_> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>().map_err(broken)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name_in_zip = format!("{prefix}{name}");
        if LEFT_OUT.contains(&name) {
            continue;
        }
        if path.is_dir() {
            add(zip, &path, &format!("{name_in_zip}/"))?;
        } else {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .compression_level(Some(9))
                .unix_permissions(0o755);
            zip.start_file(&name_in_zip, options).map_err(|e| Error::new(&name_in_zip, e))?;
            let content = fs::read(&path).map_err(|e| Error::new(&name_in_zip, e))?;
            zip.write_all(&content).map_err(|e| Error::new(&name_in_zip, e))?;
        }
    }
    Ok(())
}

/// What Python and npm leave behind, and can do without.
const LEFT_OUT: [&str; 3] = ["__pycache__", ".bin", ".package-lock.json"];
