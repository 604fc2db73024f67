//! The vault of the local stack.

use signet::local::{
    certificates::{Certificates, LOCAL_NAMES},
    identity::Issuer,
    tap::Tap,
    vault::Vault,
};
use tempfile::tempdir;

use crate::target::{Target, Tokens, roots};

/// Its name.
pub(crate) const VAULT: &str = "contract";

pub(crate) fn start() -> Target {
    let folder = tempdir().expect("a folder");
    let certificates = Certificates::generate(&LOCAL_NAMES).expect("certificates");
    let authority = certificates.write_to(folder.path()).expect("certificates on the disk").authority;
    let issuer = Issuer::new();
    let vault = Vault::new(issuer.clone());
    let tls = certificates.server_config().expect("a TLS configuration");
    let listener = vault.listen(tls, 0, Tap::new()).expect("a listener");
    let (url, tokens) = (vault.url(VAULT), Tokens::Issuer(issuer));
    Target::new("the local vault", url, tokens, &roots(&authority), (listener, folder)).made_by(vault)
}
