//! The flags that the rules look at. What they are and what they mean says `irsa_core::flags`; here they become a part
//! of the command line.

use clap::{Arg, ArgMatches, Command};
use irsa_core::flags::{FLAGS, Flag, FlagError, Kind};

/// Every flag of [`FLAGS`]. It holds nothing: the arguments are read as a whole by [`irsa_core::flags::read`].
#[derive(Debug)]
pub(crate) struct Rules;

impl clap::FromArgMatches for Rules {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

impl clap::Args for Rules {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| command.arg(arg(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(flag: &'static Flag) -> Arg {
    let check = |text: &str| -> Result<String, FlagError> {
        flag.check(text)?;
        Ok(text.to_owned())
    };
    let mut arg = Arg::new(flag.name)
        .long(flag.name)
        .env(flag.variable)
        .help(flag.help)
        .help_heading(flag.heading)
        .value_parser(check);
    if !flag.value_name.is_empty() {
        arg = arg.value_name(flag.value_name);
    }
    if let Some(default) = flag.default {
        arg = arg.default_value(default).hide_default_value(default.is_empty());
    }
    if let Some(requires) = flag.requires {
        arg = arg.requires(requires);
    }
    match flag.kind {
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Number => arg.allow_negative_numbers(true),
        Kind::Word(_) | Kind::Text => arg,
    }
}
