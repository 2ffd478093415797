//! Where the SDKs in a container call STS: `irsa_core::sdk` asked once for each different environment.
//!
//! Thousands of containers share a few environments, so that answers are remembered by the variables that decide.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use irsa_core::{
    finding::Sdks,
    partition::StsClass,
    pod::{Container, Value},
    sdk::{self, Answer, Call, Code, Concern, Environment, Outcome, Reason, Sdk, SignedCalls},
    variable::Variable,
};

use crate::finding::Fact;

/// Environments remembered at most: pods of a real cluster have a few dozen.
const REMEMBERED: usize = 4096;

/// Which SDKs a container may contain, and what was answered for them.
#[derive(Default)]
pub struct Families {
    selected: Vec<Sdk>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    answers: HashMap<String, Arc<Answers>>,
    images: HashMap<Box<str>, Vec<Sdk>>,
}

impl Families {
    /// Only these SDKs; with none, the one that an image is known for, else each that behaves in its own way.
    pub fn new(selected: Vec<Sdk>) -> Self {
        Self {
            selected,
            ..Self::default()
        }
    }

    /// What the caller selected.
    pub fn selected(&self) -> &[Sdk] {
        &self.selected
    }
}

impl Clone for Families {
    fn clone(&self) -> Self {
        Self::new(self.selected.clone())
    }
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Families")
            .field("selected", &self.selected)
            .finish_non_exhaustive()
    }
}

/// One SDK's answer, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effective {
    /// The SDK.
    pub sdk: Sdk,
    /// `regional`, `global`, `fips`, `dualstack`, `custom`, `error`.
    pub class: &'static str,
    /// The host, or the text of the SDK's error.
    pub host: Box<str>,
    /// The region that calls are signed for; empty for an error.
    pub signing_region: Box<str>,
    /// Why, as a stable name.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub sentence: &'static str,
    /// What the answer rests on.
    pub certainty: &'static str,
}

impl Effective {
    fn of(answer: &Answer) -> Self {
        let (host, signing_region) = match &answer.outcome {
            Outcome::Endpoint(endpoint) => (&*endpoint.host, &*endpoint.signing_region),
            Outcome::Failure(failure) => (&*failure.text, ""),
            Outcome::DecidedByFile => ("", ""),
        };
        Self {
            sdk: answer.sdk,
            class: answer.class(),
            host: host.into(),
            signing_region: signing_region.into(),
            reason: answer.reason.id(),
            sentence: answer.reason.sentence(),
            certainty: answer.certainty.as_str(),
        }
    }

    /// The host, or `error`.
    pub fn target(&self) -> &str {
        if self.class == "error" {
            "error"
        } else {
            &self.host
        }
    }
}

/// The answers of all SDKs that a container may contain, and what is wrong in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// One for each SDK, in the core's order.
    pub effective: Vec<Effective>,
    /// What is wrong.
    pub facts: Vec<Fact>,
    /// Whether a variable that decides comes from elsewhere, so that the pod does not tell.
    pub unknown: bool,
}

impl Answers {
    /// One line: the host if all agree, else each class with the number of SDKs that it holds for.
    pub fn summary(&self) -> String {
        summary(&self.effective)
    }
}

/// One line about answers: the host if all agree, else the hosts with how many SDKs call each.
pub fn summary<'a>(effective: impl IntoIterator<Item = &'a Effective>) -> String {
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut total = 0;
    for answer in effective {
        *hosts.entry(answer.target()).or_default() += 1;
        total += 1;
    }
    let mut hosts: Vec<(&str, usize)> = hosts.into_iter().collect();
    hosts.sort_by_key(|(host, count)| (std::cmp::Reverse(*count), *host));
    match hosts.as_slice() {
        [] => String::new(),
        [(host, _)] => (*host).to_owned(),
        several => {
            let parts: Vec<String> = several
                .iter()
                .map(|(host, count)| format!("{host} ({count} of {total} SDKs)"))
                .collect();
            parts.join(", ")
        }
    }
}

/// Where the SDKs in `container` call.
pub fn of_container(container: &Container<'_>, families: &Families) -> Arc<Answers> {
    let written = match container.value(Variable::StsRegionalEndpoints) {
        Some(Value::Literal(value)) => Some(value),
        Some(Value::Reference) => {
            return Arc::new(Answers {
                unknown: true,
                ..Answers::default()
            });
        }
        None => None,
    };
    of_container_with(container, written, families)
}

/// The same if `AWS_STS_REGIONAL_ENDPOINTS` had the value `written`.
pub fn of_container_with(
    container: &Container<'_>,
    written: Option<&str>,
    families: &Families,
) -> Arc<Answers> {
    let mut unknown = false;
    let mut key = String::with_capacity(160);
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(6);
    for variable in Environment::VARIABLES {
        let name = variable.as_str();
        let value = if variable == Variable::StsRegionalEndpoints {
            written
        } else {
            match container.value(variable) {
                Some(Value::Literal(value)) => Some(value),
                Some(Value::Reference) => {
                    unknown = true;
                    None
                }
                None => None,
            }
        };
        if let Some(value) = value {
            pairs.push((name, value));
            key.push_str(name);
            key.push('=');
            key.push_str(value);
            key.push('\0');
        }
    }
    // A poisoned lock only means that another thread stopped between two lookups.
    let mut memory = families.memory.lock().unwrap_or_else(PoisonError::into_inner);
    let known = if families.selected.is_empty() {
        known_image(&mut memory, container.image())
    } else {
        Vec::new()
    };
    key.push_str(if unknown { "?" } else { "!" });
    for sdk in &known {
        key.push_str(&sdk.to_string());
    }
    if let Some(answers) = memory.answers.get(&key) {
        return answers.clone();
    }
    let environment = Environment::from_pairs(pairs);
    let sdks = match known.is_empty() {
        false => known,
        true if families.selected.is_empty() => Sdk::representatives(),
        true => families.selected.clone(),
    };
    let answers = Arc::new(answer(&sdks, &environment, unknown));
    if memory.answers.len() >= REMEMBERED {
        memory.answers.clear();
    }
    memory.answers.insert(key, answers.clone());
    answers
}

/// The releases that an image may carry; none if it is not known.
fn known_image(memory: &mut Memory, image: &str) -> Vec<Sdk> {
    if let Some(known) = memory.images.get(image) {
        return known.clone();
    }
    let guess = sdk::from_image(image).map_or_else(Vec::new, |guess| guess.releases());
    if memory.images.len() >= REMEMBERED {
        memory.images.clear();
    }
    memory.images.insert(image.into(), guess.clone());
    guess
}

fn answer(sdks: &[Sdk], environment: &Environment, unknown: bool) -> Answers {
    let answers: Vec<Answer> = sdks
        .iter()
        .map(|sdk| sdk::sts(*sdk, environment, Code::default(), Call::Credentials))
        .collect();
    let effective: Vec<Effective> = answers.iter().map(Effective::of).collect();
    Answers {
        facts: if unknown {
            Vec::new()
        } else {
            facts(&answers, environment)
        },
        effective,
        unknown,
    }
}

/// The SDKs for which `is` holds, or nothing.
fn which(answers: &[Answer], is: impl Fn(&Answer) -> bool) -> Option<Sdks> {
    let these: Box<[Sdk]> = answers
        .iter()
        .filter(|answer| is(answer))
        .map(|answer| answer.sdk)
        .collect();
    (!these.is_empty()).then_some(Sdks {
        these,
        asked: answers.len(),
    })
}

/// The variable by which an endpoint URL reached the SDK, if one decided.
fn url_variable(reason: Reason) -> Option<Variable> {
    match reason {
        Reason::EndpointUrl => Some(Variable::EndpointUrl),
        Reason::EndpointUrlSts => Some(Variable::EndpointUrlSts),
        _ => None,
    }
}

fn facts(answers: &[Answer], environment: &Environment) -> Vec<Fact> {
    let mut facts = Vec::new();
    // What counts is the host, whichever setting leads there.
    let is_global = |answer: &Answer| {
        answer
            .endpoint()
            .is_some_and(|endpoint| endpoint.class == StsClass::Global)
    };
    if let Some(sdks) = which(answers, is_global) {
        let variable = answers
            .iter()
            .filter(|answer| is_global(answer))
            .find_map(|answer| url_variable(answer.reason));
        facts.push(Fact::UsesGlobal {
            sdks,
            variable,
            own_value: false,
        });
    }
    endpoint_url(answers, environment, &mut facts);
    overrides(answers, &mut facts);
    let contradiction = |answer: &Answer| {
        matches!(answer.outcome, Outcome::Failure(_))
            && !matches!(
                answer.reason,
                Reason::VariableRefused | Reason::NoRegion | Reason::RegionIsGlobal
            )
    };
    if let Some(failed) = answers.iter().find(|answer| contradiction(answer))
        && let Outcome::Failure(failure) = &failed.outcome
        && let Some(sdks) = which(answers, |answer| {
            contradiction(answer) && answer.reason == failed.reason
        })
    {
        facts.push(Fact::SdkError {
            sdks,
            text: failure.text.as_str().into(),
        });
    }
    facts.extend(opt_in_legacy(answers, environment));
    facts
}

fn endpoint_url(answers: &[Answer], environment: &Environment, facts: &mut Vec<Fact>) {
    let refused = answers
        .iter()
        .find(|answer| matches!(answer.signed_calls, SignedCalls::Refused { .. }));
    if let Some(refused) = refused {
        let endpoint = refused.endpoint();
        facts.push(Fact::ExplicitGlobalEndpoint {
            variable: url_variable(refused.reason).unwrap_or(Variable::EndpointUrlSts),
            host: endpoint.map_or("", |endpoint| endpoint.host.as_str()).into(),
            signed_for: endpoint.map(|endpoint| endpoint.signing_region.as_str().into()),
            remedy: sdk::scope_cures(refused.sdk, environment, Code::default())
                .into_iter()
                .find(|cure| cure.works)
                .map(|cure| cure.remedy),
        });
        return;
    }
    let custom = answers.iter().find_map(|answer| {
        let endpoint = answer
            .endpoint()
            .filter(|endpoint| endpoint.class == StsClass::Custom)?;
        Some((answer.reason, endpoint))
    });
    if let Some((reason, endpoint)) = custom {
        facts.push(Fact::CustomEndpoint {
            variable: url_variable(reason).unwrap_or(Variable::EndpointUrlSts),
            host: endpoint.host.as_str().into(),
        });
    }
}

fn opt_in_legacy(answers: &[Answer], environment: &Environment) -> Option<Fact> {
    if environment.sts_regional_endpoints.as_deref() != Some("legacy") {
        return None;
    }
    let tokens = answers.iter().find_map(|answer| {
        answer.concerns.iter().find_map(|concern| match concern {
            Concern::TokensOfGlobalEndpoint(region) => Some((region.as_str(), true)),
            _ => None,
        })
    });
    let ignored = answers.iter().find_map(|answer| {
        let (region, _) = answer.region.as_ref()?;
        (answer.reason == Reason::LegacyNotForRegion
            && irsa_core::partition::activation(region) == irsa_core::partition::Activation::OptIn)
            .then_some((region.as_str(), false))
    });
    let (region, tokens) = tokens.or(ignored)?;
    Some(Fact::OptInLegacy {
        region: region.into(),
        tokens,
    })
}

fn overrides(answers: &[Answer], facts: &mut Vec<Fact>) {
    let host_of = |class: StsClass| -> Option<Box<str>> {
        let endpoints = answers.iter().filter_map(Answer::endpoint);
        let endpoint = endpoints.into_iter().find(|endpoint| endpoint.class == class)?;
        Some(endpoint.host.as_str().into())
    };
    facts.extend(host_of(StsClass::Fips).map(|host| Fact::FipsOverride { host }));
    facts.extend(host_of(StsClass::DualStack).map(|host| Fact::DualStackOverride { host }));
    let missing = answers
        .iter()
        .flat_map(|answer| &answer.concerns)
        .find_map(|concern| match concern {
            Concern::FipsNotPublished(region) => Some(region.as_str().into()),
            _ => None,
        });
    facts.extend(missing.map(|region| Fact::FipsHostMissing { region }));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn container(json: &str) -> Container<'_> {
        serde_json::from_str(json).unwrap()
    }

    fn ids(answers: &Answers) -> Vec<&'static str> {
        let mut ids: Vec<_> = answers.facts.iter().map(|fact| fact.id().as_str()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn equal_environments_are_answered_once() {
        let families = Families::default();
        let text = r#"{"name":"a","env":[{"name":"AWS_REGION","value":"us-west-2"},{"name":"AWS_DEFAULT_REGION","value":"us-west-2"},
            {"name":"AWS_STS_REGIONAL_ENDPOINTS","value":"regional"}]}"#;
        let first = of_container(&container(text), &families);
        let second = of_container(&container(&text.replace("\"a\"", "\"b\"")), &families);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.summary(), "sts.us-west-2.amazonaws.com");
        assert_eq!(ids(&first), [""; 0]);
    }

    #[test]
    fn an_explicit_global_url_signed_for_a_region_is_the_documented_error_and_its_cure_is_not_the_annotation()
    {
        let families = Families::new(vec!["boto3".parse().unwrap()]);
        let answers = of_container(
            &container(
                r#"{"env":[{"name":"AWS_REGION","value":"us-west-2"},{"name":"AWS_DEFAULT_REGION","value":"us-west-2"},
                {"name":"AWS_ENDPOINT_URL_STS","value":"https://sts.amazonaws.com"}]}"#,
            ),
            &families,
        );
        assert_eq!(ids(&answers), ["explicit-global-endpoint", "uses-global"]);
        let Some(Fact::ExplicitGlobalEndpoint { remedy, .. }) = answers
            .facts
            .iter()
            .find(|fact| matches!(fact, Fact::ExplicitGlobalEndpoint { .. }))
        else {
            panic!("not found: {:?}", answers.facts)
        };
        assert_eq!(*remedy, Some(sdk::Remedy::DropEndpoint));
    }

    #[test]
    fn every_way_to_the_global_host_is_found() {
        let both =
            r#"{"name":"AWS_REGION","value":"us-west-2"},{"name":"AWS_DEFAULT_REGION","value":"us-west-2"}"#;
        for (variables, leads) in [
            (r#"{"name":"AWS_STS_REGIONAL_ENDPOINTS","value":"legacy"}"#, None),
            (
                r#"{"name":"AWS_ENDPOINT_URL_STS","value":"https://sts.amazonaws.com"}"#,
                Some(Variable::EndpointUrlSts),
            ),
            (
                r#"{"name":"AWS_ENDPOINT_URL_STS","value":"https://STS.amazonaws.com:443/"}"#,
                Some(Variable::EndpointUrlSts),
            ),
            (
                r#"{"name":"AWS_ENDPOINT_URL","value":"https://sts.amazonaws.com"}"#,
                Some(Variable::EndpointUrl),
            ),
        ] {
            let text = format!(r#"{{"env":[{both},{variables}]}}"#);
            let answers = of_container(&container(&text), &Families::default());
            let found = answers.facts.iter().find_map(|fact| match fact {
                Fact::UsesGlobal { variable, .. } => Some(*variable),
                _ => None,
            });
            assert_eq!(found, Some(leads), "{variables}");
        }
    }

    #[test]
    fn a_global_endpoint_that_the_pod_sets_itself_is_not_cured_by_a_choice() {
        use crate::finding::CureFor;
        let fact = |variable, own_value| Fact::UsesGlobal {
            sdks: Sdks {
                these: Box::new([]),
                asked: 0,
            },
            variable,
            own_value,
        };
        assert!(
            fact(None, false)
                .cure(CureFor::Cluster)
                .contains("irsa set regional")
        );
        for fact in [fact(None, true), fact(Some(Variable::EndpointUrlSts), false)] {
            let cure = fact.cure(CureFor::Cluster);
            assert!(!cure.contains("irsa set") && cure.contains("template"), "{cure}");
        }
    }

    #[test]
    fn overrides_and_missing_fips_hosts_are_told() {
        let families = Families::new(vec!["boto3".parse().unwrap()]);
        let answers = of_container(
            &container(
                r#"{"env":[{"name":"AWS_REGION","value":"eu-west-1"},{"name":"AWS_DEFAULT_REGION","value":"eu-west-1"},
                {"name":"AWS_USE_FIPS_ENDPOINT","value":"true"}]}"#,
            ),
            &families,
        );
        assert_eq!(ids(&answers), ["fips-host-missing", "fips-override"]);
    }

    #[test]
    fn legacy_in_an_opt_in_region_is_told_and_a_reference_is_unknown() {
        let families = Families::default();
        let answers = of_container(
            &container(
                r#"{"env":[{"name":"AWS_REGION","value":"ap-east-1"},{"name":"AWS_DEFAULT_REGION","value":"ap-east-1"},
                {"name":"AWS_STS_REGIONAL_ENDPOINTS","value":"legacy"}]}"#,
            ),
            &families,
        );
        assert!(ids(&answers).contains(&"opt-in-legacy"));
        let answers = of_container(
            &container(
                r#"{"env":[{"name":"AWS_STS_REGIONAL_ENDPOINTS","valueFrom":{"configMapKeyRef":{}}}]}"#,
            ),
            &families,
        );
        assert!(answers.unknown && answers.effective.is_empty());
    }

    #[test]
    fn a_known_image_answers_for_its_own_sdk_only() {
        let families = Families::default();
        let answers = of_container(
            &container(
                r#"{"image":"602401143452.dkr.ecr.us-west-2.amazonaws.com/amazon-k8s-cni:v1.19.0","env":[{"name":"AWS_REGION","value":"us-west-2"}]}"#,
            ),
            &families,
        );
        assert_eq!(answers.effective.len(), 1);
        assert_eq!(answers.effective[0].sdk.family, irsa_core::sdk::Family::GoV2);
    }
}
