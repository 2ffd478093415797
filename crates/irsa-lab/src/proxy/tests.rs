//! The proxy from outside: sockets and TLS as a client has them.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Tells the caller what arrived.
struct Echo;

impl Backend for Echo {
    fn accepts(&self, host: &str) -> bool {
        host == "sts.amazonaws.com" || host.ends_with(".s3.amazonaws.com")
    }

    fn handle(self: Arc<Self>, request: Request<Bytes>, facts: Facts) -> BoxFuture<'static, Response<Bytes>> {
        Box::pin(async move {
            let text = format!(
                "{} {} host={} body={} sni={} {} {} {}",
                request.method(),
                request.uri().path_and_query().unwrap(),
                request.headers()[header::HOST].to_str().unwrap(),
                request.body().len(),
                facts.host,
                facts.source_ip,
                facts.tls_version,
                facts.cipher,
            );
            Response::new(Bytes::from(text))
        })
    }
}

async fn start(config: Config) -> Proxy {
    let authority = Arc::new(Authority::generate("test").unwrap());
    Proxy::start(config, authority, Arc::new(Echo)).await.unwrap()
}

async fn tls(
    proxy: &Proxy,
    stream: TcpStream,
    name: &str,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(proxy.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
}

/// Sends CONNECT and gives back the status line, the rest of the answer when it is no tunnel, and the socket.
async fn tunnel(proxy: &Proxy, authority: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |value| value.parse::<usize>().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head + std::str::from_utf8(&body).unwrap(), stream)
}

async fn http1(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    text(sender.send_request(request).await.unwrap()).await
}

async fn text(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn request(host: &str, target: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(target)
        .header(header::HOST, host)
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn a_client_behind_connect_reaches_the_backend_with_its_target_untouched() {
    let proxy = start(Config::default()).await;
    let (head, stream) = tunnel(&proxy, "STS.amazonaws.com:443").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let stream = tls(&proxy, stream, "sts.amazonaws.com", b"http/1.1")
        .await
        .unwrap();
    let target = "/a%2fb//%C3%A9?X=%20+&x=~";
    let (status, text) = http1(stream, request("sts.amazonaws.com", target, "abc")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        format!(
            "POST {target} host=sts.amazonaws.com body=3 sni=sts.amazonaws.com 127.0.0.1 TLSv1.3 \
             TLS_AES_256_GCM_SHA384"
        )
    );
    proxy.shutdown().await;
}

#[tokio::test]
async fn an_http2_client_at_the_direct_door_has_a_host_header_too() {
    let proxy = start(Config::default()).await;
    let stream = TcpStream::connect(proxy.direct_address()).await.unwrap();
    let stream = tls(&proxy, stream, "b.s3.amazonaws.com", b"h2").await.unwrap();
    let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://b.s3.amazonaws.com/key?x=1")
        .body(Full::<Bytes>::default())
        .unwrap();
    let (_, text) = text(sender.send_request(request).await.unwrap()).await;
    assert!(
        text.starts_with("GET /key?x=1 host=b.s3.amazonaws.com body=0 sni=b.s3.amazonaws.com"),
        "{text}"
    );
}

#[tokio::test]
async fn names_that_are_not_served_are_refused_and_the_text_says_what_to_do() {
    let proxy = start(Config::default()).await;
    for authority in ["example.com:443", "sts.amazonaws.com:80", "127.0.0.1:443"] {
        let (answer, _) = tunnel(&proxy, authority).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(answer.contains(authority), "{answer}");
        assert!(answer.contains("NO_PROXY"), "{answer}");
    }
    // A name in TLS that is not the one of CONNECT gets no further than CONNECT would have let it.
    let (_, stream) = tunnel(&proxy, "sts.amazonaws.com:443").await;
    assert!(tls(&proxy, stream, "example.com", b"h2").await.is_err());
}

#[tokio::test]
async fn plain_http_is_refused_and_the_text_says_what_to_do() {
    let proxy = start(Config::default()).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = request("sts.amazonaws.com", "http://sts.amazonaws.com/", "");
    let (status, text) = text(sender.send_request(request).await.unwrap()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(text.contains("HTTPS_PROXY"), "{text}");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let proxy = start(Config {
        max_body: 4,
        ..Config::default()
    })
    .await;
    for (body, wanted) in [("1234", StatusCode::OK), ("12345", StatusCode::PAYLOAD_TOO_LARGE)] {
        let (_, stream) = tunnel(&proxy, "sts.amazonaws.com:443").await;
        let stream = tls(&proxy, stream, "sts.amazonaws.com", b"http/1.1")
            .await
            .unwrap();
        let (status, _) = http1(stream, request("sts.amazonaws.com", "/", body)).await;
        assert_eq!(status, wanted);
    }
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_the_ports() {
    let proxy = start(Config::default()).await;
    let address = proxy.address();
    let (_, stream) = tunnel(&proxy, "sts.amazonaws.com:443").await;
    let mut idle = tls(&proxy, stream, "sts.amazonaws.com", b"http/1.1")
        .await
        .unwrap();
    proxy.shutdown().await;
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), idle.read_to_end(&mut rest))
        .await
        .expect("the idle connection is closed")
        .ok();
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn ciphers_have_the_names_that_cloudtrail_gives_them() {
    let name = |suite| cipher_name(suite);
    assert_eq!(
        name(CipherSuite::TLS13_AES_128_GCM_SHA256),
        "TLS_AES_128_GCM_SHA256"
    );
    assert_eq!(
        name(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
        "ECDHE-RSA-AES128-GCM-SHA256"
    );
    assert_eq!(
        name(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
        "ECDHE-ECDSA-CHACHA20-POLY1305"
    );
}
