use std::{fs, pin::Pin, time::Instant};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{ClientOptions, Url},
};
use azure_storage_queue::clients::QueueServiceClientOptions;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use signet_azure::{client_options, roots::Roots, transport::transport};

use super::{
    super::{
        Host, Outcome,
        tests::{FakeApp, within},
    },
    *,
};
use crate::{
    local::azurite::{ACCOUNT, Azurite, AzuriteOptions},
    remote::LARGEST_ANSWER,
};

#[test]
fn pauses_grow_from_the_floor_to_the_ceiling() {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let pauses: Vec<_> = (0..6).map(|_| backoff.next(0.0).as_millis()).collect();
    assert_eq!(pauses, [200, 300, 500, 900, 1000, 1000]);
    backoff.reset();
    assert_eq!(backoff.next(1.0).as_millis(), 220);
    assert_eq!(backoff.next(-1.0).as_millis(), 260);
}

#[test]
fn poison_queues_have_none_of_their_own() {
    assert_eq!(poison_queue("work").as_deref(), Some("work-poison"));
    assert_eq!(poison_queue("work-poison"), None);
    assert_eq!(poison_queue(&"w".repeat(56)).map(|name| name.len()), Some(63));
    assert_eq!(poison_queue(&"w".repeat(57)), None);
}

#[test]
fn encodings() {
    assert_eq!(decode("aGk=", MessageEncoding::None).unwrap(), b"aGk=");
    assert_eq!(decode("aGk=", MessageEncoding::Base64).unwrap(), b"hi");
    assert_eq!(decode("{}", MessageEncoding::Base64), None);
}

/// The Queue service of an Azurite of its own, over TLS and by the account's name.
struct Queues {
    _azurite: Azurite,
    _directory: tempfile::TempDir,
    service: Arc<QueueServiceClient>,
}

impl Queues {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{ACCOUNT}.queue.localhost");
        let certified = rcgen::generate_simple_self_signed([name.clone()]).unwrap();
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        fs::write(&certificate, certified.cert.pem()).unwrap();
        fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let transport = transport(&Roots::from_pem_file(&certificate).unwrap(), LARGEST_ANSWER);
        let options = AzuriteOptions { certificate, key, directory: directory.path().to_owned() };
        let azurite = Azurite::start(&options, &|_| ()).await.unwrap();
        let url = Url::parse(&format!("https://{name}:{}/", azurite.queue_port())).unwrap();
        let client_options: ClientOptions = client_options(&transport);
        let options = QueueServiceClientOptions { client_options, ..Default::default() };
        let service = QueueServiceClient::new(url, Some(Arc::new(Unsigned)), Some(options)).unwrap();
        Self { _azurite: azurite, _directory: directory, service: Arc::new(service) }
    }

    async fn create(&self, name: &str) -> QueueClient {
        let queue = self.service.queue_client(name).unwrap();
        queue.create(None).await.unwrap();
        queue
    }

    /// A host that listens on the queue `name`, with a lease that nothing here outlasts.
    fn host(&self, name: &str, settings: &[(&str, &str)]) -> (Host, FakeApp) {
        self.leasing_host(name, Duration::from_secs(30), settings)
    }

    /// The same, with a lease of its own.
    fn leasing_host(&self, name: &str, lease: Duration, settings: &[(&str, &str)]) -> (Host, FakeApp) {
        let app = FakeApp::new(&[&[("QUEUE", name)], settings].concat());
        let mut options = app.options();
        options.queues = Some(self.service.clone());
        options.lease = lease;
        options.function_timeout = Some(Duration::from_mins(2));
        options.polling_floor = Duration::from_millis(10);
        (Host::start(options).unwrap(), app)
    }
}

async fn send(queue: &QueueClient, text: &str) {
    send_creating(queue, text).await.unwrap();
}

async fn count(queue: &QueueClient) -> i64 {
    use azure_storage_queue::models::QueueClientGetPropertiesResultHeaders as _;
    queue.get_properties(None).await.unwrap().approximate_messages_count().unwrap().unwrap()
}

async fn until_count(queue: &QueueClient, expected: i64) {
    within(60, async {
        while count(queue).await != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn until_ended(host: &Host, number: usize) {
    within(60, async {
        while host.invocations().iter().filter(|invocation| invocation.ended.is_some()).count() < number {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A token as Azurite's basic OAuth wants it: the right claims, and a signature that nobody looks at.
#[derive(Debug)]
struct Unsigned;

impl TokenCredential for Unsigned {
    fn get_token<'a, 'b, 'c, 'd, 'e>(
        &'a self,
        _: &'b [&'c str],
        _: Option<TokenRequestOptions<'d>>,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AccessToken>> + Send + 'e>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
        Self: 'e,
    {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = json!({ "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/local/",
            "iat": now, "nbf": now - 60, "exp": now + 3600 });
        let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.c2ln", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
        let expires_on = OffsetDateTime::now_utc() + time::Duration::hours(1);
        Box::pin(async move { Ok(AccessToken { token: token.into(), expires_on }) })
    }
}

#[tokio::test]
async fn messages_are_settled_by_their_outcome() {
    let queues = Queues::start().await;
    tokio::join!(
        success_deletes(&queues),
        failure_retries_and_then_poisons(&queues),
        a_retry_waits_for_the_visibility_timeout(&queues),
        what_cannot_be_decoded_is_poisoned_without_a_call(&queues),
        a_lease_is_renewed_under_its_new_receipt(&queues),
        a_poison_queue_leaves_failures_to_the_lease(&queues),
        concurrency_is_batch_plus_threshold(&queues),
        a_queue_may_come_later(&queues),
    );
}

async fn success_deletes(queues: &Queues) {
    let queue = queues.create("success").await;
    for _ in 0..40 {
        send(&queue, "{}").await;
    }
    let (host, _app) = queues.host("success", &[]);
    until_ended(&host, 40).await;
    until_count(&queue, 0).await;
    let invocations = host.invocations();
    assert_eq!(invocations.len(), 40);
    assert!(invocations.iter().all(|i| i.dequeue_count == Some(1) && i.outcome.as_ref().unwrap().succeeded()));
}

async fn failure_retries_and_then_poisons(queues: &Queues) {
    let queue = queues.create("failure").await;
    let text = json!({ "status": 503, "é <&>": " " }).to_string();
    send(&queue, &text).await;
    let (host, _app) = queues.host("failure", &[("AzureFunctionsJobHost__extensions__queues__maxDequeueCount", "3")]);
    until_ended(&host, 3).await;
    until_count(&queue, 0).await;
    let counts: Vec<_> = host.invocations().iter().map(|invocation| invocation.dequeue_count).collect();
    assert_eq!(counts, [Some(1), Some(2), Some(3)]);
    let poison = queues.service.queue_client("failure-poison").unwrap();
    let copies = poison.receive_messages(None).await.unwrap().into_model().unwrap().items.unwrap();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].message_text.as_deref(), Some(text.as_str()));
    assert_eq!(copies[0].dequeue_count, Some(1));
}

async fn a_retry_waits_for_the_visibility_timeout(queues: &Queues) {
    let queue = queues.create("retry").await;
    send(&queue, r#"{"status":500}"#).await;
    let (host, _app) =
        queues.host("retry", &[("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:03")]);
    until_ended(&host, 2).await;
    let [first, second] = &host.invocations()[..2] else { panic!("two invocations") };
    // Azurite keeps time in whole seconds.
    assert!(second.started - first.ended.unwrap() > Duration::from_millis(1500));
}

async fn what_cannot_be_decoded_is_poisoned_without_a_call(queues: &Queues) {
    let queue = queues.create("encoded").await;
    send(&queue, "{}").await;
    send(&queue, &BASE64_STANDARD.encode("{}")).await;
    let (host, _app) =
        queues.host("encoded", &[("AzureFunctionsJobHost__extensions__queues__messageEncoding", "base64")]);
    let poison = queues.create("encoded-poison").await;
    until_count(&poison, 1).await;
    until_count(&queue, 0).await;
    assert_eq!(host.invocations().len(), 1);
    assert!(host.invocations()[0].outcome.as_ref().unwrap().succeeded());
}

async fn a_lease_is_renewed_under_its_new_receipt(queues: &Queues) {
    let queue = queues.create("renewal").await;
    send(&queue, r#"{"delay":20000}"#).await;
    let began = Instant::now();
    let (host, _app) = queues.leasing_host("renewal", Duration::from_secs(8), &[]);
    until_ended(&host, 1).await;
    assert!(began.elapsed() > Duration::from_secs(20));
    until_count(&queue, 0).await;
    assert_eq!(host.invocations().len(), 1, "a lease of 8 s held for 20 s");
}

async fn a_poison_queue_leaves_failures_to_the_lease(queues: &Queues) {
    let queue = queues.create("own-poison").await;
    send(&queue, r#"{"status":500}"#).await;
    let (host, _app) = queues.leasing_host("own-poison", Duration::from_secs(8), &[]);
    until_ended(&host, 2).await;
    let [first, second] = &host.invocations()[..2] else { panic!("two invocations") };
    assert!(second.started - first.started > Duration::from_secs(2), "no release");
    assert!(!queues.service.queue_client("own-poison-poison").unwrap().exists().await.unwrap());
}

async fn concurrency_is_batch_plus_threshold(queues: &Queues) {
    let queue = queues.create("serial").await;
    for _ in 0..4 {
        send(&queue, r#"{"delay":150}"#).await;
    }
    let serial = [
        ("AzureFunctionsJobHost__extensions__queues__batchSize", "1"),
        ("AzureFunctionsJobHost__extensions__queues__newBatchThreshold", "0"),
    ];
    let (host, _app) = queues.host("serial", &serial);
    until_ended(&host, 4).await;
    let invocations = host.invocations();
    assert!(invocations.windows(2).all(|pair| pair[1].started >= pair[0].ended.unwrap()));
}

async fn a_queue_may_come_later(queues: &Queues) {
    let (host, _app) = queues.host("later", &[]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!queues.service.queue_client("later").unwrap().exists().await.unwrap(), "the host creates no queue");
    let queue = queues.create("later").await;
    send(&queue, "{}").await;
    until_count(&queue, 0).await;
    until_ended(&host, 1).await;
    // On a machine that is busy with other things, the first may have been too slow.
    assert!(host.invocations().iter().any(|one| matches!(one.outcome, Some(Outcome::Succeeded { .. }))));
}
