//! Where what a benchmark has found goes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;
use signet::local::app::AppRoot;

use crate::{Error, Result};

/// What every benchmark may be told.
#[derive(Args, Debug)]
pub struct Output {
    /// Where the numbers go, from the root of the checkout [default: a file of their own in the target directory]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo tells a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Output {
    /// Writes the numbers: to the file that is asked for, or to the one with this name in the target directory.
    pub fn write(&self, root: &AppRoot, usual: &str, numbers: &Value) -> Result<()> {
        let file = self.json.as_deref().map_or_else(|| root.target().join(usual), |file| place(root, file));
        write(&file, &format!("{numbers:#}\n"))
    }
}

/// Draws a chart, if one is asked for.
pub fn draw(root: &AppRoot, file: Option<&Path>, chart: impl FnOnce() -> Result<String>) -> Result<()> {
    file.map_or(Ok(()), |file| write(&place(root, file), &chart()?))
}

/// cargo starts a benchmark in its own package; whoever names a file means the checkout.
fn place(root: &AppRoot, file: &Path) -> PathBuf {
    root.directory().join(file)
}

/// Writes a file, and says where it is.
fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| Error::new(&path.display().to_string(), e))?;
    eprintln!("  {}", path.display());
    Ok(())
}
