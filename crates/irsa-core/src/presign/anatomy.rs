//! What a presigned URL says, part by part.

use super::SignatureVersion;
use super::problem::{Note, Problem};
use super::time::parse_date;
use super::url::{decode, is_secret, pairs, split};
use crate::partition::{AwsHost, HostClass, S3Addressing, Service};

/// The longest URL that is looked at; S3 and STS take far less.
const MAX_LENGTH: usize = 64 * 1024;

/// Text that is no presigned URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnatomyError {
    /// Not an absolute URL.
    #[error("this is not a URL: expected `https://HOST/PATH?QUERY`")]
    NotAUrl,
    /// Longer than any that AWS takes.
    #[error("the URL has {0} characters; AWS takes no more than {MAX_LENGTH}")]
    TooLong(usize),
    /// A URL without any parameter of a signature.
    #[error(
        "the URL is not presigned: it has none of X-Amz-Algorithm, X-Amz-Signature, X-Amz-Credential, Signature and \
         AWSAccessKeyId. In a shell, quote the URL: `&` ends a command"
    )]
    NotSigned,
}

/// What the URL is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An object (or a bucket, when there is no key) of S3.
    S3 {
        /// The bucket, access point or directory bucket.
        bucket: Option<String>,
        /// The key, decoded.
        key: String,
        /// Where the bucket's name stands.
        addressing: S3Addressing,
    },
    /// An action of STS.
    Sts {
        /// The action, `GetCallerIdentity` for instance.
        action: Option<String>,
    },
    /// Neither by name: a custom endpoint, another service.
    Other,
}

/// `KEYID/DATE/REGION/SERVICE/aws4_request`, each part as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialScope {
    /// The access key id: `AKIA…` belongs to a user, `ASIA…` to a session.
    pub access_key_id: String,
    /// The date, `YYYYMMDD`.
    pub date: String,
    /// The region; SigV4a has none here.
    pub region: Option<String>,
    /// The service.
    pub service: String,
    /// The last part, which must be `aws4_request`.
    pub terminator: String,
}

/// The signature's own parameters.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made per URL that a person asks about"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// Version 2: `AWSAccessKeyId`, `Expires`, `Signature`.
    V2 {
        /// The access key id.
        access_key_id: String,
        /// The end of validity in seconds since 1970, if it can be read.
        expires: Option<i64>,
    },
    /// Version 4 or 4a.
    V4 {
        /// Which of the two.
        version: SignatureVersion,
        /// The algorithm as written.
        algorithm: Option<String>,
        /// The scope, if `X-Amz-Credential` has all its parts.
        scope: Option<CredentialScope>,
        /// `X-Amz-Date` as written.
        date: Option<String>,
        /// `X-Amz-Expires` as written.
        expires: Option<String>,
        /// The signed headers.
        signed_headers: Vec<String>,
        /// SigV4a's regions.
        region_set: Option<String>,
    },
}

/// When the URL is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When it was signed, in seconds since 1970; version 2 does not say.
    pub signed_at: Option<i64>,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// Seconds left, negative when over.
    pub left: i64,
}

/// One query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name, decoded.
    pub name: String,
    /// The value, decoded.
    pub value: String,
    /// Whether the value must not be shown.
    pub secret: bool,
}

/// The anatomy of a presigned URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anatomy {
    /// `https` or `http`, lower case.
    pub scheme: String,
    /// The host, lower case, without port.
    pub host: String,
    /// What the host is, if it is one of AWS's.
    pub aws_host: Option<AwsHost>,
    /// What the URL is for.
    pub target: Target,
    /// The signature.
    pub signature: Signature,
    /// The length of the session token, if there is one.
    pub session_token: Option<usize>,
    /// When it is good for, if that can be told.
    pub validity: Option<Validity>,
    /// Every parameter, in its order.
    pub parameters: Vec<Parameter>,
    /// What AWS would answer instead of serving it; the first is the one that it would say.
    pub problems: Vec<Problem>,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
}

impl Anatomy {
    /// Parses a presigned URL, without problems and notes. `now` is in seconds since 1970.
    pub(super) fn parse(url: &str, now: i64) -> Result<Self, AnatomyError> {
        let url = url.trim();
        if url.len() > MAX_LENGTH {
            return Err(AnatomyError::TooLong(url.len()));
        }
        let parts = split(url).ok_or(AnatomyError::NotAUrl)?;
        let authority = parts
            .authority
            .rsplit_once('@')
            .map_or(parts.authority, |(_, host)| host);
        let host = authority
            .split(':')
            .next()
            .unwrap_or(authority)
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let aws_host = AwsHost::parse(&host);
        let parameters: Vec<Parameter> = pairs(parts.query)
            .map(|(name, value)| Parameter {
                secret: is_secret(&name),
                name,
                value,
            })
            .collect();
        let query = Query(&parameters);
        let signature = query.signature().ok_or(AnatomyError::NotSigned)?;
        let session_token = ["X-Amz-Security-Token", "X-Amz-S3session-Token"]
            .iter()
            .find_map(|name| query.get(name))
            .map(|token| token.chars().count());
        let target = target(aws_host.as_ref(), &signature, parts.path, &query);
        let mut anatomy = Self {
            scheme: parts.scheme.to_ascii_lowercase(),
            host,
            aws_host,
            target,
            validity: None,
            signature,
            session_token,
            parameters,
            problems: Vec::new(),
            notes: Vec::new(),
        };
        anatomy.validity = anatomy.validity_at(now);
        Ok(anatomy)
    }

    /// The value of a parameter, by its name in any case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        Query(&self.parameters).get(name)
    }

    /// The version of the signature.
    #[must_use]
    pub fn version(&self) -> SignatureVersion {
        match &self.signature {
            Signature::V2 { .. } => SignatureVersion::V2,
            Signature::V4 { version, .. } => *version,
        }
    }

    /// The scope, if the signature has one.
    #[must_use]
    pub fn scope(&self) -> Option<&CredentialScope> {
        match &self.signature {
            Signature::V4 { scope, .. } => scope.as_ref(),
            Signature::V2 { .. } => None,
        }
    }

    /// The access key id, if it can be read.
    #[must_use]
    pub fn access_key_id(&self) -> Option<&str> {
        match &self.signature {
            Signature::V2 { access_key_id, .. } => Some(access_key_id),
            Signature::V4 { scope, .. } => scope.as_ref().map(|s| s.access_key_id.as_str()),
        }
    }

    /// The form of the host in one word: `global`, `regional`, `dualstack`, `accelerate`, `access-point`,
    /// `multi-region-access-point`, `express`, `website`, `object-lambda`, `outposts`, `vpc-endpoint`, `fips` or `custom`.
    #[must_use]
    pub fn form(&self) -> &'static str {
        match &self.aws_host {
            None => "custom",
            Some(host) if host.vpc_endpoint.is_some() => "vpc-endpoint",
            Some(host) => match host.class {
                HostClass::Regional | HostClass::Global if host.fips => "fips",
                HostClass::Regional | HostClass::Global if host.dual_stack => "dualstack",
                class => class.as_str(),
            },
        }
    }

    /// Seconds for which STS takes a presigned URL, whatever its `X-Amz-Expires` says.
    pub const STS_SECONDS: i64 = 15 * 60;

    fn validity_at(&self, now: i64) -> Option<Validity> {
        match &self.signature {
            Signature::V2 { expires, .. } => expires.map(|at| Validity {
                signed_at: None,
                expires_at: at,
                left: at.saturating_sub(now),
            }),
            Signature::V4 { date, expires, .. } => {
                let signed_at = parse_date(date.as_deref()?)?;
                let seconds = match self.target {
                    Target::Sts { .. } => Self::STS_SECONDS,
                    Target::S3 { .. } | Target::Other => expires.as_deref()?.parse::<i64>().ok()?,
                };
                let expires_at = signed_at.saturating_add(seconds);
                Some(Validity {
                    signed_at: Some(signed_at),
                    expires_at,
                    left: expires_at.saturating_sub(now),
                })
            }
        }
    }
}

/// Looking up parameters, whose names AWS takes in any case.
struct Query<'a>(&'a [Parameter]);

impl<'a> Query<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|p| p.name.eq_ignore_ascii_case(name))
            .map(|p| p.value.as_str())
    }

    fn signature(&self) -> Option<Signature> {
        let v4 = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"];
        if v4.iter().any(|name| self.get(name).is_some()) {
            let algorithm = self.get("X-Amz-Algorithm").map(str::to_owned);
            let version = if algorithm.as_deref() == Some("AWS4-ECDSA-P256-SHA256") {
                SignatureVersion::V4a
            } else {
                SignatureVersion::V4
            };
            return Some(Signature::V4 {
                version,
                algorithm,
                scope: self.get("X-Amz-Credential").and_then(|c| scope(c, version)),
                date: self.get("X-Amz-Date").map(str::to_owned),
                expires: self.get("X-Amz-Expires").map(str::to_owned),
                signed_headers: self
                    .get("X-Amz-SignedHeaders")
                    .map(|h| {
                        h.split(';')
                            .filter(|h| !h.is_empty())
                            .map(str::to_owned)
                            .collect()
                    })
                    .unwrap_or_default(),
                region_set: self.get("X-Amz-Region-Set").map(str::to_owned),
            });
        }
        let access_key_id = self.get("AWSAccessKeyId");
        if access_key_id.is_none() && self.get("Signature").is_none() {
            return None;
        }
        Some(Signature::V2 {
            access_key_id: access_key_id.unwrap_or_default().to_owned(),
            expires: self.get("Expires").and_then(|e| e.parse().ok()),
        })
    }
}

/// The parts of `X-Amz-Credential`; the key id may hold slashes in theory, so the parts are counted from the end.
fn scope(credential: &str, version: SignatureVersion) -> Option<CredentialScope> {
    let mut parts = credential.rsplitn(if version == SignatureVersion::V4a { 4 } else { 5 }, '/');
    let terminator = parts.next()?.to_owned();
    let service = parts.next()?.to_owned();
    let region = match version {
        SignatureVersion::V4a => None,
        SignatureVersion::V2 | SignatureVersion::V4 => Some(parts.next()?.to_owned()),
    };
    let date = parts.next()?.to_owned();
    let access_key_id = parts.next()?.to_owned();
    Some(CredentialScope {
        access_key_id,
        date,
        region,
        service,
        terminator,
    })
}

fn target(host: Option<&AwsHost>, signature: &Signature, path: &str, query: &Query<'_>) -> Target {
    let signed_for = match signature {
        Signature::V4 {
            scope: Some(scope), ..
        } => Some(scope.service.as_str()),
        Signature::V4 { .. } => None,
        Signature::V2 { .. } => Some("s3"),
    };
    match host.map(|h| &h.service) {
        Some(Service::Sts) => Target::Sts {
            action: query.get("Action").map(str::to_owned),
        },
        Some(Service::S3) => s3_target(host, path),
        Some(Service::Other(_)) => Target::Other,
        None => match signed_for {
            Some("sts") => Target::Sts {
                action: query.get("Action").map(str::to_owned),
            },
            Some("s3" | "s3express") => s3_target(None, path),
            _ => Target::Other,
        },
    }
}

fn s3_target(host: Option<&AwsHost>, path: &str) -> Target {
    let path = decode(path.strip_prefix('/').unwrap_or(path));
    if let Some(resource) = host.and_then(|h| h.resource.clone()) {
        let addressing = match host.map(|h| h.class) {
            Some(HostClass::AccessPoint) => S3Addressing::AccessPoint,
            Some(HostClass::MultiRegionAccessPoint) => S3Addressing::MultiRegionAccessPoint,
            Some(HostClass::Express) => S3Addressing::Express,
            _ => S3Addressing::Virtual,
        };
        return Target::S3 {
            bucket: Some(resource),
            key: path,
            addressing,
        };
    }
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    Target::S3 {
        bucket: Some(bucket.to_owned()).filter(|b| !b.is_empty()),
        key: key.to_owned(),
        addressing: S3Addressing::Path,
    }
}
