//! What is known of a connection before the first byte of a request is read.

use std::net::{IpAddr, Ipv4Addr};

use crate::call::Tls;

/// The connection a request came over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The endpoint that was addressed: the TLS server name or the proxy's CONNECT authority, without port. It picks
    /// the service; the signature is checked against the request's own `Host`. A plain HTTP listener that plays
    /// `sts.us-west-2.amazonaws.com` for clients of `AWS_ENDPOINT_URL_STS` says that name here.
    pub host: String,
    /// The client.
    pub source_ip: IpAddr,
    /// How the connection is protected; `None` on plain HTTP.
    pub tls: Option<Tls>,
    /// The region in which the caller runs, where known (the lab knows it from the pod's node). It decides only who
    /// serves `sts.amazonaws.com`: a region that is enabled by default serves it locally.
    pub caller_region: Option<String>,
}

impl Connection {
    /// A connection to `host` from the loopback address, without TLS.
    #[must_use]
    pub fn to(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tls: None,
            caller_region: None,
        }
    }

    /// The same with TLS details, as rustls names them.
    #[must_use]
    pub fn with_tls(mut self, version: impl Into<String>, cipher: impl Into<String>) -> Self {
        self.tls = Some(Tls {
            version: version.into(),
            cipher: cipher.into(),
        });
        self
    }
}
