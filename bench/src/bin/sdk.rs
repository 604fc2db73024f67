//! A client that makes the two requests of an item with the SDK's clients, over Signet's transport, and does nothing else: what no
//! handler that is made with them can be cheaper than.
//!
//! It gets what `bare` gets, and prints what that prints.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use azure_core::{
    Result,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{RequestContent, Url},
    time::{Duration, OffsetDateTime},
};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions,
    models::{KeyClientGetKeyOptions, KeyClientSignOptions, SignParameters, SignatureAlgorithm},
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions, models::BlobClientUploadOptions};
use bench::{
    floor::{HEX, Outcome, TOKEN, WARM_UP, print},
    load::IN_FLIGHT,
    process::cpu_time,
};
use futures::future::try_join_all;
use signet_azure::{client_options, roots::Roots, transport::transport};

fn main() -> ExitCode {
    print(measure())
}

async fn measure() -> Outcome<u128> {
    let items: u32 = std::env::args().nth(1).ok_or("the number of items is missing")?.parse()?;
    let client = Client::new()?;
    // What comes first finds out where to get a token; it must not have a body.
    client.vault.get_key(&client.key, None::<KeyClientGetKeyOptions<'_>>).await?;
    run(&client, "sdk-warm-up", WARM_UP).await?;
    let before = cpu_time(std::process::id())?;
    run(&client, "sdk", items).await?;
    Ok(cpu_time(std::process::id())?.saturating_sub(before).as_micros() / u128::from(items))
}

/// Makes the requests of so many items, with one batch of the host's in flight.
async fn run(client: &Client, name: &str, items: u32) -> Outcome<()> {
    let started = AtomicU32::new(0);
    let lane = async || -> Result<()> {
        loop {
            let number = started.fetch_add(1, Ordering::Relaxed);
            if number >= items {
                return Ok(());
            }
            client.item(&format!("invoices/2026/{name}-{number}.jws.json")).await?;
        }
    };
    try_join_all((0..IN_FLIGHT).map(|_| lane())).await?;
    Ok(())
}

struct Client {
    vault: KeyClient,
    key: String,
    blobs: BlobContainerClient,
}

impl Client {
    fn new() -> Outcome<Self> {
        let transport = transport(&Roots::from_pem_file(Path::new(&std::env::var("SSL_CERT_FILE")?))?, 8 * 1024 * 1024);
        let key: Url = std::env::var("SIGNET_KEY")?.parse()?;
        let name = key.path().trim_start_matches("/keys/").to_owned();
        let options = KeyClientOptions {
            client_options: client_options(&transport),
            verify_challenge_resource: Some(false),
            ..KeyClientOptions::default()
        };
        let vault = KeyClient::new(key.join("/")?.as_str(), Arc::new(Token), Some(options))?;
        let options = BlobContainerClientOptions {
            client_options: client_options(&transport),
            ..BlobContainerClientOptions::default()
        };
        let results = std::env::var("SIGNET_RESULTS")?.parse()?;
        let blobs = BlobContainerClient::new(results, Some(Arc::new(Token)), Some(options))?;
        Ok(Self { vault, key: name, blobs })
    }

    /// The two requests, of the size that a handler's have.
    async fn item(&self, name: &str) -> Result<()> {
        let parameters = SignParameters { algorithm: Some(SignatureAlgorithm::Es256), value: Some(vec![7; 32]) };
        let options = KeyClientSignOptions { key_version: Some(VERSION.to_owned()), ..KeyClientSignOptions::default() };
        self.vault.sign(&self.key, parameters.try_into()?, Some(options)).await?.into_model()?;
        let metadata = [
            ("signet_sha256", HEX),
            ("signet_request", HEX),
            ("signet_kid", "https://localhost:40000/keys/bench/5f1d0c3a7e9b4d2680c4a6e8b0d2f416"),
            ("signet_alg", "ES256"),
            ("signet_version", "0.1.0"),
            ("signet_invocation", "6a3f0a8e-6f0e-4a3a-9a38-1f5f6d0c8e11"),
        ];
        let metadata: HashMap<_, _> = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = BlobClientUploadOptions {
            blob_content_type: Some("application/jose+json".to_owned()),
            metadata: Some(metadata),
            parallel: Some(NonZeroUsize::MIN),
            ..BlobClientUploadOptions::default()
        };
        let content = RequestContent::from(vec![b'x'; 860]);
        self.blobs.blob_client(name).upload(content, Some(options.if_not_exists())).await?;
        Ok(())
    }
}

/// One that is there beforehand.
#[derive(Debug)]
struct Token;

#[async_trait::async_trait]
impl TokenCredential for Token {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> Result<AccessToken> {
        Ok(AccessToken::new(TOKEN, OffsetDateTime::now_utc() + Duration::hours(12)))
    }
}

const VERSION: &str = "5f1d0c3a7e9b4d2680c4a6e8b0d2f416";
