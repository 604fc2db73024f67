//! The check that each contender passes before it is timed: a message on a real queue becomes a signature that verifies.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use azure_core::http::StatusCode;
use azure_storage_queue::models::QueueMessage;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use hyper::{
    Request, Response,
    header::{CONTENT_LENGTH, HOST, HeaderValue},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use signet::local::{
    certificates::{CertificateFiles, Certificates, LOCAL_NAMES},
    host::{Host, HostOptions},
    listener::Service,
    proxy::Proxy,
    stack::{Deployment, Stack, VAULT},
    vault::KeySpec,
};
use signet_core::{
    jwks::JwkSet,
    jws::{self, Verified},
};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    Error, Result,
    apps::{App, Contender, Form},
    load::PAYLOAD,
    process::Process,
    server::{Delay, Server},
    services::ACCOUNT,
};

const KEY: &str = "bench";
const QUEUE_SERVICE: &str = "WorkQueue__queueServiceUri";
const PATIENCE: Duration = Duration::from_secs(30);
const AZURITE_VERSION: &str = "2025-11-05";

/// The local stack, with a second way in for those who do not know the names of its services.
#[derive(Debug)]
pub struct Check {
    deployment: Deployment,
    /// `SIGNET_KEY` and so on, by the services' own names.
    settings: BTreeMap<String, String>,
    /// The vault, the blobs and the queue as `localhost`.
    aliases: [Server; 3],
    files: CertificateFiles,
    _directory: TempDir,
}

impl Check {
    /// Starts the stack, with Azurite as the storage.
    pub async fn start() -> Result<Self> {
        let stack = Stack::start(&|line| eprintln!("  {line}")).await.map_err(|e| Error::new("the check", e))?;
        let deployment = Deployment::start(&stack, "work").await.map_err(|e| Error::new("the check", e))?;
        let key = deployment.create_key(KEY, KeySpec::P256).await.map_err(|e| Error::new("the check", e))?;
        let settings = deployment.settings(&key);

        let directory = tempfile::tempdir().map_err(|e| Error::new("a directory", e))?;
        let certificates = Certificates::generate(&LOCAL_NAMES).map_err(|e| Error::new("certificates", e))?;
        let files = certificates.write_to(directory.path()).map_err(|e| Error::new("certificates", e))?;
        let tls = certificates.server_config().map_err(|e| Error::new("certificates", e))?;
        let upstream = trusting(&settings["SSL_CERT_FILE"])?;
        let vault = Alias {
            proxy: Proxy::new("vault", deployment.vault_port(), upstream.clone()),
            host: format!("{VAULT}.vault.localhost:{}", deployment.vault_port()),
        };
        let blob = Storage(Proxy::new("blob", port(&settings["SIGNET_RESULTS"])?, upstream.clone()));
        let queue = Storage(Proxy::new("queue", port(&settings[QUEUE_SERVICE])?, upstream));
        let aliases = [
            Server::start(Some(tls.clone()), Delay::default(), Arc::new(vault))?,
            // Azurite takes the account from the path where the host is `localhost`.
            Server::start(Some(tls.clone()), Delay::default(), Arc::new(blob))?,
            Server::start(Some(tls), Delay::default(), Arc::new(queue))?,
        ];
        Ok(Self { deployment, settings, aliases, files, _directory: directory })
    }

    /// Puts an item on the queue, has the contender get it, and verifies the blob that comes of it.
    pub async fn pass(&self, app: &App) -> Result<()> {
        let failed = |cause: String| Error::new("failed its check", cause);
        let id = format!("check/{}", app.contender.name().to_lowercase());
        let mut settings = self.settings(app.contender);
        for (name, value) in &app.environment {
            let is_authority = name == "NODE_EXTRA_CA_CERTS" || name == "REQUESTS_CA_BUNDLE";
            let value = if is_authority { settings["SSL_CERT_FILE"].clone() } else { value.clone() };
            settings.insert(name.clone(), value);
        }
        let running = match app.form {
            Form::Functions => {
                let mut options = HostOptions::new(&app.directory, settings);
                options.clear_environment = true;
                options.queues = Some(Arc::new(self.deployment.queues().map_err(|e| failed(e.to_string()))?));
                Running::Hosted(Host::start(options).map_err(|e| failed(e.to_string()))?)
            }
            Form::Pull => {
                let app = App { environment: BTreeMap::new(), ..app.clone() };
                Running::Alone(Process::launch(&app, &settings, None)?)
            }
        };
        let text = format!(r#"{{"id":"{id}","payload":{PAYLOAD}}}"#);
        let message = QueueMessage { message_text: Some(text) }.try_into().map_err(|_| failed("XML".to_owned()))?;
        let queue = self.deployment.queue().map_err(|e| failed(e.to_string()))?;
        queue.send_message(message, None).await.map_err(|e| failed(e.to_string()))?;

        let deadline = Instant::now() + PATIENCE;
        let document = loop {
            if let Some(document) = self.read(&format!("{id}.jws.json")).await? {
                break document;
            }
            if Instant::now() > deadline {
                return Err(failed(format!("no result: {}", running.last_words())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let verified = self.verify(app.contender, &document).map_err(failed)?;
        if verified.content != PAYLOAD.as_bytes() {
            return Err(failed("other bytes are signed than stand in the message".to_owned()));
        }
        while self.messages().await? > 0 {
            if Instant::now() > deadline {
                return Err(failed(format!("the message is still there: {}", running.last_words())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// How many messages there are, hidden ones among them.
    async fn messages(&self) -> Result<u64> {
        let queue = self.deployment.queue().map_err(|e| Error::new("the queue", e))?;
        let answer = queue.get_properties(None).await.map_err(|e| Error::new("the queue", e))?;
        let count = answer.headers().get_optional_str(&"x-ms-approximate-messages-count".into());
        count.and_then(|count| count.parse().ok()).ok_or_else(|| Error::new("the queue", "it tells no count"))
    }

    fn settings(&self, contender: Contender) -> BTreeMap<String, String> {
        let mut settings = self.settings.clone();
        if !contender.knows_localhost_names() {
            let [vault, blob, queue] = self.aliases.each_ref().map(Server::port);
            let container = settings["SIGNET_RESULTS"].rsplit('/').next().unwrap_or_default().to_owned();
            for (name, value) in [
                ("SIGNET_KEY", format!("https://localhost:{vault}/keys/{KEY}")),
                ("SIGNET_RESULTS", format!("https://localhost:{blob}/{ACCOUNT}/{container}")),
                (QUEUE_SERVICE, format!("https://localhost:{queue}/{ACCOUNT}")),
                ("SSL_CERT_FILE", self.files.authority.display().to_string()),
            ] {
                settings.insert(name.to_owned(), value);
            }
        }
        settings
    }

    async fn read(&self, name: &str) -> Result<Option<String>> {
        let results = self.deployment.results().map_err(|e| Error::new("the results", e))?;
        let body = match results.blob_client(name).download(None).await {
            Ok(response) => response.body.collect().await.map_err(|e| Error::new(name, e))?,
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => return Ok(None),
            Err(error) => return Err(Error::new(name, error)),
        };
        String::from_utf8(body.to_vec()).map(Some).map_err(|e| Error::new(name, e))
    }

    /// With the vault's key, under the name by which the contender knows it.
    fn verify(&self, contender: Contender, document: &str) -> std::result::Result<Verified, String> {
        let bundle = self.deployment.vault.key(VAULT, KEY, None).map_err(|e| e.to_string())?;
        let mut key = bundle["key"].to_string();
        if !contender.knows_localhost_names() {
            key = key.replace(&host_of(&self.settings["SIGNET_KEY"]), &format!("localhost:{}", self.aliases[0].port()));
        }
        let keys = JwkSet::parse_set_or_key(&key)?;
        jws::verify(document, None, &keys).map_err(|e| e.to_string())
    }
}

/// A contender that is checked.
enum Running {
    Hosted(Host),
    Alone(Process),
}

impl Running {
    fn last_words(&self) -> String {
        match self {
            Self::Hosted(host) => {
                let last = host.log().into_iter().rev().find(|line| !line.text.trim().is_empty());
                last.map(|line| line.text).unwrap_or_default()
            }
            Self::Alone(process) => process.last_words(),
        }
    }
}

/// The vault under another name: the host is its own in requests, and the asked one in answers.
struct Alias {
    proxy: Proxy,
    host: String,
}

impl Service for Alias {
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let (proxy, host) = (self.proxy.clone(), self.host.clone());
        async move {
            let asked =
                HeaderValue::try_from(host.as_str()).ok().and_then(|own| request.headers_mut().insert(HOST, own));
            let mut response = proxy.call(request).await;
            // It changes with the name.
            response.headers_mut().remove(CONTENT_LENGTH);
            let asked = asked.as_ref().and_then(|asked| asked.to_str().ok()).unwrap_or_default();
            response.map(|body| Bytes::from(String::from_utf8_lossy(&body).replace(&host, asked)))
        }
        .boxed()
    }
}

/// Azurite for SDKs that are newer than it: it is asked for a version of the interface that it knows.
struct Storage(Proxy);

impl Service for Storage {
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        request.headers_mut().insert("x-ms-version", HeaderValue::from_static(AZURITE_VERSION));
        self.0.call(request)
    }
}

fn trusting(authority: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).map_err(|e| Error::new(authority, e))?;
    roots.add(certificate).map_err(|e| Error::new(authority, e))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new("TLS", e))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The host and port in a URL.
fn host_of(url: &str) -> String {
    url.split('/').nth(2).unwrap_or_default().to_owned()
}

fn port(url: &str) -> Result<u16> {
    let host = host_of(url);
    host.rsplit(':').next().unwrap_or_default().parse().map_err(|e| Error::new(url, e))
}
