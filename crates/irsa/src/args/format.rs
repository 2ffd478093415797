//! `-o`: the forms in which a command can answer.

use clap::builder::PossibleValue;
use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For people, with every detail.
    Wide,
    /// The documented JSON document.
    Json,
    /// The same as YAML.
    Yaml,
    /// Only names, one a line.
    Name,
    /// A SARIF 2.1.0 log.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
    /// Comma-separated values.
    Csv,
}

impl Format {
    const ALL: [Self; 8] = [
        Self::Text,
        Self::Wide,
        Self::Json,
        Self::Yaml,
        Self::Name,
        Self::Sarif,
        Self::Github,
        Self::Csv,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Name => "name",
            Self::Sarif => "sarif",
            Self::Github => "github",
            Self::Csv => "csv",
        }
    }

    /// Whether it is for people.
    pub(crate) const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Wide)
    }
}

/// Reads `-o` for a command that knows some of the forms. Text and JSON and YAML are always among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatParser {
    others: &'static [Format],
}

impl FormatParser {
    /// Text, JSON, YAML and `others`.
    pub(crate) const fn with(others: &'static [Format]) -> Self {
        Self { others }
    }

    /// Text, JSON and YAML.
    pub(crate) const fn plain() -> Self {
        Self::with(&[])
    }

    fn known(self) -> impl Iterator<Item = Format> {
        Format::ALL.into_iter().filter(move |format| {
            matches!(format, Format::Text | Format::Json | Format::Yaml) || self.others.contains(format)
        })
    }
}

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, clap::Error> {
        // `table` is what the text of some commands was called first.
        let word = match value.to_str() {
            Some("table") => Some("text"),
            word => word,
        };
        if let Some(format) = self.known().find(|format| Some(format.as_str()) == word) {
            return Ok(format);
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        if let Some(arg) = arg {
            error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
        }
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String(value.to_string_lossy().into_owned()),
        );
        error.insert(
            ContextKind::ValidValue,
            ContextValue::Strings(self.known().map(|format| format.as_str().to_owned()).collect()),
        );
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            self.known().map(|format| PossibleValue::new(format.as_str())),
        ))
    }
}
