//! Figures: as a child prints them, as the driver collects them, as a file keeps them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// A line that a child prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Measure {
        workload: String,
        value: f64,
    },
    /// All is done, and the process waits to be killed.
    Ready,
}

fn print_line(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

pub fn print_measure(workload: &str, value: f64) -> Result<()> {
    print_line(&Line::Measure { workload: workload.to_owned(), value })
}

pub fn print_ready() -> Result<()> {
    print_line(&Line::Ready)
}

/// How many records of which size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    pub value_bytes: usize,
    pub records: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records of {} bytes", crate::report::number(f64::from(self.records)), self.value_bytes)
    }
}

/// One figure of one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    #[serde(flatten)]
    pub shape: Shape,
    pub round: u32,
    pub engine: String,
    pub workload: String,
    pub value: f64,
}

/// What a trace of system calls has counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SyncCount {
    pub engine: String,
    /// Syncs for each commit that is durable when it is acknowledged.
    pub durable: f64,
    /// Syncs for each commit that need not be.
    pub buffered: f64,
}

/// A child that ended with an error: the engine has no figures there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    #[serde(flatten)]
    pub shape: Shape,
    pub engine: String,
    pub message: String,
}

/// A run, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: Machine,
    pub versions: BTreeMap<String, String>,
    pub rounds: u32,
    pub samples: Vec<Sample>,
    pub syncs: Vec<SyncCount>,
    pub failures: Vec<Failure>,
}

impl Results {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Shapes that were measured, smaller records first.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = self.samples.iter().map(|sample| sample.shape).collect();
        shapes.sort_unstable();
        shapes.dedup();
        shapes
    }

    /// The median of all rounds.
    pub fn figure(&self, shape: Shape, engine: &str, workload: &str) -> Option<f64> {
        let of = |sample: &&Sample| sample.shape == shape && sample.engine == engine && sample.workload == workload;
        let mut values: Vec<f64> = self.samples.iter().filter(of).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| median(&mut values))
    }
}

/// The middle value; of an even number the mean of the two in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => f64::NAN,
        _ if values.len() % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
        assert!(median(&mut []).is_nan());
    }
}
