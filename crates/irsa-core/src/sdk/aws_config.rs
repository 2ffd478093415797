//! The shared config file of the AWS SDKs (`~/.aws/config`), as far as it decides about endpoints.

use std::collections::BTreeMap;

/// A config file that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsConfig {
    profiles: BTreeMap<String, Section>,
    services: BTreeMap<String, Section>,
}

/// The settings of one profile, or of one `services` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    values: BTreeMap<String, String>,
    /// Indented settings below a setting without a value: `s3 =` and the lines under it.
    nested: BTreeMap<String, BTreeMap<String, String>>,
}

/// A line that is no setting, section or comment: SDKs refuse such a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the config file is neither a section nor a setting")]
pub struct AwsConfigError {
    /// Counted from 1.
    pub line: usize,
}

impl AwsConfig {
    /// Reads the text of a config file.
    ///
    /// # Errors
    /// When a line is neither a section, a setting nor a comment.
    pub fn parse(text: &str) -> Result<Self, AwsConfigError> {
        let mut config = Self::default();
        let mut section: Option<&mut Section> = None;
        let mut parent: Option<String> = None;
        for (line, number) in text.lines().zip(1..) {
            let error = || AwsConfigError { line: number };
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                let name = rest.split_once(']').ok_or_else(error)?.0.trim();
                section = config.section(name);
                parent = None;
                continue;
            }
            let (name, value) = trimmed.split_once(['=', ':']).ok_or_else(error)?;
            let (name, value) = (name.trim().to_ascii_lowercase(), without_comment(value));
            // Settings of sections that mean nothing here are passed over.
            let Some(section) = section.as_deref_mut() else {
                continue;
            };
            match (&parent, line.starts_with([' ', '\t'])) {
                (Some(parent), true) => {
                    let nested = section.nested.entry(parent.clone()).or_default();
                    nested.insert(name, value.to_owned());
                }
                _ => {
                    parent = value.is_empty().then(|| name.clone());
                    section.values.insert(name, value.to_owned());
                }
            }
        }
        Ok(config)
    }

    fn section(&mut self, name: &str) -> Option<&mut Section> {
        let mut words = name.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
        match (words.next()?, words.next()) {
            ("default", None) => Some(self.profiles.entry("default".to_owned()).or_default()),
            ("profile", Some(name)) => Some(self.profiles.entry(name.to_owned()).or_default()),
            ("services", Some(name)) => Some(self.services.entry(name.to_owned()).or_default()),
            _ => None,
        }
    }

    pub(crate) fn profile(&self, name: &str) -> Option<&Section> {
        self.profiles.get(name)
    }

    /// The `services` section that a profile names. `Err` is the name of a section that does not exist.
    pub(crate) fn services(&self, profile: &Section) -> Result<Option<&Section>, String> {
        match profile.get("services") {
            None => Ok(None),
            Some(name) => self.services.get(name).map(Some).ok_or_else(|| name.to_owned()),
        }
    }
}

impl Section {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .filter(|_| !self.nested.contains_key(name))
            .map(String::as_str)
    }

    /// A setting below another: `endpoint_url` under `sts =`.
    pub(crate) fn nested(&self, parent: &str, name: &str) -> Option<&str> {
        self.nested.get(parent)?.get(name).map(String::as_str)
    }
}

/// A comment after a value begins with a blank.
fn without_comment(value: &str) -> &str {
    let end = [" #", " ;", "\t#", "\t;"]
        .into_iter()
        .filter_map(|mark| value.find(mark))
        .min()
        .unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn profiles_services_and_nested_settings_are_read() {
        let config = AwsConfig::parse(
            "# comment\n[default]\nregion = us-west-2 ; here\nservices = x\ns3 =\n  addressing_style = path\n\
             output = json\n[profile \"p\"]\nREGION=eu-west-1\n[sso-session s]\nregion = no\n[services x]\nsts =\n\
             \tendpoint_url = https://sts.example\n",
        )
        .unwrap();
        let default = config.profile("default").unwrap();
        assert_eq!(default.get("region"), Some("us-west-2"));
        assert_eq!(default.get("output"), Some("json"));
        assert_eq!(default.get("s3"), None);
        assert_eq!(default.nested("s3", "addressing_style"), Some("path"));
        assert_eq!(config.profile("p").unwrap().get("region"), Some("eu-west-1"));
        assert_eq!(config.profile("s"), None);
        let services = config.services(default).unwrap().unwrap();
        assert_eq!(
            services.nested("sts", "endpoint_url"),
            Some("https://sts.example")
        );
    }

    #[test]
    fn a_setting_without_value_is_empty_unless_lines_follow() {
        let config = AwsConfig::parse("[default]\nregion =\n[profile p]\nservices = nope\n").unwrap();
        assert_eq!(config.profile("default").unwrap().get("region"), Some(""));
        assert_eq!(
            config.services(config.profile("p").unwrap()),
            Err("nope".to_owned())
        );
    }

    #[test]
    fn other_text_is_refused_with_its_line() {
        assert_eq!(
            AwsConfig::parse("[default]\nregion = a\nnonsense\n"),
            Err(AwsConfigError { line: 3 })
        );
        assert_eq!(AwsConfig::parse("[default\n"), Err(AwsConfigError { line: 1 }));
    }
}
