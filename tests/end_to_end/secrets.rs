//! No token, header or payload in the output, at any log level.

use std::time::Duration;

use signet::local::tap::{Action, Fault};

use crate::world::{Setup, World};

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
