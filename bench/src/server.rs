//! A lean HTTP/1.1 server for services that must not be what is measured: no tap, no task for each request.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use signet::local::listener::{Service, listen};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{Error, Result};

/// How long every request waits before it is answered, and how many did. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Delay {
    millis: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Delay {
    /// Sets it for all requests from now on.
    pub fn set(&self, delay: Duration) {
        self.millis.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many requests there were.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    async fn pass(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        match self.millis.load(Ordering::Relaxed) {
            0 => {}
            millis => sleep(Duration::from_millis(millis)).await,
        }
    }
}

/// A service on a port of 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct Server {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens on a free port, over TLS where there is a configuration.
    pub fn start(tls: Option<Arc<ServerConfig>>, delay: Delay, service: Arc<dyn Service>) -> Result<Self> {
        let listener = listen(0).map_err(|e| Error::new("a port", e))?;
        let port = listener.local_addr().map_err(|e| Error::new("a port", e))?.port();
        let tls = tls.map(TlsAcceptor::from);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, delay, service) = (tls.clone(), delay.clone(), Arc::clone(&service));
                tokio::spawn(async move {
                    // Without it, small answers wait for acknowledgements.
                    let _ = stream.set_nodelay(true);
                    match tls {
                        None => serve(stream, delay, service).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, delay, service).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { port, accepting })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, delay: Delay, service: Arc<dyn Service>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let (delay, service) = (delay.clone(), Arc::clone(&service));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            delay.pass().await;
            let response: Response<Bytes> = service.call(Request::from_parts(parts, body)).await;
            Ok::<_, hyper::Error>(
                response.map(|body| Full::<Bytes>::new(body).map_err(|never: Infallible| match never {})),
            )
        }
    });
    // An error is a client that went away.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
