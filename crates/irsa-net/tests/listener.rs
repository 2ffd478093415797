//! A listener from outside: its limits and its shutdown, as HTTP/1.1 and HTTP/2 clients see them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use irsa_net::body::{self, Bounds};
use irsa_net::ca::{Ca, Period};
use irsa_net::{Budget, Drain, Handler, Http, Limits, Listener, Observer, Phase, tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Answers at once, but to `/wait` only when it is let.
#[derive(Clone)]
struct Gate(Arc<Semaphore>);

impl Handler for Gate {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Full<Bytes>> {
        if request.uri().path() == "/wait" {
            self.0.acquire().await.unwrap().forget();
        }
        Response::new(Full::new(Bytes::from_static(b"done")))
    }
}

#[derive(Default)]
struct Count {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Observer for Count {
    fn opened(&self) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
    }

    fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Server {
    address: SocketAddr,
    ca: String,
    drain: Drain,
    gate: Arc<Semaphore>,
    count: Arc<Count>,
    task: JoinSet<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let ca = Ca::generate("test", Period::a_year()).unwrap();
        let issued = ca.issue(&["127.0.0.1"], Period::a_year()).unwrap();
        let config = tls::fixed(vec![issued.der()], issued.key_der()).unwrap();
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let (gate, count, drain) = (
            Arc::new(Semaphore::new(0)),
            Arc::new(Count::default()),
            Drain::default(),
        );
        let address = listener.address();
        let mut task = JoinSet::new();
        let port = Http::tls(Gate(Arc::clone(&gate)), Arc::new(config));
        let observer: Arc<dyn Observer> = Arc::clone(&count) as _;
        task.spawn(listener.serve(port, limits, observer, drain.phases()));
        Self {
            address,
            ca: ca.pem().to_owned(),
            drain,
            gate,
            count,
            task,
        }
    }

    async fn connect(&self, protocol: &[u8]) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect("127.0.0.1".try_into().unwrap(), stream)
            .await
    }

    async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(b"http/1.1").await.unwrap());
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(b"h2").await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    fn request(&self, path: &str) -> Request<Full<Bytes>> {
        Request::get(format!("https://{}{path}", self.address))
            .header("host", "127.0.0.1")
            .body(Full::default())
            .unwrap()
    }

    async fn ended(mut self) {
        let ended = async { while self.task.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .expect("the listener ends");
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("no answer in time")
}

#[tokio::test]
async fn the_connection_limit_holds_while_all_connections_are_busy() {
    let server = Server::start(Limits {
        connections: 3,
        ..Limits::default()
    })
    .await;
    let mut busy = JoinSet::new();
    for _ in 0..3 {
        let mut sender = server.http1().await;
        let request = server.request("/wait");
        busy.spawn(async move { sender.send_request(request).await.unwrap().status() });
    }
    while server.count.open.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    // Six more, which are served as soon as there is room.
    let mut waiting = JoinSet::new();
    let server = Arc::new(server);
    for _ in 0..6 {
        let server = Arc::clone(&server);
        waiting.spawn(async move {
            // On a slow machine a handshake may take so long that the connection has to make room for another one.
            loop {
                let Ok(stream) = server.connect(b"http/1.1").await else {
                    continue;
                };
                let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                if let Ok(response) = sender.send_request(server.request("/")).await {
                    return response.status();
                }
            }
        });
    }
    server.gate.add_permits(3);
    while let Some(status) = soon(busy.join_next()).await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    while let Some(status) = soon(waiting.join_next()).await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    assert!(server.count.most.load(Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn http2_connections_opened_while_closing_are_served_and_told_to_go_away_afterwards() {
    let server = Server::start(Limits::default()).await;
    let mut before = server.http2().await;
    assert_eq!(
        soon(before.send_request(server.request("/")))
            .await
            .unwrap()
            .status(),
        200
    );
    server.drain.advance(Phase::Closing);
    for _ in 0..40 {
        let mut sender = server.http2().await;
        for _ in 0..2 {
            let response = soon(sender.send_request(server.request("/"))).await.unwrap();
            assert_eq!(response.status(), 200);
        }
    }
    let mut waiting = server.http2().await;
    let in_flight = tokio::spawn(waiting.send_request(server.request("/wait")));
    assert_eq!(
        soon(before.send_request(server.request("/")))
            .await
            .unwrap()
            .status(),
        200
    );
    server.drain.advance(Phase::Lingering);
    // GOAWAY: the client's side of an idle connection is closed.
    soon(async {
        while before.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.gate.add_permits(1);
    assert_eq!(soon(in_flight).await.unwrap().unwrap().status(), 200);
    server.drain.advance(Phase::Stopping);
    server.ended().await;
}

#[tokio::test]
async fn http1_connections_are_asked_to_close_while_closing_and_end_when_stopping() {
    let server = Server::start(Limits::default()).await;
    let mut idle = server.http1().await;
    assert_eq!(
        soon(idle.send_request(server.request("/")))
            .await
            .unwrap()
            .status(),
        200
    );
    server.drain.advance(Phase::Closing);
    let mut sender = server.http1().await;
    let response = soon(sender.send_request(server.request("/"))).await.unwrap();
    assert_eq!(response.headers()["connection"], "close");
    server.drain.advance(Phase::Stopping);
    server.ended().await;
}

/// Reads each body within a budget.
#[derive(Clone)]
struct Reader(Budget, Bounds);

impl Handler for Reader {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Full<Bytes>> {
        let (status, text) = match body::read(request.into_body(), self.1, &self.0).await {
            Ok(received) => (StatusCode::OK, received.bytes.len().to_string()),
            Err(refused) => (refused.status(), refused.to_string()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_do_not_delay_others() {
    let budget = Budget::new(16 << 20);
    let bounds = Bounds {
        bytes: 7 << 20,
        time: Duration::from_secs(600),
    };
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.address();
    let drain = Drain::default();
    let port = Http::plain(Reader(budget.clone(), bounds));
    tokio::spawn(listener.serve(port, Limits::default(), Arc::new(()), drain.phases()));
    let head = |length: usize| {
        format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
    };
    // Thirty uploads that stop short of their end, together far more than the budget.
    let mut stalled = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head(bounds.bytes).as_bytes()).await.unwrap();
        let chunk = vec![b' '; 1 << 20];
        stalled.push(tokio::spawn(async move {
            // What does not fit into the budget is not read, so this may wait for ever.
            let _ = stream.write_all(&chunk).await;
            stream
        }));
    }
    soon(async {
        while budget.used() < 7 << 20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The bound of time is ten minutes. A small body has room left; for a large one, stalled ones have to make room.
    for size in [100_000, 3 << 20] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head(size).as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; size]).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(&size.to_string()),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_bound_is_refused_with_or_without_a_length() {
    let bounds = Bounds {
        bytes: 100_000,
        time: Duration::from_secs(600),
    };
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.address();
    let drain = Drain::default();
    let port = Http::plain(Reader(Budget::new(1 << 20), bounds));
    tokio::spawn(listener.serve(port, Limits::default(), Arc::new(()), drain.phases()));
    for (size, status) in [(100_000, 200), (100_001, 413)] {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let body = http_body_util::StreamBody::new(unsized_body::Chunks(size));
        let request = Request::post("/").header("host", "x").body(body).unwrap();
        let response = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), status, "{size}");
        let _ = response.into_body().collect().await.unwrap();
    }
}

/// A body without a length.
mod unsized_body {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use hyper::body::Frame;

    pub(super) struct Chunks(pub(super) usize);

    impl futures::Stream for Chunks {
        type Item = Result<Frame<Bytes>, Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            let size = self.0.min(10_000);
            self.0 -= size;
            Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from(vec![b' '; size])))))
        }
    }
}
