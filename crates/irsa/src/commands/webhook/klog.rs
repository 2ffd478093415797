//! The klog flags of the Go webhook, mapped to what this logs: lines on standard error.
//!
//! What only concerns klog's log files is accepted, because it has no effect there either while klog logs to standard
//! error. What asks for files, or for something that cannot be done, is refused with a sentence.

use anyhow::bail;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::go;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line an event
    Text,
    /// One JSON object an event
    Json,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Logging")]
pub(crate) struct Logging {
    /// How much is logged: 0 what an operator should know, 3 also each mutated pod, 5 everything
    #[arg(
        short = 'v',
        long = "v",
        value_name = "LEVEL",
        default_value = "0",
        value_parser = go::integer,
        allow_negative_numbers = true,
        env = "IRSA_WEBHOOK_V"
    )]
    pub(super) v: i64,
    /// The form of the log lines on standard error
    #[arg(long, value_enum, default_value = "text", env = "IRSA_WEBHOOK_LOG_FORMAT")]
    pub(super) log_format: LogFormat,
    /// A filter such as `irsa_webhook=debug,kube=info`, instead of `-v`
    #[arg(long, value_name = "FILTER", env = "IRSA_LOG")]
    pub(super) log_filter: Option<String>,

    /// Log to standard error, which is the only place
    #[arg(long = "logtostderr", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide = true)]
    logtostderr: bool,
    /// Log to standard error too, which is the only place
    #[arg(long = "alsologtostderr", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide = true)]
    alsologtostderr: bool,
    /// Show the source file of a line
    #[arg(long = "add_dir_header", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide = true)]
    add_dir_header: bool,
    /// Leave out time and level
    #[arg(long = "skip_headers", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide = true)]
    skip_headers: bool,
    /// Of klog's files only
    #[arg(long = "skip_log_headers", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide = true)]
    _skip_log_headers: bool,
    /// Of klog's files only
    #[arg(long = "one_output", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide = true)]
    _one_output: bool,
    /// Of klog's files only
    #[arg(long = "log_file_max_size", default_value = "1800", value_parser = go::integer, hide = true)]
    _log_file_max_size: i64,
    /// Of klog's files only
    #[arg(long = "stderrthreshold", default_value = "2", hide = true)]
    _stderrthreshold: String,
    /// Of klog's files only
    #[arg(long = "alsologtostderrthreshold", default_value = "", hide = true)]
    _alsologtostderrthreshold: String,
    /// Of klog's files only
    #[arg(long = "legacy_stderr_threshold_behavior", value_parser = go::boolean, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide = true)]
    _legacy_stderr_threshold_behavior: bool,
    /// Refused unless empty
    #[arg(long = "log_dir", default_value = "", hide = true)]
    log_dir: String,
    /// Refused unless empty
    #[arg(long = "log_file", default_value = "", hide = true)]
    log_file: String,
    /// Refused unless empty
    #[arg(long = "vmodule", default_value = "", hide = true)]
    vmodule: String,
    /// Refused unless empty
    #[arg(long = "log_backtrace_at", default_value = ":0", hide = true)]
    log_backtrace_at: String,
}

impl Logging {
    fn check(&self) -> anyhow::Result<()> {
        if !self.logtostderr && !self.alsologtostderr {
            bail!(
                "--logtostderr=false cannot be honoured: this logs to standard error only; drop the flag and redirect the stream"
            );
        }
        for (flag, value) in [("--log_dir", &self.log_dir), ("--log_file", &self.log_file)] {
            if !value.is_empty() {
                bail!(
                    "{flag} `{value}` cannot be honoured: this logs to standard error only; drop the flag and redirect the stream"
                );
            }
        }
        if !self.vmodule.is_empty() {
            bail!(
                "--vmodule `{}` cannot be honoured: it names files of the Go webhook; use --log-filter, for instance irsa_webhook::admit=debug",
                self.vmodule
            );
        }
        if !matches!(self.log_backtrace_at.as_str(), "" | ":0") {
            bail!(
                "--log_backtrace_at `{}` cannot be honoured: no stack traces are logged; drop the flag",
                self.log_backtrace_at
            );
        }
        Ok(())
    }

    fn filter(&self) -> anyhow::Result<EnvFilter> {
        if let Some(filter) = &self.log_filter {
            return EnvFilter::try_new(filter)
                .map_err(|error| anyhow::anyhow!("--log-filter `{filter}`: {error}"));
        }
        // klog's levels: 3 tells each mutated pod, 4 requests and what was ignored, 5 the cache.
        let directives = match self.v {
            ..=2 => "info",
            3 => "info,irsa_webhook=debug",
            4 => "info,irsa_webhook=debug,kube_client=debug",
            5..=7 => "debug,irsa_webhook=trace",
            _ => "trace",
        };
        Ok(EnvFilter::new(directives))
    }

    /// Installs the log of this process.
    ///
    /// # Errors
    /// A flag that cannot be honoured, said in a sentence.
    pub(super) fn install(&self) -> anyhow::Result<()> {
        self.check()?;
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_file(self.add_dir_header)
            .with_line_number(self.add_dir_header)
            .with_target(self.v >= 4)
            .with_level(!self.skip_headers);
        let registry = tracing_subscriber::registry().with(self.filter()?);
        match (self.log_format, self.skip_headers) {
            (LogFormat::Json, _) => registry.with(layer.json().flatten_event(true)).try_init(),
            (LogFormat::Text, true) => registry.with(layer.without_time()).try_init(),
            (LogFormat::Text, false) => registry.with(layer).try_init(),
        }?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Line {
        #[command(flatten)]
        args: Logging,
    }

    fn parse(words: &[&str]) -> Logging {
        Line::try_parse_from(std::iter::once("webhook").chain(words.iter().copied()))
            .unwrap()
            .args
    }

    #[test]
    fn klog_flags_are_accepted_in_the_spellings_of_pflag() {
        for words in [
            &["-v", "4"] as &[_],
            &["-v=4"],
            &["-v4"],
            &["--v=4"],
            &["--v", "4"],
        ] {
            assert_eq!(parse(words).v, 4, "{words:?}");
        }
        parse(&[
            "--logtostderr",
            "--alsologtostderr=true",
            "--stderrthreshold=INFO",
            "--log_file_max_size",
            "5",
        ])
        .check()
        .unwrap();
    }

    #[test]
    fn levels_and_numbers_are_read_as_go_reads_them_and_the_last_one_counts() {
        for (words, level) in [
            (&["-v=-1"] as &[_], -1),
            (&["-v", "-1"], -1),
            (&["--v=0x3"], 3),
            (&["-v=2", "-v=4"], 4),
            (&["--v=1", "-v", "0b11"], 3),
        ] {
            assert_eq!(parse(words).v, level, "{words:?}");
        }
        parse(&[
            "--log_file_max_size=1_800",
            "--legacy_stderr_threshold_behavior",
            "--legacy_stderr_threshold_behavior=false",
            "--alsologtostderrthreshold=2",
            "--logtostderr=false",
            "--logtostderr",
        ])
        .check()
        .unwrap();
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for words in [
            &["--logtostderr=false"] as &[_],
            &["--log_dir=/var/log"],
            &["--log_file", "/x"],
            &["--vmodule=handler=5"],
            &["--log_backtrace_at=main.go:10"],
        ] {
            let error = parse(words).check().unwrap_err().to_string();
            assert!(
                error.contains("cannot be honoured") && error.contains("--"),
                "{error}"
            );
        }
    }
}
