//! What the Functions host does to a handler: invocations on a few connections, each sent when the last one is answered.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use azure_core::Uuid;
use bytes::Bytes;
use futures::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST, TRANSFER_ENCODING},
};
use hyper_util::rt::TokioIo;
use signet::local::host::{
    Message,
    config::{DataType, Function},
    envelope::envelope,
};
use time::OffsetDateTime;
use tokio::{net::TcpStream, time::timeout};

use crate::{Error, Result};

/// Items in flight: the host's `batchSize` in `host.json`.
pub const IN_FLIGHT: usize = 16;

/// The payload of every item, with what a re-serialisation would change.
pub const PAYLOAD: &str = concat!(
    r#"{ "invoice": "2026-0042", "amount": 12.50, "currency": "EUR", "buyer": { "name": "Ars\u00e8ne Lupin & Cie", "#,
    r#""address": ["1 rue de l'Aiguille", "76790 \u00c9tretat", "FR"] }, "lines": [ { "sku": "A-1", "count": 1, "#,
    r#""price": 10.00 }, { "sku": "B-2", "count": 5, "price": 0.50 } ], "due": "2026-12-31T00:00:00Z" }"#
);

/// How long an item may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection of the host to a handler.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// How many items.
    pub items: u32,
    /// In which time.
    pub time: Duration,
}

impl Connection {
    /// Connects to a port of 127.0.0.1.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| Error::new("connect", e))?;
        // Without it, small requests wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| Error::new("connect", e))?;
        tokio::spawn(connection);
        Ok(Self { sender, host: format!("127.0.0.1:{port}") })
    }

    /// `GET /`, as the host asks whether a handler is there, or another path that answers 200 to that.
    pub async fn probe(&mut self, path: &str) -> Result<()> {
        let request = Request::get(path).header(HOST, &self.host).body(Full::default());
        let (status, body) = self.send(request.map_err(|e| Error::new(path, e))?, PATIENCE).await?;
        if status == StatusCode::OK { Ok(()) } else { Err(refused(path, status, &body)) }
    }

    /// Has the handler sign a message, which it must.
    pub async fn invoke(&mut self, message: &str) -> Result<()> {
        let (status, body) = self.deliver(&Message::new(message), PATIENCE).await?;
        if status == StatusCode::OK { Ok(()) } else { Err(refused("POST /sign", status, &body)) }
    }

    /// Gives the handler a message, in an invocation as the host makes it; what it answers within that time.
    pub async fn deliver(&mut self, message: &Message, patience: Duration) -> Result<(StatusCode, Bytes)> {
        let function = Function {
            name: "sign".to_owned(),
            binding: "message".to_owned(),
            queue: "work".to_owned(),
            connection: "WorkQueue".to_owned(),
            data_type: DataType::Binary,
        };
        let body = envelope(&function, message, OffsetDateTime::now_utc(), Uuid::new_v4());
        let request = Request::post("/sign")
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(TRANSFER_ENCODING, "chunked")
            .header("X-Azure-Functions-Host-Version", "4.1052.200.0")
            .header("X-Azure-Functions-InvocationId", Uuid::new_v4().to_string())
            .body(Full::from(body.map_err(|e| Error::new("an invocation", e))?));
        self.send(request.map_err(|e| Error::new("an invocation", e))?, patience).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>, patience: Duration) -> Result<(StatusCode, Bytes)> {
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let answered = timeout(patience, exchange).await.map_err(|e| Error::new("an answer", e))?;
        answered.map_err(|e| Error::new("an answer", e))
    }
}

/// A work item with an id that no other has.
#[must_use]
pub fn work_item() -> String {
    numbered_item().1
}

/// The same, behind its id.
#[must_use]
pub fn numbered_item() -> (String, String) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = format!("invoices/2026/{number:08}");
    let item = format!(r#"{{"id":"{id}","payload":{PAYLOAD}}}"#);
    (id, item)
}

/// Keeps [`IN_FLIGHT`] items in flight, until so many are done and so much time is over.
pub async fn closed_loop(port: u16, least_items: u32, least_time: Duration) -> Result<Done> {
    let connections = try_join_all((0..IN_FLIGHT).map(|_| Connection::open(port))).await?;
    let started = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let workers = connections.into_iter().map(|mut connection| {
        let started = Arc::clone(&started);
        let worker = tokio::spawn(async move {
            let mut done = 0;
            while started.fetch_add(1, Ordering::Relaxed) < u64::from(least_items) || begun.elapsed() < least_time {
                connection.invoke(&work_item()).await?;
                done += 1;
            }
            Ok(done)
        });
        async { worker.await.map_err(|e| Error::new("the load", e))? }
    });
    let items: Vec<u32> = try_join_all(workers).await?;
    Ok(Done { items: items.iter().sum(), time: begun.elapsed() })
}

/// Sends items one after the other; how long each took.
pub async fn one_by_one(connection: &mut Connection, count: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let item = work_item();
        let begun = Instant::now();
        connection.invoke(&item).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

fn refused(what: &str, status: StatusCode, body: &Bytes) -> Error {
    Error::new(what, format!("{status} {}", String::from_utf8_lossy(body)))
}
