//! HTTP by hand, for what a well-behaved client would not send.

use std::time::Duration;

use serde_json::Value;
use signet_core::base64;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the handler, used for one request after the other.
pub(crate) struct Connection(BufReader<TcpStream>);

/// An answer, whose body must be JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

impl Answer {
    /// `error.code`, for what was refused or handed back.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.expect("a handler that listens")))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("a handler that reads");
        self.0.flush().await.expect("a handler that reads");
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json; charset=utf-8\r\n");
        self.write(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes()).await;
        self.write(body).await;
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, self.read()).await.expect("an answer within the deadline")
    }

    async fn read(&mut self) -> Answer {
        let status = self.line().await;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let (mut length, mut content_type) = (0, String::new());
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().expect("a length"),
                "content-type" => value.trim().clone_into(&mut content_type),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a whole body");
        Answer { status, content_type, body: serde_json::from_slice(&body).expect("a JSON body") }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("a line of the head");
        line.trim_end().to_owned()
    }
}

/// One request on a connection of its own.
pub(crate) async fn exchange(port: u16, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut connection = Connection::open(port).await;
    connection.send(method, path, body).await;
    connection.answer().await
}

/// The body with which the host delivers a message by a binary binding.
pub(crate) fn invocation(message: &str) -> String {
    let message = base64::encode(message.as_bytes());
    format!(r#"{{"Data":{{"message":"{message}"}},"Metadata":{{"DequeueCount":"1"}}}}"#)
}
