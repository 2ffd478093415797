//! Carrying a rollout out: which workloads roll when, and when to stop starting more.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{sync::watch, time::Instant};

use super::{
    Proof, Rollout, Target,
    event::{Event, Interruption, NotStarted, Observer, Outcome},
    prove,
    roll::Roll,
};
use crate::{
    cluster::Cluster,
    workload::{Way, WorkloadRef},
};

/// Dry runs under way at the same time.
const PROOFS: usize = 8;

/// How a rollout is carried out.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Namespaces in which workloads roll at the same time.
    pub parallel_namespaces: usize,
    /// Workloads of one namespace that roll at the same time.
    pub max_parallel: usize,
    /// Time limit for one workload.
    pub timeout: Duration,
    /// Time limit for the whole rollout.
    pub total_timeout: Option<Duration>,
    /// Once so many workloads have failed, no further ones are started; without a number, all are tried.
    pub max_failures: Option<usize>,
    /// Time between two looks at a workload.
    pub poll: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            parallel_namespaces: 1,
            max_parallel: 1,
            timeout: Duration::from_secs(600),
            total_timeout: None,
            max_failures: None,
            poll: Duration::from_secs(1),
        }
    }
}

/// What workloads that run side by side share.
struct Run<'a> {
    cluster: &'a Cluster,
    rollout: &'a Rollout,
    options: RunOptions,
    observer: &'a dyn Observer,
    interrupt: watch::Receiver<bool>,
    failures: AtomicUsize,
    end: Option<Instant>,
}

/// Carries a rollout out. `interrupt` turning true stops it; what the cluster has begun by then goes on there.
///
/// The outcomes are in the order of the targets.
pub async fn run(
    cluster: &Cluster,
    rollout: &Rollout,
    options: RunOptions,
    observer: &dyn Observer,
    interrupt: watch::Receiver<bool>,
) -> Vec<(WorkloadRef, Outcome)> {
    let run = Run {
        cluster,
        rollout,
        options,
        observer,
        interrupt,
        failures: AtomicUsize::new(0),
        end: options.total_timeout.map(|limit| Instant::now() + limit),
    };
    let mut outcomes = run.prove_all().await;
    // Targets of one namespace are neighbours.
    let namespaces = rollout
        .targets
        .chunk_by(|a, b| a.workload.reference.namespace == b.workload.reference.namespace)
        .map(|targets| {
            let provable = targets
                .iter()
                .filter(|target| !outcomes.contains_key(&target.workload.reference));
            provable.collect::<Vec<&Target>>()
        })
        .collect::<Vec<_>>();
    let run = &run;
    let ended: Vec<(&WorkloadRef, Outcome)> = stream::iter(namespaces)
        .map(|targets| {
            stream::iter(targets)
                .map(|target| async move { (&target.workload.reference, run.workload(target).await) })
                .buffer_unordered(options.max_parallel.max(1))
        })
        .flatten_unordered(options.parallel_namespaces.max(1))
        .collect()
        .await;
    outcomes.extend(ended);
    rollout
        .targets
        .iter()
        .filter_map(|target| outcomes.remove_entry(&target.workload.reference))
        .map(|(reference, outcome)| (reference.clone(), outcome))
        .collect()
}

impl<'a> Run<'a> {
    /// Why no further workload may be started.
    fn stopped(&self) -> Option<NotStarted> {
        let failures = self.failures.load(Ordering::Relaxed);
        if *self.interrupt.borrow() {
            Some(NotStarted::Interrupted)
        } else if self.options.max_failures.is_some_and(|limit| failures >= limit) {
            Some(NotStarted::Failures)
        } else if self.end.is_some_and(|end| Instant::now() >= end) {
            Some(NotStarted::OutOfTime)
        } else {
            None
        }
    }

    fn ended(&self, reference: &WorkloadRef, outcome: Outcome) -> Outcome {
        if matches!(outcome, Outcome::Failed(_)) {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.observer.event(reference, Event::Ended(outcome.clone()));
        outcome
    }

    /// Tries every workload with a dry run before anything is touched. The outcomes of those that would fail.
    async fn prove_all(&self) -> BTreeMap<&'a WorkloadRef, Outcome> {
        let failed: Vec<Option<(&WorkloadRef, Outcome)>> = stream::iter(&self.rollout.targets)
            .map(|target| async move {
                if self.stopped().is_some() {
                    return None;
                }
                let reference = &target.workload.reference;
                self.observer.event(reference, Event::Proving);
                let why = match prove(self.cluster, &self.rollout.directory, target).await {
                    Ok(Proof::Holds) => return None,
                    Ok(Proof::Fails(why)) => why,
                    Err(error) => format!("the dry run failed: {error}"),
                };
                Some((reference, self.ended(reference, Outcome::Failed(why))))
            })
            .buffered(PROOFS)
            .collect()
            .await;
        failed.into_iter().flatten().collect()
    }

    async fn workload(&self, target: &Target) -> Outcome {
        let reference = &target.workload.reference;
        if let Some(why) = self.stopped() {
            return self.ended(reference, Outcome::NotStarted(why));
        }
        let limit = Instant::now() + self.options.timeout;
        let roll = Roll::new(
            self.cluster,
            &self.rollout.directory,
            target,
            self.observer,
            self.options.poll,
            self.end.map_or(limit, |end| end.min(limit)),
        );
        // Between its deletion and its creation, a bare pod exists only in this process: that is not interrupted.
        let interruptible = target.workload.way != Way::Recreate;
        let mut interrupt = self.interrupt.clone();
        let outcome = tokio::select! {
            biased;
            _ = interrupt.wait_for(|stop| *stop), if interruptible => match roll.interrupted().await {
                Interruption::NotStarted => Outcome::NotStarted(NotStarted::Interrupted),
                state => Outcome::Interrupted(state),
            },
            outcome = roll.roll() => match outcome {
                Ok(pods) => Outcome::Verified { pods },
                Err(why) => Outcome::Failed(why),
            },
        };
        self.ended(reference, outcome)
    }
}

#[cfg(test)]
mod tests {
    use irsa_core::settings::Settings;
    use serde_json::json;

    use super::*;
    use crate::{
        cluster::testing::{respond, served_by},
        directory::Directory,
        webhook::{SettingsSource, Version, Webhooks},
        workload::Workload,
    };

    struct Nobody;

    impl Observer for Nobody {
        fn event(&self, _: &WorkloadRef, _: Event) {}
    }

    /// Three workloads whose dry run is fine and whose roll fails at once.
    fn failing() -> Rollout {
        let target = |name: &str| Target {
            workload: Workload {
                reference: WorkloadRef {
                    namespace: "shop".into(),
                    kind: "Deployment".into(),
                    api_version: "apps/v1".into(),
                    name: name.into(),
                },
                way: Way::Leave {
                    reason: "no".to_owned(),
                    cure: String::new(),
                },
                object: json!({"spec": {"template": {"spec": {"containers": []}}}}),
            },
            accounts: Default::default(),
            stale: Vec::new(),
        };
        let webhooks = Webhooks::assumed(Settings::default(), SettingsSource::Defaults);
        Rollout {
            context: String::new(),
            server: String::new(),
            targets: ["a", "b", "c"].map(target).into(),
            left: Vec::new(),
            missing: Vec::new(),
            directory: Directory::offline(webhooks, Version::default()),
            pods: 0,
        }
    }

    async fn outcomes(options: RunOptions, interrupted: bool) -> Vec<Outcome> {
        let cluster = served_by("http", None, |stream| {
            respond(stream, |_| {
                "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"spec\":{}}".to_owned()
            })
        })
        .await;
        let (_sender, interrupt) = watch::channel(interrupted);
        let ended = run(&cluster, &failing(), options, &Nobody, interrupt).await;
        ended.into_iter().map(|(_, outcome)| outcome).collect()
    }

    #[tokio::test]
    async fn a_failure_stops_the_rest_only_at_the_limit() {
        let failed = || Outcome::Failed("no".to_owned());
        let all = outcomes(RunOptions::default(), false).await;
        assert_eq!(all, [failed(), failed(), failed()]);
        let limited = RunOptions {
            max_failures: Some(2),
            ..RunOptions::default()
        };
        let not_started = Outcome::NotStarted(NotStarted::Failures);
        assert_eq!(outcomes(limited, false).await, [failed(), failed(), not_started]);
    }

    #[tokio::test]
    async fn nothing_is_started_after_the_time_limit_or_an_interruption() {
        let late = RunOptions {
            total_timeout: Some(Duration::ZERO),
            ..RunOptions::default()
        };
        let all = |why| vec![Outcome::NotStarted(why); 3];
        assert_eq!(outcomes(late, false).await, all(NotStarted::OutOfTime));
        let interrupted = outcomes(RunOptions::default(), true).await;
        assert_eq!(interrupted, all(NotStarted::Interrupted));
    }
}
