//! The command line as a user runs it: a process, its arguments, its output, and its exit code.
//!
//! `errors`, `places`, `points`, `loads`, `endings`, `refusals`, `change_errors` and `backup_errors` have a test for each row of
//! `docs/errors.md`, which asserts the row's message, advice and exit code.
#![cfg(feature = "cli")]

#[cfg(test)]
#[path = "cli/backup_errors.rs"]
mod backup_errors;
#[cfg(test)]
#[path = "cli/backups.rs"]
mod backups;
#[cfg(all(test, feature = "remote"))]
#[path = "cli/bucket_points.rs"]
mod bucket_points;
#[cfg(test)]
#[path = "cli/change_errors.rs"]
mod change_errors;
#[cfg(test)]
#[path = "cli/changes.rs"]
mod changes;
#[cfg(test)]
#[path = "cli/commands.rs"]
mod commands;
#[cfg(test)]
#[path = "cli/demo.rs"]
mod demo;
#[cfg(test)]
#[path = "cli/documented.rs"]
mod documented;
#[cfg(test)]
#[path = "cli/dump.rs"]
mod dump;
#[cfg(test)]
#[path = "cli/endings.rs"]
mod endings;
#[cfg(test)]
#[path = "cli/errors.rs"]
mod errors;
#[cfg(test)]
#[path = "cli/export.rs"]
mod export;
#[cfg(test)]
#[path = "cli/id_keys.rs"]
mod id_keys;
#[cfg(test)]
#[path = "cli/import.rs"]
mod import;
#[cfg(test)]
#[path = "cli/index.rs"]
mod index;
#[cfg(test)]
#[path = "cli/interrupt.rs"]
mod interrupt;
#[cfg(test)]
#[path = "cli/loads.rs"]
mod loads;
#[cfg(test)]
#[path = "cli/no_keys.rs"]
mod no_keys;
#[cfg(test)]
#[path = "cli/past.rs"]
mod past;
#[cfg(test)]
#[path = "cli/places.rs"]
mod places;
#[cfg(test)]
#[path = "cli/points.rs"]
mod points;
#[cfg(test)]
#[path = "cli/refusals.rs"]
mod refusals;
#[cfg(test)]
#[path = "cli/rescue.rs"]
mod rescue;
#[cfg(test)]
#[path = "cli/space.rs"]
mod space;
#[cfg(test)]
#[path = "cli/support.rs"]
mod support;
#[cfg(test)]
#[path = "cli/table.rs"]
mod table;
#[cfg(test)]
#[path = "cli/terminal.rs"]
mod terminal;
#[cfg(test)]
#[path = "cli/untrusted.rs"]
mod untrusted;
