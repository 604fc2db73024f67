//! The keys: whether they may be read and signed with, and for how long that will go well.

use azure_core::{http::Transport, time::OffsetDateTime};
use azure_security_keyvault_keys::{
    KeyClient,
    models::{KeyClientSignOptions, KeyRotationPolicyAction, SignParameters},
};
use signet_azure::{failure::Failure, names::KeyIdentifier};
use signet_core::{
    algorithm::Algorithm,
    jwks::{JwkSet, Publication},
    key::PublicKey,
};

use super::{
    Options,
    identity::Principal,
    places::Places,
    report::{Report, State},
    rights::{Asker, Lack, Right, defined_role},
};
use crate::{
    moment,
    remote::patiently,
    vault::{self, KeyVersion, Timeline},
};

/// What is signed to see whether that is allowed: a digest of words that no format signs.
const HARMLESS: &[u8] = b"signet doctor: this is no document\n";
/// An expiry that is nearer is worth a word.
const SOON: time::Duration = time::Duration::days(30);

/// Tries one key in every way in which the handler uses it.
pub(super) async fn check(
    key: &KeyIdentifier,
    (options, places, principal): (&Options, &Places, &Principal),
    published: Option<&JwkSet>,
    transport: &Transport,
    report: &mut Report,
) {
    let name = key.without_version();
    let client = match vault::client(key, transport) {
        Ok(client) => client,
        Err(why) => return report.failure(name, why.to_string(), "see SIGNET_KEY"),
    };
    let vault_name = key.vault_name();
    let scope = format!("$(az keyvault show -n {vault_name} --query id -o tsv)/keys/{}", key.name);
    let signer = defined_role("Signet signer", &format!("az keyvault show -n {vault_name}"));
    let read = Right { app: &signer, operator: Some("Key Vault Reader"), scope: &scope }.lack(principal);
    let create = format!(
        "az keyvault key create --vault-name {vault_name} -n {} --kty EC --curve P-256 --ops sign verify",
        key.name
    );

    let get = format!("{name} get");
    let current = match vault::get(&client, &key.name, key.version.clone()).await {
        Ok(current) => {
            report.ok(get, "allowed");
            Some(Timeline::of_current(key.clone(), Some(current)))
        }
        // A current version that cannot be used is in the list all the same, which says why.
        Err(error) if Failure::from(&error).code.starts_with("Key") && Failure::from(&error).is(403) => {
            report.ok(get, format!("allowed, and the current version cannot be used: {}", Failure::from(&error).code));
            Some(Timeline::of_current(key.clone(), None))
        }
        Err(error) => {
            let is_refused = report.refused(get, &error, &read, Some(&create)) == State::Failure;
            if !is_refused || !Failure::from(&error).is(403) {
                return;
            }
            None
        }
    };
    let Some(timeline) = timeline(key, current, (&client, transport), (&read, principal), report).await else { return };
    let signing = timeline.versions.iter().find(|version| timeline.signing.as_ref() == Some(&version.kid));
    let Some(signing) = signing else {
        let remedy = format!(
            "az keyvault key set-attributes --vault-name {vault_name} -n {} --enabled true, or rotate it",
            key.name
        );
        return report.failure(format!("{name} state"), "no version is enabled and within its time", remedy);
    };
    let public = match &signing.public {
        Ok(public) => public,
        Err(why) => return report.failure(format!("{name} state"), why.clone(), create),
    };
    let rotate = format!("az keyvault key rotate --vault-name {vault_name} -n {}", key.name);
    check_state(&name, signing, public, &rotate, report);
    let algorithm = places.algorithm.unwrap_or_else(|| public.default_algorithm());
    if !public.can(algorithm) {
        let remedy = format!("unset SIGNET_ALGORITHM, or name one of an {} key's", public.kind());
        return report.failure(
            format!("{name} algorithm"),
            format!("{} does not fit an {} key", algorithm.name(), public.kind()),
            remedy,
        );
    }
    if options.no_sign {
        report.ok(format!("{name} sign"), "not tried: --no-sign");
    } else {
        let sign = Right { app: &signer, operator: None, scope: &scope }.lack(principal);
        check_sign(&name, &client, (signing, public, algorithm), &sign, report).await;
    }
    check_publication(&name, signing, public, published, report);
    check_rotation(&name, &client, key, report).await;
}

/// The versions that the handler would choose from; `None` where none can be looked at. `current` is what `get` has shown.
async fn timeline(
    key: &KeyIdentifier,
    current: Option<Timeline>,
    (client, transport): (&KeyClient, &Transport),
    (read, principal): (&Lack, &Principal),
    report: &mut Report,
) -> Option<Timeline> {
    let name = key.without_version();
    let list = format!("{name} list versions");
    let Err(error) = patiently(async || vault::list(client, &key.name).await).await else {
        report.ok(list, "allowed");
        return match Timeline::read(key.clone(), transport).await {
            Ok(timeline) => Some(timeline),
            Err(why) => {
                report.unknown(format!("{name} versions"), why.to_string());
                None
            }
        };
    };
    let is_forbidden = Failure::from(&error).is(403);
    match read {
        Lack::Fault(role) if is_forbidden && principal.asker != Some(Asker::Operator) => {
            let detail = "not allowed: a rotation is followed by the vault's current version alone";
            report.warning(list, detail, role);
        }
        read => {
            report.refused(list, &error, read, None);
        }
    }
    // The handler goes on with what it may see, and so must all that is tried of it.
    current.filter(|_| is_forbidden)
}

fn check_state(name: &str, signing: &KeyVersion, public: &PublicKey, rotate: &str, report: &mut Report) {
    let ends = signing.expires.map_or_else(|| "no expiry".to_owned(), |at| format!("expires {}", moment::written(at)));
    let detail = format!("{}, version {} signs, {ends}", public.kind(), signing.version);
    match signing.expires {
        Some(at) if at - OffsetDateTime::now_utc() < SOON => report.warning(format!("{name} state"), detail, rotate),
        _ => report.ok(format!("{name} state"), detail),
    }
}

async fn check_sign(
    name: &str,
    client: &KeyClient,
    (signing, public, algorithm): (&KeyVersion, &PublicKey, Algorithm),
    lack: &Lack,
    report: &mut Report,
) {
    let name = format!("{name} sign");
    let digest = algorithm.hash().digest(&[HARMLESS]);
    let signed = patiently(async || {
        let parameters = SignParameters { algorithm: algorithm.name().parse().ok(), value: Some(digest.clone()) };
        let options =
            KeyClientSignOptions { key_version: Some(signing.version.clone()), ..KeyClientSignOptions::default() };
        let key = signing.kid.rsplit('/').nth(1).unwrap_or_default();
        client.sign(key, parameters.try_into()?, Some(options)).await?.into_model()
    });
    match signed.await {
        Ok(signed) if public.verify(algorithm, &digest, signed.result.as_deref().unwrap_or_default()).is_ok() => {
            report.ok(
                name,
                format!(
                    "a digest of \"{}\" with {}, and verified{}",
                    "signet doctor: this is no document",
                    algorithm.name(),
                    if *lack == Lack::NotYours { ", which only the app needs" } else { "" }
                ),
            );
        }
        Ok(_) => {
            report.failure(name, "the vault's signature does not verify with the key", "ask whoever runs the vault");
        }
        Err(error) => {
            report.refused(name, &error, lack, None);
        }
    }
}

fn check_publication(
    name: &str,
    signing: &KeyVersion,
    public: &PublicKey,
    published: Option<&JwkSet>,
    report: &mut Report,
) {
    let name = format!("{name} published");
    match published.map(|set| set.publication(&signing.kid, public)) {
        None => report.unknown(name, "the key set cannot be read"),
        Some(Publication::Published) => report.ok(name, "verifiers find it"),
        Some(Publication::Missing) => {
            report.warning(name, "not yet; the handler does that before it signs", "signet keys --publish");
        }
        Some(Publication::Contradicted) => {
            report.failure(name, "another key has its name in the key set", "find out who wrote that, and remove it");
        }
    }
}

/// Few identities may read the policy, and none needs to.
async fn check_rotation(name: &str, client: &KeyClient, key: &KeyIdentifier, report: &mut Report) {
    let policy = async { client.get_key_rotation_policy(&key.name, None).await?.into_model() };
    let Ok(policy) = policy.await else {
        return report.ok(format!("{name} rotation"), "the policy cannot be read by this identity, which needs not");
    };
    let actions = policy.lifetime_actions.unwrap_or_default();
    let rotates = actions.iter().any(|action| {
        let kind = action.action.as_ref().and_then(|action| action.type_prop.as_ref());
        matches!(kind, Some(KeyRotationPolicyAction::Rotate))
    });
    report
        .ok(format!("{name} rotation"), if rotates { "by a policy" } else { "by nobody but you: there is no policy" });
}
