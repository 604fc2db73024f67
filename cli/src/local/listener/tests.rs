use std::{
    error::Error as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use hyper::header::HeaderValue;

use super::*;
use crate::local::{
    certificates::{Certificates, LOCAL_NAMES},
    tap::Fault,
    test_client::TestClient,
};

/// Answers the request's body, or its path, and counts.
#[derive(Default)]
struct Echo {
    done: Arc<AtomicUsize>,
}

impl Service for Echo {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let done = self.done.clone();
        Box::pin(async move {
            done.fetch_add(1, Ordering::SeqCst);
            let path = Bytes::copy_from_slice(request.uri().path().as_bytes());
            Response::new(if request.body().is_empty() { path } else { request.into_body() })
        })
    }
}

struct Bench {
    tap: Tap,
    done: Arc<AtomicUsize>,
    listener: Listener,
}

impl Bench {
    fn start() -> Self {
        let (tap, echo) = (Tap::new(), Echo::default());
        let done = echo.done.clone();
        let listener = Listener::start("echo", None, 0, tap.clone(), Arc::new(echo)).unwrap();
        Self { tap, done, listener }
    }

    async fn client(&self) -> TestClient {
        TestClient::plain(self.listener.port()).await
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionReset;
        }
        source = cause.source();
    }
    false
}

#[tokio::test]
async fn tls_is_trusted_by_the_authority_only() {
    let certificates = Certificates::generate(&LOCAL_NAMES).unwrap();
    let tls = certificates.server_config().unwrap();
    let listener = Listener::start("echo", Some(tls), 0, Tap::new(), Arc::new(Echo::default())).unwrap();
    for name in ["dev.vault.localhost", "localhost", "127.0.0.1", "acct.blob.localhost"] {
        let mut client = TestClient::tls(listener.port(), certificates.client_config().unwrap(), name).await.unwrap();
        assert_eq!(client.get("/x").await.unwrap().body(), "/x", "{name}");
    }
    let other = Certificates::generate(&LOCAL_NAMES).unwrap().client_config().unwrap();
    assert!(TestClient::tls(listener.port(), other, "localhost").await.is_err());
    let named_otherwise = TestClient::tls(listener.port(), certificates.client_config().unwrap(), "example.org").await;
    assert!(named_otherwise.is_err());
}

#[tokio::test]
async fn exchanges_are_listed_without_their_secrets() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    let request = Request::post("/a%20b?x=1&sig=abc")
        .header("Authorization", "Bearer abc")
        .header("X-Identity-Header", "abc")
        .header("x-other", "eyJhbc")
        .header("If-None-Match", "*")
        .body(Full::from("12345"))
        .unwrap();
    assert_eq!(client.send(request).await.unwrap().body(), "12345");
    bench.client().await.get("/").await.unwrap();

    let exchanges = bench.tap.exchanges();
    let [first, second] = &exchanges[..] else { panic!("{exchanges:?}") };
    assert_eq!((first.service, first.method.as_str(), first.status), ("echo", "POST", Some(200)));
    assert_eq!((first.path.as_str(), first.query.as_str(), first.request_bytes), ("/a%20b", "x=1&sig=REDACTED", 5));
    assert_eq!((first.header("if-none-match"), first.fault), (Some("*"), false));
    for name in ["authorization", "x-identity-header", "x-other"] {
        assert_eq!(first.header(name), Some("REDACTED"));
    }
    assert!(first.credential.is_some() && second.credential.is_none());
    assert_eq!((first.connection, second.connection), (1, 2));
    assert_eq!(bench.tap.count(|exchange| exchange.method == "POST"), 1);
    bench.tap.clear();
    assert!(bench.tap.exchanges().is_empty());
    client.get("/").await.unwrap();
    assert_eq!((bench.tap.exchanges()[0].status, bench.tap.exchanges()[0].connection), (Some(200), 1));
}

#[tokio::test]
async fn a_fault_hits_what_it_names_as_often_as_it_says() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    let action = Action::respond(429, &[("Retry-After", "7")], "slow down");
    let id = bench.tap.fail(Fault::new(action).method("get").path("/sign").skip(1).times(2));
    let mut statuses = Vec::new();
    for path in ["/other", "/k/sign", "/k/sign", "/other", "/k/sign", "/k/sign"] {
        let response = client.get(path).await.unwrap();
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "7");
            assert_eq!(response.body(), "slow down");
        }
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 200, 429, 200]);
    assert_eq!((bench.tap.fired(id), bench.tap.remaining(id), bench.done()), (2, Some(0), 4));
    assert_eq!(bench.tap.count(|exchange| exchange.fault && exchange.status == Some(429)), 2);
}

#[tokio::test]
async fn faults_can_ask_for_a_credential_or_for_its_absence() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    bench.tap.fail(Fault::status(500).authenticated());
    assert_eq!(client.get("/").await.unwrap().status(), 200);
    bench.tap.heal();
    bench.tap.fail(Fault::status(500).unauthenticated().when(|exchange| exchange.query == "a"));
    assert_eq!(client.get("/").await.unwrap().status(), 200);
    assert_eq!(client.get("/?a").await.unwrap().status(), 500);
}

#[tokio::test]
async fn a_reset_comes_before_or_after_the_work() {
    let bench = Bench::start();
    for (action, done) in [(Action::ResetBefore, 0), (Action::ResetAfter, 1)] {
        bench.tap.fail(Fault::new(action).times(1));
        let error = bench.client().await.get("/").await.unwrap_err();
        assert!(is_reset(&error), "{error:?}");
        assert_eq!(bench.done(), done);
    }
    assert_eq!(bench.tap.count(|exchange| exchange.fault && exchange.status.is_none()), 2);
    assert_eq!(bench.client().await.get("/").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_reset_under_tls_is_one_too() {
    let certificates = Certificates::generate(&LOCAL_NAMES).unwrap();
    let tap = Tap::new();
    let tls = certificates.server_config().unwrap();
    let listener = Listener::start("echo", Some(tls), 0, tap.clone(), Arc::new(Echo::default())).unwrap();
    tap.fail(Fault::new(Action::ResetBefore));
    let mut client =
        TestClient::tls(listener.port(), certificates.client_config().unwrap(), "localhost").await.unwrap();
    let error = client.get("/").await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_after_its_beginning() {
    let bench = Bench::start();
    bench.tap.fail(Fault::new(Action::Truncate { bytes: 3 }));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(
        TcpStream::connect(bench.listener.address()).await.unwrap(),
    ))
    .await
    .unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(Request::get("/abcdef").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[CONTENT_LENGTH], "7");
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "/ab");
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(bench.done(), 1);
}

#[tokio::test]
async fn an_answer_can_trickle() {
    let bench = Bench::start();
    bench.tap.fail(Fault::new(Action::Trickle { bytes: 3, pause: Duration::from_millis(30) }));
    let mut client = bench.client().await;
    let begun = Instant::now();
    let response = client.get("/abcdef").await.unwrap();
    assert_eq!(
        (response.body(), &response.headers()[CONTENT_LENGTH]),
        (&Bytes::from("/abcdef"), &"7".parse().unwrap())
    );
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    let head = Request::head("/abcdef").header("host", "localhost").body(Full::default()).unwrap();
    assert_eq!(client.send(head).await.unwrap().body(), "");
}

#[tokio::test]
async fn every_connection_can_be_reset_and_the_work_goes_on() {
    let bench = Bench::start();
    bench.tap.fail(Fault::new(Action::Delay(Duration::from_millis(200))).path("/slow"));
    let (mut idle, mut busy) = (bench.client().await, bench.client().await);
    idle.get("/").await.unwrap();
    let waiting = tokio::spawn(async move { busy.get("/slow").await });
    while bench.tap.count(|exchange| exchange.path == "/slow") == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    bench.tap.disconnect();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    assert!(idle.get("/").await.is_err());
    assert_eq!(bench.client().await.get("/").await.unwrap().status(), 200, "new ones are served");
    sleep(Duration::from_millis(400)).await;
    assert_eq!(bench.done(), 3);
}

#[tokio::test]
async fn hanging_requests_go_on_when_healed() {
    let bench = Bench::start();
    let id = bench.tap.fail(Fault::new(Action::Hang));
    let mut client = bench.client().await;
    let waiting = tokio::spawn(async move { client.get("/").await.unwrap().status() });
    while bench.tap.fired(id) == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished() && bench.done() == 0);
    bench.tap.heal();
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn a_hanging_request_whose_client_left_is_never_done() {
    let bench = Bench::start();
    let id = bench.tap.fail(Fault::new(Action::Hang));
    let mut client = bench.client().await;
    assert!(timeout(Duration::from_millis(50), client.get("/")).await.is_err());
    assert_eq!(bench.tap.fired(id), 1);
    drop(client);
    sleep(Duration::from_millis(100)).await;
    bench.tap.remove(id);
    assert_eq!(bench.client().await.get("/").await.unwrap().status(), 200);
    assert_eq!((bench.done(), bench.tap.exchanges()[0].status), (1, None));
}

#[tokio::test]
async fn delayed_work_is_done_even_when_the_client_gives_up() {
    let bench = Bench::start();
    bench.tap.fail(Fault::new(Action::Delay(Duration::from_millis(100))));
    let mut client = bench.client().await;
    assert!(timeout(Duration::from_millis(30), client.get("/")).await.is_err());
    drop(client);
    let start = Instant::now();
    while bench.done() == 0 {
        assert!(start.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_good_answer_can_be_altered() {
    let bench = Bench::start();
    bench.tap.fail(Fault::new(Action::alter(|mut response| {
        response.headers_mut().insert("x-altered", HeaderValue::from_static("yes"));
        response.map(|body| [&body[..], b"!"].concat().into())
    })));
    let response = bench.client().await.get("/a").await.unwrap();
    assert_eq!(
        (&response.headers()["x-altered"], &response.body()[..]),
        (&HeaderValue::from_static("yes"), &b"/a!"[..])
    );
}

#[tokio::test]
async fn a_stopped_listener_frees_its_port_and_ends_its_connections() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    client.get("/").await.unwrap();
    let port = bench.listener.port();
    bench.listener.stop().await;
    assert!(client.get("/").await.is_err());
    let again = Listener::start("echo", None, port, Tap::new(), Arc::new(Echo::default())).unwrap();
    assert_eq!(TestClient::plain(again.port()).await.get("/b").await.unwrap().body(), "/b");
}

#[tokio::test]
async fn a_fault_can_be_for_one_host_of_several() {
    let bench = Bench::start();
    let mut client = bench.client().await;
    let id = bench.tap.fail(Fault::status(429).host("second"));
    let whole = bench.tap.fail(Fault::status(503).host("third.vault.localhost"));
    let mut statuses = Vec::new();
    for host in
        ["dev.vault.localhost:1", "Second.vault.localhost:1", "secondary.vault.localhost", "third.vault.localhost"]
    {
        let request = Request::get("/keys").header("Host", host).body(Full::default()).unwrap();
        statuses.push(client.send(request).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 200, 503]);
    assert_eq!((bench.tap.fired(id), bench.tap.fired(whole)), (1, 1));
    assert_eq!(bench.tap.count(|exchange| exchange.host == "second.vault.localhost"), 1);
}
