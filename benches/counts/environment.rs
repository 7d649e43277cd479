//! What counts depend on besides the code: the compiler, the C library, and how the program was built.

use std::process::Command;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// As the compiler reports it.
    pub(crate) rustc: String,
    pub(crate) target: String,
    pub(crate) libc: String,
    /// Built in the many small units of an incremental build, between which less is inlined: 2 to 8 % more
    /// instructions.
    pub(crate) incremental: bool,
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn here() -> Environment {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = said(&compiler, &["-vV"]);
    let line = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    Environment {
        rustc: line("release: "),
        target: line("host: "),
        libc: said("getconf", &["GNU_LIBC_VERSION"]).trim().to_owned(),
        incremental: option_env!("CARGO_INCREMENTAL").is_some_and(|value| value != "0"),
    }
}
