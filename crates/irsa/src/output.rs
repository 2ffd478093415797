//! Where text goes: data to standard output, all else to standard error, colour only where a person sees it.
//!
//! Nothing else in this crate writes to the two streams. What leaves through here holds no control character that this
//! program did not make: see [`Safe`].

mod document;
mod endpoints;
mod findings;
mod safe;
mod table;
mod words;

use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anyhow::bail;
use irsa_core::text::Foreign;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::args::Format;

pub(crate) use document::yaml;
pub(crate) use endpoints::{calls, hosts};
pub(crate) use findings::{Finding, findings};
use safe::Safe;
pub(crate) use table::{Cell, Table};
pub(crate) use words::{counted, indented, wrapped};

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

/// Narrower than this nothing is laid out.
const NARROWEST: usize = 40;

/// The two streams of this process, with what is known about who reads them.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    choice: ColorChoice,
    columns: Option<usize>,
}

/// Standard output, fit for a terminal.
pub(crate) type Stdout = Safe<AutoStream<io::StdoutLock<'static>>>;

impl Output {
    /// Streams that colour as `--color` says. `columns` is what `COLUMNS` says, if it is set.
    pub(crate) fn new(color: Color, columns: Option<usize>) -> Self {
        let choice = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        let columns = columns.or_else(|| {
            let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
            Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
        });
        Self {
            choice,
            columns: columns.map(|columns| columns.max(NARROWEST)),
        }
    }

    /// How many columns a line may have; nothing if nobody says, as in a pipe.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Standard output: only what was asked for. ANSI sequences are removed when nobody can see them.
    pub(crate) fn stdout(&self) -> Stdout {
        Safe::new(AutoStream::new(io::stdout().lock(), self.resolve(&io::stdout())))
    }

    /// Standard error: progress, prompts, hints, errors.
    pub(crate) fn stderr(&self) -> Safe<AutoStream<io::StderrLock<'static>>> {
        Safe::new(AutoStream::new(io::stderr().lock(), self.resolve(&io::stderr())))
    }

    /// Writes text for a person through a buffer.
    ///
    /// # Errors
    /// What `write` or the stream says.
    pub(crate) fn page(
        &self,
        write: impl FnOnce(&mut io::BufWriter<Stdout>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut to = io::BufWriter::new(self.stdout());
        write(&mut to)?;
        to.flush()
    }

    /// Writes one line of data.
    ///
    /// # Errors
    /// What the stream says; `main` treats a closed pipe as success.
    pub(crate) fn out(&self, line: impl Display) -> io::Result<()> {
        let mut to = self.stdout();
        writeln!(to, "{line}")?;
        to.flush()
    }

    /// Writes one line for the person, not for the pipe.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn note(&self, line: impl Display) -> io::Result<()> {
        let mut to = self.stderr();
        writeln!(to, "{line}")?;
        to.flush()
    }

    /// Clears the screen and goes to its first line.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut to = io::stdout().lock();
        to.write_all(b"\x1b[2J\x1b[H")?;
        to.flush()
    }

    /// Writes a document as JSON or YAML, or what a template makes of it.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn document(&self, value: &impl Serialize, format: &Format) -> anyhow::Result<()> {
        let mut to = io::BufWriter::new(io::stdout().lock());
        match format {
            Format::Yaml => document::yaml(value, &mut to)?,
            Format::JsonPath(template) => template.write(&serde_json::to_value(value)?, &mut to)?,
            _ => document::json(value, &mut to)?,
        }
        to.flush()?;
        Ok(())
    }

    /// Writes what clap has to say: help to standard output, a usage error to standard error.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn usage(&self, error: &clap::Error) -> io::Result<()> {
        let text = error.render();
        if error.use_stderr() {
            let mut to = self.stderr();
            write!(to, "{}", text.ansi())?;
            to.flush()
        } else {
            let mut to = self.stdout();
            write!(to, "{}", text.ansi())?;
            to.flush()
        }
    }

    /// Writes a text of our own as it is, such as a script.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn raw(&self, text: &str) -> io::Result<()> {
        let mut to = io::stdout().lock();
        to.write_all(text.as_bytes())?;
        writeln!(to)?;
        to.flush()
    }

    /// Writes a document as one line of JSON.
    ///
    /// # Errors
    /// What the stream says.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> io::Result<()> {
        let mut to = io::stdout().lock();
        document::json_line(value, &mut to)?;
        to.flush()
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
        let mut to = self.stderr();
        write!(to, "{}", format_args!("{name}: {}", "error:".red().bold()))?;
        // Our own sentences may have lines; the words of servers and files are part of them.
        for line in text.lines() {
            writeln!(to, " {}", Foreign(line))?;
        }
        to.flush()
    }

    /// Asks a question that is answered with y or n; only `y` and `yes` mean yes. `otherwise` says what was not done.
    ///
    /// # Errors
    /// There is no terminal to ask at, or it cannot be read.
    pub(crate) fn ask(&self, question: &str, otherwise: &str) -> anyhow::Result<bool> {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            bail!("there is no terminal to ask at: use --yes to go on without asking; {otherwise}");
        }
        {
            let mut to = self.stderr();
            write!(to, "{question} [y/N] ")?;
            to.flush()?;
        }
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Whether a person watches standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether a person watches standard error.
    pub(crate) fn is_error_terminal(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn resolve(&self, stream: &impl anstream::stream::RawStream) -> ColorChoice {
        match self.choice {
            ColorChoice::Auto => AutoStream::choice(stream),
            fixed => fixed,
        }
    }
}
