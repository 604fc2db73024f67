//! `signet doctor`: all is well where it is, and each thing that is not is named with what mends it.

#[cfg(unix)]
mod operator;
#[cfg(unix)]
mod pulled;

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use signet::local::{
    app::AppRoot,
    certificates::{Certificates, LOCAL_NAMES},
    stack::{Deployment, VAULT},
    tap::{Action, Exchange, Fault},
    vault::{Attributes, KeySpec},
};

use crate::{
    tool::{Desk, Ran, received},
    world::{World, app_root, deployment},
};

/// A deployment with a key, and a desk at it.
async fn at_a_desk() -> (Deployment, Desk) {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let desk = Desk::new(deployment.settings(&key));
    (deployment, desk)
}

/// What the doctor says of a deployment, check by check.
struct Findings(Vec<Value>);

impl Findings {
    async fn of(desk: &Desk, arguments: &[&str], code: i32) -> Self {
        let ran = desk.run(&[&["doctor", "--json"], arguments].concat()).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_secret_free(&ran, desk);
        let found = ran.json();
        let healthy = [Some(true), Some(false), None][usize::try_from(code).expect("a code")];
        assert_eq!(found["healthy"], json!(healthy));
        Self(found["checks"].as_array().expect("checks").clone())
    }

    /// The check whose name ends so.
    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|check| check["check"].as_str().expect("a name").ends_with(name));
        found.unwrap_or_else(|| panic!("no check {name}: {:?}", self.0))
    }

    #[track_caller]
    fn is(&self, name: &str, state: &str, says: &str) -> &Self {
        let check = self.check(name);
        assert_eq!(check["state"], state, "{check}");
        assert!(check.to_string().contains(says), "{says}: {check}");
        self
    }

    fn failures(&self) -> Vec<&str> {
        self.those("failure")
    }

    fn those(&self, state: &str) -> Vec<&str> {
        let those = self.0.iter().filter(|check| check["state"] == state);
        those.map(|check| check["check"].as_str().expect("a name")).collect()
    }
}

#[track_caller]
fn assert_secret_free(ran: &Ran, desk: &Desk) {
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!told.contains("eyJ") && !told.contains("Bearer"), "{told}");
    assert!(desk.settings.get("IDENTITY_HEADER").is_none_or(|secret| !told.contains(secret)), "{told}");
}

#[tokio::test]
async fn a_sound_deployment_is_healthy_and_stays_as_it_was() {
    let world = World::start().await;
    let desk = Desk::of(&world);
    let root = app_root().await;
    let root = root.to_str().expect("a path");
    world.clear_taps();
    let found = Findings::of(&desk, &["--app", root], 0).await;
    found.is("all", "ok", "by the word of handler ");
    found.is("functionTimeout", "ok", "300 s").is("maxDequeueCount", "ok", "1000 attempts, in 500 min");
    found.is("bin/handler", "ok", "executable").is("who asks", "ok", "managed identity");
    found.is("asks as", "ok", "the app, by the token");
    found.is("token for https://storage.azure.com", "ok", "object id");
    found.is("signing sign", "ok", "ES256, and verified\"").is("signing published", "ok", "verifiers find it");
    found.is("signing state", "ok", "no expiry").is("signing rotation", "ok", "");
    found.is("-signed create", "ok", ".signet-doctor/").is("-signed delete", "ok", "gone");
    found.is("-rejected create", "ok", "").is("-rejected delete", "ok", "gone").is("-uploads read", "ok", "allowed");
    let queue = &world.deployment.queue_name;
    found.is(queue, "ok", "there, with about 0").is(&format!("{queue}-poison"), "warning", "the host creates it");
    for what in ["peek", "update", "delete"] {
        found.is(&format!("{queue} {what}"), "ok", "allowed");
        found.is(&format!("{queue}-poison {what}"), "ok", "allowed");
    }
    found.is(&format!("{queue}-poison add"), "ok", "wrong on purpose");
    let mut others = found.0.iter().filter(|check| check["check"] != format!("{queue}-poison"));
    assert!(others.all(|check| check["state"] == "ok"), "{:?}", found.0);

    // Nothing is left, and nothing was put on a queue.
    assert!(received(&world.deployment).await.is_empty());
    assert!(world.result_names().await.is_empty() && world.rejections().await.is_empty());
    let posts = |seen: &Exchange| seen.method == "POST" && seen.status == Some(201);
    assert_eq!(world.deployment.taps.queue.count(posts), 0);

    let ran = desk.run(&["doctor", "--no-sign", "--no-write"]).await.exits(0, "0 failed, 0 could not be told");
    assert_secret_free(&ran, &desk);
    assert!(ran.stdout.contains("not tried: --no-sign") && !ran.stdout.contains(" create:"), "{ran:?}");
}

#[tokio::test]
async fn each_missing_right_is_named_with_the_command_that_gives_it() {
    let (deployment, desk) = at_a_desk().await;
    let queue = deployment.queue_name.clone();
    let taps = &deployment.taps;
    let refuse = || Fault::status(403).authenticated();
    let vault_role = "[?starts_with(roleName, 'Signet signer')].name\\\" -o tsv)\\\" --assignee-object-id ";
    let key_scope = "$(az keyvault show -n dev --query id -o tsv)/keys/signing";
    let failing = async |fault: Fault, name: &str, says: &str| {
        let tap = match name {
            _ if name.contains("signing") => &taps.vault,
            _ if name.starts_with('-') => &taps.blob,
            _ => &taps.queue,
        };
        tap.fail(fault);
        let found = Findings::of(&desk, &[], 1).await;
        found.is(name, "failure", says);
        tap.heal();
        found
    };
    let found = failing(refuse().method("POST").path("/sign"), "signing sign", vault_role).await;
    found.is("signing sign", "failure", key_scope);
    assert_eq!(found.failures().len(), 1, "{:?}", found.0);
    failing(refuse().method("GET").path("/keys/signing"), "signing get", vault_role).await;

    let blob_role = "Storage Blob Data Contributor";
    let list = |path: &str| refuse().method("GET").path(path);
    failing(list("-signed"), "-signed read", blob_role).await;
    failing(list("-rejected"), "-rejected read", blob_role).await;
    failing(list("-uploads"), "-uploads read", "Storage Blob Data Reader").await;
    let put = |path: &str| refuse().method("PUT").path(path);
    let found = failing(put("-signed/"), "-signed create", "/blobServices/default/containers/").await;
    assert_eq!(found.failures().len(), 1, "{:?}", found.0);
    failing(put("-rejected/"), "-rejected create", blob_role).await;

    let queue_role = "Storage Queue Data Contributor";
    for (method, what) in [("GET", "peek"), ("POST", "add"), ("PUT", "update"), ("DELETE", "delete")] {
        let poison = format!("{queue}-poison {what}");
        let found = failing(refuse().method(method).path("/messages"), &poison, queue_role).await;
        let work = format!("{queue} {what}");
        let expected = if what == "add" { vec![poison.as_str()] } else { vec![work.as_str(), &poison] };
        assert_eq!(found.failures(), expected, "{:?}", found.0);
    }
    let rules = Action::respond(403, &[("x-ms-error-code", "AuthorizationFailure")], "");
    failing(Fault::new(rules).method("GET").path("-uploads"), "-uploads read", "network rules").await;
}

#[tokio::test]
async fn what_is_not_there_is_named_with_the_command_that_makes_it() {
    let (deployment, mut desk) = at_a_desk().await;
    for (setting, ending) in [("SIGNET_RESULTS", "-signed"), ("SIGNET_QUEUE", "")] {
        let name = format!("{}{ending}", deployment.queue_name);
        let value = desk.settings[setting].replace(&name, &format!("no-{name}"));
        desk.settings.insert(setting.to_owned(), value);
    }
    let key = deployment.key_url(VAULT, "nothing");
    desk.settings.insert("SIGNET_KEY".to_owned(), key);
    let found = Findings::of(&desk, &[], 1).await;
    found.is("-signed read", "failure", "az storage container create --account-name devstoreaccount1");
    found.is(&format!("no-{}", deployment.queue_name), "failure", "az storage queue create");
    found.is("nothing get", "failure", "az keyvault key create --vault-name dev -n nothing");

    desk.settings.insert("SIGNET_SOURCES".to_owned(), "https://nowhere.invalid/in".to_owned());
    let found = Findings::of(&desk, &[], 1).await;
    found.is("nowhere.invalid", "failure", "its name does not resolve");
    assert!(found.0.iter().all(|check| !check["check"].as_str().expect("a name").starts_with("SIGNET_SOURCES")));
}

#[tokio::test]
async fn keys_that_will_not_sign_for_long_are_named() {
    let (deployment, mut desk) = at_a_desk().await;
    let found = Findings::of(&desk, &[], 0).await;
    found.is("signing published", "warning", "signet keys --publish");
    desk.settings.insert("SIGNET_ALGORITHM".to_owned(), "RS256".to_owned());
    Findings::of(&desk, &[], 1).await.is("signing algorithm", "failure", "RS256 does not fit an EC P-256 key");
    desk.settings.remove("SIGNET_ALGORITHM");

    deployment.taps.vault.fail(Fault::status(403).authenticated().path("/versions"));
    Findings::of(&desk, &[], 0).await.is("signing list versions", "warning", "Signet signer");
    deployment.taps.vault.heal();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let soon = Attributes { exp: Some(now + 10 * 24 * 60 * 60), ..Attributes::default() };
    deployment.vault.update_attributes(VAULT, "signing", None, soon).expect("a version");
    Findings::of(&desk, &[], 0).await.is(
        "signing state",
        "warning",
        "az keyvault key rotate --vault-name dev -n signing",
    );
    let disabled = Attributes { enabled: Some(false), ..Attributes::default() };
    deployment.vault.update_attributes(VAULT, "signing", None, disabled).expect("a version");
    Findings::of(&desk, &[], 1).await.is("signing state", "failure", "no version is enabled");
}

#[tokio::test]
async fn without_the_list_of_versions_all_else_is_tried_with_the_one_that_may_be_read() {
    let (deployment, mut desk) = at_a_desk().await;
    let vault = &deployment.taps.vault;
    let refuse = || Fault::status(403).authenticated();
    vault.fail(refuse().path("/versions"));
    let found = Findings::of(&desk, &[], 0).await;
    found.is("signing list versions", "warning", "current version alone").is("signing state", "ok", "no expiry");
    found.is("signing sign", "ok", "ES256, and verified").is("signing published", "warning", "signet keys --publish");
    found.is("signing rotation", "ok", "");

    let sign = vault.fail(refuse().method("POST").path("/sign"));
    let found = Findings::of(&desk, &[], 1).await;
    found.is("signing list versions", "warning", "").is("signing sign", "failure", "Signet signer");
    vault.remove(sign);
    desk.settings.insert("SIGNET_ALGORITHM".to_owned(), "RS256".to_owned());
    Findings::of(&desk, &[], 1).await.is("signing algorithm", "failure", "RS256 does not fit an EC P-256 key");
    desk.settings.remove("SIGNET_ALGORITHM");

    let disabled = Attributes { enabled: Some(false), ..Attributes::default() };
    deployment.vault.update_attributes(VAULT, "signing", None, disabled).expect("a version");
    let found = Findings::of(&desk, &[], 1).await;
    found.is("signing get", "ok", "allowed").is("signing state", "failure", "no version is enabled");
}

#[tokio::test]
async fn identities_clocks_and_certificates_are_looked_at() {
    let (deployment, mut desk) = at_a_desk().await;
    deployment.taps.identity.fail(Fault::status(400));
    let found = Findings::of(&desk, &[], 1).await;
    found.is("token for https://storage.azure.com", "failure", "az functionapp identity assign");
    assert_eq!(found.failures().len(), 2, "{:?}", found.0);
    deployment.taps.identity.heal();

    let date = |date: &'static str| {
        Action::alter(move |mut response| {
            response.headers_mut().insert("date", date.parse().expect("a header"));
            response
        })
    };
    deployment.taps.queue.fail(Fault::new(date("Sat, 01 Jan 2000 00:00:00 GMT")).unauthenticated());
    Findings::of(&desk, &[], 1).await.is("clock", "failure", "ahead of that of devstoreaccount1.queue.localhost");
    deployment.taps.queue.heal();

    // A service that fails by itself says nothing of what is allowed.
    deployment.taps.queue.fail(Fault::status(503).method("DELETE"));
    let found = Findings::of(&desk, &[], 2).await;
    found.is(&format!("{} delete", deployment.queue_name), "unknown", "503");
    deployment.taps.queue.heal();

    // What can be created and not be deleted is left, and that is no fault.
    let kept = Action::respond(409, &[("x-ms-error-code", "BlobImmutableDueToPolicy")], "");
    deployment.taps.blob.fail(Fault::new(kept).method("DELETE").path("-signed"));
    Findings::of(&desk, &[], 0).await.is("-signed delete", "ok", "BlobImmutableDueToPolicy");
    deployment.taps.blob.heal();

    // A lost answer is no doubt of the right, and leaves no probe.
    let lost = Fault::new(Action::ResetAfter).method("PUT").path("-signed/").times(1);
    let lost = deployment.taps.blob.fail(lost);
    Findings::of(&desk, &[], 0).await.is("-signed create", "ok", "allowed").is("-signed delete", "ok", "gone");
    assert_eq!(deployment.taps.blob.fired(lost), 1);
    deployment.taps.blob.heal();

    fs::create_dir(desk.path("other")).expect("a directory");
    let others = Certificates::generate(&LOCAL_NAMES).expect("certificates").write_to(&desk.path("other"));
    let authority = others.expect("files").authority.display().to_string();
    desk.settings.insert("SSL_CERT_FILE".to_owned(), authority);
    Findings::of(&desk, &[], 1).await.is("dev.vault.localhost", "failure", "SSL_CERT_FILE");
}

#[tokio::test]
async fn bad_settings_and_app_files_are_named() {
    let (deployment, mut desk) = at_a_desk().await;
    app_root().await;
    let root = desk.path("app");
    let checkout = AppRoot::find().expect("the checkout").directory().to_owned();
    for file in ["host.json", "sign/function.json", "poison/function.json", "bin/handler"] {
        fs::create_dir_all(root.join(file).parent().expect("a directory")).expect("a directory");
        fs::copy(checkout.join(file), root.join(file)).expect("a copy");
    }
    let app = root.to_str().expect("a path").to_owned();
    let arguments = ["--app", app.as_str(), "--no-write", "--no-sign"];
    Findings::of(&desk, &arguments, 0).await.is("all", "ok", "by the word of handler");

    desk.settings.insert("SIGNET_DEADLINE".to_owned(), "1.5".to_owned());
    desk.settings.insert("SIGNET_FORMAT".to_owned(), "pdf".to_owned());
    let by_the_handler = Findings::of(&desk, &arguments, 1).await;
    by_the_handler.is("SIGNET_DEADLINE", "failure", "must be a whole number of seconds from 1 to 240");
    by_the_handler.is("SIGNET_FORMAT", "failure", "use one of");
    let by_the_tool = Findings::of(&desk, &[], 1).await;
    assert_eq!(by_the_tool.failures(), by_the_handler.failures());
    desk.settings.remove("SIGNET_FORMAT");
    desk.settings.insert("SIGNET_DEADLINE".to_owned(), "240".to_owned());

    let edit = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root.join(file)).expect("a file");
        assert!(text.contains(from), "{text}");
        fs::write(root.join(file), text.replace(from, to)).expect("a file");
    };
    edit("host.json", "00:05:00", "00:04:00");
    edit("host.json", "\"messageEncoding\": \"none\"", "\"messageEncoding\": \"base64\"");
    edit("host.json", "\"maxDequeueCount\": 1000", "\"maxDequeueCount\": 2");
    edit("sign/function.json", ",\n      \"dataType\": \"binary\"", "");
    edit("poison/function.json", "-poison", "-other");
    not_executable(&root.join("bin/handler"));
    let found = Findings::of(&desk, &arguments, 1).await;
    found.is("functionTimeout", "failure", "240 s").is("messageEncoding", "failure", "host.json");
    found.is("maxDequeueCount", "failure", "2 attempts").is("sign", "failure", "dataType is not binary");
    found.is("poison", "failure", &format!("{}-poison", deployment.queue_name));
    found.is("bin/handler", "failure", "may not be executed");
    edit("host.json", "\"maxDequeueCount\": 2", "\"maxDequeueCount\": 5");
    fs::remove_file(root.join("bin/handler")).expect("a file");
    fs::remove_dir_all(root.join("sign")).expect("a directory");
    let found = Findings::of(&desk, &arguments, 1).await;
    found.is("maxDequeueCount", "warning", "an outage").is("sign", "failure", "no such function");
    found.is("bin/handler", "failure", "scripts/package");

    desk.settings.clear();
    let found = Findings::of(&desk, &[], 1).await;
    assert_eq!(found.failures(), ["SIGNET_KEY", "SIGNET_RESULTS", "SIGNET_QUEUE", "WorkQueue__queueServiceUri"]);
}

#[cfg(unix)]
fn not_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a file");
}
