//! How a command ends when it fails.
//!
//! Owns: the exit codes, and which library error maps to which. Never: prints to stdout.

use std::io::Write;
use std::process::ExitCode;
use std::{fmt, io};

use serde_json::json;
use tenure::Error;

use crate::escape::is_obeyed;

/// The result of a command or of a step of it.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Exit codes; the table in `docs/cli.md` describes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Corrupt = 4,
    BadInput = 5,
    Locked = 6,
    NoSpace = 7,
    NotAStore = 8,
    Stored = 9,
    InDoubt = 10,
    /// As shells report a process that a signal ended.
    Interrupted = 130,
}

impl Exit {
    pub fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }

    /// Its name in JSON.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not found",
            Self::Corrupt => "damaged",
            Self::BadInput => "bad input",
            Self::Locked => "locked",
            Self::NoSpace => "no space",
            Self::NotAStore => "not a store",
            Self::Stored => "stored",
            Self::InDoubt => "in doubt",
            Self::Interrupted => "interrupted",
        }
    }

    /// The code of an error of the library.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Corrupt(_) | Error::DamagedIndex { .. } => Self::Corrupt,
            Error::Unsupported { .. } | Error::NotAStore { .. } => Self::NotAStore,
            Error::Locked { .. } | Error::Fenced { .. } => Self::Locked,
            Error::NoSpace { .. } => Self::NoSpace,
            Error::Deleted { .. } | Error::NeverAllocated { .. } | Error::NoSuchSet { .. } | Error::WrongSet { .. } => {
                Self::NotFound
            }
            Error::NoSuchIndex { .. }
            | Error::PointGone { .. }
            | Error::Gone { .. }
            | Error::RolledBack { .. }
            | Error::NoSuchConsumer { .. }
            | Error::ConsumerDropped { .. } => Self::NotFound,
            Error::BadDestination { .. }
            | Error::BadName { .. }
            | Error::BadOption { .. }
            | Error::BadKeyText { .. } => Self::Usage,
            Error::TooLarge { .. }
            | Error::Source { .. }
            | Error::KeyTooLong { .. }
            | Error::UniqueViolation { .. } => Self::BadInput,
            Error::Indeterminate { .. } | Error::Poisoned { .. } => Self::InDoubt,
            _ => Self::Failed,
        }
    }
}

/// Why a command ended.
#[derive(Debug)]
pub enum Failure {
    /// The reader of stdout is gone: nothing more to do, and nothing to report.
    ReaderGone,
    /// A failure to report.
    Told {
        /// The exit code.
        exit: Exit,
        /// What is wrong, and where.
        message: String,
        /// What to do.
        help: String,
    },
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Told { exit, message: message.into(), help: help.into() }
    }

    /// Arguments that cannot be combined.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, "see the command's `--help`")
    }

    /// An input that cannot be opened or read.
    pub fn input(action: &str, name: &str, error: &io::Error) -> Self {
        Self::new(Exit::BadInput, format!("cannot {action} {name}: {error}"), Self::cure(name, error))
    }

    /// An output that cannot be written.
    pub fn output(name: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::new(Exit::NoSpace, format!("no room to write {name}: {error}"), "free space and run it again")
            }
            _ => Self::new(Exit::Failed, format!("cannot write {name}: {error}"), Self::cure(name, error)),
        }
    }

    fn cure(name: &str, error: &io::Error) -> String {
        if error.raw_os_error() == Some(libc::EBADF) {
            return format!("{name} is closed, or open in the wrong direction: connect it to a file or a pipe");
        }
        "check the path and its permissions".to_owned()
    }

    /// Adds to the advice.
    #[must_use]
    pub fn and_help(self, more: impl fmt::Display) -> Self {
        match self {
            Self::ReaderGone => Self::ReaderGone,
            Self::Told { exit, message, help } => Self::Told { exit, message, help: format!("{help}; {more}") },
        }
    }

    /// Replaces the advice.
    #[must_use]
    pub fn instead(self, help: String) -> Self {
        match self {
            Self::ReaderGone => Self::ReaderGone,
            Self::Told { exit, message, .. } => Self::Told { exit, message, help },
        }
    }

    /// Adds that it is uncertain what is stored, and how to find out.
    #[must_use]
    pub fn in_doubt(self, look: impl fmt::Display) -> Self {
        match self.and_help(look) {
            Self::ReaderGone => Self::ReaderGone,
            Self::Told { message, help, .. } => Self::Told { exit: Exit::InDoubt, message, help },
        }
    }

    /// Prints the error, as JSON if the output is JSON, and returns the exit code of the process.
    pub fn report(self, is_json: bool) -> ExitCode {
        let Self::Told { exit, message, help } = self else { return Exit::Ok.code() };
        let text = if is_json {
            format!("{}\n", json!({ "error": message, "help": help, "code": exit as u8, "kind": exit.kind() }))
        } else {
            format!("error: {}\nhelp: {}\n", one_line(&message), one_line(&help))
        };
        // Stderr may be closed; the exit code still reports the failure.
        io::stderr().write_all(text.as_bytes()).map_or(exit.code(), |()| exit.code())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Exit::of(&error), error.to_string(), error.advice())
    }
}

/// Names can contain line breaks and control characters; a report stays on its line.
pub fn one_line(text: &str) -> String {
    text.chars().map(|char| if is_obeyed(char) { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_stays_on_its_line() {
        assert_eq!(one_line("a\nb\x1b[31m\u{202e}"), "a\u{fffd}b\u{fffd}[31m\u{fffd}");
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::output("stdout", &gone), Failure::ReaderGone));
    }
}
