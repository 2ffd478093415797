//! Eviction: a deletion of a pod that PodDisruptionBudgets may refuse.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Api, Caller, DeleteOptions, Deleted};
use crate::object::{Object, ObjectExt};
use crate::selectors::LabelSelector;
use crate::status::{Result, Status};

impl Api {
    /// Evicts a pod, as `kubectl drain` asks.
    ///
    /// # Errors
    /// 404; 429 when a budget does not allow it now; 500 when more than one budget covers the pod.
    pub async fn evict(
        self: &Arc<Self>,
        caller: &Caller,
        namespace: &str,
        name: &str,
        eviction: &Value,
        dry_run: bool,
    ) -> Result<Deleted> {
        let pod = self.get("pods", namespace, name)?;
        if !eviction.name().is_empty() && eviction.name() != name {
            return Err(Status::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let mut options = DeleteOptions::parse(eviction.get("deleteOptions").unwrap_or(&Value::Null))?;
        options.dry_run |= dry_run;
        let over = matches!(
            pod.str_at(&["status", "phase"]),
            "Succeeded" | "Failed" | "Pending"
        );
        if !over && pod.deletion_timestamp().is_none() {
            let budgets = self.budgets_of(&pod);
            match budgets.as_slice() {
                [] => {}
                [budget] => self.spend(caller, budget, &pod, options.dry_run).await?,
                _ => {
                    return Err(Status::internal(
                        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                    ));
                }
            }
        }
        self.delete(caller, "pods", namespace, name, &options).await
    }

    fn budgets_of(&self, pod: &Object) -> Vec<Object> {
        self.store
            .find("poddisruptionbudgets.policy", Some(pod.namespace()), |budget| {
                LabelSelector::from_object(budget.at(&["spec", "selector"]))
                    .is_ok_and(|selector| selector.matches(pod.labels()))
            })
    }

    /// Takes one disruption from the budget's status, which the disruption controller keeps.
    async fn spend(
        self: &Arc<Self>,
        caller: &Caller,
        budget: &Object,
        pod: &Object,
        dry_run: bool,
    ) -> Result<()> {
        let refuse = |budget: &Value| {
            let mut status = Status::too_many_requests(
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
            let count = |path: &[&str]| budget.int_at(path).unwrap_or_default();
            let message = format!(
                "The disruption budget {} needs {} healthy pods and has {} currently",
                budget.name(),
                count(&["status", "desiredHealthy"]),
                count(&["status", "currentHealthy"]),
            );
            status.details = Some(Box::new(
                json!({ "causes": [{ "reason": "DisruptionBudget", "message": message }] }),
            ));
            status
        };
        let healthy = pod.list_at(&["status", "conditions"]).iter().any(|condition| {
            condition.str_at(&["type"]) == "Ready" && condition.str_at(&["status"]) == "True"
        });
        let count = |path: &[&str]| budget.int_at(path).unwrap_or_default();
        if !healthy
            && (budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
                || (count(&["status", "currentHealthy"]) >= count(&["status", "desiredHealthy"])
                    && count(&["status", "desiredHealthy"]) > 0))
        {
            return Ok(());
        }
        if dry_run {
            return if count(&["status", "disruptionsAllowed"]) > 0 {
                Ok(())
            } else {
                Err(refuse(budget.value()))
            };
        }
        let name = pod.name().to_owned();
        self.modify(
            caller,
            "poddisruptionbudgets.policy",
            budget.namespace(),
            budget.name(),
            "status",
            |budget| {
                let allowed = budget
                    .int_at(&["status", "disruptionsAllowed"])
                    .unwrap_or_default();
                if allowed <= 0 {
                    return Err(refuse(budget));
                }
                budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
                budget["status"]["disruptedPods"][&name] = crate::object::now().into();
                Ok(())
            },
        )
        .await?;
        Ok(())
    }
}
