//! One CloudTrail record of an STS call, reduced to what tells who called which endpoint.
//!
//! Which fields tell it is in AWS's "CloudTrail record contents" and its announcement of the changes to the global
//! endpoint (2025): `additionalEventData.RequestDetails` since then, `tlsDetails.clientProvidedHostHeader` before.

use std::borrow::Cow;

use irsa_core::partition::{AwsHost, HostClass, Service};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::audit::{Endpoint, Operation, Seen};

/// Every record of an STS call has this text in it, and nearly no other record has.
const STS: &[u8] = b"sts.amazonaws.com";
/// Every record has this key.
const SOURCE: &[u8] = b"\"eventSource\"";

/// Why a record gives no observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Other {
    /// A sound record of another service.
    Service,
    /// Not a CloudTrail record.
    Damaged,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow, default)]
    event_source: Cow<'a, str>,
    #[serde(borrow, default)]
    event_name: Cow<'a, str>,
    #[serde(borrow, default)]
    event_time: Cow<'a, str>,
    #[serde(borrow, default)]
    aws_region: Cow<'a, str>,
    #[serde(borrow)]
    user_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error_code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_identity: Option<&'a RawValue>,
    #[serde(borrow)]
    request_parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    additional_event_data: Option<&'a RawValue>,
    #[serde(borrow)]
    tls_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct UserIdentity<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    principal_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    identity_provider: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_context: Option<SessionContext<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SessionContext<'a> {
    #[serde(borrow)]
    session_issuer: Option<SessionIssuer<'a>>,
    #[serde(borrow)]
    web_id_federation_data: Option<Federation<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SessionIssuer<'a> {
    #[serde(borrow)]
    arn: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Federation<'a> {
    #[serde(borrow)]
    federated_provider: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RequestParameters<'a> {
    #[serde(borrow)]
    role_arn: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct AdditionalEventData<'a> {
    #[serde(borrow)]
    request_details: Option<RequestDetails<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RequestDetails<'a> {
    #[serde(borrow)]
    endpoint_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    aws_serving_region: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TlsDetails<'a> {
    #[serde(borrow)]
    client_provided_host_header: Option<Cow<'a, str>>,
}

/// A part of the record; what has another shape than expected says nothing.
fn part<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str::<Option<T>>(raw.get()).ok().flatten())
        .unwrap_or_default()
}

fn text<'a>(value: &'a Option<Cow<'_, str>>) -> &'a str {
    value.as_deref().unwrap_or_default()
}

/// Reads one record and hands on what it observed.
pub(crate) fn observe(bytes: &[u8], see: impl FnOnce(&Seen<'_>)) -> Result<(), Other> {
    if memchr::memmem::find(bytes, STS).is_none() {
        return Err(match memchr::memmem::find(bytes, SOURCE) {
            Some(_) => Other::Service,
            None => Other::Damaged,
        });
    }
    let record: Record<'_> = serde_json::from_slice(bytes).map_err(|_| Other::Damaged)?;
    if record.event_source != "sts.amazonaws.com" {
        return Err(if record.event_source.is_empty() {
            Other::Damaged
        } else {
            Other::Service
        });
    }
    let time: Timestamp = record.event_time.parse().map_err(|_| Other::Damaged)?;
    let identity: UserIdentity<'_> = part(record.user_identity);
    let parameters: RequestParameters<'_> = part(record.request_parameters);
    let details = part::<AdditionalEventData<'_>>(record.additional_event_data)
        .request_details
        .unwrap_or_default();
    let tls: TlsDetails<'_> = part(record.tls_details);
    let session = identity.session_context.as_ref();
    let is_exchange = record.event_name == "AssumeRoleWithWebIdentity";
    let principal = text(&identity.principal_id);
    let (provider, subject) = if is_exchange {
        // `PROVIDER_ARN:AUDIENCE:system:serviceaccount:NAMESPACE:NAME`, where the fields of their own are missing.
        let at = principal.find(":system:serviceaccount:");
        let named = text(&identity.user_name);
        (
            match text(&identity.identity_provider) {
                "" => at.map_or("", |at| {
                    principal[..at]
                        .rsplit_once(':')
                        .map_or("", |(provider, _)| provider)
                }),
                provider => provider,
            },
            match named {
                "" => at.map_or("", |at| &principal[at + 1..]),
                named => named,
            },
        )
    } else {
        let federation = session.and_then(|session| session.web_id_federation_data.as_ref());
        (federation.map_or("", |f| text(&f.federated_provider)), "")
    };
    let role = if is_exchange {
        text(&parameters.role_arn)
    } else {
        session
            .and_then(|session| session.session_issuer.as_ref())
            .map_or("", |issuer| text(&issuer.arn))
    };
    let host = text(&tls.client_provided_host_header);
    see(&Seen {
        provider,
        subject,
        role,
        principal_type: text(&identity.kind),
        operation: if is_exchange {
            Operation::Exchange
        } else {
            Operation::Call
        },
        endpoint: endpoint(text(&details.endpoint_type), host),
        host,
        region: &record.aws_region,
        serving_region: text(&details.aws_serving_region),
        user_agent: text(&record.user_agent),
        error: record.error_code.as_deref(),
        calls: 1,
        first: time,
        last: time,
    });
    Ok(())
}

/// The endpoint type: as CloudTrail says it; for records from before 2025 as the host name shows it.
pub(crate) fn endpoint(kind: &str, host: &str) -> Endpoint {
    match kind {
        "global" => Endpoint::Global,
        "regional" => Endpoint::Regional,
        _ => match AwsHost::parse(host) {
            Some(AwsHost {
                service: Service::Sts,
                class: HostClass::Global,
                ..
            }) => Endpoint::Global,
            Some(AwsHost {
                service: Service::Sts,
                region: Some(_),
                ..
            }) => Endpoint::Regional,
            _ => Endpoint::Unknown,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Result<String, Other> {
        let mut line = String::new();
        observe(text.as_bytes(), |seen| {
            line = format!(
                "{:?} {} {} {} {:?} {} {} {} {:?}",
                seen.operation,
                seen.provider,
                seen.subject,
                seen.role,
                seen.endpoint,
                seen.host,
                seen.region,
                seen.serving_region,
                seen.error
            );
        })?;
        Ok(line)
    }

    const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/A";

    #[test]
    fn an_exchange_names_service_account_role_and_endpoint() {
        let record = format!(
            r#"{{"eventTime":"2026-11-24T00:18:30Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRoleWithWebIdentity",
            "awsRegion":"us-east-1","userAgent":"Boto3/1.39","userIdentity":{{"type":"WebIdentityUser","principalId":"x",
            "userName":"system:serviceaccount:team:app","identityProvider":"{PROVIDER}"}},
            "requestParameters":{{"roleArn":"arn:aws:iam::111122223333:role/r"}},
            "additionalEventData":{{"RequestDetails":{{"endpointType":"global","awsServingRegion":"us-west-2"}}}},
            "tlsDetails":{{"clientProvidedHostHeader":"sts.amazonaws.com"}}}}"#
        );
        assert_eq!(
            seen(&record).unwrap(),
            format!(
                "Exchange {PROVIDER} system:serviceaccount:team:app arn:aws:iam::111122223333:role/r Global \
                 sts.amazonaws.com us-east-1 us-west-2 None"
            )
        );
    }

    #[test]
    fn an_old_record_is_read_by_its_principal_and_its_host_name() {
        let record = format!(
            r#"{{"eventTime":"2024-11-24T00:18:30Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRoleWithWebIdentity",
            "awsRegion":"eu-west-1","errorCode":"AccessDenied","userIdentity":{{
            "principalId":"{PROVIDER}:sts.amazonaws.com:system:serviceaccount:team:app"}},"requestParameters":null,
            "tlsDetails":{{"clientProvidedHostHeader":"sts.eu-west-1.amazonaws.com"}}}}"#
        );
        assert_eq!(
            seen(&record).unwrap(),
            format!(
                "Exchange {PROVIDER} system:serviceaccount:team:app  Regional sts.eu-west-1.amazonaws.com eu-west-1  \
                 Some(\"AccessDenied\")"
            )
        );
    }

    #[test]
    fn a_call_of_a_session_names_its_role_and_the_provider_behind_it() {
        let record = format!(
            r#"{{"eventTime":"2026-11-24T00:18:30Z","eventSource":"sts.amazonaws.com","eventName":"GetCallerIdentity",
            "awsRegion":"us-east-1","requestParameters":null,"userIdentity":{{"type":"AssumedRole","sessionContext":{{
            "sessionIssuer":{{"type":"Role","arn":"arn:aws:iam::111122223333:role/r"}},
            "webIdFederationData":{{"federatedProvider":"{PROVIDER}","attributes":{{}}}}}}}}}}"#
        );
        assert_eq!(
            seen(&record).unwrap(),
            format!("Call {PROVIDER}  arn:aws:iam::111122223333:role/r Unknown  us-east-1  None")
        );
    }

    #[test]
    fn other_services_are_told_from_damage() {
        assert_eq!(
            seen(r#"{"eventSource":"ec2.amazonaws.com"}"#),
            Err(Other::Service)
        );
        let about_sts =
            r#"{"eventSource":"iam.amazonaws.com","requestParameters":{"a":"sts.amazonaws.com"}}"#;
        assert_eq!(seen(about_sts), Err(Other::Service));
        for damaged in [
            r#"{"eventSource":"sts.amazonaws.com"}"#,
            r#"{"eventSource":"sts.amazonaws.com","eventTime":"yesterday"}"#,
            r#"{"x":"sts.amazonaws.com"}"#,
            r#"["sts.amazonaws.com"]"#,
            r#"{"eventSource":"sts.amazonaws.com","eventTime":1}"#,
        ] {
            assert_eq!(seen(damaged), Err(Other::Damaged), "{damaged}");
        }
        // Parts of an unexpected shape lose nothing but themselves.
        let odd = r#"{"eventSource":"sts.amazonaws.com","eventTime":"2026-01-01T00:00:00Z","userIdentity":"?","tlsDetails":[1]}"#;
        assert!(seen(odd).is_ok());
    }
}
