//! Reading manifests: YAML or JSON files with several documents, Lists, and the output of Helm and Kustomize. Each object
//! comes with its file and line.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Larger files are refused.
const MAX_FILE: u64 = 64 << 20;

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The path as given by the caller; `-` for standard input.
    pub file: String,
    /// Line of the document's first key, from 1.
    pub line: usize,
    /// The YAML text of the document; its first line is `line`.
    pub text: std::sync::Arc<str>,
    /// The object.
    pub object: Value,
}

impl Document {
    /// `kind/name`, as kubectl writes it.
    pub fn title(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &self.object["metadata"];
        let name = match text(&metadata["name"]) {
            name if name.is_empty() => text(&metadata["generateName"]),
            name => name,
        };
        format!("{}/{name}", text(&self.object["kind"]).to_ascii_lowercase())
    }

    /// The first line that contains all of `words`; the first line of the document if there is none.
    pub fn line_of(&self, words: &[&str]) -> usize {
        self.text
            .lines()
            .position(|line| words.iter().all(|word| line.contains(word)))
            .map_or(self.line, |offset| self.line + offset)
    }

    /// The line on which a container of the object's pod sets a variable; nothing if that cannot be told.
    ///
    /// The text has one line for each entry of `env` that names the variable, in the order of the text; which of them
    /// is the container's follows from the order of the containers.
    pub fn line_of_variable(&self, container: &str, variable: &str) -> Option<usize> {
        let named = |line: &str| {
            line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .collect::<Vec<_>>()
                .windows(2)
                .any(|words| words[1] == variable)
                && line.contains("name")
        };
        let lines: Vec<usize> = self
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| named(line))
            .map(|(at, _)| self.line + at)
            .collect();
        let spec = pod_spec(&self.object)?;
        let mut lists = ["initContainers", "containers"];
        lists.sort_by_key(|list| {
            self.text
                .find(&format!("{list}:"))
                .or_else(|| self.text.find(&format!("\"{list}\"")))
        });
        let containers = lists
            .iter()
            .flat_map(|list| spec[*list].as_array().into_iter().flatten());
        let mut before = 0;
        for candidate in containers {
            let sets = candidate["env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|entry| entry["name"] == variable)
                .count();
            if candidate["name"] == container {
                // Of a variable that is there twice the last counts.
                return (sets > 0)
                    .then(|| lines.get(before + sets - 1).copied())
                    .flatten();
            }
            before += sets;
        }
        None
    }
}

/// The specification of the pods that an object makes; its own, if it is a pod.
pub fn pod_spec(object: &Value) -> Option<&Value> {
    [
        &object["spec"],
        &object["spec"]["template"]["spec"],
        &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        &object["template"]["spec"],
    ]
    .into_iter()
    .find(|spec| spec["containers"].is_array())
}

/// Why manifests cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a manifest.
    #[error("{path}: larger than {} MiB", MAX_FILE >> 20)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A document is not valid YAML.
    #[error("{file}:{line}: {message}")]
    Yaml {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A directory contains no manifest.
    #[error("{path}: no file with the extension .yaml, .yml or .json")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

/// What was read, and what could not be: one bad document does not hide the others.
#[derive(Debug, Default)]
pub struct Input {
    /// The objects, in their order.
    pub documents: Vec<Document>,
    /// What could not be read.
    pub errors: Vec<Error>,
}

impl Input {
    /// Adds a file, or all manifests in a directory and below it, in the order of their names.
    pub fn add_path(&mut self, path: &Path) {
        if let Err(error) = self.try_add_path(path) {
            self.errors.push(error);
        }
    }

    fn try_add_path(&mut self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        if !std::fs::metadata(path).map_err(failed)?.is_dir() {
            return self.add_file(path);
        }
        let mut files = Vec::new();
        collect(path, 0, &mut files).map_err(failed)?;
        if files.is_empty() {
            return Err(Error::Empty {
                path: path.to_owned(),
            });
        }
        files.sort();
        for file in files {
            if let Err(error) = self.add_file(&file) {
                self.errors.push(error);
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(Error::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        self.add_text(&path.display().to_string(), &text);
        Ok(())
    }

    /// Adds all documents of a text that came from `file`.
    pub fn add_text(&mut self, file: &str, text: &str) {
        for (line, chunk) in split(text) {
            match parse(file, line, chunk) {
                Ok(object) => flatten(object, &mut |object| {
                    self.documents.push(Document {
                        file: file.to_owned(),
                        line,
                        text: chunk.into(),
                        object,
                    });
                }),
                Err(error) => self.errors.push(error),
            }
        }
    }
}

fn collect(directory: &Path, depth: usize, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        // Symbolic links are not followed, because they may form cycles.
        if kind.is_dir() && depth < 32 {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden {
                collect(&path, depth + 1, into)?;
            }
        } else if kind.is_file()
            && path
                .extension()
                .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            into.push(path);
        }
    }
    Ok(())
}

/// Reads one document, which begins at `line` of `file`.
fn parse(file: &str, line: usize, chunk: &str) -> Result<Value, Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(chunk, options).map_err(|error| Error::Yaml {
        file: file.to_owned(),
        line: error.location().map_or(line, |location| {
            line + usize::try_from(location.line()).unwrap_or(1).saturating_sub(1)
        }),
        message: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })
}

/// Calls `each` with every object of a document, the items of Lists included. Anything else, such as an empty document, is
/// skipped.
fn flatten(object: Value, each: &mut impl FnMut(Value)) {
    match object {
        Value::Object(mut map) => {
            let is_list = map
                .get("kind")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("List"));
            match map.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) if is_list => {
                    for item in items {
                        flatten(item, each);
                    }
                }
                Some(items) => {
                    map.insert("items".to_owned(), items);
                    each(Value::Object(map));
                }
                None => each(Value::Object(map)),
            }
        }
        Value::Array(items) => {
            for item in items {
                flatten(item, each);
            }
        }
        _ => {}
    }
}

/// The documents of a stream, with the line on which each begins. A line that begins with `---` separates documents; in
/// a block scalar such a line is indented.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end();
        if content == "---" || content.starts_with("--- ") || content == "..." {
            chunks.push((start_line, &text[start..at]));
            // `--- {a: 1}` carries content on its own line.
            let inline = content.len() > 4 && !content[4..].trim_start().starts_with('#');
            start = if inline { at + 4 } else { at + line.len() };
            start_line = if inline { index + 1 } else { index + 2 };
        }
        at += line.len();
    }
    chunks.push((start_line, &text[start..]));
    chunks
        .into_iter()
        .filter_map(|(line, chunk)| {
            let first = chunk
                .lines()
                .position(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))?;
            let skipped: usize = chunk.split_inclusive('\n').take(first).map(str::len).sum();
            Some((line + first, &chunk[skipped..]))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(file: &str, text: &str) -> Input {
        let mut input = Input::default();
        input.add_text(file, text);
        input
    }

    #[test]
    fn documents_and_lists_are_split_with_their_lines() {
        let text = "# header\n---\n# Source: chart/sa.yaml\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\n---\n---\nkind: List\nitems:\n- kind: Pod\n  metadata: {name: b}\n- kind: Pod\n  metadata: {generateName: c-}\n";
        let documents = read("x.yaml", text).documents;
        let found: Vec<_> = documents.iter().map(|d| (d.line, d.title())).collect();
        assert_eq!(
            found,
            [
                (4, "serviceaccount/a".to_owned()),
                (10, "pod/b".to_owned()),
                (10, "pod/c-".to_owned())
            ]
        );
        assert_eq!(documents[0].line_of(&["name:", "a"]), 7);
    }

    #[test]
    fn json_is_read_and_errors_name_their_line() {
        assert_eq!(
            read("-", r#"{"kind":"Pod","metadata":{"name":"a"}}"#).documents[0].title(),
            "pod/a"
        );
        let input = read("x.yaml", "kind: Pod\nmetadata:\n  name: [\n---\nkind: Pod\n");
        assert!(
            input.errors[0].to_string().starts_with("x.yaml:"),
            "{:?}",
            input.errors
        );
        assert_eq!(input.documents.len(), 1, "the documents after it are read");
        let error = read("x.yaml", "kind: Pod\nkind: Pod\n").errors.remove(0);
        assert!(error.to_string().starts_with("x.yaml:2:"), "{error}");
    }

    #[test]
    fn a_block_scalar_may_contain_separators() {
        let documents = read("x", "kind: ConfigMap\ndata:\n  a: |\n    x\n    ---\n    y\n").documents;
        assert_eq!(documents.len(), 1);
    }
}
