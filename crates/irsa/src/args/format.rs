//! `-o`: the forms in which a command can answer.

use clap::builder::PossibleValue;
use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::jsonpath::{CustomColumns, Template};

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
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
    /// What a template of kubectl's JSONPath makes of the document.
    JsonPath(Template),
    /// A table of paths into the items of the document.
    CustomColumns(CustomColumns),
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

    const fn as_str(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Name => "name",
            Self::Sarif => "sarif",
            Self::Github => "github",
            Self::Csv => "csv",
            Self::JsonPath(_) => "jsonpath=",
            Self::CustomColumns(_) => "custom-columns=",
        }
    }

    /// Whether it is for people.
    pub(crate) const fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Wide)
    }
}

/// Reads `-o` for a command that knows some of the forms. Text, JSON, YAML and JSONPath are always among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatParser {
    others: &'static [Format],
    columns: bool,
}

impl FormatParser {
    /// Text, JSON, YAML and `others`.
    pub(crate) const fn with(others: &'static [Format]) -> Self {
        Self {
            others,
            columns: false,
        }
    }

    /// The same, and custom columns.
    pub(crate) const fn and_columns(self) -> Self {
        Self {
            columns: true,
            ..self
        }
    }

    /// Text, JSON and YAML.
    pub(crate) const fn plain() -> Self {
        Self::with(&[])
    }

    /// The forms that need no further word.
    fn known(self) -> impl Iterator<Item = Format> {
        Format::ALL.into_iter().filter(move |format| {
            matches!(format, Format::Text | Format::Json | Format::Yaml) || self.others.contains(format)
        })
    }
}

impl FormatParser {
    fn words(self) -> impl Iterator<Item = &'static str> {
        let columns = self.columns.then_some("custom-columns=");
        self.known()
            .map(|format| format.as_str())
            .chain(["jsonpath="])
            .chain(columns)
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
        let template = word.and_then(|word| match word.split_once('=') {
            Some(("jsonpath", text)) => Some(Template::parse(text).map(Format::JsonPath)),
            Some(("custom-columns", text)) if self.columns => {
                Some(CustomColumns::parse(text).map(Format::CustomColumns))
            }
            _ => None,
        });
        match template {
            Some(Ok(format)) => return Ok(format),
            Some(Err(why)) => {
                return Err(
                    clap::Error::raw(ErrorKind::ValueValidation, format!("-o: {why}\n")).with_cmd(command),
                );
            }
            None => {}
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
            ContextValue::Strings(self.words().map(str::to_owned).collect()),
        );
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            self.known().map(|format| PossibleValue::new(format.as_str())),
        ))
    }
}
