//! `signet doctor --pull`: where the handler pulls the queue itself there is one queue, and a role that is narrower.

use azure_core::Bytes;
use signet::local::{
    identity::OPERATOR,
    tap::{Exchange, Fault},
};

use super::{
    Findings, at_a_desk,
    operator::{as_a_person, run_with_azure_cli},
};
use crate::{tool::received, world::app_root};

const PULLER: &str = "[?starts_with(roleName, 'Signet puller')].name\\\" -o tsv)\\\" --assignee-object-id ";

fn refuse(method: &'static str) -> Fault {
    Fault::status(403).authenticated().method(method).path("/messages")
}

#[tokio::test]
async fn what_pull_needs_is_tried_and_nothing_of_the_hosts() {
    let (deployment, desk) = at_a_desk().await;
    let queue = deployment.queue_name.clone();
    let message = Bytes::from_static(b"<QueueMessage><MessageText>waits</MessageText></QueueMessage>");
    deployment.queue().expect("a queue").send_message(message.into(), None).await.expect("a message");
    deployment.taps.queue.clear();

    let root = app_root().await;
    let found = Findings::of(&desk, &["--pull", "--app", root.to_str().expect("a path")], 0).await;
    found.is("all", "ok", "by the word of handler ").is(&queue, "ok", "not tried");
    found.is(&format!("{queue} receive"), "ok", "not refused, in a request that is wrong on purpose: 400");
    found.is(&format!("{queue} update"), "ok", "wrong on purpose: MessageNotFound");
    found.is(&format!("{queue} delete"), "ok", "wrong on purpose: MessageNotFound");
    let text = format!("{:?}", found.0);
    assert!(!text.contains("poison") && !text.contains("host.json"), "{text}");
    // What a puller's role does not give is not asked for: it would be refused.
    let on_the_queue = |seen: &&Exchange| seen.path.contains(&format!("/{queue}"));
    let exchanges = deployment.taps.queue.exchanges();
    let exchanges: Vec<_> = exchanges.iter().filter(on_the_queue).collect();
    let methods: Vec<_> = exchanges.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PUT", "DELETE"], "{exchanges:?}");
    assert!(exchanges.iter().all(|seen| !seen.query.contains("peekonly") && !seen.query.contains("comp=")));

    // A message that waits is not taken from whoever pulls.
    assert_eq!(received(&deployment).await, ["waits"]);
}

#[tokio::test]
async fn each_right_that_a_puller_lacks_is_named_with_the_role_that_gives_no_more() {
    let (deployment, mut desk) = at_a_desk().await;
    let queue = deployment.queue_name.clone();
    for (method, what) in [("GET", "receive"), ("PUT", "update"), ("DELETE", "delete")] {
        deployment.taps.queue.fail(refuse(method));
        let found = Findings::of(&desk, &["--pull"], 1).await;
        let name = format!("{queue} {what}");
        assert_eq!(found.failures(), [name.as_str()], "{:?}", found.0);
        found.is(&name, "failure", PULLER).is(&name, "failure", &format!("/queues/{queue}\\\""));
        assert!(!found.check(&name).to_string().contains("Storage Queue Data"), "{:?}", found.0);
        deployment.taps.queue.heal();
    }
    deployment.taps.identity.fail(Fault::status(400));
    let found = Findings::of(&desk, &["--pull"], 1).await;
    found.is("token for https://storage.azure.com", "failure", "az containerapp identity assign");
    deployment.taps.identity.heal();

    desk.settings.insert("SIGNET_QUEUE".to_owned(), format!("no-{queue}"));
    let found = Findings::of(&desk, &["--pull"], 1).await;
    found.is(&format!("no-{queue} delete"), "failure", &format!("--auth-mode login -n no-{queue}"));
    found.is(&format!("no-{queue} update"), "failure", "az storage queue create");
}

#[tokio::test]
async fn an_operator_is_asked_for_what_operators_need_and_no_poison_queue() {
    let (deployment, desk) = as_a_person().await;
    let queue = deployment.queue_name.clone();
    for method in ["PUT", "DELETE"] {
        deployment.taps.queue.fail(refuse(method));
    }
    let found = Findings::of(&desk, &["--pull"], 0).await;
    found.is(&queue, "ok", "there, with about 0").is(&format!("{queue} peek"), "ok", "allowed");
    found.is(&format!("{queue} add"), "ok", "wrong on purpose");
    assert_eq!(found.those("not-yours"), [format!("{queue} update"), format!("{queue} delete")], "{:?}", found.0);
    assert!(!format!("{:?}", found.0).contains("poison"), "{:?}", found.0);

    // To whoever wants the app's rights, the command gives the deployment's own role, and a shell makes of it what is meant.
    let found = Findings::of(&desk, &["--pull", "--as", "app"], 1).await;
    assert_eq!(found.failures(), [format!("{queue} update"), format!("{queue} delete")], "{:?}", found.0);
    let command = found.check(&format!("{queue} update"))["remedy"].as_str().expect("a command");
    let account = "storage account show -n devstoreaccount1 --query";
    let id = OPERATOR.object_id;
    let answers = [
        (format!("{account} resourceGroup -o tsv"), "rg"),
        (format!("{account} id -o tsv"), "/account"),
        (
            "role definition list --custom-role-only true -g rg --query [?starts_with(roleName, 'Signet puller')].name -o tsv"
                .to_owned(),
            "0-1",
        ),
        (
            format!(
                "role assignment create --role 0-1 --assignee-object-id {id} --assignee-principal-type User \
                 --scope /account/queueServices/default/queues/{queue}"
            ),
            "given",
        ),
    ];
    assert_eq!(run_with_azure_cli(&desk, command, &answers), "given\n");

    // Azure CLI answers with tokens no more: from here on, another desk.
    let (deployment, desk) = as_a_person().await;
    let queue = deployment.queue_name.clone();
    deployment.taps.queue.fail(refuse("GET"));
    let found = Findings::of(&desk, &["--pull"], 1).await;
    assert_eq!(found.failures(), [format!("{queue} peek")], "{:?}", found.0);
    found.is(&format!("{queue} peek"), "failure", "Storage Queue Data Reader");
    found.is(&format!("{queue} receive"), "not-yours", "the app's right");
}

#[tokio::test]
async fn settings_of_pull_are_judged_by_the_handler_and_alike_by_the_tool() {
    let (_deployment, mut desk) = at_a_desk().await;
    let root = app_root().await;
    let root = root.to_str().expect("a path");
    let bad = [
        ("SIGNET_HEALTH", "8080"),
        ("SIGNET_LEASE", "14"),
        ("SIGNET_DRAIN", "601"),
        ("SIGNET_POLL", "0"),
        ("SIGNET_ATTEMPTS", "10001"),
        ("SIGNET_EXIT_WHEN_IDLE", "86401"),
    ];
    for (name, value) in bad {
        desk.settings.insert(name.to_owned(), value.to_owned());
    }
    let by_the_handler = Findings::of(&desk, &["--pull", "--app", root], 1).await;
    by_the_handler.is("SIGNET_HEALTH", "failure", "must be address:port").is("SIGNET_LEASE", "failure", "15 to 600");
    by_the_handler.is("SIGNET_EXIT_WHEN_IDLE", "failure", "seconds from 1 to 86400");
    assert_eq!(by_the_handler.failures(), bad.map(|(name, _)| name));
    let by_the_tool = Findings::of(&desk, &["--pull"], 1).await;
    assert_eq!(by_the_tool.failures(), bad.map(|(name, _)| name));
    // They are no settings of a handler behind a host.
    Findings::of(&desk, &[], 0).await.is("all", "ok", "well-formed");

    let least = ["[::1]:80", "15", "0", "1", "1", "1"];
    let most = ["0.0.0.0:8080", "600", "600", "600", "10000", "86400"];
    for values in [least, most] {
        for ((name, _), value) in bad.iter().zip(values) {
            desk.settings.insert((*name).to_owned(), value.to_owned());
        }
        Findings::of(&desk, &["--pull", "--app", root], 0).await.is("all", "ok", "by the word of handler ");
        Findings::of(&desk, &["--pull"], 0).await.is("all", "ok", "by this tool's reading");
    }
}
