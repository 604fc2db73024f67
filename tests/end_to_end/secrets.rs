//! No token, header or payload in the output, at any log level.

use std::time::Duration;

use signet::local::tap::{Action, Fault};

use crate::{
    tool::Desk,
    world::{Setup, World, deployment},
};

const CANARY: &str = "canary-5f1d0c9e";

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    for level in ["info", "debug", "trace"] {
        let world = World::cold(Setup::default().setting("RUST_LOG", level)).await;
        // Failures are where carelessness shows: a refused identity header, a refused token, odd answers.
        let odd = Action::respond(500, &[], format!(r#"{{"access_token":"{CANARY}"}}"#));
        world.deployment.taps.identity.fail(Fault::new(odd).times(1));
        world.host.ready().await.expect("a handler");
        world.logged("ready").await;
        world.deployment.issuer.revoke_all();
        let good = format!(r#"{{"id":"a","payload":{{"secret":"{CANARY}"}}}}"#);
        assert!(world.sign(&good).await.outcome.succeeded());
        for message in [
            format!(r#"{{"id":"b","payload":"{CANARY}","format":"pdf"}}"#),
            format!(r#""{CANARY}""#),
            format!("{CANARY} no JSON"),
            format!(r#"{{"payload":"{CANARY}","contentType":7}}"#),
        ] {
            assert!(world.sign(&message).await.outcome.succeeded(), "a rejection");
        }
        let truncated = Fault::new(Action::Truncate { bytes: 20 }).method("POST").path("/sign").times(1);
        world.deployment.taps.vault.fail(truncated);
        assert!(world.sign(r#"{"id":"c","payload":1}"#).await.outcome.succeeded());
        let body = format!(r#"{{"Data":{{"message":"{CANARY}","other":"{CANARY}"}}}}"#);
        let reply = world.host.invoke("sign", signet::local::host::Post::Body(body.into())).await;
        assert_eq!(reply.status, Some(400));

        tokio::time::sleep(Duration::from_millis(200)).await;
        let header = world.deployment.settings(&world.key)["IDENTITY_HEADER"].clone();
        let log = world.host.log();
        assert!(log.len() > 5, "{log:?}");
        // Every token of the local issuer is a JWT, and every JWT begins like this.
        for secret in [CANARY, header.as_str(), "eyJ", "Bearer ey"] {
            let leak = log.iter().find(|line| line.text.contains(secret));
            assert!(leak.is_none(), "{level}: {secret} in {leak:?}");
        }
    }
}

/// A URL with a SAS is a secret; and no identity is asked for where one is given.
#[tokio::test]
async fn no_verb_takes_a_url_with_a_signature_or_repeats_it() {
    let deployment = deployment().await;
    let settings = deployment.settings("https://unused.vault.localhost/keys/unused");
    let (results, rejected, service) = ("SIGNET_RESULTS", "SIGNET_REJECTED", "WorkQueue__queueServiceUri");
    for (setting, arguments) in [
        (results, &["verify", "item.json"][..]),
        (results, &["keys"]),
        (results, &["keys", "--publish"]),
        (results, &["keys", "--unpublish", "x"]),
        (results, &["rejected", "list"]),
        (results, &["smoke"]),
        (rejected, &["rejected", "list"]),
        (rejected, &["rejected", "list", "--json"]),
        (rejected, &["rejected", "show", "x"]),
        (rejected, &["rejected", "replay", "--all"]),
        (rejected, &["smoke"]),
        (service, &["send", "item.json"]),
        (service, &["rejected", "replay", "--all"]),
        (service, &["smoke"]),
        ("SIGNET_KEY", &["keys"]),
        (results, &["doctor"]),
        ("SIGNET_SOURCES", &["doctor", "--json"]),
    ] {
        let mut desk = Desk::new(settings.clone());
        desk.write("item.json", r#"{"payload":1}"#);
        if setting == results {
            // Else the records have a container of their own.
            desk.settings.remove(rejected);
        }
        let value = desk.settings[setting].clone();
        for query in [format!("?sv=2026-01-01&sig={CANARY}"), format!("#{CANARY}")] {
            desk.settings.insert(setting.to_owned(), format!("{value}{query}"));
            let ran = desk.run(arguments).await;
            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code, Some(if arguments[0] == "doctor" { 1 } else { 2 }), "{arguments:?}: {ran:?}");
            assert!(told.contains(setting) && told.contains("no SAS"), "{setting}, {arguments:?}: {told}");
            assert!(!told.contains(CANARY), "{setting}, {arguments:?}: {told}");
        }
        desk.settings.insert(setting.to_owned(), format!("https://{CANARY}@no url"));
        let ran = desk.run(arguments).await;
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(CANARY), "{setting}, {arguments:?}: {ran:?}");
    }
}
