//! What the commands that need no cluster share: an environment and SDKs given on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use irsa_core::sdk::{AwsConfig, Environment, Sdk};

/// One `NAME=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    name: String,
    value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` has no `=`: write NAME=VALUE, or NAME= for an empty value"))?;
        if !Environment::NAMES.contains(&name) {
            return Err(format!(
                "`{name}` decides nothing here; these do: {}",
                Environment::NAMES.join(", ")
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// An environment without a cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct EnvironmentArgs {
    /// A variable of the container; an empty value is not the same as none
    #[arg(short = 'e', long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<Pair>,

    /// The region: AWS_REGION and AWS_DEFAULT_REGION together, as the webhook writes them
    #[arg(short = 'r', long, value_name = "REGION")]
    pub(crate) region: Option<String>,

    /// The container's AWS config file (`~/.aws/config`, or what AWS_CONFIG_FILE names), as a local file
    #[arg(long, value_name = "FILE")]
    pub(crate) aws_config: Option<PathBuf>,
}

impl EnvironmentArgs {
    /// The variables and the config file; `--env` is stronger than `--region`.
    pub(crate) fn environment(&self) -> anyhow::Result<Environment> {
        let region = self.region.iter().flat_map(|region| {
            ["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| (name.to_owned(), region.clone()))
        });
        let given = self
            .env
            .iter()
            .map(|pair| (pair.name.clone(), pair.value.clone()));
        let mut environment = Environment::from_pairs(region.chain(given));
        if let Some(path) = &self.aws_config {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let config = AwsConfig::parse(&text)
                .with_context(|| format!("{} is not an AWS config file", path.display()))?;
            environment.config = Some(config);
        }
        Ok(environment)
    }
}

/// The SDKs asked about; with none, all that differ.
pub(crate) fn sdks(selected: &[Sdk]) -> Vec<Sdk> {
    if selected.is_empty() {
        Sdk::representatives()
    } else {
        selected.to_vec()
    }
}

/// `docs/schema/` is written from the types: `IRSA_WRITE_SCHEMA=1 cargo test -p irsa schema` renews it.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[track_caller]
pub(crate) fn schema_is_current<T: schemars::JsonSchema>(name: &str) {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(T)).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/schema")
        .join(name);
    if std::env::var_os("IRSA_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == schema,
        "{} is not what the types say: run IRSA_WRITE_SCHEMA=1 cargo test -p irsa schema",
        path.display()
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_stronger_than_the_region_and_unknown_ones_are_refused() {
        let args = EnvironmentArgs {
            env: vec![
                "AWS_REGION=eu-west-1".parse().unwrap(),
                "AWS_STS_REGIONAL_ENDPOINTS=".parse().unwrap(),
            ],
            region: Some("us-west-2".to_owned()),
            aws_config: None,
        };
        let environment = args.environment().unwrap();
        assert_eq!(environment.region.as_deref(), Some("eu-west-1"));
        assert_eq!(environment.default_region.as_deref(), Some("us-west-2"));
        assert_eq!(environment.sts_regional_endpoints.as_deref(), Some(""));
        assert!("AWS_REGION".parse::<Pair>().unwrap_err().contains("NAME=VALUE"));
        assert!(
            "AWS_REGOIN=x"
                .parse::<Pair>()
                .unwrap_err()
                .contains("AWS_DEFAULT_REGION")
        );
    }

    #[test]
    fn an_aws_config_file_is_part_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let args = |aws_config: &std::path::Path| EnvironmentArgs {
            env: Vec::new(),
            region: None,
            aws_config: Some(aws_config.to_owned()),
        };
        std::fs::write(&path, "[default]\nregion = eu-west-1\n").unwrap();
        let answer = irsa_core::sdk::sts(
            "boto3".parse().unwrap(),
            &args(&path).environment().unwrap(),
            irsa_core::sdk::Code::default(),
            irsa_core::sdk::Call::Credentials,
        );
        assert_eq!(answer.endpoint().unwrap().host, "sts.eu-west-1.amazonaws.com");
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(
            args(&path)
                .environment()
                .unwrap_err()
                .to_string()
                .contains("AWS config file")
        );
        assert!(args(&folder.path().join("none")).environment().is_err());
    }
}
