//! `handler pull`: the same work where there is no Functions host.
#![cfg(unix)]

mod end;

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use azure_core::{base64, time::OffsetDateTime};
use azure_storage_queue::models::QueueClientReceiveMessagesOptions;
use futures::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signet::local::{
    puller::Puller,
    stack::VAULT,
    tap::{Action, Exchange, Fault},
    vault::{Attributes, KeySpec},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::{
    tool::signet,
    world::{Place, app_root, deployment, eventually},
};

type Settings = BTreeMap<String, String>;

/// A deployment, and what a replica is told.
struct Site {
    place: Place,
    settings: Settings,
}

impl Site {
    async fn prepare(settings: &[(&str, &str)]) -> Self {
        let deployment = Arc::new(deployment().await);
        let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
        let mut all = deployment.settings(&key);
        all.insert("SIGNET_POLL".to_owned(), "1".to_owned());
        for (name, value) in settings {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        Self { place: Place { deployment, key }, settings: all }
    }

    async fn replica(&self) -> Puller {
        let mut puller = self.starting().await;
        puller.ready().await.expect("a replica that is ready");
        puller
    }

    async fn starting(&self) -> Puller {
        Puller::start(&app_root().await.join("bin/handler"), &self.settings).expect("a replica")
    }

    /// Requests for one message: `PUT` renews or gives back, `DELETE` ends.
    fn requests(&self, method: &str) -> Vec<Exchange> {
        let mut seen = self.place.deployment.taps.queue.exchanges();
        seen.retain(|seen| seen.method == method && seen.path.contains("/messages/"));
        seen
    }

    /// Returns once nothing is in the queue, seen or unseen.
    async fn empty(&self) {
        eventually("an empty queue", async || (self.messages().await == 0).then_some(())).await;
    }

    async fn messages(&self) -> i32 {
        let queue = self.place.deployment.queue().expect("the queue");
        let properties = queue.get_properties(None).await.expect("its properties");
        let count = properties.headers().get_optional_str(&"x-ms-approximate-messages-count".into());
        count.and_then(|count| count.parse().ok()).expect("a count")
    }
}

fn item(id: &str) -> String {
    format!(r#"{{"id":"{id}","payload":1}}"#)
}

fn signal(puller: &Puller, signal: Signal) {
    let pid = puller.pid().expect("it runs").try_into().expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("a signal");
}

async fn says(puller: &Puller, text: &str) -> String {
    eventually(text, async || puller.log().into_iter().find(|line| line.contains(text))).await
}

/// A counter's value.
async fn counted(puller: &Puller, name: &str) -> u64 {
    let (status, text) = puller.get("/metrics").await.expect("an answer");
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.trim().parse().expect("a number")
}

fn visibility(exchange: &Exchange) -> u64 {
    let timeout = exchange.query.split('&').find_map(|pair| pair.strip_prefix("visibilitytimeout="));
    timeout.and_then(|seconds| seconds.parse().ok()).expect("a time")
}

#[tokio::test]
async fn what_is_queued_is_signed_or_recorded_and_deleted() {
    let site = Site::prepare(&[]).await;
    let puller = site.replica().await;
    assert_eq!(puller.get("/live").await.expect("an answer").0, 200);
    for number in 0..40 {
        site.place.enqueue(&item(&format!("item-{number}"))).await;
    }
    site.place.enqueue(r#"{"id":"odd","paylaod":1}"#).await;
    site.empty().await;
    assert_eq!(site.place.result_names().await.len(), 40);
    let record = site.place.rejection().await;
    assert_eq!((&record["reason"], &record["id"]), (&"invalid-work-item".into(), &"odd".into()));
    assert_eq!(site.place.sign_requests(), 40);
    assert_eq!(counted(&puller, r#"signet_deliveries_total{outcome="done"}"#).await, 40);
    assert_eq!(counted(&puller, r#"signet_deliveries_total{outcome="rejected"}"#).await, 1);
    assert_eq!(counted(&puller, "signet_in_flight ").await, 0);
    let line = says(&puller, " done ").await;
    for field in ["function=sign", "message_id=", "dequeue_count=1", "id=item-", "kid=https://", "age_s=", "sign_ms="] {
        assert!(line.contains(field), "{field} in {line}");
    }
    assert!(!line.contains("invocation_id"), "{line}");
    let metadata = site.place.result("item-7.jws.json").await.expect("a result").metadata;
    assert!(metadata.contains_key("signet_message") && !metadata.contains_key("signet_invocation"), "{metadata:?}");
    // A batch at a time: fewer requests to receive than messages.
    let looks = counted(&puller, "signet_looks_total ").await;
    println!("{looks} looks at the queue for 41 messages");
}

#[tokio::test]
async fn what_is_signed_is_the_text_as_it_stands() {
    let site = Site::prepare(&[]).await;
    let payload = "{ \"a\" : \"<&>' \\u00e9 é \u{1f600}\",\n\t\"b\": [1.0, 1e2,-0] }";
    site.place.enqueue(&format!("  {{\"id\":\"text\",\"payload\":{payload}}}\n")).await;
    let _puller = site.replica().await;
    let result = site.place.awaited("text.jws.json").await;
    let result: serde_json::Value = serde_json::from_slice(&result.bytes).expect("JSON");
    let signed = base64::decode_url_safe(result["payload"].as_str().expect("a payload")).expect("Base64url");
    assert_eq!(String::from_utf8(signed).expect("UTF-8"), payload);
}

#[tokio::test]
async fn it_ends_at_once_while_it_has_nothing() {
    let site = Site::prepare(&[]).await;
    site.place.deployment.taps.vault.fail(Fault::status(503));
    let mut without_key = site.starting().await;
    says(&without_key, "not ready yet").await;
    signal(&without_key, Signal::SIGINT);
    assert!(without_key.ended().await.expect("an end").success());
    site.place.deployment.taps.vault.heal();
    let mut ready = site.replica().await;
    let begun = Instant::now();
    signal(&ready, Signal::SIGTERM);
    assert!(ready.ended().await.expect("an end").success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_item_is_under_way() {
    let site = Site::prepare(&[("SIGNET_LEASE", "15"), ("SIGNET_DEADLINE", "60")]).await;
    let first = site.replica().await;
    let second = site.replica().await;
    let slow = Fault::new(Action::Delay(Duration::from_secs(12))).method("POST").path("/sign").times(1);
    site.place.deployment.taps.vault.fail(slow);
    site.place.enqueue(&item("slow")).await;
    site.place.awaited("slow.jws.json").await;
    site.empty().await;
    let renewals = site.requests("PUT");
    assert!((1..=2).contains(&renewals.len()), "{renewals:#?}");
    assert!(renewals.iter().all(|renewal| renewal.status == Some(204) && visibility(renewal) == 15));
    let deletes = site.requests("DELETE");
    assert!(matches!(&deletes[..], [delete] if delete.status == Some(204)), "by the newest receipt: {deletes:#?}");
    let received = counted(&first, "signet_messages_received_total ").await
        + counted(&second, "signet_messages_received_total ").await;
    assert_eq!(received, 1, "the other replica has never seen it");
}

#[tokio::test]
async fn what_fails_comes_again_later_and_later() {
    let site = Site::prepare(&[]).await;
    let puller = site.replica().await;
    let fault = site.place.deployment.taps.blob.fail(Fault::status(403).method("PUT").path("denied.jws.json").times(2));
    site.place.enqueue(&item("denied")).await;
    site.place.awaited("denied.jws.json").await;
    site.empty().await;
    assert_eq!(site.place.deployment.taps.blob.fired(fault), 2);
    let delays: Vec<u64> = site.requests("PUT").iter().map(visibility).collect();
    assert!(matches!(delays[..], [2..=5, 5..=10]), "{delays:?}");
    let line = says(&puller, " handed back ").await;
    assert!(line.contains("stage=publish") && line.contains("dequeue_count=1"), "{line}");
    assert_eq!(counted(&puller, r#"signet_deliveries_total{outcome="handed back"}"#).await, 2);
}

#[tokio::test]
async fn what_was_delivered_too_often_becomes_a_record() {
    let site = Site::prepare(&[("SIGNET_ATTEMPTS", "1")]).await;
    let _puller = site.replica().await;
    site.place.deployment.taps.vault.fail(Fault::status(403).method("POST").path("/sign"));
    site.place.enqueue(&item("never")).await;
    site.empty().await;
    let record = site.place.rejection().await;
    assert_eq!((&record["reason"], &record["dequeueCount"]), (&"attempts-exhausted".into(), &2.into()));
    assert!(record["detail"].as_str().is_some_and(|detail| detail.contains("SIGNET_ATTEMPTS")), "{record}");
    assert_eq!(record.get("invocationId"), None, "{record}");
    assert_eq!(site.place.result_names().await.len(), 0);
    // An upload of the last attempt that is still on its way must arrive before the next one looks.
    let hidden: Vec<u64> = site.requests("PUT").iter().map(visibility).collect();
    assert_eq!(hidden, [5]);
}

/// Its last delivery had published, and could not delete it.
#[tokio::test]
async fn what_was_given_up_though_its_result_stands_is_no_rejection() {
    let site = Site::prepare(&[("SIGNET_ATTEMPTS", "1"), ("SIGNET_LEASE", "15")]).await;
    let puller = site.replica().await;
    site.place.deployment.taps.queue.fail(Fault::status(403).method("DELETE").times(1));
    site.place.enqueue(&item("published")).await;
    site.empty().await;
    assert_eq!(site.place.rejections().await.len(), 0);
    assert!(says(&puller, "function=poison").await.contains("stood already"));
}

/// Frozen for longer than its lease, a replica goes on with nothing: another one works on the message by then.
#[tokio::test]
async fn a_replica_that_stood_still_does_not_go_on_with_what_it_had() {
    let site = Site::prepare(&[("SIGNET_LEASE", "15")]).await;
    let first = site.replica().await;
    let hang = Fault::new(Action::Hang).method("POST").path("/sign").times(1);
    site.place.deployment.taps.vault.fail(hang);
    site.place.enqueue(&item("taken-over")).await;
    eventually("an item under way", async || (site.place.sign_requests() > 0).then_some(())).await;
    signal(&first, Signal::SIGSTOP);
    let second = site.replica().await;
    site.place.awaited("taken-over.jws.json").await;
    assert!(says(&second, " done ").await.contains("dequeue_count=2"));
    signal(&first, Signal::SIGCONT);
    assert!(says(&first, " handed back ").await.contains("code=lease-lost"));
    site.empty().await;
    assert_eq!(site.place.result_names().await, ["taken-over.jws.json"]);
}

/// While a lease cannot be renewed, its item ends before it does.
#[tokio::test]
async fn an_item_whose_lease_cannot_be_renewed_ends_with_it() {
    let site = Site::prepare(&[("SIGNET_LEASE", "15")]).await;
    let puller = site.replica().await;
    let taps = &site.place.deployment.taps;
    let hang = Fault::new(Action::Hang).method("POST").path("/sign").times(1);
    taps.vault.fail(hang);
    taps.queue.fail(Fault::status(503).method("PUT"));
    site.place.enqueue(&item("cut")).await;
    let sent = SystemTime::now();
    let line = says(&puller, " handed back ").await;
    let ended = SystemTime::now();
    assert!(line.contains("code=lease-lost") && line.contains("stage=sign"), "{line}");
    // Its lease begins with the look at the queue that finds it.
    let looks = taps.queue.exchanges().into_iter().filter(|seen| seen.method == "GET" && seen.at >= sent);
    let found = looks.map(|look| look.at).min().expect("a look at the queue");
    let held = ended.duration_since(found).expect("a clock");
    assert!(held < Duration::from_secs(13), "{held:?}");
    taps.queue.heal();
    site.place.awaited("cut.jws.json").await;
    site.empty().await;
    assert_eq!(counted(&puller, "signet_leases_lost_total ").await, 1);
}

#[tokio::test]
async fn replicas_share_a_queue() {
    let site = Site::prepare(&[]).await;
    let replicas = join_all((0..4).map(|_| site.replica())).await;
    join_all((0..200).map(async |number| site.place.enqueue(&item(&format!("{number}"))).await)).await;
    site.empty().await;
    assert_eq!(site.place.result_names().await.len(), 200);
    assert_eq!(site.place.sign_requests(), 200, "each is signed once");
    let shares = join_all(replicas.iter().map(|replica| counted(replica, "signet_messages_received_total "))).await;
    println!("shares of four replicas: {shares:?}");
    assert_eq!(shares.iter().sum::<u64>(), 200);
}

#[tokio::test]
async fn an_empty_queue_is_looked_at_now_and_then() {
    let site = Site::prepare(&[("SIGNET_POLL", "2")]).await;
    let puller = site.replica().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = counted(&puller, "signet_looks_total ").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let looks = counted(&puller, "signet_looks_total ").await - before;
    // One or two seconds lie between two.
    assert!((4..=11).contains(&looks), "{looks} looks in ten seconds");
    let begun = Instant::now();
    site.place.enqueue(&item("awaited")).await;
    site.place.awaited("awaited.jws.json").await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn it_ends_by_itself_where_that_is_wanted() {
    let site = Site::prepare(&[("SIGNET_EXIT_WHEN_IDLE", "2")]).await;
    for number in 0..5 {
        site.place.enqueue(&item(&number.to_string())).await;
    }
    let mut puller = site.starting().await;
    let status = puller.ended().await.expect("an end");
    assert!(status.success(), "{status}: {:?}", puller.log());
    assert_eq!((site.place.result_names().await.len(), site.messages().await), (5, 0));
}

/// Without a key nothing is received: it would only count as delivered.
#[tokio::test]
async fn nothing_is_received_before_it_can_be_signed() {
    let site = Site::prepare(&[]).await;
    site.place.deployment.taps.vault.fail(Fault::status(503));
    site.place.enqueue(&item("early")).await;
    let mut puller = site.starting().await;
    says(&puller, "not ready yet").await;
    assert_eq!(puller.get("/live").await.expect("an answer").0, 200);
    assert_eq!(puller.get("/ready").await.expect("an answer"), (503, "no key to sign with yet\n".to_owned()));
    assert_eq!(counted(&puller, "signet_looks_total ").await, 0);
    site.place.deployment.taps.vault.heal();
    puller.ready().await.expect("a replica that is ready");
    site.place.awaited("early.jws.json").await;
    assert!(says(&puller, " done ").await.contains("dequeue_count=1"));
}

/// Nobody asks for it, since nothing is received meanwhile.
#[tokio::test]
async fn a_key_that_comes_back_is_noticed() {
    let site = Site::prepare(&[]).await;
    let mut puller = site.replica().await;
    let vault = &site.place.deployment.vault;
    let enabled = |enabled| Attributes { enabled: Some(enabled), ..Attributes::default() };
    vault.update_attributes(VAULT, "signing", None, enabled(false)).expect("disabled");
    site.place.enqueue(&item("waits")).await;
    assert!(says(&puller, " handed back ").await.contains("dequeue_count=1"));
    let answer = puller.get("/ready").await.expect("an answer");
    assert_eq!(answer, (503, "no key to sign with yet\n".to_owned()));
    vault.update_attributes(VAULT, "signing", None, enabled(true)).expect("enabled");
    let begun = Instant::now();
    puller.ready().await.expect("a replica that is ready");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    site.place.awaited("waits.jws.json").await;
    site.empty().await;
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_is_tried_again_with_patience() {
    let site = Site::prepare(&[]).await;
    let fault = site.place.deployment.taps.queue.fail(Fault::status(500).method("GET").path("/messages"));
    let mut puller = site.starting().await;
    says(&puller, "the queue cannot be read").await;
    assert_eq!(puller.get("/ready").await.expect("an answer"), (503, "the queue cannot be read\n".to_owned()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let tries = site.place.deployment.taps.queue.fired(fault);
    assert!(tries < 12, "{tries} tries");
    site.place.deployment.taps.queue.heal();
    puller.ready().await.expect("a replica that is ready");
}

/// An answer that is no XML, as a message may make it that no XML can hold: the messages of the batch come again, one at a time.
#[tokio::test]
async fn an_answer_that_cannot_be_read_hides_no_message_for_ever() {
    let site = Site::prepare(&[("SIGNET_LEASE", "15")]).await;
    let spoil = Action::alter(|answer| answer.map(|_| "<QueueMessagesList><QueueMessage>canary".into()));
    let is_batch =
        |seen: &Exchange| !seen.query.contains("numofmessages=1&") && !seen.query.ends_with("numofmessages=1");
    site.place.deployment.taps.queue.fail(Fault::new(spoil).method("GET").path("/messages").when(is_batch).times(1));
    for number in 0..3 {
        site.place.enqueue(&item(&number.to_string())).await;
    }
    let puller = site.starting().await;
    says(&puller, "the queue cannot be read").await;
    for number in 0..3 {
        site.place.awaited(&format!("{number}.jws.json")).await;
    }
    site.empty().await;
    let one_at_a_time = site.place.deployment.taps.queue.exchanges();
    let single = one_at_a_time
        .iter()
        .any(|seen| seen.query.contains("numofmessages=1&") || seen.query.ends_with("numofmessages=1"));
    assert!(!puller.log().iter().any(|line| line.contains("canary")), "answers are not quoted");
    assert!(single, "{:?}", one_at_a_time.iter().map(|seen| seen.query.clone()).collect::<Vec<_>>());
}

/// `signet dev --pull`: the local stack with a replica, until it is interrupted.
#[tokio::test]
async fn the_local_stack_has_one() {
    let mut command = Command::new(signet().await);
    command.args(["dev", "--pull", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut dev = command.spawn().expect("it starts");
    let mut lines = BufReader::new(dev.stdout.take().expect("a pipe")).lines();
    let told = lines.next_line().await.expect("text").expect("a line");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let file = told["file"].as_str().expect("a file").to_owned();
    let signet = signet().await;
    let mut send = Command::new(signet);
    send.args(["--settings", &file, "send", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut send = send.spawn().expect("it starts");
    send.stdin.take().expect("a pipe").write_all(item("hello").as_bytes()).await.expect("written");
    assert!(send.wait().await.expect("an end").success());
    let result = format!("{}/hello.jws.json", told["settings"]["SIGNET_RESULTS"].as_str().expect("a URL"));
    eventually("a valid result", async || {
        let mut verify = Command::new(signet);
        verify.args(["--settings", &file, "verify", &result]).stdout(Stdio::null()).stderr(Stdio::null());
        verify.status().await.expect("an end").success().then_some(())
    })
    .await;
    kill(Pid::from_raw(dev.id().expect("it runs").try_into().expect("an id")), Signal::SIGINT).expect("a signal");
    let mut log = Vec::new();
    let rest = async {
        while let Ok(Some(line)) = lines.next_line().await {
            log.push(line);
        }
        dev.wait().await.expect("an end")
    };
    assert!(timeout(Duration::from_mins(2), rest).await.expect("an end, as it was asked for").success());
    assert!(log.iter().any(|line| line.contains(" ended ") && line.contains("left=0")), "{log:#?}");
}

#[tokio::test]
async fn what_others_hold_is_left_alone() {
    let site = Site::prepare(&[]).await;
    site.place.enqueue(&item("held")).await;
    let options = QueueClientReceiveMessagesOptions { visibility_timeout: Some(8), ..Default::default() };
    let queue = site.place.deployment.queue().expect("the queue");
    let held = queue.receive_messages(Some(options)).await.expect("a message").into_model().expect("a list");
    assert_eq!(held.items.map(|items| items.len()), Some(1));
    let since = OffsetDateTime::now_utc();
    let _puller = site.replica().await;
    site.place.awaited("held.jws.json").await;
    let waited = OffsetDateTime::now_utc() - since;
    assert!(waited.whole_seconds() >= 6, "{waited}");
}
