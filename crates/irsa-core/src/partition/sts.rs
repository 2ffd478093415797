//! The endpoint of STS for a region: AWS's rule set, by hand.
//!
//! `tests/sts_rule_set.rs` compares every answer with the resolver inside `aws-sdk-sts`.

use std::fmt;

use super::{AWS_GLOBAL, GLOBAL_SIGNING_REGION, GLOBAL_STS_HOST, Partition, is_legacy_global};

/// What the rule set is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StsRequest<'a> {
    /// The client's region; SDKs that have none either fail or say `aws-global`.
    pub region: Option<&'a str>,
    /// Whether the client was told `legacy` (the rule set's `UseGlobalEndpoint`).
    pub use_global: bool,
    /// Whether FIPS endpoints were asked for.
    pub fips: bool,
    /// Whether endpoints with IPv6 were asked for.
    pub dual_stack: bool,
    /// An endpoint given by hand, as a URL.
    pub endpoint: Option<&'a str>,
}

/// The kind of an STS endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StsClass {
    /// `sts.REGION.amazonaws.com`.
    Regional,
    /// `sts.amazonaws.com`.
    Global,
    /// `sts-fips.REGION…`, with or without IPv6.
    Fips,
    /// `sts.REGION.api.aws`.
    DualStack,
    /// A URL somebody wrote.
    Custom,
}

impl StsClass {
    /// The word used in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regional => "regional",
            Self::Global => "global",
            Self::Fips => "fips",
            Self::DualStack => "dualstack",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for StsClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the rule set answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StsEndpoint {
    /// The URL, `https://` included; a custom endpoint as it was written.
    pub url: String,
    /// The region in the credential scope of requests to it.
    pub signing_region: String,
    /// Its kind. A custom URL is `Custom` whatever it points at.
    pub class: StsClass,
}

/// Combinations that the rule set refuses, with its own words as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StsRuleError {
    /// FIPS and a URL by hand exclude each other.
    #[error("Invalid Configuration: FIPS and custom endpoint are not supported")]
    FipsAndCustomEndpoint,
    /// IPv6 endpoints and a URL by hand exclude each other.
    #[error("Invalid Configuration: Dualstack and custom endpoint are not supported")]
    DualStackAndCustomEndpoint,
    /// No region, and nothing else says where to go.
    #[error("Invalid Configuration: Missing Region")]
    MissingRegion,
}

/// The host of STS in `region`, ordinary, FIPS, dual-stack or both. It is what SDKs build, whether or not it exists.
#[must_use]
pub fn sts_host(region: &str, fips: bool, dual_stack: bool) -> String {
    let partition = Partition::of_region(region);
    match (fips, dual_stack) {
        (false, false) if region == AWS_GLOBAL => GLOBAL_STS_HOST.to_owned(),
        (false, false) => format!("sts.{region}.{}", partition.dns_suffix()),
        // GovCloud's ordinary hosts are the FIPS ones.
        (true, false) if partition.name() == "aws-us-gov" => {
            format!("sts.{region}.{}", partition.dns_suffix())
        }
        (true, false) => format!("sts-fips.{region}.{}", partition.dns_suffix()),
        (false, true) => format!("sts.{region}.{}", partition.dual_stack_dns_suffix()),
        (true, true) => format!("sts-fips.{region}.{}", partition.dual_stack_dns_suffix()),
    }
}

/// Whether a FIPS endpoint of STS is published for `region`; SDKs build the name for any region.
#[must_use]
pub fn sts_fips_exists(region: &str) -> bool {
    matches!(
        region,
        "us-east-1" | "us-east-2" | "us-west-1" | "us-west-2" | "us-gov-east-1" | "us-gov-west-1"
    )
}

/// The endpoint that AWS's rule set gives.
///
/// # Errors
///
/// The combinations that the rule set refuses.
pub fn resolve_sts(request: &StsRequest<'_>) -> Result<StsEndpoint, StsRuleError> {
    let StsRequest {
        region,
        use_global,
        fips,
        dual_stack,
        endpoint,
    } = *request;
    if let Some(url) = endpoint {
        if fips {
            return Err(StsRuleError::FipsAndCustomEndpoint);
        }
        if dual_stack {
            return Err(StsRuleError::DualStackAndCustomEndpoint);
        }
        // No authentication scheme comes with a custom URL: the client's own region signs.
        return Ok(StsEndpoint {
            url: url.to_owned(),
            signing_region: region.unwrap_or_default().to_owned(),
            class: StsClass::Custom,
        });
    }
    let region = region.ok_or(StsRuleError::MissingRegion)?;
    if !fips && !dual_stack && (region == AWS_GLOBAL || (use_global && is_legacy_global(region))) {
        return Ok(StsEndpoint {
            url: format!("https://{GLOBAL_STS_HOST}"),
            signing_region: GLOBAL_SIGNING_REGION.to_owned(),
            class: StsClass::Global,
        });
    }
    let class = match (fips, dual_stack) {
        (true, _) => StsClass::Fips,
        (false, true) => StsClass::DualStack,
        (false, false) => StsClass::Regional,
    };
    Ok(StsEndpoint {
        url: format!("https://{}", sts_host(region, fips, dual_stack)),
        signing_region: region.to_owned(),
        class,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn answer(request: StsRequest<'_>) -> Result<(String, String, &'static str), String> {
        resolve_sts(&request)
            .map(|e| (e.url, e.signing_region, e.class.as_str()))
            .map_err(|e| e.to_string())
    }

    fn ok(url: &str, region: &str, class: &'static str) -> Result<(String, String, &'static str), String> {
        Ok((url.to_owned(), region.to_owned(), class))
    }

    #[test]
    fn use_global_moves_only_the_legacy_regions() {
        let global = |region| {
            answer(StsRequest {
                region: Some(region),
                use_global: true,
                ..StsRequest::default()
            })
        };
        assert_eq!(
            global("us-west-2"),
            ok("https://sts.amazonaws.com", "us-east-1", "global")
        );
        assert_eq!(
            global("aws-global"),
            ok("https://sts.amazonaws.com", "us-east-1", "global")
        );
        assert_eq!(
            global("ap-northeast-2"),
            ok(
                "https://sts.ap-northeast-2.amazonaws.com",
                "ap-northeast-2",
                "regional"
            )
        );
        assert_eq!(
            global("ap-east-1"),
            ok("https://sts.ap-east-1.amazonaws.com", "ap-east-1", "regional")
        );
        assert_eq!(
            global("cn-north-1"),
            ok(
                "https://sts.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
                "regional"
            )
        );
    }

    #[test]
    fn fips_and_dual_stack_win_over_global() {
        let base = StsRequest {
            region: Some("us-west-2"),
            use_global: true,
            ..StsRequest::default()
        };
        assert_eq!(
            answer(StsRequest { fips: true, ..base }),
            ok("https://sts-fips.us-west-2.amazonaws.com", "us-west-2", "fips")
        );
        assert_eq!(
            answer(StsRequest {
                dual_stack: true,
                ..base
            }),
            ok("https://sts.us-west-2.api.aws", "us-west-2", "dualstack")
        );
        assert_eq!(
            answer(StsRequest {
                fips: true,
                dual_stack: true,
                region: Some("us-gov-west-1"),
                ..base
            }),
            ok("https://sts-fips.us-gov-west-1.api.aws", "us-gov-west-1", "fips")
        );
        assert_eq!(
            answer(StsRequest {
                fips: true,
                region: Some("us-gov-west-1"),
                ..base
            }),
            ok("https://sts.us-gov-west-1.amazonaws.com", "us-gov-west-1", "fips")
        );
    }

    #[test]
    fn a_custom_endpoint_is_signed_with_the_region_of_the_client() {
        let base = StsRequest {
            region: Some("us-west-2"),
            use_global: true,
            endpoint: Some("https://sts.amazonaws.com"),
            ..StsRequest::default()
        };
        assert_eq!(
            answer(base),
            ok("https://sts.amazonaws.com", "us-west-2", "custom")
        );
        assert_eq!(
            answer(StsRequest { fips: true, ..base }),
            Err("Invalid Configuration: FIPS and custom endpoint are not supported".into())
        );
        assert_eq!(
            answer(StsRequest {
                dual_stack: true,
                ..base
            }),
            Err("Invalid Configuration: Dualstack and custom endpoint are not supported".into())
        );
    }

    #[test]
    fn without_use_global_only_the_pseudo_region_is_global() {
        let regional = |region| {
            answer(StsRequest {
                region,
                ..StsRequest::default()
            })
        };
        assert_eq!(
            regional(Some("us-east-1")),
            ok("https://sts.us-east-1.amazonaws.com", "us-east-1", "regional")
        );
        assert_eq!(
            regional(Some("aws-global")),
            ok("https://sts.amazonaws.com", "us-east-1", "global")
        );
        assert_eq!(
            regional(Some("aws-cn-global")),
            ok(
                "https://sts.aws-cn-global.amazonaws.com.cn",
                "aws-cn-global",
                "regional"
            )
        );
        assert_eq!(
            regional(Some("xx-foo-1")),
            ok("https://sts.xx-foo-1.amazonaws.com", "xx-foo-1", "regional")
        );
        assert_eq!(
            regional(None),
            Err("Invalid Configuration: Missing Region".into())
        );
    }

    #[test]
    fn fips_is_published_for_four_us_regions_and_govcloud() {
        let published: Vec<_> = super::super::all_regions()
            .filter(|r| sts_fips_exists(r))
            .collect();
        assert_eq!(
            published,
            [
                "us-east-1",
                "us-east-2",
                "us-west-1",
                "us-west-2",
                "us-gov-east-1",
                "us-gov-west-1"
            ]
        );
    }
}
