//! What the handler is built from, as cargo resolves it for a target.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::{local::app::AppRoot, settings::Error};

/// Name and version of a crate.
pub(super) type Name = (String, String);

/// A crate that the handler is built from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crate {
    /// An SPDX expression.
    pub(super) licence: Option<String>,
    /// SHA-256 of the archive in the registry; none for the crates of the checkout.
    pub(super) checksum: Option<String>,
    /// Whether it runs in the compiler alone: a procedural macro, or something that only those need.
    pub(super) compiler_only: bool,
    /// What it needs itself.
    pub(super) needs: BTreeSet<Name>,
}

/// The handler and every crate that it is built from.
#[derive(Debug)]
pub(super) struct Graph {
    /// The handler itself.
    pub(super) root: Name,
    /// All of them, the handler included.
    pub(super) crates: BTreeMap<Name, Crate>,
}

/// Asks cargo. Its tree, unlike its metadata, is of the features that the handler alone asks for.
pub(super) async fn of(root: &AppRoot, target: &str) -> Result<Graph, Error> {
    let mut tree = root.cargo();
    tree.args(["tree", "--quiet", "--locked", "--package", "handler", "--edges", "normal", "--target", target]);
    let output = tree.args(["--prefix", "depth", "--charset", "ascii", "--format", "{p}\t{l}\t"]).output().await?;
    if !output.status.success() {
        return Err(format!("cargo cannot list the dependencies:\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let lock = fs::read_to_string(root.directory().join("Cargo.lock"))?;
    read(&String::from_utf8(output.stdout)?, &checksums(&lock)).ok_or_else(|| "cargo lists no dependencies".into())
}

/// Reads the tree: each line has its depth, and what a crate needs stands below its first occurrence.
fn read(tree: &str, checksums: &BTreeMap<Name, String>) -> Option<Graph> {
    let mut crates = BTreeMap::<Name, Crate>::new();
    let mut macros = BTreeSet::new();
    let mut path = Vec::<Name>::new();
    for line in tree.lines() {
        let (depth, rest) = line.split_at(line.find(|c: char| !c.is_ascii_digit())?);
        let (package, rest) = rest.split_once('\t')?;
        let mut words = package.split(' ');
        let name = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned());
        path.truncate(depth.parse().ok()?);
        if let Some(parent) = path.last() {
            crates.get_mut(parent)?.needs.insert(name.clone());
        }
        if package.ends_with("(proc-macro)") {
            macros.insert(name.clone());
        }
        crates.entry(name.clone()).or_insert_with(|| Crate {
            licence: rest.split('\t').next().filter(|text| !text.is_empty()).map(spdx),
            checksum: checksums.get(&name).cloned(),
            ..Crate::default()
        });
        path.push(name);
    }
    let root = path.into_iter().next()?;
    let shipped = shipped(&crates, &root, &macros);
    for (name, found) in &mut crates {
        found.compiler_only = !shipped.contains(name);
    }
    Some(Graph { root, crates })
}

/// The root with all that it needs, other than through macros.
fn shipped(crates: &BTreeMap<Name, Crate>, root: &Name, macros: &BTreeSet<Name>) -> BTreeSet<Name> {
    let mut seen = BTreeSet::from([root.clone()]);
    let mut left = vec![root.clone()];
    while let Some(found) = left.pop().and_then(|name| crates.get(&name)) {
        for need in found.needs.difference(macros) {
            if seen.insert(need.clone()) {
                left.push(need.clone());
            }
        }
    }
    seen
}

/// The expression; older crates put a slash where SPDX has `OR`.
fn spdx(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// Checksums of a Cargo.lock, in which each member of a package has a line of its own.
fn checksums(lock: &str) -> BTreeMap<Name, String> {
    let packages = lock.split("[[package]]").skip(1).filter_map(|package| {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\nchecksum = \"0a\"\n\
        dependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"handler\"\nversion = \"0.1.0\"\n";

    fn name(name: &str, version: &str) -> Name {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn the_tree_is_read() {
        let tree = "0handler v0.1.0 (/x y/handler)\tMIT\t\n1a v1.0.0\tMIT/Apache-2.0\t\n2b v2.0.0\tMIT\t\n\
            1derive v1.0.0 (proc-macro)\tMIT\t\n2c v1.0.0\t\t\n1b v2.0.0\tMIT\t\n1a v1.0.0\tMIT/Apache-2.0\t (*)\n";
        let graph = read(tree, &checksums(LOCK)).unwrap();
        assert_eq!(graph.root, name("handler", "0.1.0"));
        let a = &graph.crates[&name("a", "1.0.0")];
        assert_eq!(a.licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!((a.checksum.as_deref(), a.compiler_only), (Some("0a"), false));
        assert_eq!(a.needs, BTreeSet::from([name("b", "2.0.0")]));
        let c = &graph.crates[&name("c", "1.0.0")];
        assert_eq!((c.licence.as_deref(), c.checksum.as_deref(), c.compiler_only), (None, None, true));
        assert_eq!((graph.crates.len(), graph.crates[&graph.root].needs.len()), (5, 3));
    }

    /// Its needs are listed once, where it occurs first.
    #[test]
    fn a_macros_crate_that_ships_as_well_ships_with_its_needs() {
        let tree = "0handler v0.1.0\tMIT\t\n1derive v1.0.0 (proc-macro)\tMIT\t\n2a v1.0.0\tMIT\t\n3b v2.0.0\tMIT\t\n\
            1a v1.0.0\tMIT\t (*)\n";
        let graph = read(tree, &BTreeMap::new()).unwrap();
        let only: Vec<_> =
            graph.crates.iter().filter(|(_, found)| found.compiler_only).map(|(name, _)| &name.0).collect();
        assert_eq!(only, ["derive"]);
    }

    #[test]
    fn what_is_no_tree_is_none() {
        for tree in ["", "handler", "0handler\n", "0handler 1\tMIT\t\n"] {
            assert!(read(tree, &BTreeMap::new()).is_none(), "{tree}");
        }
    }
}
