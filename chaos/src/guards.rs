//! The handler without one of its guards, to see that the run notices: built from a copy of the sources, in which a piece of
//! text is another.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use signet::local::app::AppRoot;

use crate::{
    error::{Context as _, Error, Result},
    findings::{Findings, What},
};

/// Something that the handler does lest a result be overwritten, mistaken or made in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Results are created, never overwritten.
    CreateOnly,
    /// A result that stands is adopted only if it is of the same request.
    AdoptionCheck,
    /// What was delivered before is looked for before it is signed.
    LookBeforeSign,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CreateOnly, Self::AdoptionCheck, Self::LookBeforeSign];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateOnly => "create-only",
            Self::AdoptionCheck => "adoption-check",
            Self::LookBeforeSign => "look-before-sign",
        }
    }

    fn change(self) -> Result<Change<'static>> {
        Change::parse(match self {
            Self::CreateOnly => include_str!("../guards/create-only.change"),
            Self::AdoptionCheck => include_str!("../guards/adoption-check.change"),
            Self::LookBeforeSign => include_str!("../guards/look-before-sign.change"),
        })
    }

    /// Whether a run without it has failed as it must: what that would be, otherwise.
    pub fn is_missed(self, findings: &Findings) -> std::result::Result<(), &'static str> {
        let has = |what| findings.count(what) > 0;
        match self {
            Self::CreateOnly if has(What::Overwritten) => Ok(()),
            Self::CreateOnly => Err("something overwritten"),
            Self::AdoptionCheck if has(What::Lost) => Ok(()),
            Self::AdoptionCheck => Err("something lost: neither its own result nor a record"),
            Self::LookBeforeSign if has(What::InVain) => Ok(()),
            Self::LookBeforeSign => Err("something signed in vain"),
        }
    }

    /// Builds the handler without it, and returns the binary. It is built without optimisation, which is quicker.
    pub async fn build_without(self, root: &AppRoot) -> Result<PathBuf> {
        let copy = root.target().join("without").join(self.name());
        if copy.exists() {
            fs::remove_dir_all(&copy).context("the copy of before")?;
        }
        let built = [root.target(), root.directory().join("bin"), root.directory().join("dist")];
        copy_sources(root.directory(), &copy, &built).context("a copy of the sources")?;
        self.change()?.apply(&copy)?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo_build = tokio::process::Command::new(cargo);
        cargo_build.args(["build", "--quiet", "--locked", "--package", "handler", "--target-dir"]).arg(root.target());
        let status = cargo_build.current_dir(&copy).kill_on_drop(true).status().await.context("cargo")?;
        if !status.success() {
            return Err(Error::new("the handler without a guard", status));
        }
        let handler = copy.join("handler-without");
        let made = root.target().join("debug").join(format!("handler{}", std::env::consts::EXE_SUFFIX));
        fs::copy(made, &handler).context("the handler without a guard")?;
        Ok(handler)
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let known = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|guard| guard.name() == name).ok_or_else(|| format!("there are {known}"))
    }
}

/// A piece of text in a file, and what stands there in its place.
#[derive(Debug, PartialEq, Eq)]
struct Change<'a> {
    file: &'a str,
    find: &'a str,
    replace: &'a str,
}

impl<'a> Change<'a> {
    /// `file`, a line `--- find`, the text, a line `--- replace`, the text.
    fn parse(text: &'a str) -> Result<Self> {
        let parts = text.split_once("\n--- find\n").and_then(|(file, rest)| {
            let (find, replace) = rest.split_once("\n--- replace\n")?;
            Some(Self { file, find, replace: replace.trim_end_matches('\n') })
        });
        parts.ok_or_else(|| Error::new("a guard's change", "it has not its three parts"))
    }

    /// The text must be there exactly once.
    fn applied(&self, source: &str) -> Result<String> {
        match source.matches(self.find).count() {
            1 => Ok(source.replace(self.find, self.replace)),
            count => Err(Error::new(self.file, format!("the guard's text is there {count} times; mend chaos/guards"))),
        }
    }

    fn apply(&self, root: &Path) -> Result<()> {
        let path = root.join(self.file);
        let source = fs::read_to_string(&path).context(self.file)?;
        fs::write(&path, self.applied(&source)?).context(self.file)
    }
}

/// Everything but what is built, fetched or hidden.
fn copy_sources(from: &Path, to: &Path, built: &[PathBuf]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') || name == "node_modules" || built.contains(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_sources(&path, &to.join(name), built)?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_still_applies() {
        let root = AppRoot::find().expect("the checkout");
        for guard in Guard::ALL {
            let change = guard.change().expect("three parts");
            let source = fs::read_to_string(root.directory().join(change.file)).expect("a source");
            let changed = change.applied(&source).unwrap_or_else(|why| panic!("{}: {why}", guard.name()));
            assert_ne!(changed, source, "{}", guard.name());
        }
    }

    #[test]
    fn a_change_that_fits_nowhere_or_twice_is_refused() {
        let change = Change::parse("f\n--- find\na\n--- replace\nb\n").expect("three parts");
        assert_eq!(change, Change { file: "f", find: "a", replace: "b" });
        assert_eq!(change.applied("x a y").ok().as_deref(), Some("x b y"));
        assert!(change.applied("x").is_err() && change.applied("a a").is_err());
        assert!(Change::parse("f\n--- find\na").is_err());
    }

    #[test]
    fn a_copy_has_the_sources_and_nothing_that_was_built() {
        let (from, to) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        for file in ["handler/src/main.rs", "bench/src/bin/bare.rs", "target/debug/x", ".git/x", "bin/handler"] {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, "x").expect("a file");
        }
        copy_sources(from.path(), to.path(), &["target", "bin"].map(|name| from.path().join(name))).expect("a copy");
        let is_there = |file: &str| to.path().join(file).exists();
        assert!(is_there("handler/src/main.rs") && is_there("bench/src/bin/bare.rs"));
        assert!(!is_there("target") && !is_there(".git") && !is_there("bin"));
    }
}
