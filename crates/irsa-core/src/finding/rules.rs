//! What is wrong with what a container carries, whoever wrote it: value, role, token, region. Each rule stands here
//! once; the webhook warns by it when a pod is created, `check` before that, `status` and `explain` afterwards.

use super::{Fact, WhyNoToken};
use crate::arn::RoleArn;
use crate::endpoint::EnvValue;
use crate::mutation::Origin;
use crate::partition::Partition;
use crate::pod::{Container, PodFacts, TokenSource, Value};
use crate::settings::Settings;
use crate::variable::Variable;

/// A value of `AWS_STS_REGIONAL_ENDPOINTS` that SDKs refuse. `injected`: a webhook wrote it.
#[must_use]
pub fn value(written: &str, injected: bool) -> Option<Fact> {
    Some(Fact::InvalidValue {
        problem: EnvValue::read(written).problem?,
        written: written.into(),
        injected,
    })
}

/// Static credentials, which SDKs prefer to an identity.
#[must_use]
pub fn static_credentials(container: &Container<'_>) -> Option<Fact> {
    container
        .value(Variable::AccessKeyId)
        .map(|_| Fact::StaticCredentials)
}

/// The region variables, of which some SDKs read only the one and some only the other.
#[must_use]
pub fn regions(region: Option<Value<'_>>, default_region: Option<Value<'_>>) -> Option<Fact> {
    use Variable::{DefaultRegion, Region};
    for (variable, value) in [(Region, region), (DefaultRegion, default_region)] {
        if value == Some(Value::Literal("")) {
            return Some(Fact::EmptyRegion { variable });
        }
    }
    match (region, default_region) {
        (None, None) => Some(Fact::NoRegion),
        (Some(_), None) => Some(Fact::LoneRegion {
            set: Region,
            missing: DefaultRegion,
        }),
        (None, Some(_)) => Some(Fact::LoneRegion {
            set: DefaultRegion,
            missing: Region,
        }),
        (Some(Value::Literal(a)), Some(Value::Literal(b))) if a != b => Some(Fact::RegionsDiffer {
            region: a.into(),
            default_region: b.into(),
        }),
        (Some(_), Some(_)) => None,
    }
}

impl Container<'_> {
    /// The region that its SDKs use, as far as its variables tell.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.filled(Variable::Region)
            .or_else(|| self.filled(Variable::DefaultRegion))
    }
}

impl PodFacts<'_> {
    /// What is wrong with what a container carries. `audience` is that which its token should have, `node_region` the
    /// region of its node, where known.
    #[must_use]
    pub fn problems(
        &self,
        container: &Container<'_>,
        settings: &Settings,
        audience: Option<&str>,
        node_region: Option<&str>,
    ) -> Vec<Fact> {
        let injected = |variable| self.origin(container, variable, settings) == Origin::Webhook;
        let mut facts = Vec::new();
        if let Some(Value::Literal(written)) = container.value(Variable::StsRegionalEndpoints) {
            facts.extend(value(written, injected(Variable::StsRegionalEndpoints)));
        }
        let role = container.value(Variable::RoleArn);
        let file = container.value(Variable::WebIdentityTokenFile);
        let half = |set, missing| Fact::HalfIdentity { set, missing };
        match (role, file) {
            (Some(_), None) => facts.push(half(Variable::RoleArn, Variable::WebIdentityTokenFile)),
            (None, Some(_)) => facts.push(half(Variable::WebIdentityTokenFile, Variable::RoleArn)),
            _ => {}
        }
        if let Some(Value::Literal(written)) = role {
            match RoleArn::parse(written) {
                Err(error) => facts.push(Fact::BadRoleArn {
                    written: written.into(),
                    error,
                    injected: injected(Variable::RoleArn),
                }),
                Ok(arn) => facts.extend(
                    container
                        .region()
                        .or(node_region)
                        .and_then(|region| role_partition(&arn, region)),
                ),
            }
        }
        if let Some(Value::Literal(file)) = file {
            facts.extend(self.token_file(container, file, audience));
        }
        if container.has_identity() {
            facts.extend(static_credentials(container));
        }
        let region = container.value(Variable::Region);
        // With envFrom either variable may come from there.
        if !container.has_env_from() {
            let wrong = regions(region, container.value(Variable::DefaultRegion));
            if let (None, Some(set), Some(node)) = (&wrong, region.and_then(Value::filled), node_region)
                && set != node
            {
                facts.push(Fact::OtherRegion {
                    set: set.into(),
                    node: node.into(),
                });
            }
            facts.extend(wrong);
        }
        facts
    }

    fn token_file(&self, container: &Container<'_>, file: &str, audience: Option<&str>) -> Option<Fact> {
        let missing = |why| {
            Some(Fact::TokenFileMissing {
                file: file.into(),
                why,
            })
        };
        // What Kubernetes would refuse is told by Kubernetes.
        match self.spec.token_source(container, file).ok()? {
            TokenSource::NoMount => missing(WhyNoToken::NoMount),
            TokenSource::NoVolume { volume } => missing(WhyNoToken::NoVolume {
                volume: (&*volume).into(),
            }),
            TokenSource::NoToken { volume, below } => missing(WhyNoToken::NoToken {
                volume: (&*volume).into(),
                below,
            }),
            TokenSource::Elsewhere => None,
            TokenSource::Token {
                partial: Some(path), ..
            } => Some(Fact::TokenSubPath {
                path: (&*path).into(),
            }),
            TokenSource::Token {
                audience: carried, ..
            } => audience
                .filter(|wanted| !wanted.is_empty() && carried.as_deref() != Some(wanted))
                .map(|wanted| Fact::TokenAudience {
                    carried: carried.as_deref().map(Into::into),
                    wanted: wanted.into(),
                }),
        }
    }
}

fn role_partition(arn: &RoleArn<'_>, region: &str) -> Option<Fact> {
    let of_region = Partition::of_region(region).name();
    (of_region != arn.partition).then(|| Fact::RolePartition {
        of_role: arn.partition.into(),
        region: region.into(),
        of_region,
    })
}
