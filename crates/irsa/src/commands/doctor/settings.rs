//! What the arguments of `irsa doctor` mean.

use std::path::Path;

use irsa_fleet::cluster::ConnectOptions;
use irsa_fleet::directory::Scope;
use irsa_fleet::doctor::{self, Options};

use super::args::Args;
use crate::args::{Format, read_input};

/// Everything decided.
pub(super) struct Settings {
    pub(super) question: Question,
    pub(super) format: Format,
}

/// What is to be found out.
pub(super) enum Question {
    /// What an error text means.
    Error(String),
    /// What is wrong with a cluster.
    Cluster {
        connect: ConnectOptions,
        options: Box<Options>,
    },
}

impl Settings {
    pub(super) fn resolve(args: Args) -> anyhow::Result<Self> {
        let format = args.format;
        let question = match args.error {
            Some(text) if text == "-" => Question::Error(read_input(Path::new("-"))?),
            Some(text) => Question::Error(text),
            None => {
                let mut overrides = args.knowledge.overrides();
                if let Some(path) = &args.cluster_file {
                    let found = doctor::platform_of_describe_cluster(&read_input(path)?)
                        .map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
                    overrides.platform_version.get_or_insert(found);
                }
                Question::Cluster {
                    connect: args.cluster.options(),
                    options: Box::new(Options {
                        scope: Scope {
                            namespace: args.namespace,
                            ..Scope::default()
                        },
                        overrides,
                        probe: args.probe,
                    }),
                }
            }
        };
        Ok(Self { question, format })
    }
}
