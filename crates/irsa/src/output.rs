//! Where text goes: data to standard output, all else to standard error, colour only where a person sees it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use owo_colors::OwoColorize;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The two streams of this process, with what is known about who reads them.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    choice: ColorChoice,
}

impl Output {
    /// Streams that colour as `--color` says.
    pub(crate) fn new(color: Color) -> Self {
        let choice = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        Self { choice }
    }

    /// Standard output: only what was asked for. ANSI sequences are removed when nobody can see them.
    pub(crate) fn stdout(&self) -> AutoStream<io::StdoutLock<'static>> {
        AutoStream::new(io::stdout().lock(), self.resolve(&io::stdout()))
    }

    /// Standard error: progress, prompts, hints, errors.
    pub(crate) fn stderr(&self) -> AutoStream<io::StderrLock<'static>> {
        AutoStream::new(io::stderr().lock(), self.resolve(&io::stderr()))
    }

    /// Writes one line of data.
    ///
    /// # Errors
    /// What the stream says; `main` treats a closed pipe as success.
    pub(crate) fn out(&self, line: impl Display) -> io::Result<()> {
        writeln!(self.stdout(), "{line}")
    }

    /// Writes one line for the person, not for the pipe.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn note(&self, line: impl Display) -> io::Result<()> {
        writeln!(self.stderr(), "{line}")
    }

    /// One readable report of an error and its causes.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn error(&self, name: &str, error: &anyhow::Error) -> io::Result<()> {
        let mut text = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            // Many libraries repeat their source in their own text.
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        writeln!(
            self.stderr(),
            "{} {text}",
            format_args!("{name}: {}", "error:".red().bold())
        )
    }

    /// Whether a person watches standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether a question can be asked: both ends of the conversation are a terminal.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn resolve(&self, stream: &impl anstream::stream::RawStream) -> ColorChoice {
        match self.choice {
            ColorChoice::Auto => AutoStream::choice(stream),
            fixed => fixed,
        }
    }
}
