//! The certificate of each webhook, verified as the API server does it: with the `caBundle` of its configuration.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::Engine as _;
use irsa_core::selector::LabelSelector;
use k8s_openapi::api::core::v1 as api;
use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Check, Verdict, cure};
use crate::{
    cluster::{Cluster, Error, parse},
    directory::Directory,
    pages::{Query, collection},
    webhook::{Flavor, Installed, Target},
    wire::Page,
};

/// A certificate that expires in fewer days is worth a warning.
const SOON: i64 = 14;
/// The Secret in which both the Go webhook and ours keep their certificate by default.
const DEFAULT_SECRET: &str = "pod-identity-webhook";

pub(super) async fn check(cluster: &Cluster, directory: &Directory, probe: bool) -> Check {
    let mut check = Check::new("webhook-certificate", "Webhook certificate");
    let mut seen = BTreeSet::new();
    for webhook in &directory.webhooks.installed {
        // Entries of one configuration with the same service and bundle need only one look.
        if seen.insert((place(&webhook.target), &webhook.ca_bundle)) {
            of_webhook(&mut check, cluster, webhook, probe).await;
        }
    }
    if seen.is_empty() {
        return check.skip("no webhook configuration is known");
    }
    if check.evidence.is_empty() {
        return check.skip("EKS runs the webhook in its control plane and manages its certificate");
    }
    check
}

fn place(target: &Target) -> String {
    match target {
        Target::Service { namespace, name, .. } => format!("{namespace}/{name}"),
        Target::Url(url) => url.clone(),
    }
}

async fn of_webhook(check: &mut Check, cluster: &Cluster, webhook: &Installed, probe: bool) {
    if webhook.flavor == Flavor::Eks {
        return;
    }
    let configuration = &webhook.configuration;
    let authorities: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&webhook.ca_bundle)
        .filter_map(Result::ok)
        .collect();
    if authorities.is_empty() {
        match (webhook.ca_bundle.is_empty(), webhook.flavor, &webhook.target) {
            (false, ..) => check.wrong(
                Verdict::Fail,
                format!("the caBundle of {configuration} contains no certificate"),
                "put the PEM of the webhook's CA there; the irsa webhook keeps it current",
            ),
            (true, Flavor::Irsa, Target::Service { .. }) => check.wrong(
                Verdict::Fail,
                format!("{configuration} has no caBundle: the API server does not trust the webhook"),
                "the irsa webhook writes it: see its log; or let cert-manager inject it",
            ),
            _ => check.wrong(
                Verdict::Unknown,
                format!(
                    "{configuration} has no caBundle: the API server trusts the authorities of its system, which cannot be \
                     seen from here"
                ),
                "put the webhook's CA into caBundle",
            ),
        };
        return;
    }
    for authority in &authorities {
        validity(
            check,
            &format!("the CA in the caBundle of {configuration}"),
            authority,
        );
    }
    match served(cluster, webhook, probe).await {
        Served::Chain { chain, from } => judge(check, &authorities, &chain, &from, &names(webhook)),
        Served::NotAsked(why) => {
            check.see(why);
            check.verdict = check.verdict.max(Verdict::Skip);
        }
        Served::Unknown(why, cure) => {
            check.wrong(Verdict::Unknown, why, cure);
        }
    }
}

/// The names that the API server accepts in the certificate.
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
            format!("{what} cannot be parsed"),
            "replace it with a PEM certificate",
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
            format!("{what} expired at {until}"),
            "issue a new one and put its CA into caBundle",
        );
    } else if days < SOON {
        check.wrong(
            Verdict::Warn,
            format!("{what} expires at {until}, in {days} days"),
            "check that its renewal works",
        );
    } else {
        check.see(format!("{what} is valid until {until}"));
    }
}

fn judge(
    check: &mut Check,
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    from: &str,
    names: &[String],
) {
    let Some((leaf, intermediates)) = chain.split_first() else {
        check.wrong(
            Verdict::Fail,
            format!("there is no certificate {from}"),
            "issue a new certificate",
        );
        return;
    };
    validity(check, &format!("the certificate {from}"), leaf);
    match verify(authorities, leaf, intermediates, names) {
        Ok(name) => {
            check.see(format!(
                "the certificate {from} is signed by the caBundle and valid for {name}"
            ));
        }
        Err(why) => {
            check.wrong(
                Verdict::Fail,
                format!("the API server rejects the certificate {from}: {why}"),
                "put the CA of the served certificate into caBundle, or issue a new certificate; until then, pods start \
                 without their identity under failurePolicy Ignore",
            );
        }
    }
}

/// The first of the names for which the API server would accept the certificate.
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
            .map_err(|error| format!("the caBundle contains a certificate that is not a CA ({error})"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let mut last = "the name that it must have is not known".to_owned();
    for name in names {
        let server = ServerName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        let verified = verifier.verify_server_cert(leaf, intermediates, &server, &[], UnixTime::now());
        match verified
            .map(drop)
            .or_else(|error| trusted_itself(error, authorities, leaf, &server))
        {
            Ok(()) => return Ok(name.clone()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Unlike rustls, Go accepts a serving certificate that is a CA if it stands in the bundle itself, as self-signed ones
/// do.
fn trusted_itself(
    error: rustls::Error,
    authorities: &[CertificateDer<'_>],
    leaf: &CertificateDer<'_>,
    server: &ServerName<'_>,
) -> Result<(), rustls::Error> {
    let is_ca = matches!(
        &error,
        rustls::Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::UnknownIssuer)
    );
    let now = jiff::Timestamp::now().as_second();
    let current = X509Certificate::from_der(leaf).is_ok_and(|(_, parsed)| {
        (parsed.validity().not_before.timestamp()..=parsed.validity().not_after.timestamp()).contains(&now)
    });
    if !is_ca || !current || !authorities.contains(leaf) {
        return Err(error);
    }
    let parsed = rustls::server::ParsedCertificate::try_from(leaf)?;
    rustls::client::verify_server_name(&parsed, server)
}

enum Served {
    Chain {
        chain: Vec<CertificateDer<'static>>,
        /// Where it was seen, to follow "the certificate".
        from: String,
    },
    /// Looking needs `--probe`.
    NotAsked(String),
    /// What was tried, and what to do.
    Unknown(String, &'static str),
}

/// The certificate that the webhook serves: read from the Secret of its pods, or seen in a handshake.
async fn served(cluster: &Cluster, webhook: &Installed, probe: bool) -> Served {
    let url = match &webhook.target {
        Target::Service { namespace, name, .. } => return from_secret(cluster, namespace, name).await,
        Target::Url(url) => url,
    };
    let Some((host, port)) = host_of(url) else {
        return Served::Unknown(format!("{url} is not a URL"), "correct clientConfig.url");
    };
    if !probe {
        return Served::NotAsked(format!(
            "the certificate served at {url} was not checked: --probe does it, from this machine"
        ));
    }
    match handshake(&host, port).await {
        Ok(chain) => Served::Chain {
            chain,
            from: format!("served at {host}:{port}"),
        },
        Err(why) => Served::Unknown(
            format!(
                "{host}:{port} cannot be reached from this machine ({why}), but possibly from the API server"
            ),
            "run the check on a machine that reaches it",
        ),
    }
}

async fn from_secret(cluster: &Cluster, namespace: &str, service: &str) -> Served {
    let failed = |what: &str, error: &Error| {
        Served::Unknown(
            format!("the served certificate is not known: {what}: {error}"),
            cure(error),
        )
    };
    let secrets = match secrets_of(cluster, namespace, service).await {
        Ok(secrets) => secrets,
        Err(error) => return failed("the webhook's pods cannot be read", &error),
    };
    let mut missing = Vec::new();
    for secret in secrets {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
        match cluster.find(&path).await {
            Ok(Some(object)) => {
                if let Some(chain) = chain_in(&object) {
                    return Served::Chain {
                        chain,
                        from: format!("in Secret {namespace}/{secret}"),
                    };
                }
                missing.push(secret);
            }
            Ok(None) => missing.push(secret),
            Err(error) => return failed(&format!("Secret {namespace}/{secret}"), &error),
        }
    }
    Served::Unknown(
        format!(
            "the served certificate is not known: no tls.crt in Secret {} of namespace {namespace}",
            missing.join(", ")
        ),
        "name the Secret with --tls-secret in the arguments of the webhook, or mount it",
    )
}

fn chain_in(secret: &Value) -> Option<Vec<CertificateDer<'static>>> {
    let pem = base64::engine::general_purpose::STANDARD
        .decode(secret["data"]["tls.crt"].as_str()?)
        .ok()?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect();
    (!chain.is_empty()).then_some(chain)
}

/// The Secrets from which the pods behind a service may serve their certificate, the likeliest first.
async fn secrets_of(cluster: &Cluster, namespace: &str, service: &str) -> Result<Vec<String>, Error> {
    let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
    let found = cluster.get_value(&path).await?;
    let selector = LabelSelector::from_object(found["spec"].get("selector")).unwrap_or_default();
    if selector.is_nothing() || selector.is_everything() {
        return Ok(vec![DEFAULT_SECRET.to_owned()]);
    }
    let query = Query {
        labels: Some(selector.to_string()),
        limit: Some(1),
        ..Query::default()
    };
    let path = query.path(&collection("v1", Some(namespace), "pods"), "");
    let body = cluster.get(&path).await?;
    let page: Page<'_, api::Pod> = parse(&path, &body)?;
    let spec = page
        .items
        .into_iter()
        .next()
        .and_then(|pod| pod.spec)
        .unwrap_or_default();
    Ok(secrets_in(&spec))
}

/// The Secret that the flag names, those that are mounted, and the default.
fn secrets_in(spec: &api::PodSpec) -> Vec<String> {
    let arguments: Vec<&str> = spec
        .containers
        .iter()
        .flat_map(|container| container.command.iter().chain(&container.args).flatten())
        .map(String::as_str)
        .collect();
    let flag = arguments.iter().enumerate().rev().find_map(|(index, argument)| {
        let flag = argument.trim_start_matches('-').strip_prefix("tls-secret")?;
        match flag.strip_prefix('=') {
            Some(value) => Some(value),
            None => flag.is_empty().then(|| arguments.get(index + 1).copied())?,
        }
    });
    let mounted = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref());
    let mut secrets: Vec<String> = Vec::new();
    for name in flag.into_iter().chain(mounted).chain([DEFAULT_SECRET]) {
        if !secrets.iter().any(|known| known == name) {
            secrets.push(name.to_owned());
        }
    }
    secrets
}

/// The chain that a server presents. Nothing is sent to it; the chain is verified afterwards.
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

/// Accepts any certificate, to look at it; no data follows the handshake.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use serde_json::json;

    use super::*;

    const NAME: &str = "webhook.irsa-system.svc";

    fn authority(name: &str) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (certificate, Issuer::new(params, key))
    }

    fn judged(authorities: &[CertificateDer<'static>], leaf: &CertificateDer<'static>) -> Check {
        let mut check = Check::new("webhook-certificate", "Webhook certificate");
        judge(
            &mut check,
            authorities,
            std::slice::from_ref(leaf),
            "in a test",
            &[NAME.to_owned()],
        );
        check
    }

    #[test]
    fn a_certificate_of_another_authority_or_for_another_name_fails() {
        let (ours, issuer) = authority("ours");
        let (other, _) = authority("ours");
        let leaf = |name: &str| {
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            params
                .signed_by(&KeyPair::generate().unwrap(), &issuer)
                .unwrap()
                .der()
                .clone()
        };
        assert_eq!(
            judged(&[other.clone(), ours.clone()], &leaf(NAME)).verdict,
            Verdict::Pass
        );
        assert_eq!(judged(&[other], &leaf(NAME)).verdict, Verdict::Fail);
        assert_eq!(judged(&[ours], &leaf("webhook.other.svc")).verdict, Verdict::Fail);
    }

    #[test]
    fn a_self_signed_certificate_in_the_bundle_is_accepted_as_go_does() {
        let self_signed = |ca: IsCa, name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.is_ca = ca;
            params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .der()
                .clone()
        };
        for ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let leaf = self_signed(ca, NAME);
            let check = judged(std::slice::from_ref(&leaf), &leaf);
            assert_eq!(check.verdict, Verdict::Pass, "{:?}", check.evidence);
            let other = self_signed(ca, NAME);
            assert_eq!(judged(&[other], &leaf).verdict, Verdict::Fail);
            let misnamed = self_signed(ca, "other.svc");
            assert_eq!(
                judged(std::slice::from_ref(&misnamed), &misnamed).verdict,
                Verdict::Fail
            );
        }
    }

    #[test]
    fn the_secret_is_the_one_that_the_flag_names_then_a_mounted_one_then_the_default() {
        let spec = |value: Value| -> api::PodSpec { serde_json::from_value(value).unwrap() };
        let named = spec(
            json!({"containers": [{"name": "c", "args": ["--tls-secret=irsa-tls"]}],
            "volumes": [{"name": "tls", "secret": {"secretName": "mounted"}}]}),
        );
        assert_eq!(secrets_in(&named), ["irsa-tls", "mounted", DEFAULT_SECRET]);
        let spaced =
            spec(json!({"containers": [{"name": "c", "command": ["/webhook", "--tls-secret", "x"]}]}));
        assert_eq!(secrets_in(&spaced), ["x", DEFAULT_SECRET]);
        let bare = spec(json!({"containers": [{"name": "c"}]}));
        assert_eq!(secrets_in(&bare), [DEFAULT_SECRET]);
    }
}
