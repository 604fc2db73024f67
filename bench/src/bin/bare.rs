//! A client that makes the two requests of an item and does nothing else: what no handler can be cheaper than.
//!
//! `bare` gets the settings of a handler, and the number of items as its argument. It prints the microseconds of CPU time
//! that an item took, on one thread, with one batch of the host's in flight.

use std::{
    error::Error,
    net::Ipv4Addr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bench::{
    floor::{HEX, Outcome, TOKEN, WARM_UP, print},
    load::IN_FLIGHT,
    process::cpu_time,
};
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_NONE_MATCH},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn main() -> ExitCode {
    print(measure())
}

async fn measure() -> Outcome<u128> {
    let items: u32 = std::env::args().nth(1).ok_or("the number of items is missing")?.parse()?;
    let key = std::env::var("SIGNET_KEY")?;
    let results = std::env::var("SIGNET_RESULTS")?;
    let tls = tls(&std::env::var("SSL_CERT_FILE")?)?;
    let (vault, blob) = (port(&key)?, port(&results)?);
    let path = results.splitn(4, '/').nth(3).ok_or("the results have no container")?.to_owned();
    let mut lanes = Vec::new();
    for _ in 0..IN_FLIGHT {
        lanes.push(Lane { vault: connect(&tls, vault).await?, blob: connect(&tls, blob).await?, path: path.clone() });
    }
    run(&mut lanes, "warm-up", WARM_UP).await?;
    let before = cpu_time(std::process::id())?;
    run(&mut lanes, "bare", items).await?;
    Ok(cpu_time(std::process::id())?.saturating_sub(before).as_micros() / u128::from(items))
}

/// Has the lanes share so many items.
async fn run(lanes: &mut [Lane], name: &str, items: u32) -> Outcome<()> {
    let started = Arc::new(AtomicU32::new(0));
    try_join_all(lanes.iter_mut().map(|lane| {
        let started = Arc::clone(&started);
        async move {
            loop {
                let number = started.fetch_add(1, Ordering::Relaxed);
                if number >= items {
                    return Ok::<_, Box<dyn Error>>(());
                }
                lane.item(&format!("{name}-{number}")).await?;
            }
        }
    }))
    .await?;
    Ok(())
}

/// A connection to each service.
struct Lane {
    vault: Client,
    blob: Client,
    path: String,
}

struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Lane {
    /// The two requests, of the size that a handler's have.
    async fn item(&mut self, id: &str) -> Outcome<()> {
        let sign = Request::post("/keys/bench/5f1d0c3a7e9b4d2680c4a6e8b0d2f416/sign?api-version=2025-07-01")
            .header(CONTENT_TYPE, "application/json");
        self.vault.send(sign, Bytes::from_static(DIGEST)).await?;
        let put = Request::builder()
            .method(Method::PUT)
            .uri(format!("/{}/invoices/2026/{id}.jws.json", self.path))
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(IF_NONE_MATCH, "*")
            .header("x-ms-blob-type", "BlockBlob")
            .header("x-ms-blob-content-type", "application/jose+json")
            .header("x-ms-meta-signet_sha256", HEX)
            .header("x-ms-meta-signet_request", HEX)
            .header("x-ms-meta-signet_kid", "https://localhost:40000/keys/bench/5f1d0c3a7e9b4d2680c4a6e8b0d2f416")
            .header("x-ms-meta-signet_alg", "ES256")
            .header("x-ms-meta-signet_version", "0.1.0")
            .header("x-ms-meta-signet_invocation", "6a3f0a8e-6f0e-4a3a-9a38-1f5f6d0c8e11")
            .header("x-ms-version", "2026-02-06");
        self.blob.send(put, Bytes::from_static(&[b'x'; 860])).await
    }
}

impl Client {
    async fn send(&mut self, request: hyper::http::request::Builder, body: Bytes) -> Outcome<()> {
        let request = request
            .header(HOST, &self.host)
            .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header("user-agent", "azsdk-rust-bare/1.0.0 (x86_64; linux)")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        if status.is_success() { Ok(()) } else { Err(format!("{} answered {status}", self.host).into()) }
    }
}

async fn connect(tls: &TlsConnector, port: u16) -> Outcome<Client> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Client { sender, host: format!("localhost:{port}") })
}

fn tls(authority: &str) -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The port in `https://{host}:{port}/…`.
fn port(url: &str) -> Outcome<u16> {
    let authority = url.split('/').nth(2).ok_or("a setting is no URL")?;
    Ok(authority.rsplit(':').next().unwrap_or_default().parse()?)
}

const DIGEST: &[u8] = br#"{"alg":"ES256","value":"uU0nuZNNPgilLlLX2n2r-sSE7-N6U4DukIj3rOLvzek"}"#;
