//! Trust policies: who may become a role.
//!
//! A document is read and checked once, when a role is put in; asking it costs no parsing. What this build does not
//! evaluate (an operator, a field) is refused at that moment: a policy is never judged by a part of it.

mod condition;
mod document;
mod pattern;
mod request;

pub use condition::{Condition, Operator, Quantifier};
pub use document::{PolicyError, TrustPolicy};
pub use request::{ConditionKeys, Principal};

/// What a policy says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement allows it, or one denies it; the reason is for the person who wrote the policy.
    Denied(String),
}

impl TrustPolicy {
    /// Whether `principal` may do `action` (`sts:AssumeRoleWithWebIdentity`, …) in this context.
    #[must_use]
    pub fn evaluate(&self, action: &str, principal: &Principal<'_>, context: &ConditionKeys) -> Decision {
        let mut allowed = false;
        let mut near = Vec::new();
        for (number, statement) in (1..).zip(&self.statements) {
            let name = statement.name(number);
            if !statement.covers_action(action) {
                near.push(format!("{name} is not about {action}"));
                continue;
            }
            if !statement.covers_principal(principal) {
                near.push(format!("{name} names another principal than {principal}"));
                continue;
            }
            if let Some(failed) = statement
                .conditions
                .iter()
                .find(|condition| !condition.holds(context))
            {
                near.push(format!("{name}: {}", failed.explain(context)));
                continue;
            }
            if statement.deny {
                return Decision::Denied(format!("{name} denies it"));
            }
            allowed = true;
        }
        if allowed {
            Decision::Allowed
        } else {
            Decision::Denied(near.join("; "))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
