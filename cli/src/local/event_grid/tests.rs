use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::local::{
    azurite::{Azurite, AzuriteOptions},
    certificates::{Certificates, LOCAL_NAMES},
};

const HOST_NAME: &str = "devstoreaccount1.blob.localhost:1";

/// An Azurite with containers `one` and `two` and queues `main` and `other`, and a watched Blob service in front of it.
struct Bench {
    events: EventGrid,
    blobs: Watched,
    courier: Courier,
    _azurite: Azurite,
    _directory: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::generate(&LOCAL_NAMES).unwrap();
        let azurite = azurite(&certificates, directory.path()).await;
        let proxy = |name, port| Proxy::new(name, port, certificates.client_config().unwrap());
        let (blobs, queues) = (proxy("blob", azurite.blob_port()), proxy("queue", azurite.queue_port()));
        let events = EventGrid::start(blobs.clone(), queues.clone());
        let courier = Courier { shared: events.shared.clone(), blobs: blobs.clone(), queues, issuer: Issuer::new() };
        let bench = Self { blobs: events.watch(blobs), events, courier, _azurite: azurite, _directory: directory };
        for container in ["/one?restype=container", "/two?restype=container"] {
            assert_eq!(bench.put(container, &[], "").await.status(), 201);
        }
        for queue in ["/main", "/other"] {
            let request = bench.courier.request(Method::PUT, queue, "devstoreaccount1.queue.localhost:1");
            assert_eq!(bench.courier.queues.call(request.body(Bytes::new()).unwrap()).await.status(), 201);
        }
        bench
    }

    async fn put(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let request = self.courier.request(Method::PUT, path, HOST_NAME);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.blobs.call(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }

    async fn put_blob(&self, path: &str) -> Response<Bytes> {
        let answer = self.put(path, &[("x-ms-blob-type", "BlockBlob")], "content").await;
        assert_eq!(answer.status(), 201, "{path}: {answer:?}");
        answer
    }

    /// The events that went to a queue.
    async fn events_on(&self, queue: &str) -> Vec<Value> {
        self.events.settled().await;
        let deliveries = self.events.deliveries().into_iter().filter(|delivery| delivery.queue == queue);
        deliveries.map(|Delivery { event, error, .. }| error.map_or(event, |error| panic!("{error}"))).collect()
    }

    /// The texts of the messages that are on a queue, as they are in the service's answer.
    async fn messages(&self, queue: &str) -> Vec<String> {
        self.events.settled().await;
        let path = format!("/{queue}/messages?numofmessages=32");
        let request = self.courier.request(Method::GET, &path, "devstoreaccount1.queue.localhost:1");
        let answer = self.courier.queues.call(request.body(Bytes::new()).unwrap()).await;
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        let texts = text.split("<MessageText>").skip(1);
        texts.map(|text| text.split_once("</MessageText>").unwrap().0.replace("&quot;", "\"")).collect()
    }
}

async fn azurite(certificates: &Certificates, directory: &Path) -> Azurite {
    let files = certificates.write_to(directory).unwrap();
    let options = AzuriteOptions { certificate: files.certificate, key: files.key, directory: directory.to_owned() };
    Azurite::start(&options, &|_| ()).await.unwrap()
}

#[tokio::test]
async fn a_blob_becomes_a_cloud_event_in_base64() {
    let bench = Bench::start().await;
    bench.events.subscribe(Subscription::to_queue("main"));
    let headers = [
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-blob-content-type", "text/plain"),
        ("x-ms-client-request-id", "6d79dbfb-0e37-4fc4-981f-442c9ca65760"),
    ];
    let answer = bench.put("/one/in%20tray/a+b%26%C3%A4.txt?timeout=5", &headers, "content").await;
    let messages = bench.messages("main").await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    let event: Value = serde_json::from_slice(&STANDARD.decode(message).unwrap()).unwrap();
    assert_eq!(bench.events_on("main").await, std::slice::from_ref(&event));

    assert_eq!(
        (&event["source"], &event["type"], &event["specversion"]),
        (&json!(SOURCE), &json!(BLOB_CREATED), &json!("1.0"))
    );
    assert_eq!(event["subject"], "/blobServices/default/containers/one/blobs/in tray/a+b&ä.txt");
    let (time, id) = (event["time"].as_str().unwrap(), event["id"].as_str().unwrap());
    assert!(time.len() == 28 && time.ends_with('Z') && time.starts_with("20"), "{time}");
    assert_eq!(id.len(), 36);
    let data = &event["data"];
    assert_eq!((&data["api"], &data["blobType"]), (&json!("PutBlob"), &json!("BlockBlob")));
    assert_eq!((&data["contentType"], &data["contentLength"]), (&json!("text/plain"), &json!(7)));
    assert_eq!(data["url"], format!("https://{HOST_NAME}/one/in%20tray/a+b%26%C3%A4.txt"));
    assert_eq!(data["clientRequestId"], "6d79dbfb-0e37-4fc4-981f-442c9ca65760");
    assert_eq!(data["requestId"], answer.headers()["x-ms-request-id"].to_str().unwrap());
    let etag = answer.headers()["etag"].to_str().unwrap();
    assert_eq!(
        (etag, data["eTag"].as_str().unwrap()),
        (format!("\"{}\"", etag.trim_matches('"')).as_str(), etag.trim_matches('"'))
    );
    assert_eq!(data["storageDiagnostics"]["batchId"].as_str().unwrap().len(), 36);
    assert_eq!(event.as_object().unwrap().len(), 7);
}

#[tokio::test]
async fn a_subscription_chooses_the_form() {
    let bench = Bench::start().await;
    let plain = Subscription { encoding: Encoding::Plain, quoted_etag: true, ..Subscription::to_queue("main") };
    bench.events.subscribe(plain);
    let array = Subscription { schema: Schema::EventGrid, array: true, ..Subscription::to_queue("other") };
    bench.events.subscribe(array);
    let answer = bench.put_blob("/one/a%3Cb%3E").await;

    let event: Value =
        serde_json::from_str(&bench.messages("main").await[0].replace("&lt;", "<").replace("&gt;", ">")).unwrap();
    assert_eq!(event["subject"], "/blobServices/default/containers/one/blobs/a<b>");
    assert_eq!(event["data"]["eTag"], answer.headers()["etag"].to_str().unwrap());
    assert_eq!(event["data"]["contentType"], "application/octet-stream");
    assert_eq!(event["data"].get("clientRequestId"), None);

    let other: Value = serde_json::from_slice(&STANDARD.decode(&bench.messages("other").await[0]).unwrap()).unwrap();
    let [other] = &other.as_array().unwrap()[..] else { panic!("{other}") };
    assert_eq!((&other["topic"], &other["eventType"]), (&json!(SOURCE), &json!(BLOB_CREATED)));
    assert_eq!((&other["dataVersion"], &other["metadataVersion"]), (&json!(""), &json!("1")));
    for (one, another) in [("id", "id"), ("subject", "subject"), ("time", "eventTime")] {
        assert_eq!(event[one], other[another]);
    }
    assert_eq!((other.as_object().unwrap().len(), &other["data"]["url"]), (8, &event["data"]["url"]));
}

#[tokio::test]
async fn only_whole_blobs_that_were_written_are_events() {
    let bench = Bench::start().await;
    bench.events.subscribe(Subscription::to_queue("main"));
    bench.put_blob("/one/a").await;
    let block = "/one/blocks?comp=block&blockid=MDAw";
    assert_eq!(bench.put(block, &[], "0123456789").await.status(), 201);
    for (path, headers, status) in [
        ("/one/a", &[("x-ms-blob-type", "BlockBlob"), ("if-none-match", "*")][..], 409),
        ("/none/a", &[("x-ms-blob-type", "BlockBlob")], 404),
        ("/one/appended", &[("x-ms-blob-type", "AppendBlob")], 201),
        ("/one/a?comp=metadata", &[("x-ms-meta-a", "b")], 200),
        ("/one/a?comp=properties", &[("x-ms-blob-content-type", "a/b")], 200),
        ("/one/a?comp=snapshot", &[], 201),
        ("/one/a?comp=lease", &[("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "-1")], 201),
        ("/three?restype=container", &[], 201),
    ] {
        let answer = bench.put(path, headers, "").await;
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
    }
    assert_eq!(bench.events_on("main").await.len(), 1);

    let list = "<BlockList><Latest>MDAw</Latest></BlockList>";
    let answer = bench.put("/one/blocks?comp=blocklist", &[("x-ms-blob-content-type", "text/csv")], list).await;
    assert_eq!(answer.status(), 201);
    let source = format!("https://{HOST_NAME}/one/blocks");
    let copied = bench.put("/two/copy", &[("x-ms-copy-source", &source)], "").await;
    assert_eq!(copied.status(), 202, "{copied:?}");
    let events = bench.events_on("main").await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| (&event["data"]["api"], &event["data"]["contentType"], &event["data"]["contentLength"]))
        .collect();
    let [one, list, copy] = ["PutBlob", "PutBlockList", "CopyBlob"].map(Value::from);
    let (binary, csv) = (json!("application/octet-stream"), json!("text/csv"));
    assert_eq!(seen, [(&one, &binary, &json!(7)), (&list, &csv, &json!(10)), (&copy, &csv, &json!(10))]);
    let sequencers: Vec<_> = events.iter().map(|event| event["data"]["sequencer"].as_str().unwrap()).collect();
    assert!(sequencers.is_sorted() && sequencers.iter().all(|text| text.len() == 48), "{sequencers:?}");
}

#[tokio::test]
async fn a_subscription_is_for_a_container_and_for_names_that_end_so() {
    let bench = Bench::start().await;
    bench.put_blob("/one/before.json").await;
    bench.events.subscribe(Subscription { container: Some("one".to_owned()), ..Subscription::to_queue("main") });
    let json = Some(".json".to_owned());
    bench.events.subscribe(Subscription { subject_ends_with: json, ..Subscription::to_queue("other") });
    for path in ["/one/a.json", "/one/b.txt", "/two/c.JSON", "/two/d.txt"] {
        bench.put_blob(path).await;
    }
    for (queue, names) in
        [("main", ["one/blobs/a.json", "one/blobs/b.txt"]), ("other", ["one/blobs/a.json", "two/blobs/c.JSON"])]
    {
        let events = bench.events_on(queue).await;
        let subjects: Vec<_> = events.iter().map(|event| event["subject"].as_str().unwrap()).collect();
        assert_eq!(subjects, names.map(|name| format!("/blobServices/default/containers/{name}")), "{queue}");
    }
}

#[tokio::test]
async fn an_event_that_finds_no_queue_says_so() {
    let bench = Bench::start().await;
    bench.events.subscribe(Subscription::to_queue("none"));
    bench.put_blob("/one/a").await;
    bench.events.settled().await;
    let deliveries = bench.events.deliveries();
    let error = deliveries[0].error.as_deref().unwrap();
    assert!(error.starts_with("404") && error.contains("QueueNotFound"), "{error}");
}
