//! STS: the query protocol and its actions.
//!
//! The order of checks is AWS's: faults of the region, the form of the request, the action, the signature (or the
//! token), the parameters, the account's region switch, and then the action itself.

mod answer;
mod assume_role;
mod authenticate;
mod query;
mod session;
mod simple;
mod validate;
mod web_identity;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;

use crate::aws::Inner;
use crate::call::{Call, CallError, Identity, Resource, Service};
use crate::connection::Connection;
use crate::error::StsError;
use crate::fault::FaultAnswer;
use crate::host::Endpoint;
use crate::ids;
use crate::keys::Caller;
use crate::sigv4::RequestView;
use answer::Answer;
use query::{API_VERSION, Parameters};

/// How long an endpoint that is silent keeps a client waiting at most.
const SILENCE: Duration = Duration::from_secs(60);

/// Longest text of a client that goes into a record, in bytes; CloudTrail cuts at the same length. Records are kept.
const MAX_RECORDED: usize = 1024;

/// Longest name of an action in a record.
const MAX_ACTION: usize = 128;

/// Where AWS sends a browser that opens an STS endpoint.
const DOCUMENTATION: &str = "https://aws.amazon.com/iam";

/// Operations of the STS API that are not played here; an honest answer beats an invented one.
const NOT_PLAYED: [&str; 5] = [
    "AssumeRoleWithSAML",
    "AssumeRoot",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetWebIdentityToken",
];

/// What is found out about a call while it is answered, for its record.
pub(super) struct Trail {
    identity: Identity,
    account: Option<String>,
    request_parameters: Value,
    response_elements: Value,
    resources: Vec<Resource>,
    explanation: Option<String>,
    /// `DecodeAuthorizationMessage` is not logged.
    logged: bool,
}

/// What every action has at hand.
pub(super) struct Context<'a> {
    pub(super) aws: &'a Inner,
    pub(super) endpoint: &'a Endpoint,
    pub(super) connection: &'a Connection,
    pub(super) parameters: &'a Parameters,
    pub(super) user_agent: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// Answers one request to an STS endpoint.
pub(crate) async fn handle(
    aws: &Inner,
    request: Request<Bytes>,
    connection: &Connection,
    endpoint: &Endpoint,
) -> Response<Bytes> {
    let now = aws.now();
    let request_id = ids::request();
    let (parts, body) = request.into_parts();
    let view = RequestView::of(&parts);
    let serving_region = endpoint
        .serving_region(connection.caller_region.as_deref())
        .to_owned();
    let mut trail = Trail {
        identity: Identity::Anonymous,
        account: None,
        request_parameters: Value::Null,
        response_elements: Value::Null,
        resources: Vec::new(),
        explanation: None,
        logged: true,
    };
    let mut action = String::new();
    let fault = aws.faults.of_call(endpoint, &serving_region);
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    let result = match fault.answer {
        Some(answer) => Err(faulty(answer).await),
        None => {
            answer_call(
                aws,
                &view,
                &body,
                connection,
                endpoint,
                &serving_region,
                now,
                &mut action,
                &mut trail,
            )
            .await
        }
    };
    let error = result.as_ref().err().map(|error| CallError {
        code: error.code.to_string(),
        message: bounded(&error.message, MAX_RECORDED),
    });
    let response = answer::render(result, &request_id);
    if trail.logged && !action.is_empty() {
        if let Some(error) = &error {
            tracing::debug!(
                code = error.code,
                message = error.message,
                action,
                explanation = trail.explanation,
                "refused"
            );
        }
        aws.record(Call {
            time: now,
            request_id,
            service: Service::Sts,
            read_only: true,
            host: host_of(&view, connection),
            endpoint: endpoint.class,
            region: endpoint.region.clone(),
            serving_region,
            account: trail
                .account
                .or_else(|| trail.identity.account().map(str::to_owned)),
            identity: trail.identity,
            request_parameters: trail.request_parameters,
            response_elements: trail.response_elements,
            additional: Value::Null,
            resources: trail.resources,
            action,
            error,
            explanation: trail.explanation.map(|text| bounded(&text, MAX_RECORDED)),
            status: response.status().as_u16(),
            user_agent: view
                .header("user-agent")
                .map(|agent| bounded(agent, MAX_RECORDED)),
            source_ip: connection.source_ip,
            tls: connection.tls.clone(),
        });
    }
    response
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one request; grouping them would only move the list"
)]
async fn answer_call(
    aws: &Inner,
    view: &RequestView<'_>,
    body: &[u8],
    connection: &Connection,
    endpoint: &Endpoint,
    serving_region: &str,
    now: Timestamp,
    action: &mut String,
    trail: &mut Trail,
) -> Result<Answer, StsError> {
    if view.method != Method::GET.as_str() && view.method != Method::POST.as_str() {
        return Err(StsError::sender(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .in_front());
    }
    if view.path != "/" {
        return Err(StsError::sender(
            StatusCode::NOT_FOUND,
            "InvalidAction",
            "The requested path is not one of STS: its only path is /.",
        )
        .in_front());
    }
    let parameters = Parameters::of(view, body)?;
    let Some(name) = parameters.find("Action") else {
        if view.method == Method::GET.as_str() {
            return Ok(Answer::redirect(DOCUMENTATION));
        }
        return Err(StsError::sender(
            StatusCode::BAD_REQUEST,
            "MissingAction",
            "The request is missing the Action parameter.",
        )
        .in_front());
    };
    *action = bounded(name, MAX_ACTION);
    let version = parameters.find("Version").unwrap_or("NO_VERSION_SPECIFIED");
    let context = Context {
        aws,
        endpoint,
        connection,
        parameters: &parameters,
        user_agent: view.header("user-agent"),
        now,
    };
    if version == API_VERSION && name == "AssumeRoleWithWebIdentity" {
        return web_identity::assume(&context, trail).await;
    }
    type Signed = fn(&Context<'_>, &Caller, &mut Trail) -> Result<Answer, StsError>;
    let signed: Signed = match (version, name) {
        (API_VERSION, "AssumeRole") => assume_role::assume,
        (API_VERSION, "DecodeAuthorizationMessage") => simple::decode_authorization_message,
        (API_VERSION, "GetAccessKeyInfo") => simple::access_key_info,
        (API_VERSION, "GetCallerIdentity") => simple::caller_identity,
        (API_VERSION, "GetSessionToken") => session::session_token,
        (API_VERSION, name) if NOT_PLAYED.contains(&name) => {
            return Err(StsError::receiver(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                format!("irsa does not play the operation {name}."),
            ));
        }
        _ => {
            return Err(StsError::sender(
                StatusCode::BAD_REQUEST,
                "InvalidAction",
                format!("Could not find operation {name} for version {version}"),
            )
            .in_front());
        }
    };
    let caller =
        authenticate::authenticate(aws, view, body, endpoint, serving_region, now).map_err(|refused| {
            trail.identity = refused.identity;
            trail.explanation = refused.explanation;
            refused.error
        })?;
    trail.identity = caller.identity.clone();
    context.check_active(&caller.account)?;
    signed(&context, &caller, trail)
}

impl Context<'_> {
    /// Whether STS is active in the endpoint's region for an account. The global endpoint always is.
    fn check_active(&self, account: &str) -> Result<(), StsError> {
        let global = self.endpoint.class == crate::host::EndpointClass::Global;
        let directory = self.aws.directory.read();
        match directory.account(account) {
            Some(entry) if !global && !entry.is_active(&self.endpoint.region) => {
                Err(StsError::region_disabled(account))
            }
            _ => Ok(()),
        }
    }

    /// The condition keys that every request has.
    fn policy_context(&self) -> crate::trust::Context {
        let mut context = crate::trust::Context::new();
        context.set("aws:SourceIp", self.connection.source_ip.to_string());
        context.set("aws:SecureTransport", self.connection.tls.is_some().to_string());
        context.set(
            "aws:CurrentTime",
            self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        );
        context.set("aws:EpochTime", self.now.as_second().to_string());
        context.set("aws:RequestedRegion", self.endpoint.region.as_str());
        if let Some(agent) = self.user_agent {
            context.set("aws:UserAgent", agent);
        }
        context
    }
}

async fn faulty(answer: FaultAnswer) -> StsError {
    let unavailable = || {
        StsError::receiver(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "The request has failed due to a temporary failure of the server.",
        )
    };
    match answer {
        FaultAnswer::InternalFailure => StsError::receiver(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailure",
            "The request processing has failed because of an unknown error, exception or failure.",
        ),
        FaultAnswer::Silence => {
            tokio::time::sleep(SILENCE).await;
            unavailable()
        }
        FaultAnswer::Throttling => StsError::sender(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
        FaultAnswer::Unavailable => unavailable(),
    }
}

/// The text, cut to at most so many bytes.
fn bounded(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
        .to_owned()
}

/// The name that the client used, without port.
fn host_of(view: &RequestView<'_>, connection: &Connection) -> String {
    let host = view
        .header(header::HOST.as_str())
        .or(view.authority)
        .unwrap_or(&connection.host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    bounded(name, MAX_RECORDED)
}
