//! Findings as the commands use them: those of [`irsa_core::finding`], and which of them make a command answer "no".

use std::str::FromStr;

pub use irsa_core::finding::*;

/// Which findings make a command answer "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// None.
    Never,
    /// Those at least this bad.
    AtLeast(Severity),
    /// Those of these kinds.
    Ids(Vec<Id>),
}

impl FailOn {
    /// Whether a finding counts.
    pub fn catches(&self, id: Id, severity: Severity) -> bool {
        match self {
            Self::Never => false,
            Self::AtLeast(least) => severity >= *least,
            Self::Ids(ids) => ids.contains(&id),
        }
    }
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "never" | "none" => Self::Never,
            "error" => Self::AtLeast(Severity::Error),
            "warning" => Self::AtLeast(Severity::Warning),
            "info" => Self::AtLeast(Severity::Info),
            ids => Self::Ids(
                ids.split(',')
                    .map(|id| id.trim().parse())
                    .collect::<Result<_, UnknownId>>()
                    .map_err(|UnknownId(id)| {
                        format!("`{id}` is neither a severity (error, warning, info) nor the id of a finding")
                    })?,
            ),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn fail_on_takes_a_severity_or_ids() {
        let on: FailOn = "warning".parse().unwrap();
        assert!(on.catches(Id::StalePod, Severity::Warning));
        assert!(!on.catches(Id::UsesGlobal, Severity::Info));
        let on: FailOn = "uses-global, stale-pod".parse().unwrap();
        assert!(on.catches(Id::UsesGlobal, Severity::Info));
        assert!(!on.catches(Id::BadRoleArn, Severity::Error));
        assert!("loud".parse::<FailOn>().is_err());
        assert!(
            !"never"
                .parse::<FailOn>()
                .unwrap()
                .catches(Id::BadRoleArn, Severity::Error)
        );
    }

    /// Words are made where they are printed and nowhere else, so that no rewording can change an id, a line, a
    /// severity or an exit code: no other file of the three crates asks for them.
    #[test]
    fn only_what_prints_asks_for_words() {
        const PRINTS: [&str; 10] = [
            "irsa-core/src/finding/catalogue.rs",
            "irsa-fleet/src/report.rs",
            "irsa-fleet/src/plan.rs",
            "irsa-fleet/src/doctor.rs",
            "irsa-fleet/src/rollout/proof.rs",
            "irsa-fleet/src/rollout/roll.rs",
            "irsa/src/commands/check.rs",
            "irsa/src/commands/explain/text.rs",
            "irsa/src/commands/explain/wide.rs",
            "irsa/src/commands/explain/document.rs",
        ];
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = ["irsa-core/src", "irsa-fleet/src", "irsa/src"]
            .map(|name| crates.join(name))
            .to_vec();
        let mut asking = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let words = [
                    "finding.message()",
                    "fact.message()",
                    ".cure(CureFor",
                    ".cure(reader",
                ];
                if words.iter().any(|word| code.contains(word)) {
                    asking.push(path.strip_prefix(&crates).unwrap().display().to_string());
                }
            }
        }
        asking.retain(|file| !PRINTS.contains(&file.as_str()) && !file.ends_with("tests.rs"));
        assert_eq!(asking, [""; 0], "these look at words");
    }
}
