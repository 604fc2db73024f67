//! A reverse proxy to a server on this machine, so that its traffic can be tapped.

use std::{error::Error as _, fmt, io, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;

use super::listener::{Service, plain};

/// Shorter than the 5 seconds for which Node, and so Azurite, keeps an idle connection: a request must not meet its end.
const IDLE_TIME: Duration = Duration::from_secs(4);

/// Connections kept for the next requests.
const IDLE_CONNECTIONS: usize = 256;

/// Forwards every request, with its `Host`, to `https://127.0.0.1:{port}`.
#[derive(Clone)]
pub struct Proxy {
    name: &'static str,
    port: u16,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Proxy {
    /// A proxy to a port of 127.0.0.1, whose certificate the configuration must trust for that address.
    ///
    /// The configuration must not name protocols (ALPN): the connector does.
    #[must_use]
    pub fn new(name: &'static str, port: u16, tls: ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { name, port, client }
    }

    async fn forward(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.exchange(request).await {
            Ok(response) => response,
            Err(error) => {
                let (name, port) = (self.name, self.port);
                plain(
                    StatusCode::BAD_GATEWAY,
                    &format!("{name} at https://127.0.0.1:{port} cannot be reached: {error}"),
                )
            }
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> io::Result<Response<Bytes>> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("https://127.0.0.1:{}{path}", self.port).parse::<Uri>().map_err(io::Error::other)?;
        remove_hop_by_hop(&mut parts.headers);
        // The client adds none to an empty body, and a server may insist: Azurite does for an empty blob.
        if body.is_empty() && !matches!(parts.method, Method::PUT | Method::POST) {
            parts.headers.remove(CONTENT_LENGTH);
        } else {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let request = Request::from_parts(parts, Full::new(body));
        let response = self.client.request(request).await.map_err(|error| {
            io::Error::other(error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
        })?;
        let (mut parts, body) = response.into_parts();
        remove_hop_by_hop(&mut parts.headers);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

impl Service for Proxy {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let proxy = self.clone();
        Box::pin(async move { proxy.forward(request).await })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

/// RFC 9110, section 7.6.1: what belongs to one connection only.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let known = [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in named.into_iter().chain(known).chain([HeaderName::from_static("keep-alive")]) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::local::{
        certificates::{Certificates, LOCAL_NAMES},
        listener::Listener,
        tap::Tap,
        test_client::TestClient,
    };

    /// Tells what it got.
    struct Mirror;

    impl Service for Mirror {
        fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                let names: Vec<_> = parts.headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                let text = format!("{} {} {names:?} {}", parts.method, parts.uri, body.len());
                let response =
                    Response::builder().status(201).header("x-ms-version", "1").header("connection", "keep-alive");
                let response = if parts.method == Method::HEAD {
                    response.header(CONTENT_LENGTH, 1234).body(Bytes::new())
                } else {
                    response.body(text.into())
                };
                response.unwrap()
            })
        }
    }

    struct Bench {
        behind: Tap,
        upstream: Listener,
        front: Listener,
    }

    fn bench() -> Bench {
        let certificates = Certificates::generate(&LOCAL_NAMES).unwrap();
        let behind = Tap::new();
        let tls = certificates.server_config().unwrap();
        let upstream = Listener::start("upstream", Some(tls), 0, behind.clone(), Arc::new(Mirror)).unwrap();
        let proxy = Proxy::new("upstream", upstream.port(), certificates.client_config().unwrap());
        let front = Listener::start("proxy", None, 0, Tap::new(), Arc::new(proxy)).unwrap();
        Bench { behind, upstream, front }
    }

    #[tokio::test]
    async fn requests_arrive_as_they_were_sent() {
        let bench = bench();
        let request = Request::put("/acct/c/a%2Fb%20c?comp=block&x=%2B")
            .header("Host", "acct.blob.localhost:1")
            .header("Connection", "x-hop")
            .header("X-Hop", "1")
            .header("If-None-Match", "*")
            .body(Full::from(vec![7; 300_000]));
        let response = TestClient::plain(bench.front.port()).await.send(request.unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["x-ms-version"]), (201, &"1".parse().unwrap()));
        let text = String::from_utf8(response.into_body().to_vec()).unwrap();
        assert!(text.starts_with("PUT /acct/c/a%2Fb%20c?comp=block&x=%2B "), "{text}");
        assert!(
            text.contains("host=\\\"acct.blob.localhost:1\\\"") && text.contains("if-none-match=\\\"*\\\""),
            "{text}"
        );
        assert!(!text.contains("x-hop") && !text.contains("transfer-encoding"), "{text}");
        assert!(text.ends_with(" 300000"), "{text}");
    }

    #[tokio::test]
    async fn an_empty_body_has_a_length_where_one_is_expected() {
        let bench = bench();
        for (method, expected) in [("PUT", true), ("POST", true), ("GET", false), ("DELETE", false)] {
            let request = Request::builder().method(method).uri("/x").header("host", "h").header(CONTENT_LENGTH, 0);
            let request = request.body(Full::default()).unwrap();
            TestClient::plain(bench.front.port()).await.send(request).await.unwrap();
            let length = bench.behind.exchanges().pop().unwrap().header("content-length").map(str::to_owned);
            assert_eq!(length.as_deref(), expected.then_some("0"), "{method}");
        }
    }

    #[tokio::test]
    async fn the_length_in_an_answer_to_head_is_kept() {
        let bench = bench();
        let request = Request::head("/x").header("host", "h").body(Full::default()).unwrap();
        let response = TestClient::plain(bench.front.port()).await.send(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_LENGTH], "1234");
    }

    #[tokio::test]
    async fn one_connection_serves_many_requests() {
        let bench = bench();
        let mut client = TestClient::plain(bench.front.port()).await;
        for _ in 0..20 {
            assert_eq!(client.get("/x").await.unwrap().status(), 201);
        }
        assert_eq!(bench.behind.count(|exchange| exchange.connection == 1), 20);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_a_502_that_says_so() {
        let bench = bench();
        bench.upstream.stop().await;
        let response = TestClient::plain(bench.front.port()).await.get("/x").await.unwrap();
        assert_eq!(response.status(), 502);
        let text = String::from_utf8(response.into_body().to_vec()).unwrap();
        assert!(text.starts_with("upstream at https://127.0.0.1:") && text.contains("cannot be reached"), "{text}");
    }
}
