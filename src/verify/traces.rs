//! Whether a writer is active while a store is verified.
//!
//! Owns: what is compared. Never: takes the lock, which would block a writer.

use crate::backing::Backing;

/// What a writer changes: the names of files, and the lengths of the newest ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traces {
    names: Vec<String>,
    newest: [Option<u64>; 2],
}

impl Traces {
    /// The current values. Unreadable ones are left out.
    pub(super) fn of(backing: &dyn Backing) -> Self {
        let mut names = backing.list().unwrap_or_default();
        names.sort_unstable();
        let len = |name: &String| backing.open(name).and_then(|file| file.len()).ok();
        let newest = |prefix: &str| names.iter().rfind(|name| name.starts_with(prefix)).and_then(len);
        let newest = [newest("log-"), newest("manifest-")];
        Self { names, newest }
    }
}
