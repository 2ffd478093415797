//! STS: the query protocol and its actions.
//!
//! The order of checks is AWS's: faults of the region, the form of the request, the action, the signature (or the
//! token), the parameters, the account's region switch, and then the action itself.

mod answer;
mod assume_role;
mod authenticate;
mod context;
mod query;
mod role_session;
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
use serde_json::Value;

use self::answer::Answer;
use self::context::{Context, Trail};
pub(crate) use self::query::MAX_BODY;
use self::query::{API_VERSION, Parameters};
use crate::call::{Call, CallError, bounded, cut};
use crate::connection::Connection;
use crate::error::StsError;
use crate::fault::FaultAnswer;
use crate::host::{Endpoint, Service};
use crate::ids;
use crate::keys::Caller;
use crate::sigv4::RequestView;
use crate::state::State;

/// How long an endpoint that is silent keeps a client waiting at most.
const SILENCE: Duration = Duration::from_secs(60);

/// Longest name of an action in a record, in bytes.
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

/// Answers one request to an STS endpoint.
pub(crate) async fn handle(
    state: &State,
    request: Request<Bytes>,
    connection: &Connection,
    endpoint: &Endpoint,
) -> Response<Bytes> {
    let (parts, body) = request.into_parts();
    let serving_region = endpoint.serving_region(connection.caller_region.as_deref());
    let mut context = Context {
        state,
        endpoint,
        connection,
        serving_region,
        request: RequestView::of(&parts),
        body: &body,
        parameters: Parameters::default(),
        now: state.now(),
    };
    let mut trail = Trail::default();
    let fault = state.faults.of_call(endpoint, serving_region);
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    let result = match fault.answer {
        Some(answer) => Err(faulty(answer).await),
        None => answer(&mut context, &mut trail).await,
    };
    let request_id = ids::request();
    let error = result.as_ref().err().map(|error| CallError {
        code: error.code.to_string(),
        message: bounded(&error.message),
    });
    let response = answer::render(result, &request_id);
    if trail.logged && !trail.action.is_empty() {
        record(&context, trail, request_id, error, response.status());
    }
    response
}

/// Hands the call to the event log.
fn record(
    context: &Context<'_>,
    trail: Trail,
    request_id: String,
    error: Option<CallError>,
    status: StatusCode,
) {
    if let Some(error) = &error {
        tracing::debug!(
            code = ?error.code,
            message = ?error.message,
            action = ?trail.action,
            explanation = ?trail.explanation,
            "refused"
        );
    }
    context.state.record(Call {
        time: context.now,
        request_id,
        service: Service::Sts,
        read_only: true,
        host: host_of(&context.request, context.connection),
        endpoint: context.endpoint.class,
        region: context.endpoint.region.clone(),
        serving_region: context.serving_region.to_owned(),
        account: trail
            .account
            .or_else(|| trail.identity.account().map(str::to_owned)),
        identity: trail.identity,
        request_parameters: trail.request_parameters,
        response_elements: trail.response_elements,
        additional: Value::Null,
        resources: trail.resources,
        action: trail.action,
        error,
        explanation: trail.explanation.as_deref().map(bounded),
        status: status.as_u16(),
        user_agent: context.user_agent().map(bounded),
        source_ip: context.connection.source_ip,
        tls: context.connection.tls.clone(),
    });
}

async fn answer(context: &mut Context<'_>, trail: &mut Trail) -> Result<Answer, StsError> {
    let method = context.request.method;
    if method != Method::GET.as_str() && method != Method::POST.as_str() {
        return Err(StsError::sender(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .in_front());
    }
    if context.request.path != "/" {
        return Err(StsError::sender(
            StatusCode::NOT_FOUND,
            "InvalidAction",
            "The requested path is not one of STS: its only path is /.",
        )
        .in_front());
    }
    context.parameters = Parameters::of(&context.request, context.body)?;
    let context = &*context;
    let Some(name) = context.parameters.find("Action") else {
        if method == Method::GET.as_str() {
            return Ok(Answer::redirect(DOCUMENTATION));
        }
        return Err(StsError::sender(
            StatusCode::BAD_REQUEST,
            "MissingAction",
            "The request is missing the Action parameter.",
        )
        .in_front());
    };
    trail.action = cut(name, MAX_ACTION);
    let version = context
        .parameters
        .find("Version")
        .unwrap_or("NO_VERSION_SPECIFIED");
    match Action::of(name, version)? {
        Action::Unsigned => web_identity::assume(context, trail).await,
        Action::Signed(action) => {
            let caller = authenticate::authenticate(context, trail)?;
            context.check_active(&caller.account)?;
            action(context, &caller, trail)
        }
    }
}

/// An action that is played here.
enum Action {
    /// `AssumeRoleWithWebIdentity`, which proves itself by its token.
    Unsigned,
    Signed(fn(&Context<'_>, &Caller, &mut Trail) -> Result<Answer, StsError>),
}

impl Action {
    fn of(name: &str, version: &str) -> Result<Self, StsError> {
        if version != API_VERSION {
            return Err(no_such_action(name, version));
        }
        Ok(match name {
            "AssumeRole" => Self::Signed(assume_role::assume),
            "AssumeRoleWithWebIdentity" => Self::Unsigned,
            "DecodeAuthorizationMessage" => Self::Signed(simple::decode_authorization_message),
            "GetAccessKeyInfo" => Self::Signed(simple::access_key_info),
            "GetCallerIdentity" => Self::Signed(simple::caller_identity),
            "GetSessionToken" => Self::Signed(session::session_token),
            name if NOT_PLAYED.contains(&name) => {
                return Err(StsError::receiver(
                    StatusCode::NOT_IMPLEMENTED,
                    "NotImplemented",
                    format!("irsa does not implement the operation {name}."),
                ));
            }
            name => return Err(no_such_action(name, version)),
        })
    }
}

fn no_such_action(name: &str, version: &str) -> StsError {
    StsError::sender(
        StatusCode::BAD_REQUEST,
        "InvalidAction",
        format!("Could not find operation {name} for version {version}"),
    )
    .in_front()
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
        FaultAnswer::InternalFailure => StsError::internal_failure(),
        FaultAnswer::Silence => {
            tokio::time::sleep(SILENCE).await;
            unavailable()
        }
        FaultAnswer::Throttling => StsError::sender(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded"),
        FaultAnswer::Unavailable => unavailable(),
    }
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
    bounded(name)
}
