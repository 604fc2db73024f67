//! The host's HTTP client: HTTP/1.1 over plain TCP to the handler's port, connections kept alive.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// How an invocation's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`, as in Azure.
    Chunked,
    /// `Content-Length`, as under Core Tools.
    ContentLength,
}

type Chunks = stream::Once<std::future::Ready<Result<Frame<Bytes>, Infallible>>>;

/// A request's body, of known or unknown length.
pub(super) type Body = Either<Full<Bytes>, StreamBody<Chunks>>;

/// Clones share their connections.
pub(super) type HttpClient = Client<HttpConnector, Body>;

pub(super) fn client() -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(tcp)
}

pub(super) fn body(bytes: Bytes, framing: Framing) -> Body {
    match framing {
        Framing::Chunked => Either::Right(StreamBody::new(stream::once(std::future::ready(Ok(Frame::data(bytes)))))),
        Framing::ContentLength => Either::Left(Full::new(bytes)),
    }
}
