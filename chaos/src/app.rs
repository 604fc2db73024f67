//! A copy of the function app, with a host that is in a hurry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use signet::local::app::AppRoot;
use tempfile::TempDir;

use crate::error::{Context as _, Result};

/// An app of its own, gone when dropped.
#[derive(Debug)]
pub struct App {
    directory: TempDir,
}

impl App {
    /// The checkout's functions around a handler; the host gives a message up after so many deliveries.
    pub fn around(root: &AppRoot, handler: &Path, max_dequeue_count: u32) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("signet-chaos-").tempdir().context("a directory")?;
        let copy = |file: &str| {
            let to = directory.path().join(file);
            fs::create_dir_all(to.parent().unwrap_or(directory.path()))?;
            fs::copy(root.directory().join(file), to)
        };
        copy("sign/function.json").context("a function")?;
        copy("poison/function.json").context("a function")?;
        let host = fs::read(root.directory().join("host.json")).context("host.json")?;
        let mut host: Value = serde_json::from_slice(&host).context("host.json")?;
        let queues = &mut host["extensions"]["queues"];
        // Twice as many at once: faults make them wait, and there are many.
        queues["batchSize"] = 32.into();
        queues["newBatchThreshold"] = 32.into();
        queues["visibilityTimeout"] = "00:00:01".into();
        queues["maxPollingInterval"] = "00:00:00.2".into();
        queues["maxDequeueCount"] = max_dequeue_count.into();
        fs::write(directory.path().join("host.json"), host.to_string()).context("host.json")?;
        fs::create_dir(directory.path().join("bin")).context("a directory")?;
        fs::copy(handler, directory.path().join("bin/handler")).context("the handler")?;
        Ok(Self { directory })
    }

    /// Where its `host.json` is.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}
