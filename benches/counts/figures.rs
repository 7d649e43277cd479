//! Counts of an operation, and when two of them differ too much.
//!
//! Owns: the comparison, in isolation, so that a test can show what it detects. Never: counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maximum difference between two counts, as a fraction of the expected one.
pub(crate) const TOLERANCE: f64 = 0.03;

/// Difference between two counts of allocations that is always accepted: a buffer that grows once in thousands of
/// operations is an accident.
pub(crate) const ALLOCATIONS_TOLERANCE: f64 = 0.005;

/// Difference between two counts of instructions that is always accepted for an operation that allocates: two builds of
/// the same source in different directories differ by twenty in a view. Its allocations are compared as strictly as all
/// others.
pub(crate) const ALLOCATING_TOLERANCE: f64 = 24.0;

/// The cost of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) instructions: Option<f64>,
    pub(crate) allocations: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Close,
    /// The operations whose counts differ too much, or that one side does not have.
    Apart(Vec<String>),
}

/// To three decimal places, as in the file.
pub(crate) fn rounded(count: f64) -> f64 {
    (count * 1000.0).round() / 1000.0
}

/// Whether a count is as expected. Better ones are not: a later regression would hide behind them.
fn is_close(expected: f64, counted: f64, least: f64) -> bool {
    (counted - expected).abs() <= (expected * TOLERANCE).max(least)
}

/// A table, and whether all is as expected.
pub(crate) fn compare(expected: &BTreeMap<String, Counts>, counted: &BTreeMap<String, Counts>) -> (String, Verdict) {
    let mut rows = vec![
        "| operation | instructions: expected | counted | change | allocations: expected | counted | |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    let mut apart = Vec::new();
    let mut names: Vec<&String> = expected.keys().chain(counted.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let row = match (expected.get(name), counted.get(name)) {
            (Some(expected), Some(counted)) => {
                let pair = expected.instructions.zip(counted.instructions);
                let least = if expected.allocations >= 1.0 { ALLOCATING_TOLERANCE } else { 0.0 };
                let instructions = pair.is_none_or(|(expected, counted)| is_close(expected, counted, least));
                if !instructions || !is_close(expected.allocations, counted.allocations, ALLOCATIONS_TOLERANCE) {
                    apart.push(name.clone());
                }
                let (before, now) = (expected.instructions.unwrap_or_default(), counted.instructions);
                let now_text = now.map_or("–".to_owned(), |now| format!("{now:.1}"));
                let change = now.map_or("–".to_owned(), |now| format!("{:+.2} %", (now / before - 1.0) * 100.0));
                let (allocations, allocations_now) = (expected.allocations, counted.allocations);
                format!("{before:.1} | {now_text} | {change} | {allocations:.3} | {allocations_now:.3}")
            }
            (expected, _) => {
                apart.push(name.clone());
                let what = if expected.is_some() { "not counted" } else { "not in the file" };
                format!("{what} | | | | ")
            }
        };
        let mark = if apart.last() == Some(name) { "APART" } else { "" };
        rows.push(format!("| {name} | {row} | {mark} |"));
    }
    let verdict = if apart.is_empty() { Verdict::Close } else { Verdict::Apart(apart) };
    (rows.join("\n"), verdict)
}
