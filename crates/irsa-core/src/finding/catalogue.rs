//! The words of findings: one message and one cure for each fact. Only people read them.
//!
//! A message says what is the case, a cure what to do. Both are one sentence without a capital at the start and without
//! a full stop at the end, so that outputs can put them together.

use std::fmt;

use super::{CureFor, Fact, Finding, Sdks, WhyNoToken, WhyStale, WhyUnknown, WhyUnmutated};
use crate::annotations::{
    MAX_TOKEN_EXPIRATION, MIN_TOKEN_EXPIRATION, Place, Problem, SKIP_CONTAINERS, Warning,
};
use crate::endpoint::ENV;
use crate::sdk::SignedCalls;
use crate::variable::Variable;

impl Finding {
    /// What is the case.
    #[must_use]
    pub fn message(&self) -> String {
        self.fact.message()
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(&self, reader: CureFor) -> String {
        self.fact.cure(reader)
    }
}

/// Message and cure in one line, as the author of a pod is warned: `container web: MESSAGE; CURE`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(container) = &self.container {
            write!(f, "container {container}: ")?;
        }
        write!(f, "{}; {}", self.message(), self.cure(CureFor::Manifests))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message(), self.cure())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceAccount => "service account annotation",
            Self::Pod => "pod annotation",
            Self::Namespace => "namespace annotation",
            Self::ConfigMap => "entry of the pod-identity-webhook ConfigMap",
            Self::CredentialsFile => "entry of the container credentials file",
        })
    }
}

impl Warning {
    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> String {
        let Self {
            place, key, value, ..
        } = self;
        match &self.problem {
            Problem::NotABoolean => format!("{place} {key} is ignored: invalid boolean `{value}`"),
            Problem::NotANumber => {
                format!("{place} {key} is ignored: `{value}` is not a whole number of seconds")
            }
            Problem::TooSmall => format!(
                "{place} {key}: `{value}` seconds is less than Kubernetes allows, so {MIN_TOKEN_EXPIRATION} is used"
            ),
            Problem::TooLarge => format!(
                "{place} {key}: `{value}` seconds is more than EKS allows, which silently uses {MAX_TOKEN_EXPIRATION}"
            ),
            Problem::Misspelt { .. } => format!("{place} {key} is ignored: it is not a known annotation"),
            Problem::WrongObject { belongs } => {
                format!("{place} {key} has no effect here: it is a {belongs}")
            }
            Problem::OtherTool { .. } => {
                format!("{place} {key} is for kiam or kube2iam and has no effect here")
            }
            Problem::RoleArn(error) => {
                format!("{place} {key}: STS will refuse `{value}`, which is not the ARN of a role: {error}")
            }
            Problem::EmptyAudience => format!("{place} {key} is empty and is ignored"),
            Problem::NotAList => format!("{place} {key} is ignored: `{value}` is not a list of names"),
            Problem::EntryKey => {
                format!("{place} `{key}` is ignored: its key is not of the form namespace/serviceaccount")
            }
            Problem::EntryType { field: "", expected } => {
                format!("{place} `{key}` is ignored: `{value}` is not {expected}")
            }
            Problem::EntryType { field, expected } => {
                format!("{place} `{key}`: {field} `{value}` is ignored, because it is not {expected}")
            }
            Problem::EntryWithoutRole => format!("{place} `{key}` has no RoleARN and gives nothing"),
        }
    }

    /// What to do.
    #[must_use]
    pub fn cure(&self) -> String {
        match &self.problem {
            Problem::NotABoolean => {
                "use `true` for the regional endpoint or `false` for the global one".to_owned()
            }
            Problem::NotANumber => format!("use {MIN_TOKEN_EXPIRATION} to {MAX_TOKEN_EXPIRATION}"),
            Problem::TooSmall => format!("set at least {MIN_TOKEN_EXPIRATION}"),
            Problem::TooLarge => format!("set at most {MAX_TOKEN_EXPIRATION}"),
            Problem::Misspelt { meant } => format!("rename it to {meant}"),
            Problem::WrongObject { belongs } => format!("remove it here and write it as a {belongs}"),
            Problem::OtherTool { meant } => format!("use {meant} with the full ARN"),
            Problem::RoleArn(_) => "use the form arn:aws:iam::111122223333:role/NAME".to_owned(),
            Problem::EmptyAudience => "remove it, or set an audience such as sts.amazonaws.com".to_owned(),
            Problem::NotAList => "separate names by commas, without quotes".to_owned(),
            Problem::EntryKey => "write the key as namespace/serviceaccount".to_owned(),
            Problem::EntryType { .. } => "correct the value".to_owned(),
            Problem::EntryWithoutRole => "add a RoleARN, or remove the entry".to_owned(),
        }
    }
}

impl fmt::Display for Sdks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 4;
        let count = self.these.len();
        if count == self.asked && count > 1 {
            return write!(f, "all {count} SDKs");
        }
        let shown = if count > NAMED { NAMED - 1 } else { count };
        let names: Vec<String> = self.these[..shown].iter().map(ToString::to_string).collect();
        if count > NAMED {
            write!(f, "{count} of {} SDKs ({}, …)", self.asked, names.join(", "))
        } else {
            f.write_str(&names.join(", "))
        }
    }
}

impl Sdks {
    /// The form of a verb that fits their number.
    fn verb(&self, one: &'static str, many: &'static str) -> &'static str {
        if self.these.len() == 1 { one } else { many }
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or("no value".to_owned(), |value| format!("`{value}`"))
}

impl Fact {
    /// What is the case.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::WebhookAbsent => {
                "no mutating webhook configuration injects identities into pods".to_owned()
            }
            Self::WebhookUnhealthy {
                configuration,
                target,
                refuses,
            } => {
                let then = if *refuses {
                    "are refused"
                } else {
                    "get no identity and fall back to the role of their node"
                };
                format!("webhook {configuration} has no ready pod behind {target}: new pods {then}")
            }
            Self::ChoiceUnknown {
                why: WhyUnknown::PlatformVersion { least },
            } => format!(
                "whether this cluster may choose its endpoint type depends on its EKS platform version (eks.{least} or \
                 later), which the Kubernetes API does not tell"
            ),
            Self::ChoiceUnknown {
                why: WhyUnknown::WebhookDefault,
            } => "what service accounts without a choice of their own are given depends on the webhook's \
                 --sts-regional-endpoint, which cannot be read here"
                .to_owned(),
            Self::Annotation(warning) => warning.message(),
            Self::UnquotedAnnotation { key, value } => {
                format!("annotation {key}: {value} is not text, so the API server refuses the object")
            }
            Self::ClusterTooOld { key, platform } => format!(
                "annotation {key} has no effect: {platform} is too old to choose and uses the global endpoint only"
            ),
            Self::GlobalOmitted { key } => format!(
                "annotation {key}: `false` only leaves the variable out with this webhook, and SDKs released since \
                 2025-07-31 then call the regional endpoint"
            ),
            Self::ChoiceWithoutRole { key } => format!(
                "annotation {key} has no effect: the service account names no role, so the webhook writes nothing"
            ),
            Self::ServiceAccountMissing { name } => {
                format!(
                    "service account {name} does not exist any more, so the pod's token cannot be renewed"
                )
            }
            Self::ServiceAccountNotInInput { namespace, name } => {
                format!(
                    "service account {namespace}/{name} is not in the input, so what it chooses is not known"
                )
            }
            Self::UnreadablePod { error } => format!("the pod cannot be read: {error}"),
            Self::UnmutatedPod { role, why } => unmutated(role.as_deref(), why),
            Self::UnmutatedContainer => {
                "the container got no identity although its pod has one; it was probably added \
                 by a webhook that runs after the identity webhook"
                    .to_owned()
            }
            Self::InvalidValue { written, problem, .. } => {
                format!("{ENV}=`{written}`: {}", problem.explain())
            }
            Self::StalePod {
                carried,
                wanted,
                choice,
                why,
            } => {
                let when = match why {
                    WhyStale::OlderThanChoice => "it was created before the choice last changed",
                    WhyStale::NewerThanChoice => {
                        "it was created after the choice last changed, but the webhook did not follow the choice then"
                    }
                    WhyStale::OtherRecord => "it was created under another choice",
                    WhyStale::Unknown => {
                        "it was created under another choice, or the webhook did not follow the choice"
                    }
                };
                format!(
                    "the pod carries {} where the choice {} ({}) writes {}: {when}",
                    shown(carried.as_deref()),
                    choice.endpoint,
                    choice.source,
                    shown(wanted.as_deref()),
                )
            }
            Self::RoleGone { account } => {
                format!(
                    "the pod carries an identity, but service account {account} does not name a role any more"
                )
            }
            Self::RoleChanged { carried, wanted } => {
                format!("the pod carries role {carried}, but its service account names {wanted}")
            }
            Self::RoleSetInPod { written, wanted } => format!(
                "the container sets {}={} itself, so the role {wanted} of its service account does not reach it",
                Variable::RoleArn,
                written.as_deref().unwrap_or("(from elsewhere)"),
            ),
            Self::SetInPod { written, endpoint } => format!(
                "the container sets {ENV}={} itself, which wins over the choice {endpoint}",
                written.as_deref().unwrap_or("(from elsewhere)"),
            ),
            Self::HalfIdentity { set, missing } => {
                format!("{set} is set without {missing}, so SDKs look for credentials elsewhere")
            }
            Self::BadRoleArn { written, error, .. } => {
                format!(
                    "{}=`{written}` is not the ARN of a role: {error}",
                    Variable::RoleArn
                )
            }
            Self::RolePartition {
                of_role,
                region,
                of_region,
            } => format!(
                "the role is of partition {of_role}, but region {region} is of {of_region}, whose STS refuses it"
            ),
            Self::TokenFileMissing { file, why } => {
                let why = match why {
                    WhyNoToken::NoMount => "no volume is mounted above that path".to_owned(),
                    WhyNoToken::NoVolume { volume } => format!("volume {volume} does not exist in the pod"),
                    WhyNoToken::NoToken { volume, below } => {
                        format!("volume {volume} has no token at `{below}`")
                    }
                };
                format!("{}={file}, but {why}", Variable::WebIdentityTokenFile)
            }
            Self::TokenAudience { carried, wanted } => format!(
                "the token is for audience {}, but the service account asks for {wanted}; STS answers \"Incorrect token \
                 audience\" unless the identity provider lists both",
                carried.as_deref().unwrap_or("of the API server"),
            ),
            Self::TokenSubPath { path } => format!(
                "the token's volume is mounted at {path} with a subPath, where renewed tokens never arrive"
            ),
            Self::StaticCredentials => format!(
                "{} is set, which SDKs use instead of the service account's identity",
                Variable::AccessKeyId
            ),
            Self::ContainerCredentialsSetInPod { set } => format!(
                "{set} is set, so none of the container credentials variables is written: the pod's token must not go to \
                 an endpoint that it is not meant for"
            ),
            Self::EnvFrom => {
                "variables come from envFrom; AWS_ variables among them are overridden by those written for \
                 the service account"
                    .to_owned()
            }
            Self::MountPathTaken { path } => {
                format!("another volume is mounted at {path}, where the token belongs, and is left as it is")
            }
            Self::VolumeNameTaken { volume } => {
                format!("volume {volume} is not a projected volume, so the token is not in it")
            }
            Self::NoSuchContainer { list, name } => {
                format!("pod annotation {list} names `{name}`, but the pod has no such container")
            }
            Self::LoneRegion { .. }
            | Self::EmptyRegion { .. }
            | Self::NoRegion
            | Self::RegionsDiffer { .. }
            | Self::OtherRegion { .. } => self.region_message(),
            _ => self.sdk_message(),
        }
    }

    fn region_message(&self) -> String {
        match self {
            Self::LoneRegion { set: set @ Variable::Region, missing } => format!(
                "{set} is set without {missing}, the only one that boto3 and AWS CLI v1 read: they call the global \
                 endpoint even where regional was chosen"
            ),
            Self::LoneRegion { set, missing } => format!(
                "{set} is set without {missing}, the only one that the JavaScript and Go v1 SDKs read: they fail or call \
                 the global endpoint"
            ),
            Self::EmptyRegion { variable } => format!(
                "{variable} is set to the empty text, which the webhook does not overwrite and SDKs take for no region"
            ),
            Self::RegionsDiffer { region, default_region } => format!(
                "AWS_REGION={region} and AWS_DEFAULT_REGION={default_region} differ: boto3 and AWS CLI v1 follow the \
                 second, all other SDKs the first"
            ),
            Self::OtherRegion { set, node } => {
                format!("the region {set} is set, but the pod's node is in {node}")
            }
            _ => "no region is set: boto3 and Go v1 call the global endpoint even where regional was chosen, and the \
                 JavaScript, Rust and Go v2 SDKs fail"
                .to_owned(),
        }
    }

    fn sdk_message(&self) -> String {
        match self {
            Self::UsesGlobal { sdks, .. } => {
                format!("{sdks} {} sts.amazonaws.com", sdks.verb("calls", "call"))
            }
            Self::ExplicitGlobalEndpoint {
                variable,
                host,
                signed_for,
                ..
            } => format!(
                "{variable} names {host}, but calls are signed for {}: signed calls such as GetCallerIdentity fail with \
                 {}, whatever the service account is annotated with",
                signed_for.as_deref().unwrap_or("the pod's region"),
                SignedCalls::REFUSAL_CODE,
            ),
            Self::CustomEndpoint { variable, host } => {
                format!("{variable} sends STS calls to {host}, whatever endpoint type is chosen")
            }
            Self::FipsOverride { host } => {
                format!(
                    "{} sends STS calls to {host}, whatever endpoint type is chosen",
                    Variable::UseFips
                )
            }
            Self::DualStackOverride { host } => {
                format!(
                    "{} sends STS calls to {host}, whatever endpoint type is chosen",
                    Variable::UseDualStack
                )
            }
            Self::FipsHostMissing { region } => {
                format!(
                    "no FIPS endpoint of STS is published for {region}: SDKs call a name that does not resolve"
                )
            }
            Self::SdkError { sdks, text } => {
                format!("{sdks} {} before any call: {text}", sdks.verb("fails", "fail"))
            }
            Self::OptInLegacy { region, tokens } => format!(
                "`legacy` is set in {region}, a region that has to be enabled: most SDKs call the regional endpoint \
                 anyway{}",
                if *tokens {
                    ", and the tokens that the others get from the global endpoint are valid there only if they are of \
                     version 2"
                } else {
                    ""
                }
            ),
            // Every other fact has its message in `message`.
            _ => self.id().describe().to_owned(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(&self, reader: CureFor) -> String {
        let cluster = reader == CureFor::Cluster;
        let recreate = if cluster {
            "recreate the pod; `irsa rollout` does it with its workload"
        } else {
            "recreate the pod"
        };
        match self {
            Self::Annotation(warning) => warning.cure(),
            Self::UnquotedAnnotation { key, value } => format!("write {key}: \"{value}\""),
            Self::UnmutatedPod { why, .. } => unmutated_cure(why, recreate, cluster),
            Self::StalePod { .. } | Self::RoleChanged { .. } => recreate.to_owned(),
            Self::RoleGone { .. } => {
                format!("annotate the service account with its role again, or {recreate}")
            }
            Self::InvalidValue { injected: true, .. } => {
                "set --global-endpoint-value=legacy on the webhook, then recreate the pod".to_owned()
            }
            Self::HalfIdentity { set, .. } => {
                format!("remove {set} from the pod's template so that the webhook writes both, then recreate the pod")
            }
            Self::BadRoleArn { injected: true, .. } => {
                "correct the role-arn annotation of the service account, then recreate the pod".to_owned()
            }
            Self::BadRoleArn { .. } => {
                format!("correct or remove {} in the pod's template", Variable::RoleArn)
            }
            Self::RolePartition { of_region, .. } => format!("use a role of an account in partition {of_region}"),
            Self::OtherRegion { node, .. } => {
                format!("set {node}, unless the pod is meant to work in another region")
            }
            Self::ContainerCredentialsSetInPod { .. } => {
                "remove the AWS_CONTAINER_ variables from the pod's template if its service account's identity is meant"
                    .to_owned()
            }
            Self::UsesGlobal { variable: Some(variable), .. } | Self::CustomEndpoint { variable, .. } => {
                format!("remove {variable} from the pod's template")
            }
            Self::UsesGlobal { own_value: true, .. } => {
                format!("remove {ENV} from the pod's template, or write `regional` there")
            }
            Self::UsesGlobal { .. } if cluster => {
                "choose regional with `irsa set regional`, and make sure that both region variables are set".to_owned()
            }
            Self::UsesGlobal { .. } => "annotate the service account with sts-regional-endpoints: \"true\", and make sure \
                 that both region variables are set"
                .to_owned(),
            Self::ExplicitGlobalEndpoint { remedy: Some(remedy), .. } => remedy.what(),
            Self::ExplicitGlobalEndpoint { variable, .. } => format!("remove {variable}"),
            Self::WebhookUnhealthy { .. } if cluster => {
                "look at the pods of the webhook; `irsa doctor` names the step that fails".to_owned()
            }
            _ => self.fixed_cure().to_owned(),
        }
    }

    /// The cures that depend on nothing.
    const fn fixed_cure(&self) -> &'static str {
        match self {
            Self::WebhookAbsent => {
                "install the irsa webhook; on EKS, ask AWS support to restore the configuration pod-identity-webhook"
            }
            Self::WebhookUnhealthy { .. } => "look at the pods of the webhook",
            Self::ChoiceUnknown {
                why: WhyUnknown::PlatformVersion { .. },
            } => "pass --platform-version; `aws eks describe-cluster` prints it",
            Self::ChoiceUnknown {
                why: WhyUnknown::WebhookDefault,
            } => {
                "ask whoever runs the webhook, or let one pod of a service account without a choice be created: it shows \
                 the default"
            }
            Self::ClusterTooOld { .. } => {
                "upgrade the cluster; every version that EKS still supports may choose"
            }
            Self::GlobalOmitted { .. } => {
                "write AWS_STS_REGIONAL_ENDPOINTS=legacy in the pod's template where the global endpoint is really needed"
            }
            Self::ChoiceWithoutRole { .. } => {
                "annotate the service account with role-arn, or remove the annotation"
            }
            Self::ServiceAccountMissing { .. } => {
                "create the service account again, or give the workload another one and recreate its pods"
            }
            Self::ServiceAccountNotInInput { .. } => {
                "check it together with its workloads, or expect it in the cluster"
            }
            Self::UnreadablePod { .. } => "correct the template",
            Self::UnmutatedContainer => {
                "set reinvocationPolicy: IfNeeded on the identity webhook's configuration and recreate the pod; or list \
                 the container in the pod annotation skip-containers if it needs no identity"
            }
            Self::InvalidValue { .. } => {
                "write `regional` or `legacy` in the pod's template, or remove the variable there"
            }
            Self::RoleSetInPod { .. } => {
                "remove AWS_ROLE_ARN from the pod's template if the service account's role is meant"
            }
            Self::SetInPod { .. } => {
                "remove the variable from the pod's template if the service account is to decide"
            }
            Self::TokenFileMissing {
                why: WhyNoToken::NoMount,
                ..
            } => {
                "remove the variable from the pod's template so that the webhook writes it with its volume, then recreate \
                 the pod"
            }
            Self::TokenFileMissing {
                why: WhyNoToken::NoVolume { .. },
                ..
            } => "recreate the pod so that the webhook adds the volume",
            Self::TokenFileMissing { .. } => {
                "recreate the pod so that variable and volume agree; check the webhook's --token-mount-path"
            }
            Self::TokenAudience { .. } => {
                "recreate the pod, or correct the audience annotation or the webhook's --token-audience"
            }
            Self::TokenSubPath { .. } => "mount the volume as a directory, without subPath",
            Self::StaticCredentials => "remove the static credentials from the pod's template",
            Self::EnvFrom => "set variables that must stay in env",
            Self::MountPathTaken { .. } => {
                "make sure that the token is in that volume, or mount it elsewhere"
            }
            Self::VolumeNameTaken { .. } => "rename the volume",
            Self::NoSuchContainer { .. } => "correct the name",
            Self::LoneRegion { .. } => {
                "set both in the pod's template, or none so that the webhook writes both"
            }
            Self::EmptyRegion { .. } => "remove the variable from the pod's template, or give it a region",
            Self::NoRegion => {
                "set --aws-default-region on the webhook, or AWS_REGION and AWS_DEFAULT_REGION in the pod's template"
            }
            Self::RegionsDiffer { .. } => "set both to the same region in the pod's template",
            Self::FipsOverride { .. } | Self::DualStackOverride { .. } => {
                "remove the variable if the choice is to count"
            }
            Self::FipsHostMissing { .. } => {
                "use a region with FIPS endpoints (us-east-1, us-east-2, us-west-1, us-west-2, GovCloud), or remove \
                 AWS_USE_FIPS_ENDPOINT"
            }
            Self::SdkError { .. } => "correct the variables that exclude each other",
            Self::OptInLegacy { .. } => "choose regional: it is what serves this region",
            // Every other fact has its cure in `cure`.
            _ => "correct it",
        }
    }
}

fn unmutated(role: Option<&str>, why: &WhyUnmutated) -> String {
    let what = match role {
        Some(role) => format!("role {role} of its service account"),
        None => "Pod Identity credentials of its service account".to_owned(),
    };
    let why = match why {
        WhyUnmutated::Mirror => {
            "it is a static pod, which the API server does not let webhooks change".to_owned()
        }
        WhyUnmutated::NoWebhook => "no webhook that injects identities is configured".to_owned(),
        WhyUnmutated::SkipLabel { label } => format!("its label {label} excludes it"),
        WhyUnmutated::Selectors => "the selectors of the webhook configuration exclude it".to_owned(),
        WhyUnmutated::OlderThanRole => "it was created before the service account got its role".to_owned(),
        WhyUnmutated::Unknown => {
            "the webhook was not asked, did not answer, or did not know the service account yet".to_owned()
        }
    };
    format!("the pod did not get the {what} and falls back to the role of its node: {why}")
}

fn unmutated_cure(why: &WhyUnmutated, recreate: &str, cluster: bool) -> String {
    match why {
        WhyUnmutated::Mirror => "run it as a DaemonSet or Deployment, or write the variables into its manifest on the node"
            .to_owned(),
        WhyUnmutated::NoWebhook => "install the webhook, then recreate the pod".to_owned(),
        WhyUnmutated::SkipLabel { label } => {
            format!("remove the label {label} from the pod's template, then recreate the pod")
        }
        WhyUnmutated::Selectors => {
            "change the selectors of the configuration, or the labels of the pod or namespace, then recreate the pod"
                .to_owned()
        }
        WhyUnmutated::OlderThanRole => recreate.to_owned(),
        WhyUnmutated::Unknown if cluster => {
            "check the webhook with `irsa doctor`, then recreate the pod with `irsa rollout`".to_owned()
        }
        WhyUnmutated::Unknown => format!(
            "check that the pod's {SKIP_CONTAINERS} annotation and the webhook's selectors do not exclude it, then \
             {recreate}"
        ),
    }
}
