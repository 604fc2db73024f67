//! `signet package`: everything that a deployment takes, made from the checkout: the binary, the archive for the function app, the list of
//! what is in the binary, and the checksums of all three.

mod archive;
mod bom;
mod graph;

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Args;
use serde_json::json;
use signet_core::algorithm::sha256_hex;

use crate::{
    local::{
        app::{self, AppRoot, PREBUILT},
        shipping::Shipping,
    },
    settings::Error,
    table,
};

/// How the package is made.
#[derive(Args, Debug)]
pub struct Options {
    /// Another target than this machine's own: a triple as rustc names it
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Where to put the package; default: dist in the checkout
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    /// Print JSON when all is done
    #[arg(long)]
    json: bool,
}

const ARCHIVE: &str = "signet.zip";
const BOM: &str = "signet.cdx.json";
const SUMS: &str = "SHA256SUMS";
/// The binary's name in the package.
const BINARY: &str = "handler";

/// Builds `bin/handler`, and the package around it.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let root = AppRoot::find()?;
    let shipping = Shipping::of(&root, options.target.as_deref()).await?;
    let handler = root.build_shipping(&shipping, &|line| tell!("{line}")).await?;
    let binary = fs::read(&handler)?;
    let graph = graph::of(&root, &shipping.target).await?;
    let archive = archive::make(root.directory(), &binary, shipping.revision.time)?;
    let bom = bom::make(&graph, &shipping, &sha256_hex(&binary));

    let output = options.output.clone().unwrap_or_else(|| root.directory().join("dist"));
    fs::create_dir_all(&output)?;
    let mut rows = vec![Row::of(handler.clone(), &binary)];
    let mut sums = String::new();
    for (name, content, mode) in
        [(BINARY, &binary[..], 0o755), (BOM, bom.as_bytes(), 0o644), (ARCHIVE, &archive, 0o644)]
    {
        let row = put(&output.join(name), content, mode)?;
        writeln!(sums, "{}  {name}", row.sha256)?;
        rows.push(row);
    }
    rows.push(put(&output.join(SUMS), sums.as_bytes(), 0o644)?);

    let warnings = warnings(&binary, &shipping);
    let version = version(&handler);
    if options.json {
        let files: Vec<_> = rows.iter().map(Row::as_json).collect();
        let (target, commit) = (&shipping.target, shipping.revision.short());
        say!(
            "{}",
            json!({ "target": target, "commit": commit, "version": version, "files": files, "warnings": warnings })
        );
    } else {
        let cells: Vec<Vec<String>> = rows.iter().map(|row| row.as_cells(root.directory())).collect();
        say!("{}", table::render(&["file", "bytes", "sha256"], &cells));
        say!("  {} for {}", version.as_deref().unwrap_or("the handler does not run here:"), shipping.target);
        for warning in &warnings {
            say!("  {warning}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A file that was made.
struct Row {
    path: PathBuf,
    bytes: usize,
    sha256: String,
}

impl Row {
    fn of(path: PathBuf, content: &[u8]) -> Self {
        Self { path, bytes: content.len(), sha256: sha256_hex(content) }
    }

    fn as_cells(&self, root: &Path) -> Vec<String> {
        let path = self.path.strip_prefix(root).unwrap_or(&self.path);
        vec![path.display().to_string(), self.bytes.to_string(), self.sha256.clone()]
    }

    fn as_json(&self) -> serde_json::Value {
        json!({ "file": self.path, "bytes": self.bytes, "sha256": self.sha256 })
    }
}

/// Writes a file through a temporary one beside it, so that a reader sees the old content or the new one.
fn put(path: &Path, content: &[u8], mode: u32) -> io::Result<Row> {
    let file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    fs::write(file.path(), content)?;
    app::set_mode(file.path(), mode)?;
    file.into_temp_path().persist(path).map_err(|error| error.error)?;
    Ok(Row::of(path.to_owned(), content))
}

/// What the handler says of itself; nothing if it was made for another system.
fn version(handler: &Path) -> Option<String> {
    let said = Command::new(handler).arg("--version").output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// What somebody who deploys this ought to know.
fn warnings(binary: &[u8], shipping: &Shipping) -> Vec<String> {
    let mut warnings = Vec::new();
    if !is_for_the_app(binary) {
        warnings.push(
            "the binary is not for Linux on x86-64, where the function app runs: it is of use here alone".to_owned(),
        );
    }
    if shipping.revision.modified {
        warnings
            .push("files of the checkout differ from the commit: nobody else can make these bytes from it".to_owned());
    }
    if let Some(prebuilt) = std::env::var_os(PREBUILT) {
        let prebuilt = prebuilt.display();
        warnings.push(format!("the binary is {prebuilt}; that it was built from this checkout is taken on trust"));
    }
    warnings
}

/// Whether a binary is an ELF file for x86-64 (System V ABI, "ELF Header": the magic number, and `e_machine`, 62).
fn is_for_the_app(binary: &[u8]) -> bool {
    binary.starts_with(b"\x7fELF") && binary.get(18..20) == Some(&[62, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_linux_on_x86_64_is_for_the_app() {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        assert!(!is_for_the_app(&elf));
        elf[18] = 62;
        assert!(is_for_the_app(&elf));
        assert!(!is_for_the_app(b"MZ") && !is_for_the_app(b""));
    }

    #[test]
    fn files_are_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        for content in ["one", "two"] {
            let row = put(&directory.path().join("file"), content.as_bytes(), 0o644).unwrap();
            assert_eq!((fs::read_to_string(&row.path).unwrap().as_str(), row.bytes), (content, 3));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
