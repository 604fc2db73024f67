//! The software bill of materials: `CycloneDX` 1.6 in JSON (ECMA-424).

use serde_json::{Value, json};
use signet_core::algorithm::sha256_hex;
use time::format_description::well_known::Rfc3339;

use super::graph::{Crate, Graph, Name};
use crate::local::shipping::Shipping;

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Lists what the binary with this SHA-256 is built from. The same binary and graph are the same text.
///
/// Crates that run in the compiler alone have the scope `excluded`: they are not in the binary, though they wrote some of its code.
pub(super) fn make(graph: &Graph, shipping: &Shipping, binary: &str) -> String {
    let libraries = graph.crates.iter().filter(|(name, _)| **name != graph.root);
    let components: Vec<Value> = libraries.map(|(name, found)| library(name, found, shipping)).collect();
    let dependencies: Vec<Value> = graph
        .crates
        .iter()
        .map(|(name, found)| json!({ "ref": reference(name), "dependsOn": found.needs.iter().map(reference).collect::<Vec<_>>() }))
        .collect();
    let mut bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": shipping.revision.time.format(&Rfc3339).unwrap_or_default(),
            "tools": { "components": [
                { "type": "application", "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            ] },
            "component": application(graph, shipping, binary),
            "properties": [
                { "name": "signet:commit", "value": shipping.revision.short() },
                { "name": "signet:target", "value": shipping.target },
            ],
        },
        "components": components,
        "dependencies": dependencies,
    });
    bom["serialNumber"] = urn(&sha256_hex(bom.to_string().as_bytes())).into();
    format!("{bom:#}\n")
}

/// The handler itself.
fn application(graph: &Graph, shipping: &Shipping, binary: &str) -> Value {
    let mut component = json!({
        "type": "application",
        "bom-ref": reference(&graph.root),
        "name": graph.root.0,
        "version": graph.root.1,
        "purl": purl(&graph.root, Some(shipping)),
        "hashes": [{ "alg": "SHA-256", "content": binary }],
        "externalReferences": [{ "type": "vcs", "url": REPOSITORY }],
    });
    add_licence(&mut component, &graph.crates[&graph.root]);
    component
}

fn library(name: &Name, found: &Crate, shipping: &Shipping) -> Value {
    let ours = found.checksum.is_none();
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(name),
        "name": name.0,
        "version": name.1,
        "scope": if found.compiler_only { "excluded" } else { "required" },
        "purl": purl(name, ours.then_some(shipping)),
    });
    if let Some(checksum) = &found.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    add_licence(&mut component, found);
    component
}

fn add_licence(component: &mut Value, found: &Crate) {
    if let Some(licence) = &found.licence {
        component["licenses"] = json!([{ "expression": licence }]);
    }
}

/// The name of a component within the document.
fn reference(name: &Name) -> String {
    purl(name, None)
}

/// The package URL. Crates of the checkout are in no registry, so theirs says where they are.
fn purl((name, version): &Name, ours: Option<&Shipping>) -> String {
    let encoded = |text: &str| text.replace('+', "%2B").replace('@', "%40");
    let commit = ours.and_then(|shipping| shipping.revision.commit.as_deref()).map(|commit| format!("@{commit}"));
    let source =
        ours.map(|_| format!("?vcs_url={}", encoded(&format!("git+{REPOSITORY}{}", commit.unwrap_or_default()))));
    format!("pkg:cargo/{name}@{}{}", encoded(version), source.unwrap_or_default())
}

/// A UUID of version 8 (RFC 9562, section 5.8) of a digest in hexadecimal.
fn urn(digest: &str) -> String {
    let parts = [&digest[..8], &digest[8..12], &digest[13..16], &digest[17..20], &digest[20..32]];
    let [low, middle, high, variant, rest] = parts;
    format!("urn:uuid:{low}-{middle}-8{high}-8{variant}-{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_makes_a_uuid() {
        assert_eq!(urn(&sha256_hex(b"abc")), "urn:uuid:ba7816bf-8f01-8fea-8141-40de5dae2223");
    }

    #[test]
    fn package_urls_are_encoded() {
        let name = ("wasi".to_owned(), "0.14.0+wasi-0.2".to_owned());
        assert_eq!(purl(&name, None), "pkg:cargo/wasi@0.14.0%2Bwasi-0.2");
    }
}
