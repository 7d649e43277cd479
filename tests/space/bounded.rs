//! Work and files are bounded by the content of the store: collecting terminates, and histories leave no trail.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code outside of test functions; what is not checked is told"
)]

mod cold;
mod collecting;
mod counted;
mod cycles;
mod openings;

/// The number of rounds of a test: from the environment variable, or a few.
fn rounds(variable: &str, few: u64) -> u64 {
    std::env::var(variable).map_or(few, |rounds| rounds.parse().expect("a number"))
}
