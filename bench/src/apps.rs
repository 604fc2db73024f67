//! The function app of each contender: built, in a directory of its own, as it would be deployed.

mod build;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Value, json};
use signet::local::app::AppRoot;

use crate::{Error, Result};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Contender {
    /// This repository's handler, in its shipping profile.
    Signet,
    /// `@azure/*` and `node:http`.
    Node,
    /// `azure-*`, asyncio and aiohttp.
    Python,
    /// `azure-sdk-for-go` and `net/http`.
    Go,
}

impl Contender {
    /// All of them, in the order of their turns.
    pub const ALL: [Self; 4] = [Self::Signet, Self::Node, Self::Python, Self::Go];

    /// Those that there is a worker of.
    pub const WORKERS: [Self; 3] = [Self::Signet, Self::Node, Self::Python];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signet => "Signet",
            Self::Node => "Node",
            Self::Python => "Python",
            Self::Go => "Go",
        }
    }

    /// Whether it knows that every name under `.localhost` is this machine, whatever the resolver says.
    #[must_use]
    pub const fn knows_localhost_names(self) -> bool {
        matches!(self, Self::Signet)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How messages come to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The Functions host brings them: a custom handler.
    Functions,
    /// It pulls the queue itself: a worker.
    Pull,
}

/// An app that can be started.
#[derive(Clone, Debug)]
pub struct App {
    /// Whose it is.
    pub contender: Contender,
    /// How messages come to it.
    pub form: Form,
    /// The app's root, with nothing in it but what is deployed.
    pub directory: PathBuf,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it gets beside the settings that all get.
    pub environment: BTreeMap<String, String>,
    /// Versions of what it is made with, by name.
    pub versions: BTreeMap<String, String>,
}

impl App {
    /// Builds a contender's app in `{target}/bench/{name}`, a worker in `{name}-pull`. An error says what is missing.
    pub async fn build(contender: Contender, form: Form, root: &AppRoot, authority: &Path) -> Result<Self> {
        let name = contender.name().to_lowercase();
        let directory = root.target().join("bench").join(match form {
            Form::Functions => name,
            Form::Pull => format!("{name}-pull"),
        });
        fs::create_dir_all(&directory).map_err(|e| Error::new(&directory.display().to_string(), e))?;
        let app = match contender {
            Contender::Signet => build::signet(form, root, directory).await?,
            Contender::Node => build::node(form, root, directory, authority)?,
            Contender::Python => build::python(form, root, directory, authority)?,
            Contender::Go => build::go(form, root, directory)?,
        };
        if form == Form::Functions {
            app.write_bindings(root)?;
        }
        Ok(app)
    }

    /// `host.json` as Signet's, but for the executable; and the function `sign`.
    fn write_bindings(&self, root: &AppRoot) -> Result<()> {
        let broken = |e| Error::new("host.json", e);
        let text = fs::read_to_string(root.directory().join("host.json")).map_err(broken)?;
        let mut host: Value = serde_json::from_str(&text).map_err(|e| Error::new("host.json", e))?;
        host["customHandler"]["description"] =
            json!({"defaultExecutablePath": self.program, "arguments": self.arguments});
        fs::write(self.directory.join("host.json"), format!("{host:#}\n")).map_err(broken)?;
        for function in ["sign", "poison"] {
            // A peer keeps no records of what the host gave up.
            if function == "poison" && self.contender != Contender::Signet {
                continue;
            }
            let file = Path::new(function).join("function.json");
            fs::create_dir_all(self.directory.join(function)).map_err(broken)?;
            fs::copy(root.directory().join(&file), self.directory.join(&file)).map_err(broken)?;
        }
        Ok(())
    }
}
