//! `signet doctor` as it is run by people and pipelines: what the app alone needs is not theirs to have.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::json;
use signet::local::{
    identity::{OPERATOR, USER_ASSIGNED},
    stack::Deployment,
    tap::Fault,
    vault::AUDIENCE,
};

use super::{Findings, at_a_desk};
use crate::tool::Desk;

/// A person at a desk: signed in to Azure CLI, of which this is what credentials need.
pub(super) async fn as_a_person() -> (Deployment, Desk) {
    let (deployment, desk) = at_a_desk().await;
    let desk = signed_in(&deployment, desk, |resource| deployment.issuer.issue_to_person(&OPERATOR, resource));
    (deployment, desk)
}

/// Puts tokens where Azure CLI is looked for, and takes the platform's endpoint away.
fn signed_in(deployment: &Deployment, mut desk: Desk, issue: impl Fn(&str) -> (String, u64)) -> Desk {
    let answer = |resource| {
        let (token, expires_on) = issue(resource);
        json!({ "accessToken": token, "expires_on": expires_on, "tokenType": "Bearer" })
    };
    let (storage, vault) = (answer("https://storage.azure.com"), answer(AUDIENCE));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*storage.azure.com*) echo '{storage}' ;;\n*{AUDIENCE}*) echo '{vault}' ;;\n*) exit 1 ;;\nesac\n"
    );
    executable(&desk, "az", &script);
    desk.settings = deployment.settings(&desk.settings["SIGNET_KEY"]);
    desk.settings.retain(|name, _| !name.starts_with("IDENTITY_"));
    let here = desk.path("").display().to_string();
    desk.settings.insert("PATH".to_owned(), format!("{here}:/usr/bin:/bin"));
    desk
}

/// Refuses everything that the deployment gives to the app alone.
fn refuse_the_apps_rights(deployment: &Deployment) {
    let refuse = || Fault::status(403).authenticated();
    let taps = &deployment.taps;
    taps.vault.fail(refuse().method("POST").path("/sign"));
    taps.blob.fail(refuse().method("PUT"));
    taps.blob.fail(refuse().path("-uploads"));
    taps.queue.fail(refuse().method("PUT"));
    taps.queue.fail(refuse().method("DELETE"));
    taps.queue.fail(refuse().method("POST").path("-poison/messages"));
}

#[tokio::test]
async fn a_person_who_lacks_what_is_the_apps_alone_is_told_that_this_is_as_it_should_be() {
    let (deployment, desk) = as_a_person().await;
    deployment
        .queues()
        .expect("queues")
        .queue_client(&format!("{}-poison", deployment.queue_name))
        .expect("a client")
        .create(None)
        .await
        .expect("a queue");
    // Who has a right that they do not need is told so.
    let found = Findings::of(&desk, &[], 0).await;
    found.is("signing sign", "ok", "which only the app needs");
    assert!(found.those("not-yours").is_empty(), "{:?}", found.0);

    refuse_the_apps_rights(&deployment);
    let found = Findings::of(&desk, &[], 0).await;
    found.is("who asks", "ok", "signed in to Azure CLI").is("asks as", "ok", "an operator, by the token");
    found.is("token for https://storage.azure.com", "ok", OPERATOR.name);
    let queue = &deployment.queue_name;
    let not_yours = found.those("not-yours");
    let endings =
        ["signing sign", "-signed create", "-rejected create", "-uploads read"].map(str::to_owned).into_iter();
    let on_queues = [("", "update"), ("", "delete"), ("-poison", "add"), ("-poison", "update"), ("-poison", "delete")];
    let endings: Vec<String> =
        endings.chain(on_queues.map(|(poison, what)| format!("{queue}{poison} {what}"))).collect();
    assert_eq!(not_yours.len(), endings.len(), "{not_yours:?}");
    assert!(endings.iter().all(|ending| not_yours.iter().any(|name| name.ends_with(ending))), "{not_yours:?}");
    found.is("signing sign", "not-yours", "as it should be: this is the app's right");
    found.is("signing get", "ok", "").is("-signed read", "ok", "").is("-rejected read", "ok", "");
    found.is(&format!("{queue} add"), "ok", "wrong on purpose");
    let ran = desk.run(&["doctor"]).await.exits(0, "9 rights are the app's and not yours");
    assert!(!ran.stdout.contains("role assignment"), "{ran:?}");
    assert_eq!(desk.run(&["doctor", "--json"]).await.json()["as"], "operator");

    // Whoever wants the app's rights says so, and is told how to get them, as in an environment for development.
    let found = Findings::of(&desk, &["--as", "app"], 1).await;
    found.is("asks as", "ok", "the app, by --as").is("signing sign", "failure", "Signet signer");
    found.is("signing sign", "failure", &format!("{} --assignee-principal-type User", OPERATOR.object_id));
    assert_eq!((found.failures().len(), found.those("not-yours").len()), (9, 0), "{:?}", found.0);
    let command = found.check("signing sign")["remedy"].as_str().expect("a command");
    let id = OPERATOR.object_id;
    let answers = [
        ("keyvault show -n dev --query resourceGroup -o tsv".to_owned(), "rg"),
        ("keyvault show -n dev --query id -o tsv".to_owned(), "/dev"),
        (
            "role definition list --custom-role-only true -g rg --query [?starts_with(roleName, 'Signet signer')].name -o tsv"
                .to_owned(),
            "0-1",
        ),
        (
            format!(
                "role assignment create --role 0-1 --assignee-object-id {id} --assignee-principal-type User \
                 --scope /dev/keys/signing"
            ),
            "given",
        ),
    ];
    assert_eq!(run_with_azure_cli(&desk, command, &answers), "given\n");
}

/// What a shell makes of a command, where Azure CLI answers these questions, as for a deployment of infra, and no others.
pub(super) fn run_with_azure_cli(desk: &Desk, command: &str, answers: &[(String, &str)]) -> String {
    let cases: Vec<String> = answers.iter().map(|(asked, answer)| format!("\"{asked}\") echo {answer} ;;\n")).collect();
    let cases = cases.concat();
    let script = format!("#!/bin/sh\ncase \"$*\" in\n{cases}*) echo \"$*\" >&2; exit 1 ;;\nesac\n");
    executable(desk, "az", &script);
    let mut shell = Command::new("/bin/sh");
    let ran = shell.args(["-c", command]).env("PATH", &desk.settings["PATH"]).output().expect("a shell");
    assert!(ran.status.success(), "{command}: {ran:?}");
    String::from_utf8(ran.stdout).expect("text")
}

fn executable(desk: &Desk, name: &str, script: &str) {
    desk.write(name, script);
    fs::set_permissions(desk.path(name), fs::Permissions::from_mode(0o755)).expect("a file");
}

#[tokio::test]
async fn what_an_operator_needs_is_named_with_the_role_that_gives_no_more() {
    let (deployment, desk) = as_a_person().await;
    let queue = deployment.queue_name.clone();
    let refuse = |method: &'static str, path: &str| Fault::status(403).authenticated().method(method).path(path);
    let taps = &deployment.taps;
    let (key, work) = ("keys/signing", format!("/queues/{queue}\\\""));
    for (tap, fault, failing, role, scope) in [
        (
            &taps.vault,
            refuse("GET", "/keys/signing"),
            vec!["signing get", "signing list versions"],
            "Key Vault Reader",
            key,
        ),
        (&taps.vault, refuse("GET", "/versions"), vec!["signing list versions"], "Key Vault Reader", key),
        (&taps.blob, refuse("GET", "-signed"), vec!["-signed read"], "Storage Blob Data Reader", "-signed"),
        (&taps.blob, refuse("GET", "-rejected"), vec!["-rejected read"], "Storage Blob Data Reader", "-rejected"),
        (
            &taps.queue,
            refuse("GET", "/messages"),
            vec![" peek", "-poison peek"],
            "Storage Queue Data Reader",
            queue.as_str(),
        ),
        (&taps.queue, refuse("POST", "/messages"), vec![" add"], "Storage Queue Data Message Sender", work.as_str()),
    ] {
        tap.fail(fault);
        let found = Findings::of(&desk, &[], 1).await;
        let failures = found.failures();
        assert_eq!(failures.len(), failing.len(), "{:?}", found.0);
        for (name, ending) in failures.iter().zip(failing) {
            assert!(name.ends_with(ending), "{name}: {ending}");
            found.is(name, "failure", &format!("--role \\\"{role}\\\" --assignee-object-id {}", OPERATOR.object_id));
            found.is(name, "failure", scope);
        }
        if failures[0].ends_with("signing list versions") {
            found.is("signing sign", "ok", "which only the app needs");
        }
        tap.heal();
    }
}

#[tokio::test]
async fn of_an_application_that_is_signed_in_as_people_are_it_cannot_be_told_who_it_is() {
    let (deployment, desk) = at_a_desk().await;
    let desk = signed_in(&deployment, desk, |resource| deployment.issuer.issue(&USER_ASSIGNED, resource));
    let found = Findings::of(&desk, &[], 0).await;
    found.is("asks as", "warning", "--as operator");
    refuse_the_apps_rights(&deployment);
    let found = Findings::of(&desk, &[], 2).await;
    found.is("signing sign", "unknown", "--as app or --as operator");
    assert_eq!((found.failures().len(), found.those("unknown").len()), (0, 9), "{:?}", found.0);
    let ran = desk.run(&["doctor", "--json"]).await;
    assert!(!ran.stdout.contains("role assignment") && ran.json()["as"].is_null(), "{ran:?}");
    Findings::of(&desk, &["--as", "operator"], 0).await.is("signing sign", "not-yours", "the app's right");
    let found = Findings::of(&desk, &["--as", "app"], 1).await;
    found.is("signing sign", "failure", &format!("{} --assignee-principal-type Service", USER_ASSIGNED.object_id));

    deployment.taps.vault.fail(Fault::status(403).authenticated().method("GET").path("/keys/signing"));
    Findings::of(&desk, &[], 1).await.is("signing get", "failure", "--as app or --as operator");
}
