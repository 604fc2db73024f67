//! Serves a local service over HTTP/1.1, with or without TLS, behind a tap.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, Socket};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::tap::{Action, Exchange, Tap, credential, visible_headers, visible_host, visible_query};

/// The largest request body that a local service takes, bytes.
pub const BODY_LIMIT: usize = 64 * 1024 * 1024;

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long the head and the beginning of a truncated body have to leave, before the connection is reset.
const FLUSH_TIME: Duration = Duration::from_millis(20);

/// What answers requests, each with its whole body.
pub trait Service: Send + Sync + 'static {
    /// The answer. It is worked out to its end even when the client goes away, as a real service does.
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>>;
}

/// A service on a port of 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Listener {
    /// Listens on a port (0: one that is free) and serves from then on, in the runtime that it is called in.
    pub fn start(
        name: &'static str,
        tls: Option<Arc<ServerConfig>>,
        port: u16,
        tap: Tap,
        service: Arc<dyn Service>,
    ) -> io::Result<Self> {
        let listener = listen(port).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{name} cannot listen on 127.0.0.1:{port}: {error}; choose another port"),
            )
        })?;
        let address = listener.local_addr()?;
        let tls = tls.map(TlsAcceptor::from);
        let accepting = tokio::spawn(accept(listener, tls, Front { name, tap, service }));
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes the port and every connection, and returns when the port is free.
    pub async fn stop(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens on a port of 127.0.0.1 (0: one that is free) as services do, for which a burst of connections is nothing: with the
/// standard library's backlog of 128, the system would take seconds over what is beyond.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(4096)
}

#[derive(Clone)]
struct Front {
    name: &'static str,
    tap: Tap,
    service: Arc<dyn Service>,
}

/// The connections live in the accepting task, so that aborting it ends them too.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, front: Front) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, tls.clone(), front.clone()));
                }
                // Out of file descriptors, most likely; some may be free soon.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, front: Front) {
    let number = front.tap.connected();
    let mut disconnections = front.tap.disconnections();
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(Reset::new(&stream));
    let serving = async {
        match tls {
            None => serve(stream, front, number, reset.clone()).await,
            Some(acceptor) => {
                if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
                    serve(stream, front, number, reset.clone()).await;
                }
            }
        }
    };
    tokio::select! {
        () = serving => {}
        Ok(()) = disconnections.changed() => reset.ask(),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, front: Front, number: u64, reset: Arc<Reset>) {
    let service = service_fn(|request| {
        let (front, reset) = (front.clone(), reset.clone());
        async move { front.answer(request, number, reset).await }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = reset.asked() => {}
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Front {
    async fn answer(
        self,
        request: Request<Incoming>,
        connection: u64,
        reset: Arc<Reset>,
    ) -> Result<Response<Body>, io::Error> {
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Ok(whole(plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 64 MiB."), false));
            }
            Err(error) => return Err(io::Error::other(error)),
        };
        let head = parts.method == Method::HEAD;
        let (ticket, met) = self.tap.arrive(Exchange {
            service: self.name,
            at: SystemTime::now(),
            host: visible_host(&parts.headers),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: visible_query(parts.uri.query().unwrap_or_default()),
            status: None,
            request_headers: visible_headers(&parts.headers),
            credential: credential(&parts.headers),
            connection,
            fault: false,
            request_bytes: body.len(),
        });
        let request = Request::from_parts(parts, body);

        let mut sending = Sending::Whole;
        let response = match met.map(|met| (met.id, met.action)) {
            None => self.work(request, Duration::ZERO).await,
            Some((_, Action::Respond { status, headers, body })) => canned(status, &headers, body),
            Some((_, Action::Delay(duration))) => self.work(request, duration).await,
            Some((id, Action::Hang)) => {
                self.tap.healed(id).await;
                self.work(request, Duration::ZERO).await
            }
            Some((_, Action::ResetBefore)) => reset.now().await,
            Some((_, Action::ResetAfter)) => {
                self.work(request, Duration::ZERO).await;
                reset.now().await
            }
            Some((_, Action::Truncate { bytes })) => {
                sending = Sending::Cut(bytes);
                self.work(request, Duration::ZERO).await
            }
            Some((_, Action::Trickle { bytes, pause })) => {
                sending = Sending::Slow(bytes, pause);
                self.work(request, Duration::ZERO).await
            }
            Some((_, Action::Alter(alteration))) => alteration(self.work(request, Duration::ZERO).await),
        };
        self.tap.answered(ticket, response.status().as_u16());
        Ok(match sending {
            Sending::Cut(bytes) => truncated(response, bytes, reset),
            Sending::Slow(bytes, pause) if !head => trickled(response, bytes, pause),
            Sending::Slow(..) | Sending::Whole => whole(response, head),
        })
    }

    /// A task of its own, since the client may go away and hyper then drops the future that answers it.
    async fn work(&self, request: Request<Bytes>, delay: Duration) -> Response<Bytes> {
        let service = self.service.clone();
        let work = tokio::spawn(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            service.call(request).await
        });
        work.await.unwrap_or_else(|error| {
            plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{} failed at this request: {error}", self.name))
        })
    }
}

/// The way to reset a connection whose stream hyper owns: a second handle of the same socket.
struct Reset {
    handle: Mutex<Option<Socket>>,
    asked: Notify,
}

impl Reset {
    fn new(stream: &TcpStream) -> Self {
        Self { handle: Mutex::new(SockRef::from(stream).try_clone().ok()), asked: Notify::new() }
    }

    /// With a linger time of zero, closing sends RST in place of FIN.
    fn ask(&self) {
        if let Some(socket) = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.asked.notify_one();
    }

    async fn now<T>(&self) -> T {
        self.ask();
        pending().await
    }

    async fn asked(&self) {
        self.asked.notified().await;
    }
}

/// How an answer's body leaves.
enum Sending {
    Whole,
    Cut(usize),
    Slow(usize, Duration),
}

/// The body's own length counts, except where there is a length and no body: in the answer to HEAD.
fn whole(response: Response<Bytes>, head: bool) -> Response<Body> {
    let mut response = response.map(|body| Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync());
    response.headers_mut().remove(TRANSFER_ENCODING);
    if !head {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

fn truncated(response: Response<Bytes>, bytes: usize, reset: Arc<Reset>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let beginning = stream::iter([Ok(Frame::data(body.slice(..bytes.min(body.len()))))]);
    let end = stream::once(async move {
        sleep(FLUSH_TIME).await;
        reset.ask();
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Response::from_parts(parts, StreamBody::new(futures::StreamExt::chain(beginning, end)).boxed_unsync())
}

fn trickled(response: Response<Bytes>, bytes: usize, pause: Duration) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    let pieces = stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        sleep(pause).await;
        let piece = rest.split_to(bytes.clamp(1, rest.len()));
        Some((Ok(Frame::data(piece)), rest))
    });
    Response::from_parts(parts, StreamBody::new(pieces).boxed_unsync())
}

fn canned(status: u16, headers: &[(String, String)], body: Vec<u8>) -> Response<Bytes> {
    let builder = headers.iter().fold(Response::builder().status(status), |builder, (name, value)| {
        builder.header(name.as_str(), value.as_str())
    });
    builder.body(Bytes::from(body)).unwrap_or_else(|error| {
        plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("The installed fault is no valid response: {error}"))
    })
}

/// A response of plain text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A response of JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(value.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
