//! `signet keys --unpublish`: takes one key out of the set, once nothing puts it back.

use std::process::ExitCode;

use serde_json::json;
use signet_azure::names::KeyIdentifier;
use signet_core::jwks::Publication;

use crate::{
    key_set::KeySet,
    remote::Remote,
    settings::Error,
    text,
    vault::{KeyVersion, Timeline},
};

/// Takes a key out by its whole name: exit 0 when it is not in the set, whether or not it was.
pub(super) async fn run(
    kid: &str,
    keys: Vec<KeyIdentifier>,
    key_set: &KeySet,
    remote: &Remote,
    as_json: bool,
) -> Result<ExitCode, Error> {
    // Only the key's own vault is asked, and only if the settings name it: anybody who may write to the container chooses
    // names in the set, and no token goes to a host that they have chosen. The other vaults may be away meanwhile.
    let mut owners = keys.into_iter().filter(|key| key.has(kid)).peekable();
    let is_checked = owners.peek().is_some();
    for key in owners {
        let (timeline, published) = futures::try_join!(Timeline::read(key, remote.transport()), key_set.read())?;
        // Another key under the version's name may go: what comes back is the right one.
        let is_right = |version: &KeyVersion| match &version.public {
            Ok(public) => published.publication(kid, public) != Publication::Contradicted,
            Err(_) => true,
        };
        let mut versions = timeline.versions.iter().filter(|version| version.kid == kid && version.enabled);
        if let Some(version) = versions.find(|version| is_right(version)) {
            let (vault, name) = (timeline.key.vault_name(), &timeline.key.name);
            return Err(format!(
                "{kid} is enabled in its vault, so that whoever signs with the key would publish it again: first \
                 az keyvault key set-attributes --vault-name {vault} --name {name} --version {} --enabled false",
                version.version
            )
            .into());
        }
    }
    let removed = key_set.remove(kid).await?;
    if as_json {
        say!("{}", json!({ "keySet": key_set.url.as_str(), "kid": kid, "removed": removed }));
    } else if removed {
        say!("unpublished now: {}", text::visible(kid));
        say!("Whoever keeps a copy of {} must be told.", key_set.url);
    } else {
        say!("not in {}: {}", key_set.url, text::visible(kid));
    }
    if removed && !is_checked {
        tell!("{} is of no key in SIGNET_KEY: whether it is enabled in a vault was not looked at", text::visible(kid));
    }
    Ok(ExitCode::SUCCESS)
}
