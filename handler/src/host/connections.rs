//! The host's connections: so many are served, those above are answered 503 at once, and none is held for ever.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Connections that bring no request, or only a part of its head, end after so long. The host's own end earlier: its client
/// closes what was idle for a minute or two, so none is ended just as it is used again.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_mins(5);
/// A head must fit, which of the host's is below 1 KiB. hyper's own limit of 400 KiB is memory that nothing counts.
const READ_BUFFER: usize = 32 * 1024;
/// So many connections are being told at a time that there is no place for them; the system keeps the others waiting.
const TURNED_AWAY: usize = 1024;
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that wait to be accepted, as far as the system allows. One too many is not refused: its client believes in it, and
/// the system tries again after seconds, so the 128 of the standard library make a burst take up to a minute.
const BACKLOG: u32 = 4096;

/// Listens on the host's port. A restarted handler gets the port of the one before, so a busy port is tried again.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    for _ in 0..50 {
        match try_listen(port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(Duration::from_millis(100)).await,
            outcome => return outcome,
        }
    }
    try_listen(port)
}

fn try_listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port is free though connections of the handler before linger. Windows needs no such word, and would share the port
    // with whoever listens there.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// Serves so many connections at once, for ever; none of them longer without a request's head than `patience`.
pub(crate) async fn serve(listener: TcpListener, most: usize, patience: Duration, router: Router) {
    let (served, turned_away) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(TURNED_AWAY)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely; some may be free soon.
                tracing::error!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Without it the host would wait for our packets to fill. It is only speed that is lost.
        let _ = stream.set_nodelay(true);
        if let Ok(place) = Arc::clone(&served).try_acquire_owned() {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(READ_BUFFER);
                // An error is a client that went away, or that does not speak HTTP.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&turned_away).acquire_owned().await {
            tokio::spawn(async move {
                let _ = timeout(TURN_AWAY_TIMEOUT, turn_away(stream)).await;
                drop(place);
            });
        }
    }
}

/// Answers whatever is asked without reading it, and then reads it: closing a connection with bytes unread would have the
/// system take the answer back.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NO_PLACE.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = [0; 512];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

const NO_PLACE: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\n\
    content-length: 100\r\n\
    connection: close\r\n\
    \r\n\
    {\"error\":{\"code\":\"overloaded\",\"stage\":\"host\",\"message\":\"there are too many connections; try later\"}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = NO_PLACE.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
