//! Guesses of the SDK inside a program: from the name of its image, and from the User-Agent of its calls.

use super::family::{Family, Release, Sdk, Version, botocore_of_boto3};

/// A guess and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The SDK.
    pub sdk: Sdk,
    /// What in the text says so.
    pub evidence: String,
}

impl Guess {
    /// The releases that are possible: without a version an older one than the change of defaults is, too.
    #[must_use]
    pub fn releases(&self) -> Vec<Sdk> {
        let old = Sdk {
            family: self.sdk.family,
            release: Release::Before20250731,
        };
        if self.sdk.release == Release::Current && self.sdk.family.changed_its_default() {
            vec![old, self.sdk]
        } else {
            vec![self.sdk]
        }
    }
}

/// Images whose programs are known, by a part of the repository's last path segments. The first match counts.
/// Versions of such images change their SDK in time; where the change is known, the release is told apart by tag.
const IMAGES: [(&str, Family); 62] = [
    // Go v1 was left by most of these for Go v2 between 2023 and 2025; see `from_image`.
    ("amazon-k8s-cni", Family::GoV2),
    ("amazon/aws-network-policy-agent", Family::GoV2),
    ("aws-load-balancer-controller", Family::GoV2),
    ("aws-ebs-csi-driver", Family::GoV2),
    ("aws-efs-csi-driver", Family::GoV2),
    ("aws-fsx-csi-driver", Family::GoV2),
    ("aws-mountpoint-s3-csi-driver", Family::Cpp),
    ("aws-node-termination-handler", Family::GoV1),
    ("aws-for-fluent-bit", Family::Cpp),
    ("aws-otel-collector", Family::GoV2),
    ("aws-xray-daemon", Family::GoV1),
    ("aws-iam-authenticator", Family::GoV2),
    ("aws-privateca-issuer", Family::GoV2),
    ("secrets-store-csi-driver-provider-aws", Family::GoV2),
    ("cloudwatch-agent", Family::GoV1),
    ("karpenter", Family::GoV2),
    ("cluster-autoscaler", Family::GoV1),
    ("external-dns", Family::GoV2),
    ("external-secrets", Family::GoV2),
    ("kubernetes-external-secrets", Family::JsV2),
    ("cert-manager-controller", Family::GoV2),
    ("cluster-api-aws-controller", Family::GoV2),
    ("velero-plugin-for-aws", Family::GoV2),
    ("velero", Family::GoV2),
    ("crossplane", Family::GoV2),
    ("provider-aws", Family::GoV2),
    ("kube2iam", Family::GoV1),
    ("kiam", Family::GoV1),
    ("vault", Family::GoV1),
    ("loki", Family::GoV2),
    ("mimir", Family::GoV2),
    ("tempo", Family::GoV2),
    ("thanos", Family::GoV2),
    ("cortex", Family::GoV2),
    ("yace", Family::GoV2),
    ("yet-another-cloudwatch-exporter", Family::GoV2),
    ("cloudwatch-exporter", Family::JavaV2),
    ("keda", Family::GoV2),
    ("argocd-image-updater", Family::GoV2),
    ("terraform", Family::GoV2),
    ("opentofu", Family::GoV2),
    ("eksctl", Family::GoV2),
    ("rclone", Family::GoV2),
    ("kaniko-project/executor", Family::GoV2),
    ("fluentd", Family::Ruby),
    ("logstash", Family::Ruby),
    ("fluent-bit", Family::Cpp),
    ("vector", Family::Rust),
    ("quickwit", Family::Rust),
    ("nginx-s3-gateway", Family::NginxS3Gateway),
    ("airflow", Family::Botocore),
    ("superset", Family::Botocore),
    ("mlflow", Family::Botocore),
    ("jupyter", Family::Botocore),
    ("custodian", Family::Botocore),
    ("s3cmd", Family::Botocore),
    ("aws-secret-operator", Family::GoV1),
    ("spark-operator", Family::GoV1),
    ("trino", Family::JavaV2),
    ("kafka-connect", Family::JavaV2),
    ("powershell", Family::PowerShell),
    ("aws-tools-for-powershell", Family::PowerShell),
];

/// The SDK behind a container image, if the image is known. A guess: people rebuild and rename images.
#[must_use]
pub fn from_image(image: &str) -> Option<Guess> {
    let without_digest = image.split('@').next().unwrap_or(image);
    let (name, tag) = match without_digest.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (without_digest, None),
    };
    let name = name.to_ascii_lowercase();
    let version = tag.and_then(|t| t.parse::<Version>().ok());
    let segments: Vec<&str> = name.split('/').collect();
    let last = segments.last().copied().unwrap_or_default();

    let sdk = if matches!(last, "aws-cli" | "awscli") {
        match version {
            Some(v) if v.0 == 1 => Sdk {
                family: Family::CliV1,
                release: Release::Version(v),
            },
            Some(v) if v.0 == 2 => Sdk {
                family: Family::CliV2,
                release: Release::Version(v),
            },
            _ => Sdk::current(Family::CliV2),
        }
    } else {
        let (_, family) = IMAGES.iter().find(|(part, _)| matches_image(&segments, part))?;
        let family = match (*family, last, version) {
            // Releases that still carried Go v1.
            (Family::GoV2, "amazon-k8s-cni", Some(v)) if v < Version(1, 19, 0) => Family::GoV1,
            (Family::GoV2, "aws-load-balancer-controller", Some(v)) if v < Version(2, 10, 0) => Family::GoV1,
            (Family::GoV2, "aws-ebs-csi-driver", Some(v)) if v < Version(1, 27, 0) => Family::GoV1,
            (Family::GoV2, "external-dns", Some(v)) if v < Version(0, 16, 0) => Family::GoV1,
            (Family::GoV2, "external-secrets", Some(v)) if v < Version(0, 17, 0) => Family::GoV1,
            (Family::GoV2, "cert-manager-controller", Some(v)) if v < Version(1, 14, 0) => Family::GoV1,
            (family, _, _) => family,
        };
        Sdk::current(family)
    };
    Some(Guess {
        sdk,
        evidence: format!("image `{image}`"),
    })
}

/// Whether `part` (`name` or `owner/name`) is the end of the image's path; a single name also as a prefix of the last
/// segment up to a hyphen (`karpenter-controller`).
fn matches_image(segments: &[&str], part: &str) -> bool {
    let Some((last, before)) = segments.split_last() else {
        return false;
    };
    if let Some((owner, name)) = part.split_once('/') {
        return *last == name && before.last() == Some(&owner);
    }
    *last == part
        || last.strip_prefix(part).is_some_and(|rest| rest.starts_with('-'))
        || before.last() == Some(&part)
}

/// The SDK that a User-Agent names, as in CloudTrail's `userAgent`.
#[must_use]
pub fn from_user_agent(user_agent: &str) -> Option<Guess> {
    let mut products = Vec::new();
    for word in user_agent.split([' ', '[', ']', '(', ')', ';', ',']).take(64) {
        if let Some((name, version)) = word.split_once('/') {
            products.push((name.to_ascii_lowercase(), version));
        }
    }
    // The CLI names botocore as well and Kotlin names the language of others: the most telling name counts.
    let order = [
        "aws-cli",
        "boto3",
        "botocore",
        "aws-sdk-rust",
        "aws-sdk-go",
        "aws-sdk-go-v2",
        "aws-sdk-java",
        "aws-sdk-js",
        "aws-sdk-nodejs",
        "aws-sdk-dotnet-coreclr",
        "aws-sdk-dotnet-45",
        "aws-sdk-dotnet-35",
        "aws-sdk-dotnet",
        "aws-sdk-net",
        "aws-sdk-php",
        "aws-sdk-ruby3",
        "aws-sdk-cpp",
        "aws-sdk-kotlin",
        "aws-sdk-swift",
        "awspowershell.common",
        "awspowershell",
        "awspowershell.netcore",
    ];
    let (name, version) = products
        .iter()
        .filter_map(|(name, version)| Some((order.iter().position(|o| o == name)?, name, *version)))
        .min_by_key(|(position, ..)| *position)
        .map(|(_, name, version)| (name.as_str(), version))?;
    let version = version.split('#').next().unwrap_or(version);
    let parsed = version.parse::<Version>().ok();
    let major = parsed.map(|v| v.0);
    let family = match name {
        "aws-cli" if major == Some(1) => Family::CliV1,
        "aws-cli" => Family::CliV2,
        "boto3" | "botocore" => Family::Botocore,
        "aws-sdk-rust" => Family::Rust,
        "aws-sdk-go" if major == Some(1) && !products.iter().any(|(n, _)| n == "aws-sdk-go-v2") => {
            // Go v2 calls itself aws-sdk-go-v2; Go v1 was the only one to say aws-sdk-go.
            Family::GoV1
        }
        "aws-sdk-go" | "aws-sdk-go-v2" => Family::GoV2,
        "aws-sdk-java" if major == Some(1) => Family::JavaV1,
        "aws-sdk-java" => Family::JavaV2,
        "aws-sdk-js" if major == Some(3) => Family::JsV3,
        "aws-sdk-js" | "aws-sdk-nodejs" => Family::JsV2,
        "aws-sdk-php" => Family::Php,
        "aws-sdk-ruby3" => Family::Ruby,
        "aws-sdk-cpp" => Family::Cpp,
        "aws-sdk-kotlin" => Family::Kotlin,
        "aws-sdk-swift" => Family::Swift,
        name if name.starts_with("awspowershell") => Family::PowerShell,
        _ if major == Some(4) => Family::DotNetV4,
        _ => Family::DotNetV3,
    };
    let release = match (parsed, name) {
        (Some(v), "boto3") => Release::Version(botocore_of_boto3(v)),
        (Some(v), _) => Release::Version(v),
        (None, _) => Release::Current,
    };
    Some(Guess {
        sdk: Sdk { family, release },
        evidence: format!("User-Agent `{name}/{version}`"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_image_without_a_version_may_carry_an_old_release() {
        let releases = |image: &str| from_image(image).unwrap().releases();
        let airflow: Vec<String> = releases("apache/airflow:1.10.15")
            .iter()
            .map(|sdk| sdk.id())
            .collect();
        assert_eq!(airflow, ["boto3@old", "boto3"]);
        assert_eq!(releases("amazon/aws-cli:1.42.0").len(), 1);
        assert_eq!(releases("karpenter/controller").len(), 1);
    }

    #[test]
    fn images_are_recognised_by_their_last_segments() {
        let guess = |image: &str| from_image(image).map(|g| g.sdk.to_string());
        for (image, expected) in [
            (
                "602401143452.dkr.ecr.us-west-2.amazonaws.com/amazon-k8s-cni:v1.19.0-eksbuild.1",
                Some("Go v2"),
            ),
            (
                "602401143452.dkr.ecr.us-west-2.amazonaws.com/amazon-k8s-cni:v1.12.6",
                Some("Go v1"),
            ),
            (
                "public.ecr.aws/eks/aws-load-balancer-controller:v2.13.0",
                Some("Go v2"),
            ),
            ("amazon/aws-cli", Some("AWS CLI v2")),
            ("amazon/aws-cli:2.15.0", Some("AWS CLI v2 2.15.0")),
            (
                "registry.local:5000/tools/aws-cli:1.41.17",
                Some("AWS CLI v1 1.41.17"),
            ),
            ("timberio/vector:0.40.0-alpine", Some("Rust")),
            ("apache/airflow:2.9.0", Some("boto3 / botocore 1.40.0 and later")),
            (
                "public.ecr.aws/karpenter/controller:1.0.0@sha256:0123",
                Some("Go v2"),
            ),
            ("nginxinc/nginx-s3-gateway", Some("nginx-s3-gateway")),
            ("nginx:1.27", None),
            ("vectorized/redpanda:v23", None),
            ("busybox", None),
            ("", None),
        ] {
            assert_eq!(guess(image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn user_agents_name_family_and_version() {
        for (agent, expected) in [
            (
                "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#5.10 md/arch#x86_64 lang/python#3.11.4",
                "boto3 / botocore 1.44.5",
            ),
            (
                "Boto3/1.26.165 Python/3.9.2 Linux/5.10 Botocore/1.29.165",
                "boto3 / botocore 1.29.165",
            ),
            ("Botocore/1.31.0 Python/3.8", "boto3 / botocore 1.31.0"),
            (
                "aws-cli/2.36.7 md/awscrt#0.27 ua/2.1 os/linux",
                "AWS CLI v2 2.36.7",
            ),
            ("aws-cli/1.41.17 md/Botocore#1.39.17 ua/2.1", "AWS CLI v1 1.41.17"),
            (
                "aws-sdk-go-v2/1.36.0 ua/2.1 os/linux lang/go#1.24",
                "Go v2 1.36.0",
            ),
            ("aws-sdk-go/1.55.6 (go1.22.4; linux; amd64)", "Go v1 1.55.6"),
            ("aws-sdk-js/3.1173.0 ua/2.1 os/linux", "JavaScript v3 3.1173.0"),
            (
                "aws-sdk-nodejs/2.1693.0 linux/v20.11.0 promise",
                "JavaScript v2 2.1693.0",
            ),
            ("aws-sdk-java/2.30.0 md/io#sync", "Java v2 2.30.0"),
            ("aws-sdk-java/1.12.793 Linux/5.10", "Java v1 1.12.793"),
            (
                "aws-sdk-rust/1.3.9 ua/2.1 api/sts/1.124.0 os/linux lang/rust/1.90.0",
                "Rust 1.3.9",
            ),
            ("aws-sdk-dotnet-coreclr/3.7.400.1 ua/2.0", ".NET v3 3.7.400"),
            ("[aws-sdk-php/3.351.12 GuzzleHttp/7]", "PHP v3 3.351.12"),
        ] {
            let guess = from_user_agent(agent).map(|g| g.sdk.to_string());
            assert_eq!(guess.as_deref(), Some(expected), "{agent}");
        }
        assert_eq!(from_user_agent("curl/8.5.0"), None);
        assert_eq!(from_user_agent("kubelet"), None);
    }

    proptest! {
        #[test]
        fn guessing_never_panics(text in "\\PC*") {
            let _ = from_image(&text);
            let _ = from_user_agent(&text);
        }
    }
}
