//! Records as CloudTrail has them, and the ring that keeps them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;
use crate::call::{CallError, Resource, Tls};
use crate::host::EndpointClass;

const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EX";

fn call() -> Call {
    Call {
        time: "2026-11-24T00:18:30.987Z".parse().unwrap(),
        request_id: "7b2a".to_owned(),
        service: Service::Sts,
        action: "AssumeRoleWithWebIdentity".to_owned(),
        host: "sts.us-west-2.amazonaws.com".to_owned(),
        endpoint: EndpointClass::Regional,
        region: "us-west-2".to_owned(),
        serving_region: "us-west-2".to_owned(),
        identity: Identity::WebIdentity {
            provider_arn: PROVIDER.to_owned(),
            audience: "sts.amazonaws.com".to_owned(),
            subject: "system:serviceaccount:kube-system:aws-node".to_owned(),
        },
        account: Some("111122223333".to_owned()),
        request_parameters: json!({"roleArn": "arn:aws:iam::111122223333:role/r"}),
        response_elements: json!({"audience": "sts.amazonaws.com"}),
        additional: Value::Null,
        resources: vec![Resource {
            account: Some("111122223333".to_owned()),
            kind: "AWS::IAM::Role",
            arn: "arn:aws:iam::111122223333:role/r".to_owned(),
        }],
        read_only: true,
        error: None,
        explanation: None,
        status: 200,
        user_agent: Some("Boto3/1.44.5".to_owned()),
        source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tls: Some(Tls {
            version: "TLSv1.3".to_owned(),
            cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
        }),
    }
}

fn named(name: &str) -> Record {
    Record::of(Call {
        action: name.to_owned(),
        ..call()
    })
}

#[test]
fn a_web_identity_call_becomes_the_record_that_cloudtrail_has_of_it() {
    let mut record = serde_json::to_value(Record::of(call())).unwrap();
    record["eventID"] = json!("E");
    assert_eq!(
        record,
        json!({
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "WebIdentityUser",
                "principalId": format!("{PROVIDER}:sts.amazonaws.com:system:serviceaccount:kube-system:aws-node"),
                "userName": "system:serviceaccount:kube-system:aws-node",
                "identityProvider": PROVIDER,
            },
            "eventTime": "2026-11-24T00:18:30Z",
            "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRoleWithWebIdentity",
            "awsRegion": "us-west-2",
            "sourceIPAddress": "127.0.0.1",
            "userAgent": "Boto3/1.44.5",
            "requestParameters": {"roleArn": "arn:aws:iam::111122223333:role/r"},
            "responseElements": {"audience": "sts.amazonaws.com"},
            "additionalEventData": {
                "ExtendedRequestId": "N2IyYQ==",
                "RequestDetails": {"endpointType": "regional", "awsServingRegion": "us-west-2"},
            },
            "requestID": "7b2a",
            "eventID": "E",
            "readOnly": true,
            "resources": [{
                "accountId": "111122223333",
                "type": "AWS::IAM::Role",
                "ARN": "arn:aws:iam::111122223333:role/r",
            }],
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": "111122223333",
            "eventCategory": "Management",
            "tlsDetails": {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": "sts.us-west-2.amazonaws.com",
            },
        })
    );
}

#[test]
fn a_call_to_the_global_endpoint_says_so_and_names_the_region_that_served_it() {
    let record = Record::of(Call {
        host: "sts.amazonaws.com".to_owned(),
        endpoint: EndpointClass::Global,
        region: "us-east-1".to_owned(),
        serving_region: "eu-west-1".to_owned(),
        ..call()
    });
    assert_eq!(record.endpoint_type(), Some("global"));
    assert_eq!(record.aws_region, "us-east-1");
    assert_eq!(record.serving_region(), Some("eu-west-1"));
    assert_eq!(record.host(), "sts.amazonaws.com");
}

#[test]
fn a_session_names_its_role_its_provider_and_the_key_that_joins_it_to_its_beginning() {
    let record = Record::of(Call {
        action: "GetCallerIdentity".to_owned(),
        identity: Identity::AssumedRole {
            arn: "arn:aws:sts::111122223333:assumed-role/r/s".to_owned(),
            principal_id: "AROAX:s".to_owned(),
            account: "111122223333".to_owned(),
            access_key_id: "ASIAX".to_owned(),
            role_arn: "arn:aws:iam::111122223333:role/r".to_owned(),
            role_name: "r".to_owned(),
            role_id: "AROAX".to_owned(),
            issued_at: "2026-11-24T00:18:30.5Z".parse().unwrap(),
            federated_provider: Some(PROVIDER.to_owned()),
        },
        ..call()
    });
    assert_eq!(record.caller(), "r/s");
    assert_eq!(
        serde_json::to_value(&record.user_identity).unwrap(),
        json!({
            "type": "AssumedRole",
            "principalId": "AROAX:s",
            "arn": "arn:aws:sts::111122223333:assumed-role/r/s",
            "accountId": "111122223333",
            "accessKeyId": "ASIAX",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAX",
                    "arn": "arn:aws:iam::111122223333:role/r",
                    "accountId": "111122223333",
                    "userName": "r",
                },
                "webIdFederationData": {"federatedProvider": PROVIDER, "attributes": {}},
                "attributes": {"creationDate": "2026-11-24T00:18:30Z", "mfaAuthenticated": "false"},
            },
        })
    );
}

#[test]
fn a_denied_web_identity_does_not_say_why_but_other_refusals_do() {
    let refused = |action: &str, code: &str| {
        Record::of(Call {
            action: action.to_owned(),
            error: Some(CallError {
                code: code.to_owned(),
                message: "because".to_owned(),
            }),
            ..call()
        })
    };
    let denied = refused("AssumeRoleWithWebIdentity", "AccessDenied");
    assert_eq!(denied.error_code.as_deref(), Some("AccessDenied"));
    assert_eq!(denied.error_message.as_deref(), Some("An unknown error occurred"));
    let scope = refused("GetCallerIdentity", "SignatureDoesNotMatch");
    assert_eq!(scope.error_message.as_deref(), Some("because"));
}

#[test]
fn records_read_back_as_they_were_written() {
    let record = Record::of(call());
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
}

#[test]
fn a_full_log_forgets_the_oldest_but_goes_on_counting() {
    let log = EventLog::new(2);
    for name in ["A", "B", "C"] {
        log.append(named(name), None);
    }
    let found = |after, limit| -> Vec<(u64, String)> {
        log.after(after, &Filter::default(), limit)
            .into_iter()
            .map(|entry| (entry.sequence, entry.record.event_name.clone()))
            .collect()
    };
    let b = (2, "B".to_owned());
    let c = (3, "C".to_owned());
    assert_eq!(found(0, 10), [b, c.clone()]);
    assert_eq!(found(2, 10), vec![c.clone()]);
    assert_eq!(found(0, 1), vec![c]);
    assert_eq!(found(3, 10), []);
    assert_eq!(log.newest(), 3);
}

#[test]
fn a_filter_wants_everything_that_is_set() {
    let log = EventLog::default();
    log.append(named("AssumeRoleWithWebIdentity"), None);
    log.append(named("GetCallerIdentity"), None);
    let count = |filter: Filter| log.after(0, &filter, usize::MAX).len();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(Filter::default()), 2);
    assert_eq!(
        count(Filter {
            event_name: text("getcalleridentity"),
            service: text("STS"),
            endpoint_type: text("regional"),
            region: text("us-west-2"),
            host: text("sts.us-west-2.amazonaws.com"),
            caller: text("kube-system:aws-node"),
            refused: Some(false),
        }),
        1
    );
    for filter in [
        Filter {
            service: text("s3"),
            ..Filter::default()
        },
        Filter {
            endpoint_type: text("global"),
            ..Filter::default()
        },
        Filter {
            region: text("us-east-1"),
            ..Filter::default()
        },
        Filter {
            host: text("sts.amazonaws.com"),
            ..Filter::default()
        },
        Filter {
            caller: text("coredns"),
            ..Filter::default()
        },
        Filter {
            refused: Some(true),
            ..Filter::default()
        },
    ] {
        assert_eq!(count(filter.clone()), 0, "{filter:?}");
    }
}

#[tokio::test]
async fn a_follower_wakes_when_a_record_arrives() {
    let log = Arc::new(EventLog::default());
    log.append(named("A"), None);
    // Already there: no waiting.
    log.wait_after(0).await;
    let follower = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            log.wait_after(1).await;
            log.after(1, &Filter::default(), 10)
        }
    });
    tokio::task::yield_now().await;
    log.append(named("B"), None);
    let seen = tokio::time::timeout(Duration::from_secs(10), follower)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen[0].record.event_name, "B");
}
