//! Service accounts that the watch has not brought: the API is asked, within bounds, and nobody is silent about it.

use std::time::{Duration, Instant};

use futures::future::join_all;
use irsa_webhook::Server;

use super::support::{Caller, Cluster, Pass, ROLE, ROLE_KEY, eventually, metric, pod, review};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_the_watch_has_not_brought_is_read_from_the_api_once_for_all() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let (server, caller) = cluster.server().await;
    // The watch does not bring again what it has brought: the same as not having brought it yet.
    server.directory().clear();
    let roles = join_all((0..40).map(|_| caller.role_of("default", "app"))).await;
    assert!(
        roles.iter().all(|role| role == &Ok(Some(ROLE.to_owned()))),
        "{roles:?}"
    );
    assert_eq!(
        metric(
            &server,
            "irsa_webhook_service_account_lookups_total{result=\"found\"}"
        ),
        1.0
    );
    assert_eq!(metric(&server, "pod_identity_webhook_missing_sa_count"), 0.0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_exist_is_told_so_and_remembered() {
    let cluster = Cluster::start().await;
    let (mut config, pki) = cluster.config();
    config.lookup.wait = Duration::from_millis(300);
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    for _ in 0..10 {
        let response = caller.review(review("default", &pod("missing"))).await.unwrap();
        assert_eq!(response["allowed"], true);
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(
            warning.contains("default/missing") && warning.contains("does not exist"),
            "{warning}"
        );
    }
    let asked = metric(
        &server,
        "irsa_webhook_service_account_lookups_total{result=\"not_found\"}",
    );
    // At most one a second, in the three seconds that ten admissions wait, or longer on a busy machine.
    assert!(
        (1.0..=9.0).contains(&asked),
        "{asked} requests for ten admissions"
    );
    assert_eq!(
        metric(
            &server,
            "irsa_webhook_admissions_total{reason=\"no_service_account\"}"
        ),
        10.0
    );
    // Created a moment later, it is found as soon as it is forgotten that it was not there.
    cluster
        .service_account("default", "missing", &[(ROLE_KEY, ROLE)])
        .await;
    eventually("the new service account is found", async || {
        caller.role_of("default", "missing").await == Ok(Some(ROLE.to_owned()))
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_appears_while_its_pod_waits_is_found() {
    let cluster = Cluster::start().await;
    let (mut config, pki) = cluster.config();
    config.lookup.wait = Duration::from_secs(30);
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    let waiting = tokio::spawn(async move { caller.role_of("default", "late").await });
    eventually("the API has said that it does not exist", async || {
        metric(
            &server,
            "irsa_webhook_service_account_lookups_total{result=\"not_found\"}",
        ) >= 1.0
    })
    .await;
    assert!(!waiting.is_finished());
    cluster
        .service_account("default", "late", &[(ROLE_KEY, ROLE)])
        .await;
    assert_eq!(waiting.await.unwrap(), Ok(Some(ROLE.to_owned())));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_away_for_a_part_of_the_wait_is_asked_again() {
    let cluster = Cluster::start().await;
    let (mut config, pki) = cluster.config();
    config.lookup.wait = Duration::from_secs(30);
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    cluster.gate.set(Pass::Shut);
    cluster
        .service_account("default", "meanwhile", &[(ROLE_KEY, ROLE)])
        .await;
    let waiting = tokio::spawn(async move { caller.role_of("default", "meanwhile").await });
    eventually("a read has failed", async || {
        metric(
            &server,
            "irsa_webhook_service_account_lookups_total{result=\"failed\"}",
        ) >= 1.0
    })
    .await;
    assert!(!waiting.is_finished());
    cluster.gate.set(Pass::Open);
    assert_eq!(waiting.await.unwrap(), Ok(Some(ROLE.to_owned())));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_watch_is_down_a_known_service_account_is_read_afresh() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "app", &[(ROLE_KEY, ROLE)])
        .await;
    let (server, caller) = cluster.server().await;
    let directory = server.directory();
    // What the watch brought before it went down, and what has changed since.
    let old = "arn:aws:iam::111122223333:role/old";
    directory.apply("default", "app", directory.read([(ROLE_KEY, old)]));
    assert_eq!(caller.role_of("default", "app").await, Ok(Some(old.to_owned())));
    directory.set_live(false);
    assert_eq!(caller.role_of("default", "app").await, Ok(Some(ROLE.to_owned())));
    // All admissions of one second share a read.
    for _ in 0..20 {
        assert_eq!(caller.role_of("default", "app").await, Ok(Some(ROLE.to_owned())));
    }
    let found = metric(
        &server,
        "irsa_webhook_service_account_lookups_total{result=\"found\"}",
    );
    assert!(found < 20.0, "{found} reads for 21 admissions");
    // An API that is away costs nothing: what is known stays in use.
    cluster.gate.set(Pass::Shut);
    eventually("what is known is used", async || {
        caller.role_of("default", "app").await == Ok(Some(old.to_owned()))
    })
    .await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_does_not_answer_costs_a_bounded_wait_and_a_warning() {
    let cluster = Cluster::start().await;
    cluster
        .service_account("default", "known", &[(ROLE_KEY, ROLE)])
        .await;
    let (mut config, pki) = cluster.config();
    config.lookup.wait = Duration::from_millis(300);
    let server = Server::start(config).await.unwrap();
    server.ready(Duration::from_secs(20)).await.unwrap();
    let caller = Caller::new(server.address(), &pki.ca);
    cluster.gate.set(Pass::Slow(Duration::from_secs(20)));
    let begun = Instant::now();
    let response = caller.review(review("default", &pod("new"))).await.unwrap();
    // Far from the twenty seconds of the API; how far from 300 ms is the machine's business.
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(response["allowed"], true);
    assert!(
        response["warnings"][0]
            .as_str()
            .unwrap()
            .contains("did not answer in time"),
        "{response}"
    );
    assert_eq!(
        metric(
            &server,
            "irsa_webhook_admissions_total{reason=\"lookup_timeout\"}"
        ),
        1.0
    );
    assert_eq!(
        caller.role_of("default", "known").await,
        Ok(Some(ROLE.to_owned()))
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_created_just_before_its_pod_is_never_missed() {
    let cluster = Cluster::start().await;
    let (server, caller) = cluster.server().await;
    for index in 0..20 {
        let name = format!("app-{index}");
        cluster
            .service_account("default", &name, &[(ROLE_KEY, ROLE)])
            .await;
        assert_eq!(
            caller.role_of("default", &name).await,
            Ok(Some(ROLE.to_owned())),
            "{name}"
        );
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_default_and_its_removal_are_followed() {
    let cluster = Cluster::start().await;
    cluster
        .namespace("team", &[("eks.amazonaws.com/sts-regional-endpoints", "false")])
        .await;
    cluster.service_account("team", "app", &[(ROLE_KEY, ROLE)]).await;
    let (server, caller) = cluster.server().await;
    let response = caller.review(review("team", &pod("app"))).await.unwrap();
    let patched = super::support::patched(&pod("app"), &response);
    assert_eq!(
        super::support::variable(&patched, "AWS_STS_REGIONAL_ENDPOINTS").as_deref(),
        Some("legacy")
    );
    let record = &patched["metadata"]["annotations"]["eks.amazonaws.com/sts-endpoint"];
    assert_eq!(record, "global,namespace");
    server.shutdown().await;
}
