//! Account and partition of the instance this runs on, from its metadata service, for `--compose-role-arn`.
//!
//! Only version 2 of the service is spoken (a token first): version 1 can be abused by whoever makes a pod fetch a URL.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use irsa_core::arn::Compose;
use irsa_core::partition::Partition;
use serde::Deserialize;

/// The identity document has some hundred bytes.
const MAX_BODY: usize = 64 * 1024;

/// Why the metadata cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("no answer from {0} within {1:?}: not an EC2 instance, or its hop limit keeps pods away")]
    Timeout(String, Duration),
    /// The request failed.
    #[error("{0}: {1}")]
    Request(String, String),
    /// Another status than 200.
    #[error("{0} answered {1}")]
    Status(String, StatusCode),
    /// The document cannot be read.
    #[error("{0} answered with something that is no identity document: {1}")]
    Document(String, serde_json::Error),
}

/// Where to ask, and how patiently.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address of the service, without a path.
    pub endpoint: String,
    /// For one request.
    pub timeout: Duration,
    /// Attempts in all.
    pub attempts: u32,
}

impl Options {
    /// The fixed address of the service, or what `AWS_EC2_METADATA_SERVICE_ENDPOINT` says.
    #[must_use]
    pub fn from_env() -> Self {
        let endpoint = std::env::var(irsa_core::variables::AWS_EC2_METADATA_SERVICE_ENDPOINT)
            .ok()
            .filter(|url| !url.is_empty());
        let endpoint = endpoint.unwrap_or_else(|| "http://169.254.169.254".to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            timeout: Duration::from_secs(2),
            attempts: 3,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    account_id: String,
    region: String,
}

/// Asks for the instance's identity document.
///
/// # Errors
/// After the last attempt, what was wrong with it.
pub async fn compose(options: &Options) -> Result<Compose, Error> {
    let mut attempt = 1;
    loop {
        match document(options).await {
            Ok(Document { account_id, region }) => {
                let partition = Partition::of_region(&region).name();
                return Ok(Compose {
                    account: account_id.into(),
                    partition: partition.into(),
                });
            }
            Err(error) if attempt >= options.attempts => return Err(error),
            Err(error) => {
                tracing::warn!(%error, attempt, "instance metadata: trying again");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
                attempt += 1;
            }
        }
    }
}

async fn document(options: &Options) -> Result<Document, Error> {
    let token = ask(
        options,
        Method::PUT,
        "/latest/api/token",
        ("x-aws-ec2-metadata-token-ttl-seconds", "60"),
    )
    .await?;
    let token = String::from_utf8_lossy(&token);
    let path = "/latest/dynamic/instance-identity/document";
    let body = ask(
        options,
        Method::GET,
        path,
        ("x-aws-ec2-metadata-token", token.trim()),
    )
    .await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::Document(format!("{}{path}", options.endpoint), error))
}

async fn ask(options: &Options, method: Method, path: &str, header: (&str, &str)) -> Result<Bytes, Error> {
    let url = format!("{}{path}", options.endpoint);
    let failed = |error: String| Error::Request(url.clone(), error);
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(&url)
        .header(header.0, header.1)
        .body(Full::default())
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status(url.clone(), response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        Ok(body.map_err(|error| failed(error.to_string()))?.to_bytes())
    };
    match tokio::time::timeout(options.timeout, exchange).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Error::Timeout(url.clone(), options.timeout)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    use super::*;

    /// A metadata service that insists on the token.
    async fn service(region: &'static str) -> Options {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request: Request<Incoming>| async move {
                    let header =
                        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
                    let (status, body) = match (request.method().as_str(), request.uri().path()) {
                        ("PUT", "/latest/api/token")
                            if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
                        {
                            (200, "secret".to_owned())
                        }
                        ("GET", "/latest/dynamic/instance-identity/document")
                            if header("x-aws-ec2-metadata-token") == Some("secret") =>
                        {
                            (
                                200,
                                format!(
                                    r#"{{"accountId":"111122223333","region":"{region}","imageId":"ami-1"}}"#
                                ),
                            )
                        }
                        _ => (401, String::new()),
                    };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    Ok::<_, Infallible>(response)
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Options {
            endpoint,
            timeout: Duration::from_secs(5),
            attempts: 1,
        }
    }

    #[tokio::test]
    async fn account_and_partition_come_from_the_identity_document() {
        for (region, partition) in [
            ("us-west-2", "aws"),
            ("cn-north-1", "aws-cn"),
            ("eu-isoe-west-1", "aws-iso-e"),
        ] {
            let compose = compose(&service(region).await).await.unwrap();
            assert_eq!(
                (&*compose.account, &*compose.partition),
                ("111122223333", partition)
            );
        }
    }

    #[tokio::test]
    async fn where_there_is_no_service_the_error_names_the_address() {
        let options = Options {
            endpoint: "http://127.0.0.1:1".into(),
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        let error = compose(&options).await.unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:1/latest/api/token"), "{error}");
    }
}
