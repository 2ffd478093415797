//! `pods/NAME/exec`; SPDY, `attach` and `portforward` are refused with what to do instead.

use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::api::{AdmissionRequest, Operation};
use crate::exec::{Options, PROTOCOLS, Session};
use crate::http::answer::Body;
use crate::http::asked::{Asked, Context};
use crate::http::path::Query;
use crate::object::ObjectExt;
use crate::pod::{ContainerRef, choose_container, container_status, containers, has_ended};
use crate::shutdown::ended;
use crate::status::{Cause, Result, Status};

/// Answers one of the subresources that are connections.
pub(crate) async fn serve(
    context: &Context,
    asked: &Asked<'_>,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    match asked.at.subresource.as_str() {
        "exec" => exec(context, asked, request).await,
        "portforward" => Err(no_port_forward(context, asked)?),
        _ => Err(not_implemented(
            "this cluster does not attach to containers: use kubectl logs -f, or kubectl exec".into(),
        )),
    }
}

fn not_implemented(message: String) -> Status {
    Status::custom(501, "NotImplemented", message)
}

fn options(query: &Query) -> Result<Options> {
    let options = Options {
        container: query.get("container").map(str::to_owned),
        command: query.all("command").into_iter().map(str::to_owned).collect(),
        stdin: query.flag("stdin"),
        tty: query.flag("tty"),
    };
    if options.command.is_empty() {
        return Err(Status::invalid(
            "PodExecOptions",
            "",
            "",
            &[Cause::required("command", "")],
        ));
    }
    Ok(options)
}

async fn exec(context: &Context, asked: &Asked<'_>, request: Request<Incoming>) -> Result<Response<Body>> {
    let pod = context.api.get("pods", &asked.at.namespace, &asked.at.name)?;
    let options = options(asked.query)?;
    let container = choose_container(&pod, options.container.as_deref())?;
    if has_ended(&pod) {
        return Err(Status::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {}",
            pod.str_at(&["status", "phase"])
        )));
    }
    let running =
        container_status(&pod, &container).is_some_and(|status| status.at(&["state", "running"]).is_some());
    if !running {
        return Err(Status::internal(format!(
            "unable to upgrade connection: container not found ({container:?})"
        )));
    }
    let Some(runtime) = context.runtime.clone() else {
        return Err(not_implemented(
            "exec is not possible: the containers of this cluster only pretend to run (no runtime was configured)"
                .into(),
        ));
    };
    // Before the protocol is looked at: kubectl prints the answer to its second attempt, with SPDY.
    admit(context, asked, &options).await?;
    let headers = request.headers();
    if asks_for(headers, "spdy") {
        return Err(Status::bad_request(
            "this cluster speaks WebSocket for exec, not SPDY: use kubectl 1.31 or later, or set \
             KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true",
        ));
    }
    if !asks_for(headers, "websocket") {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let (response, protocol) = switch(headers)?;
    let session = Session {
        runtime,
        log: context.logs.of(pod.uid(), &container),
        reference: ContainerRef { pod, container },
        options,
        protocol,
    };
    let mut ending = context.ending.clone();
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => tokio::select! {
                () = session.run(upgraded) => {}
                () = ended(&mut ending) => {}
            },
            Err(error) => tracing::debug!(%error, "the connection for exec was not upgraded"),
        }
    });
    Ok(response)
}

/// Webhooks with rules for `CONNECT` on `pods/exec` are asked; they may refuse, and change nothing.
async fn admit(context: &Context, asked: &Asked<'_>, options: &Options) -> Result<()> {
    let request = || AdmissionRequest {
        operation: Operation::Connect,
        resource: &asked.resource,
        subresource: "exec",
        namespace: &asked.at.namespace,
        name: &asked.at.name,
        object: Some(json!({
            "kind": "PodExecOptions", "apiVersion": "v1", "stdin": options.stdin, "stdout": true,
            "stderr": !options.tty, "tty": options.tty, "container": options.container,
            "command": options.command,
        })),
        old: None,
        caller: asked.caller,
        dry_run: false,
        options: Value::Null,
    };
    context.admission.admit(&context.api, request()).await?;
    context.admission.validate(&context.api, &request()).await?;
    Ok(())
}

fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    let wanted = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    wanted
        .unwrap_or_default()
        .split(',')
        .any(|one| one.trim().to_ascii_lowercase().starts_with(protocol))
}

/// The answer that switches to WebSocket, and the protocol that is spoken on it.
fn switch(headers: &HeaderMap) -> Result<(Response<Body>, &'static str)> {
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let protocol = PROTOCOLS
        .iter()
        .find(|protocol| offered.contains(protocol))
        .ok_or_else(|| {
            Status::bad_request(format!(
                "unable to upgrade: the client offers the protocols {offered:?}, this server speaks {PROTOCOLS:?}"
            ))
        })?;
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Status::bad_request("unable to upgrade: no Sec-WebSocket-Key"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal)?;
    let mut response = Response::new(Empty::<Bytes>::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok((response, protocol))
}

/// The refusal to forward ports, with the local addresses that can be used instead.
fn no_port_forward(context: &Context, asked: &Asked<'_>) -> Result<Status> {
    let pod = context.api.get("pods", &asked.at.namespace, &asked.at.name)?;
    let local: Vec<String> = containers(&pod)
        .flat_map(|container| container.list_at(&["ports"]))
        .filter_map(|port| u16::try_from(port.int_at(&["containerPort"])?).ok())
        .filter_map(|port| {
            let address = context.containers.address(pod.uid(), port)?;
            Some(format!("port {port} is at {address}"))
        })
        .collect();
    let hint = if local.is_empty() {
        "nothing in this pod listens".to_owned()
    } else {
        format!("its containers run on this machine: {}", local.join(", "))
    };
    Ok(not_implemented(format!(
        "this cluster does not forward ports; {hint}"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_protocol_is_chosen() {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("v4.channel.k8s.io, v5.channel.k8s.io"),
        );
        let (response, protocol) = switch(&headers).unwrap();
        assert_eq!(protocol, "v5.channel.k8s.io");
        // The example of RFC 6455.
        assert_eq!(
            response.headers()[SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("channel.k8s.io"));
        assert_eq!(switch(&headers).unwrap_err().code, 400);
    }

    #[test]
    fn exec_requires_a_command() {
        let refused = options(&Query::parse("container=a&stdout=true")).unwrap_err();
        assert_eq!(refused.code, 422);
        let query = Query::parse("command=echo&command=a%20b&stdin=true&tty=1");
        let options = options(&query).unwrap();
        assert_eq!(options.command, ["echo", "a b"]);
        assert!(options.stdin && options.tty);
    }
}
