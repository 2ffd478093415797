//! What happens during a rollout, as it happens: bars on a terminal, else a line for each step.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use irsa_core::text::Foreign;
use irsa_fleet::rollout::{Event, Interruption, Observer, Outcome};
use irsa_fleet::workload::WorkloadRef;
use owo_colors::OwoColorize as _;

use crate::output::{Output, counted};

/// How often the clocks of the bars move.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Progress {
    output: Output,
    bars: Option<(MultiProgress, ProgressBar)>,
    started: Mutex<BTreeMap<WorkloadRef, Option<ProgressBar>>>,
}

impl Progress {
    pub(super) fn new(output: Output, workloads: usize) -> Self {
        let bars = output.is_error_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let total = all.add(ProgressBar::new(workloads as u64));
            total.set_style(style("{bar:24} {pos}/{len} workloads, {elapsed} elapsed"));
            total.enable_steady_tick(TICK);
            (all, total)
        });
        Self {
            output,
            bars,
            started: Mutex::default(),
        }
    }

    pub(super) fn finish(&self) {
        if let Some((all, total)) = &self.bars {
            total.finish_and_clear();
            let _ = all.clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some((all, _)) => {
                let _ = all.println(text);
            }
            // Whoever reads this is gone if it fails; the rollout itself goes on.
            None => {
                let _ = self.output.note(text);
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one falls back to the plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Observer for Progress {
    fn event(&self, workload: &WorkloadRef, event: Event) {
        let title = Foreign(format!("{}/{workload}", workload.namespace)).to_string();
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Proving => {
                if let Some((_, total)) = &self.bars {
                    total.set_message(title);
                }
            }
            Event::Started { pods, resumed } => {
                let bar = self.bars.as_ref().map(|(all, total)| {
                    let bar = all.insert_before(total, ProgressBar::new(pods));
                    bar.set_style(style("{bar:24} {pos}/{len} pods, {elapsed} {msg}"));
                    bar.enable_steady_tick(TICK);
                    bar.set_message(title.clone());
                    bar
                });
                if bar.is_none() {
                    let how = if resumed { "is rolling already" } else { "started" };
                    self.line(&format!("{title}: {how}, {pods} to be new and ready"));
                }
                started.insert(workload.clone(), bar);
            }
            Event::Progress { done, of } => match started.get(workload) {
                Some(Some(bar)) => {
                    bar.set_length(of);
                    bar.set_position(done);
                }
                _ => self.line(&format!("{title}: {done} of {of} new and ready")),
            },
            Event::Waiting { reason } => {
                let text = format!("{title}: waiting for {}", Foreign(&reason));
                match started.get(workload) {
                    Some(Some(bar)) => bar.set_message(text),
                    _ => self.line(&text),
                }
            }
            Event::Ended(outcome) => {
                if let Some(Some(bar)) = started.get(workload) {
                    bar.finish_and_clear();
                }
                self.line(&format!("{title}: {}", ended(&outcome)));
                if let Some((_, total)) = &self.bars {
                    total.inc(1);
                }
            }
        }
    }
}

pub(super) fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Verified { pods } => format!("{}, {} verified", "done".green(), counted(*pods, "pod")),
        Outcome::Failed(why) => format!("{}: {}", "failed".red(), Foreign(why)),
        Outcome::Interrupted(state) => interrupted(*state),
        Outcome::NotStarted(why) => format!("not started: {}", why.message()),
    }
}

fn interrupted(state: Interruption) -> String {
    match state {
        Interruption::NotStarted => "interrupted before anything was changed".to_owned(),
        Interruption::Rolling => "interrupted; the cluster continues the rolling update".to_owned(),
        Interruption::Rolled => "interrupted; its pods were recreated, but not verified".to_owned(),
        Interruption::Stopped { evicted, of } => {
            format!("interrupted after {evicted} of {of} stale pods were evicted; the others remain")
        }
        Interruption::Unknown => "interrupted; whether the cluster continues is not known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_workload_that_still_rolls_is_said_to_continue() {
        let continues = |state| interrupted(state).contains("continues the rolling update");
        assert!(continues(Interruption::Rolling));
        for state in [
            Interruption::NotStarted,
            Interruption::Rolled,
            Interruption::Stopped { evicted: 1, of: 2 },
            Interruption::Unknown,
        ] {
            assert!(!continues(state), "{state:?}");
        }
    }
}
