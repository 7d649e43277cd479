//! Tenure beside other embedded stores.
//!
//! One process drives: it starts a fresh process for each phase of each engine, collects what they print, and writes the
//! report. See README.md.

mod arguments;
mod data;
mod driver;
mod engine;
mod engines;
mod machine;
mod report;
mod results;
mod work;
mod workloads;

use anyhow::Result;
use clap::Parser as _;

use crate::arguments::{Arguments, Hidden};
use crate::results::Results;

fn main() -> Result<()> {
    let Arguments { child, run } = Arguments::parse();
    if let Some(Hidden::Child(child)) = child {
        let engine = child.engine.clone();
        return engines::run(&engine, &child.task());
    }
    if run.list {
        for workload in workloads::ALL {
            println!("{:20} {}", workload.name, workload.title);
        }
        return Ok(());
    }
    let results = match &run.from {
        Some(path) => Results::read(path)?,
        None => driver::run(&run.plan()?)?,
    };
    if let Some(path) = &run.json {
        results.write(path)?;
    }
    let markdown = report::markdown::page(&results)?;
    match &run.markdown {
        Some(path) => std::fs::write(path, markdown)?,
        None => println!("{markdown}"),
    }
    if let Some(path) = &run.html {
        std::fs::write(path, report::html::page(&results)?)?;
    }
    if let Some(path) = &run.svg {
        std::fs::write(path, report::charts::ratios(&results)?)?;
    }
    Ok(())
}
