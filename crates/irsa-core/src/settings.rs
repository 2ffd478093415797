//! What an operator sets once for the whole webhook and every rule looks at.

use crate::annotations::{DEFAULT_PREFIX, MAX_TOKEN_EXPIRATION, MIN_TOKEN_EXPIRATION};
use crate::arn::Compose;
use crate::endpoint::{EndpointType, GlobalValue, Platform};

/// Whose behaviour the rules follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compat {
    /// Our own: the defects that users of the Go webhook suffer from are fixed.
    #[default]
    None,
    /// That of the Go webhook aws/amazon-eks-pod-identity-webhook: the same pod after the patch.
    Upstream,
}

impl Compat {
    /// Whether this is [`Compat::Upstream`].
    #[must_use]
    pub const fn is_upstream(self) -> bool {
        matches!(self, Self::Upstream)
    }
}

/// All settings of the rules. `Default` gives the defaults of the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `--annotation-prefix`.
    pub annotation_prefix: Box<str>,
    /// `--token-audience`: the audience of a service account that names none.
    pub audience: Box<str>,
    /// `--token-expiration` in seconds. Use [`Settings::set_token_expiration`], which keeps the minimum.
    pub token_expiration: i64,
    /// `--token-mount-path`.
    pub mount_path: Box<str>,
    /// The name of the volume with the token: `aws-iam-token`.
    pub volume_name: Box<str>,
    /// The name of the token's file within the mount: `token`.
    pub token_path: Box<str>,
    /// `--aws-default-region`: filled in where a container has no region.
    pub region: Option<Box<str>>,
    /// `--sts-regional-endpoint`; `None` when the flag was not given.
    pub flag: Option<EndpointType>,
    /// The version of the cluster, where the rules of EKS platforms hold.
    pub platform: Option<Platform>,
    /// `--global-endpoint-value`.
    pub global_value: GlobalValue,
    /// `--compose-role-arn` with what it found, or what the flags say.
    pub compose: Option<Compose>,
    /// Whether namespace annotations count (ours; never in compatibility mode).
    pub namespace_defaults: bool,
    /// Whether `AWS_ROLE_SESSION_NAME` is set to the pod's name (ours; never in compatibility mode).
    pub session_name: bool,
    /// Whether mutated pods carry the record annotation (ours; never in compatibility mode).
    pub record: bool,
    /// How the container credentials method (EKS Pod Identity) is written.
    pub container_credentials: ContainerCredentialsSettings,
    /// Whose behaviour to follow.
    pub compat: Compat,
}

/// The `--container-credentials-…` flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerCredentialsSettings {
    /// The audience of the token.
    pub audience: Box<str>,
    /// Where the volume is mounted.
    pub mount_path: Box<str>,
    /// The volume's name.
    pub volume_name: Box<str>,
    /// The token's file within the mount.
    pub token_path: Box<str>,
    /// Where the SDK asks for credentials.
    pub full_uri: Box<str>,
}

impl Default for ContainerCredentialsSettings {
    fn default() -> Self {
        Self {
            audience: "pods.eks.amazonaws.com".into(),
            mount_path: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount".into(),
            volume_name: "eks-pod-identity-token".into(),
            token_path: "eks-pod-identity-token".into(),
            full_uri: "http://169.254.170.23/v1/credentials".into(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            annotation_prefix: DEFAULT_PREFIX.into(),
            audience: "sts.amazonaws.com".into(),
            token_expiration: MAX_TOKEN_EXPIRATION,
            mount_path: "/var/run/secrets/eks.amazonaws.com/serviceaccount".into(),
            volume_name: "aws-iam-token".into(),
            token_path: "token".into(),
            region: None,
            flag: None,
            platform: None,
            global_value: GlobalValue::default(),
            compose: None,
            namespace_defaults: true,
            session_name: false,
            record: true,
            container_credentials: ContainerCredentialsSettings::default(),
            compat: Compat::None,
        }
    }
}

impl Settings {
    /// The same settings in compatibility mode: what the Go webhook does not have is off.
    #[must_use]
    pub fn upstream(self) -> Self {
        Self {
            compat: Compat::Upstream,
            global_value: GlobalValue::Omit,
            platform: None,
            namespace_defaults: false,
            session_name: false,
            record: false,
            ..self
        }
    }

    /// Sets the default validity of tokens, at least the minimum of Kubernetes.
    pub fn set_token_expiration(&mut self, seconds: i64) {
        self.token_expiration = seconds.max(MIN_TOKEN_EXPIRATION);
    }
}
