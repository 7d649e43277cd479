//! Where results go: stdout or a file.
//!
//! Owns: buffering, telling a reader that left from a failed write, and escaping control characters for a terminal.
//! Never: writes messages for people; those go to stderr through [`note`].

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;

use serde_json::Value;

use crate::escape::Escape;
use crate::failure::{Exit, Failure, Outcome, one_line};
use crate::process;

/// Bytes buffered before they are written.
const BUFFER_BYTES: usize = 128 << 10;

/// A destination for results.
pub struct Output {
    name: String,
    sink: BufWriter<File>,
    /// Set if the sink is a terminal.
    escape: Option<Escape>,
    /// Whether the command ends quietly when the reader leaves.
    reader_may_leave: bool,
}

impl Output {
    /// Stdout. A command that changes a store opens it first, so that it does nothing if stdout is closed.
    pub fn stdout() -> Outcome<Self> {
        Ok(Self::new("stdout".to_owned(), process::stdout()?))
    }

    /// `path`, truncated first, or stdout if there is none.
    pub fn file_or_stdout(path: Option<&Path>) -> Outcome<Self> {
        let Some(path) = path else { return Self::stdout() };
        let name = path.display().to_string();
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let file = file.map_err(|error| Failure::output(&name, &error))?;
        Ok(Self::new(name, file))
    }

    /// `path`, appended to beside other work: a broken pipe is an error.
    pub fn append(path: &Path) -> Outcome<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|error| Failure::output(&name, &error))?;
        Ok(Self { reader_may_leave: false, ..Self::new(name, file) })
    }

    fn new(name: String, sink: File) -> Self {
        let escape = sink.is_terminal().then(Escape::default);
        Self { name, sink: BufWriter::with_capacity(BUFFER_BYTES, sink), escape, reader_may_leave: true }
    }

    /// Writes everything as it is, even to a terminal.
    #[must_use]
    pub fn raw(self) -> Self {
        Self { escape: None, ..self }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        match Failure::output(&self.name, error) {
            Failure::ReaderGone if !self.reader_may_leave => {
                let message = format!("cannot write {}: {error}", self.name);
                Failure::new(Exit::Failed, message, "let the reader read to the end")
            }
            other => other,
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        let written = match &mut self.escape {
            Some(escape) => self.sink.write_all(&escape.push(bytes)),
            None => self.sink.write_all(bytes),
        };
        written.map_err(|error| self.failed(&error))
    }

    pub fn text(&mut self, text: &str) -> Outcome {
        self.bytes(text.as_bytes())
    }

    pub fn line(&mut self, text: &str) -> Outcome {
        self.text(text)?;
        self.bytes(b"\n")
    }

    /// A JSON document on a line of its own.
    pub fn json(&mut self, value: &Value) -> Outcome {
        self.line(&value.to_string())
    }

    /// Writes everything out. Unfinished output is dropped.
    pub fn finish(mut self) -> Outcome {
        let rest = self.escape.as_mut().map(Escape::end).unwrap_or_default();
        self.sink.write_all(&rest).and_then(|()| self.sink.flush()).map_err(|error| self.failed(&error))
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> Outcome {
        self.sink.flush().map_err(|error| self.failed(&error))
    }
}

/// A remark for people. A closed stderr does not stop a command.
pub fn note(text: &str) {
    let line = format!("{}\n", one_line(text));
    drop(io::stderr().write_all(line.as_bytes()));
}
