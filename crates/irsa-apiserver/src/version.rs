//! The Kubernetes version that the cluster claims to have.

use serde_json::{Value, json};

/// The version that the cluster says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
    /// EKS platform version.
    pub platform: Option<String>,
}

impl Version {
    /// Reads `1.32`, `v1.32`, `1.32.4`.
    #[must_use]
    pub fn parse(text: &str, platform: Option<&str>) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts = text.split('.').map(str::parse::<u32>);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().unwrap_or(Ok(0)).ok()?;
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            major,
            minor,
            patch,
            platform: platform.map(str::to_owned),
        })
    }

    /// Whether this is that version or a later one.
    pub(crate) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// `v1.32.0`, and as EKS says it `v1.32.0-eks-1`.
    #[must_use]
    pub fn git_version(&self) -> String {
        let suffix = self
            .platform
            .as_deref()
            .map(|platform| format!("-{}", platform.replace('.', "-")));
        format!(
            "v{}.{}.{}{}",
            self.major,
            self.minor,
            self.patch,
            suffix.unwrap_or_default()
        )
    }

    /// The document of `/version`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let plus = if self.platform.is_some() { "+" } else { "" };
        json!({
            "major": self.major.to_string(),
            "minor": format!("{}{plus}", self.minor),
            "gitVersion": self.git_version(),
            "gitCommit": "0000000000000000000000000000000000000000",
            "gitTreeState": "clean",
            "buildDate": "2026-11-24T00:00:00Z",
            "goVersion": "irsa",
            "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, architecture()),
        })
    }
}

/// The name that Go has for this machine's architecture.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
