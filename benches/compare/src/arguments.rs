//! The command line: of a user, and of the driver to its children.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::data::{Data, LOAD_BATCH, VALUE_BYTES_MIN};
use crate::results::Shape;
use crate::work::Task;
use crate::workloads::Phase;
use crate::{engines, workloads};

/// Runs the same work with Tenure and with other embedded stores, verifies every answer, and writes a report.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub child: Option<Hidden>,
    #[command(flatten)]
    pub run: RunArguments,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    /// How many records; more than one number for runs of several sizes
    #[arg(long, value_delimiter = ',', default_value = "1000000")]
    records: Vec<u32>,
    /// Bytes of a record, 64 or more; more than one number for runs of several sizes
    #[arg(long, value_delimiter = ',', default_value = "200")]
    value_bytes: Vec<usize>,
    /// Workloads, by name or by what the name begins with; `--list` shows them [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Engines in this build [default: all]
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// How often each is run; medians are reported
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Besides, loads, gets and updates of 64 bytes and of 1 KiB, and loads, gets and openings of ten million records
    #[arg(long)]
    full: bool,
    /// Seconds after which a timed part ends, with what it has done until then
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Minutes after which a phase is given up
    #[arg(long, default_value_t = 20)]
    patience: u64,
    /// Where stores are made. They are deleted again [default: the directory for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Counts the syncs of a commit with `strace`
    #[arg(long)]
    check_syncs: bool,
    /// Makes the reports from the results of an earlier run
    #[arg(long, conflicts_with_all = ["full", "check_syncs", "only", "engines", "dir"])]
    pub from: Option<PathBuf>,
    /// Writes all figures
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Writes the tables
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Writes a page with charts
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Writes the chart of ratios
    #[arg(long)]
    pub svg: Option<PathBuf>,
    /// Lists the workloads and ends
    #[arg(long)]
    pub list: bool,
}

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    /// Each with the workloads that are asked for; none stands for all.
    pub shapes: Vec<(Shape, Vec<String>)>,
    pub engines: Vec<String>,
    pub rounds: u32,
    pub limit: Duration,
    pub patience: Duration,
    pub dir: PathBuf,
    pub check_syncs: bool,
    pub json: Option<PathBuf>,
}

impl RunArguments {
    pub fn plan(&self) -> Result<Plan> {
        let mut shapes = Vec::new();
        for &value_bytes in &self.value_bytes {
            for &records in &self.records {
                shapes.push((Shape { value_bytes, records }, self.only.clone()));
            }
        }
        if self.full {
            let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            for value_bytes in [64, 1024] {
                shapes.push((Shape { value_bytes, records: 1_000_000 }, only(&["load", "get", "update"])));
            }
            let large = Shape { value_bytes: 200, records: 10_000_000 };
            shapes.push((large, only(&["load", "get", "open"])));
        }
        for (Shape { value_bytes, records }, _) in &shapes {
            let is_whole = *records > 0 && records.is_multiple_of(LOAD_BATCH);
            ensure!(is_whole, "the number of records must be a multiple of {LOAD_BATCH}");
            ensure!((VALUE_BYTES_MIN..=65_000).contains(value_bytes), "a record has from 64 to 65,000 bytes");
        }
        for name in &self.only {
            let one = std::slice::from_ref(name);
            let is_known = workloads::ALL.iter().any(|workload| workloads::is_wanted(one, workload.name));
            ensure!(is_known, "there is no workload {name}; `--list` shows all");
        }
        for engine in &self.engines {
            engines::settings(engine)?;
        }
        let all = || engines::NAMES.iter().map(|name| (*name).to_owned()).collect();
        ensure!(self.seconds > 0.0 && self.rounds > 0, "nothing can be measured in no time");
        Ok(Plan {
            shapes,
            engines: if self.engines.is_empty() { all() } else { self.engines.clone() },
            rounds: self.rounds,
            limit: Duration::try_from_secs_f64(self.seconds)?,
            patience: Duration::from_mins(self.patience),
            dir: self.dir.clone().unwrap_or_else(std::env::temp_dir),
            check_syncs: self.check_syncs,
            json: self.json.clone(),
        })
    }
}

#[derive(Debug, Subcommand)]
pub enum Hidden {
    /// What the driver starts
    #[command(hide = true)]
    Child(ChildArguments),
}

#[derive(Debug, Args)]
pub struct ChildArguments {
    #[arg(long)]
    pub engine: String,
    #[arg(long)]
    phase: Phase,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    records: u32,
    #[arg(long)]
    value_bytes: usize,
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long)]
    limit_millis: u64,
    #[arg(long)]
    commits: u32,
    #[arg(long)]
    durable: bool,
    #[arg(long)]
    group: Option<PathBuf>,
}

impl ChildArguments {
    pub fn task(self) -> Task {
        Task {
            phase: self.phase,
            dir: self.dir,
            data: Data { records: self.records, value_bytes: self.value_bytes },
            only: self.only,
            limit: Duration::from_millis(self.limit_millis),
            commits: self.commits,
            durable: self.durable,
            group: self.group,
        }
    }
}

/// The command line of a child.
pub fn child_arguments(engine: &str, task: &Task) -> Vec<OsString> {
    let phase = clap::ValueEnum::to_possible_value(&task.phase).map(|value| value.get_name().to_owned());
    let mut arguments: Vec<OsString> = vec!["child".into(), "--dir".into(), task.dir.clone().into()];
    for (name, value) in [
        ("--engine", engine.to_owned()),
        ("--phase", phase.unwrap_or_default()),
        ("--records", task.data.records.to_string()),
        ("--value-bytes", task.data.value_bytes.to_string()),
        ("--limit-millis", task.limit.as_millis().to_string()),
        ("--commits", task.commits.to_string()),
    ] {
        arguments.extend([name.into(), value.into()]);
    }
    if !task.only.is_empty() {
        arguments.extend(["--only".into(), task.only.join(",").into()]);
    }
    if task.durable {
        arguments.push("--durable".into());
    }
    if let Some(group) = &task.group {
        arguments.extend(["--group".into(), group.clone().into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_understands_what_the_driver_says() {
        let data = Data { records: 3000, value_bytes: 72 };
        let only = vec!["load".to_owned(), "get-2".to_owned()];
        let limit = Duration::from_millis(1500);
        let group = Some("c d".into());
        let task =
            Task { phase: Phase::OpenKilled, dir: "a b".into(), data, only, limit, commits: 7, durable: true, group };
        let line = std::iter::once("compare".into()).chain(child_arguments("redb", &task));
        let Some(Hidden::Child(child)) = Arguments::parse_from(line).child else { panic!("a child") };
        assert_eq!(child.engine, "redb");
        let heard = child.task();
        assert_eq!(format!("{heard:?}"), format!("{task:?}"));
    }

    #[test]
    fn wrong_plans_are_refused() {
        for bad in [&["--records", "10"][..], &["--value-bytes", "63"], &["--only", "lod"], &["--engines", "x"]] {
            let line = ["compare"].iter().chain(bad);
            assert!(Arguments::parse_from(line).run.plan().is_err(), "{bad:?}");
        }
    }
}
