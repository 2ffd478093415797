//! Error texts of AWS, its SDKs and Kubernetes that people with IRSA meet: what each means, which check decides it, and
//! what cures it.

mod catalogue;

pub use catalogue::CATALOGUE;

/// Longest text that is looked through; a person pastes less.
const MAX_TEXT: usize = 256 * 1024;

/// How far apart two literal parts of a pattern may stand.
const MAX_GAP: usize = 400;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// AWS STS.
    Sts,
    /// Amazon S3.
    S3,
    /// An SDK, before anything reaches AWS.
    Sdk,
    /// The network between.
    Network,
    /// Kubernetes.
    Kubernetes,
    /// Any service, about the identity that it was shown.
    Service,
}

impl Origin {
    /// The word used in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sts => "STS",
            Self::S3 => "S3",
            Self::Sdk => "SDK",
            Self::Network => "network",
            Self::Kubernetes => "Kubernetes",
            Self::Service => "any AWS service",
        }
    }
}

/// The check which decides whether an error's usual cause is the one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Which endpoint the pod's SDK really calls, from which region variable.
    Endpoint,
    /// Whether the webhook is there, reachable, trusted, and mutates this pod.
    Webhook,
    /// Whether the pod is older than its service account's annotations.
    Stale,
    /// Issuer, discovery document and keys.
    Issuer,
    /// Whether IAM knows the issuer as a provider.
    Provider,
    /// Audience of the token and of the provider.
    Audience,
    /// The role's trust policy.
    Trust,
    /// The role's name in the service account's annotation.
    RoleArn,
    /// Whether STS is active in the region.
    Region,
    /// Whether the host can be resolved and reached.
    Network,
    /// The token's file inside the container.
    TokenFile,
    /// The clock of the node.
    Clock,
    /// The presigned URL itself.
    Url,
    /// The role's permissions: the identity is right, the policy is not.
    Permissions,
    /// Settings in the program's own code.
    Program,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 15] = [
        Self::Endpoint,
        Self::Webhook,
        Self::Stale,
        Self::Issuer,
        Self::Provider,
        Self::Audience,
        Self::Trust,
        Self::RoleArn,
        Self::Region,
        Self::Network,
        Self::TokenFile,
        Self::Clock,
        Self::Url,
        Self::Permissions,
        Self::Program,
    ];

    /// The stable name in machine-readable outputs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Webhook => "webhook",
            Self::Stale => "stale",
            Self::Issuer => "issuer",
            Self::Provider => "provider",
            Self::Audience => "audience",
            Self::Trust => "trust",
            Self::RoleArn => "role-arn",
            Self::Region => "region",
            Self::Network => "network",
            Self::TokenFile => "token-file",
            Self::Clock => "clock",
            Self::Url => "url",
            Self::Permissions => "permissions",
            Self::Program => "program",
        }
    }

    /// What is looked at.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Endpoint => "which endpoint the pod's SDK calls and which region signs for it",
            Self::Webhook => "whether the webhook is reachable, trusted, and mutates this pod",
            Self::Stale => "whether the pod is older than the annotations of its service account",
            Self::Issuer => "whether issuer, discovery document and keys agree",
            Self::Provider => {
                "whether IAM has the cluster's issuer as an OIDC provider in the role's account"
            }
            Self::Audience => "whether the token's audience is in the provider's list of client ids",
            Self::Trust => "whether the role's trust policy names this provider, `sub` and `aud`",
            Self::RoleArn => "the role's ARN in the annotation of the service account",
            Self::Region => "whether the account has STS active in the region",
            Self::Network => "whether the endpoint's host can be resolved and reached from the pod",
            Self::TokenFile => "whether the container can read the token's file",
            Self::Clock => "whether the node's clock is right",
            Self::Url => "what the presigned URL says",
            Self::Permissions => "whether the policies of the role allow the action",
            Self::Program => "what the program sets in its own code",
        }
    }

    /// The command which decides it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Endpoint | Self::Program => "irsa explain pod/NAME -n NAMESPACE",
            Self::Webhook | Self::Issuer | Self::Audience => "irsa doctor",
            Self::Stale | Self::RoleArn => "irsa status -n NAMESPACE",
            Self::Provider => "aws iam list-open-id-connect-providers",
            Self::Trust => "aws iam get-role --role-name ROLE --query Role.AssumeRolePolicyDocument",
            Self::Region | Self::Network => "irsa doctor --probe",
            Self::TokenFile => {
                "kubectl exec POD -n NAMESPACE -- ls -lL /var/run/secrets/eks.amazonaws.com/serviceaccount/token"
            }
            Self::Clock => "kubectl exec POD -n NAMESPACE -- date -u",
            Self::Url => "irsa url inspect URL",
            Self::Permissions => {
                "aws iam simulate-principal-policy --policy-source-arn ROLE_ARN --action-names ACTION"
            }
        }
    }
}

/// One error of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stable name in machine-readable outputs.
    pub id: &'static str,
    /// Who says it.
    pub origin: Origin,
    /// The error code, where it has one.
    pub code: Option<&'static str>,
    /// The exact texts; `{}` stands for what differs from case to case.
    pub texts: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
    /// The checks that decide, the likeliest first.
    pub checks: &'static [Check],
    /// What cures it, the likeliest first.
    pub cures: &'static [&'static str],
}

/// An entry that was recognised in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The entry.
    pub entry: &'static Entry,
    /// The text of the entry that was found, or nothing if only its code was.
    pub text: Option<&'static str>,
    /// What stood in the places of its `{}`.
    pub captured: Vec<String>,
}

/// The entries that `text` shows, the most telling first. Line breaks, repeated blanks and case do not matter.
#[must_use]
pub fn recognise(text: &str) -> Vec<Recognised> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = normalise(&text[..end]);
    let lower = text.to_ascii_lowercase();
    let mut found: Vec<(usize, Recognised)> = Vec::new();
    for entry in &CATALOGUE {
        let best = entry
            .texts
            .iter()
            .filter_map(|pattern| {
                find(&text, &lower, pattern).map(|(weight, captured)| (weight, *pattern, captured))
            })
            .max_by_key(|(weight, ..)| *weight);
        if let Some((weight, pattern, captured)) = best {
            found.push((
                weight + MAX_GAP,
                Recognised {
                    entry,
                    text: Some(pattern),
                    captured,
                },
            ));
        } else if let Some(code) = entry.code
            && contains_word(&lower, &code.to_ascii_lowercase())
        {
            found.push((
                code.len(),
                Recognised {
                    entry,
                    text: None,
                    captured: Vec::new(),
                },
            ));
        }
    }
    // A code alone tells little once a text was recognised.
    if found.iter().any(|(_, r)| r.text.is_some()) {
        found.retain(|(_, r)| r.text.is_some());
    }
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    found.into_iter().map(|(_, recognised)| recognised).collect()
}

/// The entry with this id.
#[must_use]
pub fn entry(id: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.id == id)
}

fn normalise(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Finds the literal parts of a pattern in their order; gives their length and what stands between them.
fn find(text: &str, lower: &str, pattern: &str) -> Option<(usize, Vec<String>)> {
    let pattern = normalise(pattern).to_ascii_lowercase();
    let parts: Vec<&str> = pattern.split("{}").collect();
    let (first, rest) = parts.split_first()?;
    let mut from = 0;
    // A first part that occurs again later may be the right one.
    while let Some(start) = lower.get(from..)?.find(first).map(|at| from + at) {
        if let Some(found) = find_rest(text, lower, start + first.len(), first.len(), rest) {
            return Some(found);
        }
        if first.is_empty() {
            return None;
        }
        from = start + first.len();
    }
    None
}

fn find_rest(
    text: &str,
    lower: &str,
    mut at: usize,
    mut weight: usize,
    rest: &[&str],
) -> Option<(usize, Vec<String>)> {
    let mut captured = Vec::new();
    for part in rest {
        let tail = lower.get(at..)?;
        let gap = if part.trim().is_empty() {
            // A place at the end takes one word.
            tail.find(' ').unwrap_or(tail.len())
        } else {
            tail.find(part)?
        };
        if gap > MAX_GAP {
            return None;
        }
        captured.push(text.get(at..at + gap)?.to_owned());
        at = (at + gap + part.len()).min(lower.len());
        weight += part.len();
    }
    Some((weight, captured))
}

fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::sdk::SignedCalls;

    fn first(text: &str) -> Option<(&'static str, Vec<String>)> {
        recognise(text)
            .into_iter()
            .next()
            .map(|r| (r.entry.id, r.captured))
    }

    #[test]
    fn the_error_of_the_procedure_is_recognised() {
        assert_eq!(
            first(&SignedCalls::refusal_text("GetCallerIdentity")),
            Some(("scope-region", vec![]))
        );
        assert_eq!(
            first(
                "botocore.exceptions.ClientError: An error occurred (SignatureDoesNotMatch) when calling the \
                   GetCallerIdentity operation: Credential should be scoped to a valid region, not 'us-west-2'."
            ),
            Some(("scope-region", vec!["us-west-2".to_owned()]))
        );
    }

    #[test]
    fn texts_are_found_inside_the_noise_of_logs() {
        for (text, id) in [
            (
                "2026/11/24 WebIdentityErr: failed to retrieve credentials\ncaused by: InvalidIdentityToken: No OpenIDConnect \
                 provider found in your account for https://oidc.eks.us-west-2.amazonaws.com/id/ABC\n\tstatus code: 400",
                "no-provider",
            ),
            (
                "api error AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
                "web-identity-denied",
            ),
            (
                "Couldn't retrieve verification key from your identity provider,  please reference \
                 AssumeRoleWithWebIdentity documentation for requirements",
                "keys-unreachable",
            ),
            (
                "RegionDisabledException: STS is not activated in this region for account:959325414060. Your account \
                 administrator can activate STS in this region using the IAM Console.",
                "region-disabled",
            ),
            (
                "InvalidSTSRegionalEndpointsConfigError: STS regional endpoints option global is invalid. Valid options \
                 are: \"legacy\", \"regional\"",
                "variable-refused",
            ),
            (
                "connect timeout on endpoint url: \"https://sts.amazonaws.com/\"",
                "global-unreachable",
            ),
            (
                "User: arn:aws:sts::111122223333:assumed-role/eksctl-nodegroup-NodeInstanceRole/i-0123456789abcdef0 is not \
                 authorized to perform: s3:ListBucket",
                "node-role",
            ),
            (
                "<Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region \
                 'us-east-1' is wrong; expecting 'eu-central-1'</Message>",
                "s3-region",
            ),
            ("InvalidIdentityToken", "no-provider"),
        ] {
            assert_eq!(first(text).map(|(id, _)| id), Some(id), "{text}");
        }
        assert_eq!(recognise("Hello, world"), []);
        assert_eq!(recognise(""), []);
    }

    #[test]
    fn what_differs_from_case_to_case_is_captured() {
        let (id, captured) = first("the region 'us-east-1' is wrong; expecting 'ap-northeast-2'").unwrap();
        assert_eq!(
            (id, captured),
            (
                "s3-region",
                vec!["us-east-1".to_owned(), "ap-northeast-2".to_owned()]
            )
        );
        let (_, captured) =
            first("No OpenIDConnect provider found in your account for https://oidc.example.com/id/A extra")
                .unwrap();
        assert_eq!(captured, ["https://oidc.example.com/id/A"]);
    }

    #[test]
    fn every_entry_is_complete_and_recognises_its_own_texts() {
        let ids: HashSet<_> = CATALOGUE.iter().map(|e| e.id).collect();
        assert_eq!(ids.len(), CATALOGUE.len(), "ids are unique");
        for entry in &CATALOGUE {
            assert!(
                !entry.texts.is_empty() && !entry.checks.is_empty() && !entry.cures.is_empty(),
                "{}",
                entry.id
            );
            for text in entry.texts {
                let example = text.replace("{}", "us-west-2");
                let found: Vec<_> = recognise(&example).iter().map(|r| r.entry.id).collect();
                assert_eq!(found.first(), Some(&entry.id), "{text}: {found:?}");
            }
        }
    }

    /// Errors that other rules of this crate predict must be explained here as well.
    #[test]
    fn every_error_that_we_predict_is_in_the_catalogue() {
        use crate::sdk::{Call, Code, Environment, Outcome, Sdk, sts};
        let environments = [
            vec![
                ("AWS_STS_REGIONAL_ENDPOINTS", "global"),
                ("AWS_REGION", "us-west-2"),
                ("AWS_DEFAULT_REGION", "us-west-2"),
            ],
            vec![("AWS_STS_REGIONAL_ENDPOINTS", "regional")],
            vec![("AWS_ENDPOINT_URL_STS", "https://sts.amazonaws.com")],
            vec![
                ("AWS_ENDPOINT_URL_STS", "https://sts.amazonaws.com"),
                ("AWS_REGION", "us-west-2"),
                ("AWS_DEFAULT_REGION", "us-west-2"),
                ("AWS_USE_FIPS_ENDPOINT", "true"),
            ],
        ];
        let mut checked = 0;
        for sdk in Sdk::representatives() {
            for pairs in &environments {
                let environment = Environment::from_pairs(pairs.iter().copied());
                if let Outcome::Failure(failure) = sts(sdk, &environment, Code::default(), Call::Credentials).outcome
                    // The class alone is known of .NET's error, and the gateway's is our own words.
                    && failure.text != "InvalidOperationException"
                    && !failure.text.contains("the gateway")
                {
                    assert!(!recognise(&failure.text).is_empty(), "{sdk}: {}", failure.text);
                    checked += 1;
                }
            }
        }
        assert!(checked > 15, "{checked}");
    }

    proptest! {
        #[test]
        fn no_text_makes_recognition_panic(text in "\\PC*", i in 0usize..20, cut in 0usize..60) {
            let _ = recognise(&text);
            let known = CATALOGUE[i % CATALOGUE.len()].texts[0];
            let cut = known.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(known.len());
            let _ = recognise(&format!("{text}{}{text}", &known[..cut]));
        }
    }
}
