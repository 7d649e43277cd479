//! How handles and copies end: a panic is reported, commits are atomic, and a copy does not change.

mod backups;
mod half_commits;
mod names;
mod panics;
