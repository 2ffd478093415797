//! What a running pod carries, held against what would be written into it now.
//!
//! A pod is stale when the two differ. What would be written is computed by the mutation itself, on the container as
//! its author wrote it: without what a webhook appended.

use super::additions::Rules;
use crate::identity::Identity;
use crate::pod::{Container, PodFacts, Value};
use crate::settings::Settings;
use crate::variable::Variable;

/// Who wrote a variable, as far as the pod shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Nobody: the container does not have it.
    Absent,
    /// The author of the pod.
    Author,
    /// An identity webhook.
    Webhook,
    /// Either: the pod does not show it.
    Unclear,
}

/// A variable of a container that is not what would be written into it now.
#[derive(Debug, Clone)]
pub struct Difference<'p, 's> {
    /// The container.
    pub container: &'p Container<'p>,
    /// The variable.
    pub variable: Variable,
    /// What it carries; none if it does not have the variable.
    pub carried: Option<Value<'p>>,
    /// What would be written; none if nothing would.
    pub wanted: Option<&'s str>,
    /// Who wrote what it carries.
    pub origin: Origin,
}

impl<'p> PodFacts<'p> {
    /// Who wrote `variable` of a container.
    ///
    /// The record of the irsa webhook decides about the endpoint type. Without it the place in the list shows what a
    /// webhook may have appended, and the value what no webhook writes.
    #[must_use]
    pub fn origin(&self, container: &Container<'_>, variable: Variable, settings: &Settings) -> Origin {
        let Some(value) = container.value(variable) else {
            return Origin::Absent;
        };
        let Value::Literal(text) = value else {
            return Origin::Author;
        };
        if variable == Variable::StsRegionalEndpoints
            && let Some(record) = self.annotations.record
        {
            return match record.written(settings.global_value) {
                Some(written) if written == text => Origin::Webhook,
                _ => Origin::Author,
            };
        }
        if container.is_appended(variable) {
            Origin::Webhook
        } else {
            Origin::Unclear
        }
    }

    /// The endpoint type and the role of every container that carries an identity and is not excluded, where they are
    /// not what `identity` would be written as now.
    ///
    /// Only these two are compared. The region, the token's audience and the rest come from settings of the webhook
    /// that may have been others for good reasons when the pod was created, and new pods show them soon enough.
    pub fn differences<'s>(
        &self,
        identity: &'s Identity<'s>,
        settings: &'s Settings,
    ) -> Vec<Difference<'p, 's>> {
        let rules = Rules::new(identity, settings, self.windows);
        let mut differences = Vec::new();
        for (container, _) in self.spec.all_containers() {
            if !container.has_identity() || self.excluded(container.name()).is_some() {
                continue;
            }
            for variable in [Variable::StsRegionalEndpoints, Variable::RoleArn] {
                let wanted = rules.wanted(container, variable);
                let carried = container.value(variable);
                // A container without a role gets its credentials in another way.
                let another_way = variable == Variable::RoleArn && carried.is_none();
                if carried != wanted.map(Value::Literal) && !another_way {
                    differences.push(Difference {
                        container,
                        variable,
                        carried,
                        wanted,
                        origin: self.origin(container, variable, settings),
                    });
                }
            }
        }
        differences
    }
}
