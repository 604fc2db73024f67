//! A function app and its surroundings, made for one test.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use azure_core::http::{RequestContent, StatusCode};
use azure_storage_blob::{
    BlobContainerClient,
    models::{BlobClientGetPropertiesResultHeaders, BlobClientUploadOptions},
};
use azure_storage_queue::models::QueueMessage;
use futures::TryStreamExt;
use serde_json::Value;
use signet::local::{
    app::AppRoot,
    host::{Framing, Host, HostOptions, Message, Post, Reply},
    stack::{Deployment, Stack},
    tap::Exchange,
    vault::KeySpec,
};
use signet_core::jwks::{self, JwkSet};
use tokio::sync::{Mutex, OnceCell};

use crate::witness::Witness;

/// How a world differs from the usual one.
pub(crate) struct Setup {
    pub(crate) key: KeySpec,
    /// App settings beside those of the deployment; an empty value takes one away.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Whether the host reads the queues; otherwise tests invoke the functions themselves.
    pub(crate) queues: bool,
    /// Another app root than the checkout's.
    pub(crate) app_root: Option<PathBuf>,
    pub(crate) framing: Framing,
    /// How long the host hides a message that it works on, in whole seconds; the service's ten minutes otherwise.
    pub(crate) lease: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            key: KeySpec::P256,
            settings: Vec::new(),
            queues: false,
            app_root: None,
            framing: Framing::Chunked,
            lease: None,
        }
    }
}

impl Setup {
    pub(crate) fn setting(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }
}

/// A running function app with everything around it.
pub(crate) struct World {
    place: Place,
    pub(crate) host: Witness,
}

impl Deref for World {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// What a handler works on, whoever runs it.
pub(crate) struct Place {
    pub(crate) deployment: Arc<Deployment>,
    /// The key's identifier without the version.
    pub(crate) key: String,
}

/// A result as it stands in the container.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) content_type: String,
}

impl Stored {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("results are text")
    }
}

/// A deployment of its own for one test.
pub(crate) async fn deployment() -> Deployment {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let name = format!("work-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    Deployment::start(&stack().await, &name).await.expect("the local stack")
}

/// The stack is shared by the tests that run at the same time, and gone when none does.
async fn stack() -> Arc<Stack> {
    static SHARED: Mutex<Weak<Stack>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(stack) = shared.upgrade() {
        return stack;
    }
    let stack = Stack::start(&|line| println!("{line}")).await.expect("the local stack");
    *shared = Arc::downgrade(&stack);
    stack
}

/// The checkout as function app, with the shipping binary in it.
pub(crate) async fn app_root() -> PathBuf {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let root = AppRoot::find().expect("the checkout");
    BUILT.get_or_init(async || drop(root.build_handler(&|line| println!("{line}")).await.expect("a build"))).await;
    root.directory().to_owned()
}

impl World {
    /// The usual world: warm, with a P-256 key.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// A world that is ready for its first item.
    pub(crate) async fn with(setup: Setup) -> Self {
        let world = Self::cold(setup).await;
        world.host.ready().await.expect("a handler that answers");
        world.logged("ready").await;
        world
    }

    /// A world whose handler has just been started.
    pub(crate) async fn cold(setup: Setup) -> Self {
        let deployment = deployment().await;
        let key = deployment.create_key("signing", setup.key).await.expect("a key");
        Self::around(Arc::new(deployment), key, setup).await
    }

    /// A world made of a deployment that the test has prepared.
    pub(crate) async fn around(deployment: Arc<Deployment>, key: String, setup: Setup) -> Self {
        let mut settings = deployment.settings(&key);
        for (name, value) in setup.settings {
            if value.is_empty() {
                settings.remove(name)
            } else {
                settings.insert(name.to_owned(), value)
            };
        }
        let root = match setup.app_root {
            Some(root) => root,
            None => app_root().await,
        };
        let mut options = HostOptions::new(root, settings);
        options.clear_environment = true;
        options.framing = setup.framing;
        options.lease = setup.lease.unwrap_or(options.lease);
        if setup.queues {
            options.queues = Some(Arc::new(deployment.queues().expect("queues")));
        }
        let host = Witness::new(Host::start(options).expect("an app that can be hosted"));
        Self { host, place: Place { deployment, key } }
    }

    /// What is left when the host is gone.
    pub(crate) fn without_host(self) -> Place {
        self.place
    }

    /// Invokes `sign` with a message that was never delivered before.
    pub(crate) async fn sign(&self, message: &str) -> Reply {
        self.deliver("sign", message, 1).await
    }

    /// Invokes a function with the `count`th delivery of a message.
    pub(crate) async fn deliver(&self, function: &str, message: impl Into<Vec<u8>>, count: i64) -> Reply {
        let mut message = Message::new(message);
        message.dequeue_count = count;
        self.host.invoke(function, Post::Message(message)).await
    }

    /// Invokes `poison` with a message that the host gave up long ago.
    pub(crate) async fn give_up(&self, message: impl Into<Vec<u8>>) -> Reply {
        let mut message = Message::new(message);
        message.inserted -= Duration::from_hours(1);
        self.host.invoke("poison", Post::Message(message)).await
    }

    /// Invokes `sign` with this delivery of a message.
    pub(crate) async fn invoke(&self, message: &Message) -> Reply {
        self.host.invoke("sign", Post::Message(message.clone())).await
    }

    /// Waits for a log line that holds a text, and returns it.
    pub(crate) async fn logged(&self, text: &str) -> String {
        eventually(&format!("the log line {text}"), async || {
            self.host.log().into_iter().map(|line| line.text).find(|line| line.contains(text))
        })
        .await
    }
}

impl Place {
    /// Puts a blob into the container that sources may be in; its `ETag`, as the service gives it.
    pub(crate) async fn upload(&self, name: &str, content: &[u8]) -> String {
        let client = self.deployment.uploads().expect("the container").blob_client(name);
        let uploaded = client.upload(RequestContent::from(content.to_vec()), None).await.expect("an upload");
        uploaded.etag.expect("an ETag").to_string()
    }

    /// The URL of such a blob; its name is taken as it stands.
    pub(crate) fn upload_url(&self, name: &str) -> String {
        format!("{}/{name}", self.deployment.settings(&self.key)["SIGNET_SOURCES"])
    }

    /// Puts a message on the work queue.
    pub(crate) async fn enqueue(&self, text: &str) {
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        let queue = self.deployment.queue().expect("the queue");
        queue.send_message(message.try_into().expect("XML"), None).await.expect("sent");
    }

    /// What stands in the results container under a name.
    pub(crate) async fn result(&self, name: &str) -> Option<Stored> {
        stored(&self.deployment.results().expect("the container"), name).await
    }

    /// Waits for a result, for as long as a queue and a retry may take.
    pub(crate) async fn awaited(&self, name: &str) -> Stored {
        eventually(&format!("the result {name}"), async || self.result(name).await).await
    }

    /// Puts something under a result's name before the handler does.
    pub(crate) async fn occupy(&self, name: &str, metadata: &[(&str, &str)]) {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = BlobClientUploadOptions { metadata: Some(metadata), ..BlobClientUploadOptions::default() };
        let client = self.deployment.results().expect("the container").blob_client(name);
        client.upload(RequestContent::from(b"occupied".to_vec()), Some(options)).await.expect("an upload");
    }

    /// Names of all results, without the key set.
    pub(crate) async fn result_names(&self) -> Vec<String> {
        let mut names = names(&self.deployment.results().expect("the container")).await;
        names.retain(|name| name != jwks::BLOB_NAME);
        names
    }

    /// All rejection records, by name.
    pub(crate) async fn rejections(&self) -> BTreeMap<String, Value> {
        let container = self.deployment.rejected().expect("the container");
        let mut records = BTreeMap::new();
        for name in names(&container).await {
            let record = stored(&container, &name).await.expect("it was listed");
            records.insert(name, serde_json::from_slice(&record.bytes).expect("a JSON record"));
        }
        records
    }

    /// The one rejection record that there is.
    pub(crate) async fn rejection(&self) -> Value {
        let mut records: Vec<Value> = self.rejections().await.into_values().collect();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }

    /// The published keys.
    pub(crate) async fn keys(&self) -> JwkSet {
        let set = self.result(jwks::BLOB_NAME).await.expect("keys are published before anything is signed");
        JwkSet::parse(set.text()).expect("a key set")
    }

    /// Requests for signatures, whatever came of them.
    pub(crate) fn sign_requests(&self) -> usize {
        self.deployment.taps.vault.count(|exchange| exchange.path.ends_with("/sign"))
    }

    /// Waits for the handler's first look at the key's versions, a second after the start, and for the second look at the
    /// key set, which follows it: nothing more comes by itself.
    pub(crate) async fn settled(&self) {
        let taps = &self.deployment.taps;
        eventually("a look at the versions and at the key set", async || {
            let looks = taps.vault.count(|seen| seen.path.ends_with("/versions") && seen.status == Some(200));
            let is_read = |seen: &Exchange| seen.method == "GET" && seen.status.is_some();
            let reads = taps.blob.count(|seen| is_read(seen) && seen.path.contains("jwks.json"));
            (looks > 0 && reads > 1).then_some(())
        })
        .await;
    }

    /// Forgets what the taps have seen.
    pub(crate) fn clear_taps(&self) {
        let taps = &self.deployment.taps;
        for tap in [&taps.vault, &taps.identity, &taps.blob, &taps.queue] {
            tap.clear();
        }
    }
}

/// Tries until there is something, for half a minute.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not appear");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stored(container: &BlobContainerClient, name: &str) -> Option<Stored> {
    let client = container.blob_client(name);
    let properties = match client.get_properties(None).await {
        Ok(properties) => properties,
        Err(error) if error.http_status() == Some(StatusCode::NotFound) => return None,
        Err(error) => panic!("{name}: {error}"),
    };
    let content_type = properties.content_type().expect("a header").unwrap_or_default();
    let metadata = properties.metadata().expect("headers");
    let body = client.download(None).await.expect("a download").body;
    Some(Stored { bytes: body.collect().await.expect("a body").to_vec(), metadata, content_type })
}

async fn names(container: &BlobContainerClient) -> Vec<String> {
    let blobs = container.list_blobs(None).expect("a list");
    blobs.try_filter_map(async |blob| Ok(blob.name)).try_collect().await.expect("a list")
}
