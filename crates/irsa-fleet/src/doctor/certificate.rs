//! The certificate of the webhook, held against the authority that the API server trusts for it.

use std::{sync::Arc, time::Duration};

use irsa_core::selector::LabelSelector;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Check, Verdict, unavailable};
use crate::{
    cluster::Cluster,
    directory::Directory,
    pages::{Query, collection},
    webhook::{Installed, Target},
};

/// Days before the end of a certificate from which on it is told.
const SOON: i64 = 14;

pub(super) async fn check(cluster: &Cluster, directory: &Directory, probe: bool) -> Check {
    let mut check = Check::new("webhook-certificate", "Webhook certificate");
    let Some(webhook) = directory.webhooks.installed.first() else {
        return check.skip("no webhook configuration is known");
    };
    if webhook.ca_bundle.is_empty() {
        check.see("the configuration has no caBundle: the API server trusts the authorities of its system");
        return check;
    }
    let authorities: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&webhook.ca_bundle)
        .filter_map(Result::ok)
        .collect();
    if authorities.is_empty() {
        check.wrong(
            Verdict::Fail,
            "the caBundle of the configuration holds no certificate",
            "put the PEM of the webhook's authority there; irsa's own webhook keeps it current by itself",
        );
        return check;
    }
    for authority in &authorities {
        validity(&mut check, "the authority in caBundle", authority);
    }
    match served(cluster, webhook, probe).await {
        Served::Chain { chain, from } => {
            let Some((leaf, intermediates)) = chain.split_first() else {
                return check;
            };
            validity(&mut check, &format!("the certificate {from}"), leaf);
            match verify(&authorities, leaf, intermediates, &names(webhook)) {
                Ok(name) => {
                    check.see(format!(
                        "the certificate {from} is signed by the caBundle and valid for {name}"
                    ));
                }
                Err(why) => {
                    check.wrong(
                        Verdict::Fail,
                        format!("the API server refuses the certificate {from}: {why}"),
                        "put the authority of the served certificate into caBundle, or have the certificate made again; \
                         while this lasts, pods start without their identity under failurePolicy Ignore",
                    );
                }
            }
        }
        Served::Unknown(why) => {
            check.see(why);
        }
    }
    check
}

/// The names that the API server expects in the certificate.
fn names(webhook: &Installed) -> Vec<String> {
    match &webhook.target {
        Target::Service { namespace, name, .. } => vec![format!("{name}.{namespace}.svc")],
        Target::Url(url) => host_of(url).map(|(host, _)| host).into_iter().collect(),
    }
}

/// Host and port of an `https` URL.
fn host_of(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    Some((host, uri.port_u16().unwrap_or(443)))
}

fn validity(check: &mut Check, what: &str, certificate: &CertificateDer<'_>) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        check.wrong(
            Verdict::Fail,
            format!("{what} cannot be read"),
            "replace it by a PEM certificate",
        );
        return;
    };
    let end = parsed.validity().not_after.timestamp();
    let now = jiff::Timestamp::now().as_second();
    let days = (end - now) / 86_400;
    let until = jiff::Timestamp::from_second(end)
        .map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string());
    if end < now {
        check.wrong(
            Verdict::Fail,
            format!("{what} has expired on {until}"),
            "have it made again and put its authority into caBundle",
        );
    } else if days < SOON {
        check.wrong(
            Verdict::Warn,
            format!("{what} expires on {until}, in {days} days"),
            "see that whatever renews it still works",
        );
    } else {
        check.see(format!("{what} is valid until {until}"));
    }
}

fn verify(
    authorities: &[CertificateDer<'static>],
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    names: &[String],
) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| format!("the caBundle holds a certificate that is no authority ({error})"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let mut last = "no name is known to expect in it".to_owned();
    for name in names {
        let server = ServerName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        match verifier.verify_server_cert(leaf, intermediates, &server, &[], UnixTime::now()) {
            Ok(_) => return Ok(name.clone()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

enum Served {
    Chain {
        chain: Vec<CertificateDer<'static>>,
        /// Where it was seen, to follow "the certificate".
        from: String,
    },
    Unknown(String),
}

/// The certificate that the webhook serves: read from the Secret that its pods mount, or seen in a handshake.
async fn served(cluster: &Cluster, webhook: &Installed, probe: bool) -> Served {
    match &webhook.target {
        Target::Service { namespace, name, .. } => from_secret(cluster, namespace, name).await,
        Target::Url(url) => {
            if !probe {
                return Served::Unknown(format!(
                    "the certificate served at {url} was not looked at: --probe does it, from this machine"
                ));
            }
            let Some((host, port)) = host_of(url) else {
                return Served::Unknown(format!("{url} is no URL"));
            };
            match handshake(&host, port).await {
                Ok(chain) => Served::Chain {
                    chain,
                    from: format!("served at {host}:{port}"),
                },
                Err(why) => Served::Unknown(format!(
                    "{host}:{port} was not reached from this machine ({why}); the API server may reach it all the same"
                )),
            }
        }
    }
}

async fn from_secret(cluster: &Cluster, namespace: &str, service: &str) -> Served {
    let unknown = |why: &str| Served::Unknown(format!("the certificate that is served is not known: {why}"));
    let Ok(Some(found)) = cluster
        .find(&format!("/api/v1/namespaces/{namespace}/services/{service}"))
        .await
    else {
        return unknown("its service cannot be read");
    };
    let Ok(selector) = LabelSelector::from_object(found["spec"].get("selector")) else {
        return unknown("its service selects no pods");
    };
    let query = Query {
        labels: Some(selector.to_string()),
        limit: Some(1),
        ..Query::default()
    };
    let pods = query.path(&collection("v1", Some(namespace), "pods"), "");
    let Ok(list) = cluster.get_value(&pods).await else {
        return unknown("its pods cannot be read");
    };
    let secrets: Vec<String> = list["items"][0]["spec"]["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["secret"]["secretName"].as_str())
        .map(str::to_owned)
        .collect();
    for secret in secrets {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
        let object: Value = match cluster.get_value(&path).await {
            Ok(object) => object,
            Err(error) if unavailable(&error) => {
                return unknown(&format!("Secret {namespace}/{secret} may not be read"));
            }
            Err(error) => return unknown(&error.to_string()),
        };
        let Some(encoded) = object["data"]["tls.crt"].as_str() else {
            continue;
        };
        use base64::Engine as _;
        let Ok(pem) = base64::engine::general_purpose::STANDARD.decode(encoded) else {
            continue;
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .filter_map(Result::ok)
            .collect();
        if !chain.is_empty() {
            return Served::Chain {
                chain,
                from: format!("in Secret {namespace}/{secret}"),
            };
        }
    }
    unknown("its pods mount no Secret with tls.crt")
}

/// The chain that a server shows; nothing is sent to it, and what it shows is judged afterwards.
async fn handshake(host: &str, port: u16) -> Result<Vec<CertificateDer<'static>>, String> {
    let work = async {
        let stream = tokio::net::TcpStream::connect((host, port))
            .await
            .map_err(|error| error.to_string())?;
        let seen = Arc::new(Look::default());
        let config = rustls::ClientConfig::builder_with_provider(seen.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(seen.clone())
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map(|connection| {
                connection
                    .get_ref()
                    .1
                    .peer_certificates()
                    .map(<[CertificateDer<'_>]>::to_vec)
                    .unwrap_or_default()
            })
            .map_err(|error| error.to_string())
    };
    tokio::time::timeout(Duration::from_secs(5), work)
        .await
        .map_err(|_| "no answer within 5 s".to_owned())?
}

/// Takes any certificate, because looking at it is the purpose; no data follows the handshake.
#[derive(Debug)]
struct Look {
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        }
    }
}

impl rustls::client::danger::ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
