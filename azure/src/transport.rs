//! The one transport: hyper over rustls, HTTP/1.1 with keep-alive, shared by every Azure client.
//!
//! A try (connect, TLS, request, whole response) has a bounded time; what fails is an error that the caller may retry,
//! and no status code is ever turned into an error here.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{provider::provider, roots::Roots};
use async_trait::async_trait;
use azure_core::{
    Error, Result,
    error::ErrorKind,
    http::{AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode, Transport, headers::Headers},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body as _, Incoming},
    header::HeaderName,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use tower_service::Service;

/// How long a connection may take, TCP alone.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one try may take, from connecting to the last byte of the response.
pub const TRY_TIMEOUT: Duration = Duration::from_secs(15);
/// An idle connection is closed before the services close it (Azure Storage does after two minutes or more).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Builds the transport. Clones share its connections. An answer of more bytes than `largest` is an error, so that no service can
/// fill the memory.
#[must_use]
pub fn transport(roots: &Roots, largest: usize) -> Transport {
    Transport::new(Arc::new(Https { client: client(roots), largest }))
}

/// TLS as every client of ours speaks it: ring, TLS 1.2 and 1.3, AES-GCM, session resumption, these roots.
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it fails for a provider without cipher suites, and the provider is always the same"
)]
pub fn tls_config(roots: &Roots) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots.store())
        .with_no_client_auth()
}

type HyperClient = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

fn client(roots: &Roots) -> HyperClient {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // Plain HTTP is for the platform's identity endpoint alone; the SDK refuses to send a token over it.
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(roots))
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(https)
}

#[derive(Debug)]
struct Https {
    client: HyperClient,
    /// Bytes of an answer.
    largest: usize,
}

#[async_trait]
impl HttpClient for Https {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let outgoing = to_hyper(request).await?;
        match tokio::time::timeout(TRY_TIMEOUT, self.exchange(outgoing)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Error::with_message_fn(ErrorKind::Io, || {
                format!("no complete answer within {} s", TRY_TIMEOUT.as_secs())
            })),
        }
    }
}

impl Https {
    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> Result<AsyncRawResponse> {
        let response = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() { ErrorKind::Connection } else { ErrorKind::Io };
            Error::new(kind, error)
        })?;
        let (head, body) = response.into_parts();
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            // Values that are not ASCII text carry nothing that a client here reads.
            if let Ok(value) = value.to_str() {
                match known(name.as_str()) {
                    Some(name) => headers.insert(name, value.to_owned()),
                    None => headers.insert(name.as_str().to_owned(), value.to_owned()),
                }
            }
        }
        let body = whole(body, self.largest).await?;
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(head.status.as_u16()), headers, body))
    }
}

/// The whole body, in memory of its own size: what comes in one piece stays that, and pieces are put together as they come.
///
/// # Errors
/// It breaks off, or is larger than that.
async fn whole(mut body: Incoming, largest: usize) -> Result<Bytes> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(LARGEST_ANNOUNCED);
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::new(ErrorKind::Io, error))?;
        let Ok(piece) = frame.into_data() else { continue };
        if pieces.is_empty() && body.is_end_stream() {
            return Ok(piece);
        }
        if pieces.len().saturating_add(piece.len()) > largest {
            return Err(Error::with_message_fn(ErrorKind::Io, || format!("the answer is larger than {largest} bytes")));
        }
        if pieces.is_empty() {
            pieces.reserve(announced.max(piece.len()));
        }
        pieces.extend_from_slice(&piece);
    }
    Ok(pieces.freeze())
}

/// Memory is set aside for so much and no more before it comes, whatever a service says.
const LARGEST_ANNOUNCED: usize = 4 * 1024 * 1024;

async fn to_hyper(request: &Request) -> Result<hyper::Request<Full<Bytes>>> {
    let body = match request.body().clone() {
        Body::Bytes(bytes) => bytes,
        Body::SeekableStream(mut stream) => {
            let mut whole = BytesMut::new();
            while let Some(chunk) = stream.next().await {
                whole.extend_from_slice(&chunk.map_err(|error| Error::new(ErrorKind::Io, error))?);
            }
            whole.freeze()
        }
    };
    let mut builder = hyper::Request::builder().method(method(request.method())).uri(request.url().as_str());
    if let Some(headers) = builder.headers_mut() {
        headers.reserve(MOST_HEADERS);
    }
    for (name, value) in request.headers().iter() {
        let value = value.as_str();
        builder = match known(name.as_str()) {
            Some(name) => builder.header(HeaderName::from_static(name), value),
            None => builder.header(name.as_str(), value),
        };
    }
    builder.body(Full::new(body)).map_err(|error| Error::new(ErrorKind::Other, error))
}

/// As many as an upload has.
const MOST_HEADERS: usize = 24;

/// A name that need not be copied, since it is one of those that every request or response has.
fn known(name: &str) -> Option<&'static str> {
    KNOWN.binary_search(&name).ok().and_then(|at| KNOWN.get(at)).copied()
}

const KNOWN: [&str; 38] = [
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "if-none-match",
    "keep-alive",
    "last-modified",
    "pragma",
    "server",
    "strict-transport-security",
    "user-agent",
    "x-content-type-options",
    "x-ms-blob-content-type",
    "x-ms-blob-type",
    "x-ms-client-request-id",
    "x-ms-content-crc64",
    "x-ms-keyvault-network-info",
    "x-ms-keyvault-region",
    "x-ms-keyvault-service-version",
    "x-ms-meta-signet_alg",
    "x-ms-meta-signet_invocation",
    "x-ms-meta-signet_kid",
    "x-ms-meta-signet_message",
    "x-ms-meta-signet_request",
    "x-ms-meta-signet_sha256",
    "x-ms-meta-signet_source",
    "x-ms-meta-signet_source_etag",
    "x-ms-meta-signet_version",
    "x-ms-request-id",
    "x-ms-request-server-encrypted",
    "x-ms-version",
    "x-ms-version-id",
    "x-powered-by",
];

fn method(method: Method) -> hyper::Method {
    match method {
        Method::Delete => hyper::Method::DELETE,
        Method::Head => hyper::Method::HEAD,
        Method::Patch => hyper::Method::PATCH,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        _ => hyper::Method::GET,
    }
}

/// The system's resolver, except that names under `.localhost` are loopback without a look-up (RFC 6761, section 6.3).
#[derive(Clone, Debug)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_localhost(name.as_str()) {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses = loopback.map(|address| SocketAddr::new(address, 0)).to_vec();
            return Box::pin(std::future::ready(Ok(addresses.into_iter())));
        }
        let lookup = self.0.call(name);
        Box::pin(async move { Ok(lookup.await?.collect::<Vec<_>>().into_iter()) })
    }
}

/// Whether a host's name is loopback without a look-up.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last_label = name.rsplit('.').next().unwrap_or(name);
    last_label.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_found() {
        assert!(KNOWN.is_sorted());
        // It would panic for what is no header's name.
        assert!(KNOWN.iter().all(|name| HeaderName::from_static(name) == *name && known(name) == Some(*name)));
        assert_eq!(known("x-ms-version"), Some("x-ms-version"));
        assert_eq!(known("x-ms-copy-id"), None);
    }

    #[test]
    fn only_the_last_label_makes_a_name_local() {
        for name in ["localhost", "dev.vault.localhost", "DEV.VAULT.LOCALHOST", "a.localhost."] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["localhost.example.com", "notlocalhost", "127.0.0.1", ""] {
            assert!(!is_localhost(name), "{name}");
        }
    }
}
