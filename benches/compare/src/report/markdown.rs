//! The tables as Markdown.

use anyhow::Result;
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::driver::HARDWARE;
use crate::engines::{OWN, settings};
use crate::report::{best_other, engines, holds, number, ratio};
use crate::results::{Results, Shape};
use crate::workloads;
use crate::workloads::{Bar, Workload};

/// The whole report.
pub fn page(results: &Results) -> Result<String> {
    let mut parts = vec![place(results)];
    for shape in results.shapes() {
        parts.push(format!("## {shape}\n\n{}", bars(results, shape)));
        parts.push(figures(results, shape));
        parts.extend(hardware(results, shape));
    }
    parts.extend(syncs(results));
    parts.push(format!("## Settings\n\n{}", engine_settings(results)?));
    if !results.failures.is_empty() {
        let line =
            |failure: &crate::results::Failure| format!("- {}, {}: {}", failure.engine, failure.shape, failure.message);
        let lines: Vec<String> = results.failures.iter().map(line).collect();
        parts.push(format!("## Failures\n\n{}", lines.join("\n")));
    }
    Ok(parts.join("\n\n") + "\n")
}

fn table(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut builder = Builder::default();
    rows.into_iter().for_each(|row| builder.push_record(row));
    builder.build().with(Style::markdown()).to_string()
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn place(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<String> =
        results.versions.iter().map(|(package, version)| format!("{package} {version}")).collect();
    format!(
        "Machine: {} cores, {} GiB, Linux {}, {}. Date: {}. Commit: {}. {}. Rounds: {}, medians.\n\nVersions: {}.",
        machine.cores,
        machine.memory_gibibytes,
        machine.kernel,
        machine.file_system,
        machine.date,
        machine.commit,
        machine.rustc,
        results.rounds,
        versions.join(", "),
    )
}

/// Tenure beside the best other engine, and what is asked of it.
pub fn bars(results: &Results, shape: Shape) -> String {
    let mut rows = vec![row(&["workload", "unit", "Tenure", "best other", "`ideal`", "ratio", "must", "aim", ""])];
    for workload in workloads::ALL {
        let Some(own) = results.figure(shape, OWN, workload.name) else { continue };
        let other = best_other(results, shape, workload);
        let other = other.map_or_else(|| "–".to_owned(), |best| format!("{} {}", best.engine, number(best.value)));
        let ideal = results.figure(shape, crate::engines::LIMIT, workload.name).map_or_else(String::new, number);
        let ratio = ratio(results, shape, workload).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let verdict = holds(results, shape, workload).map_or("", |holds| if holds { "holds" } else { "**missed**" });
        let (must, aim) = asked(workload);
        let unit = workload.unit.label();
        rows.push(row(&[workload.title, unit, &number(own), &other, &ideal, &ratio, &must, &aim, verdict]));
    }
    table(rows)
}

/// What is asked, for a cell.
pub fn asked(workload: &Workload) -> (String, String) {
    match workload.bar {
        Bar::None => (String::new(), String::new()),
        Bar::Ratio { must, aim } => (format!("{must}"), format!("{aim}")),
        Bar::AtMost { must, aim } => (format!("≤ {must}"), format!("≤ {aim}")),
    }
}

/// Every figure.
fn figures(results: &Results, shape: Shape) -> String {
    let engines = engines(results);
    let heads = ["workload".to_owned(), "unit".to_owned()];
    let mut rows: Vec<Vec<String>> = vec![heads.into_iter().chain(engines.iter().cloned()).collect()];
    for workload in workloads::ALL {
        let cell = |engine: &String| results.figure(shape, engine, workload.name).map_or_else(String::new, number);
        let cells: Vec<String> = engines.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(row(&[workload.title, workload.unit.label()]).into_iter().chain(cells).collect());
        }
    }
    table(rows)
}

fn hardware(results: &Results, shape: Shape) -> Option<String> {
    let mut rows = vec![row(&["the hardware alone", "unit", "figure"])];
    for workload in workloads::ALL {
        if let Some(value) = results.figure(shape, HARDWARE, workload.name) {
            rows.push(row(&[workload.title, workload.unit.label(), &number(value)]));
        }
    }
    (rows.len() > 1).then(|| table(rows))
}

fn syncs(results: &Results) -> Option<String> {
    let mut rows = vec![row(&["engine", "syncs a durable commit", "syncs a buffered commit"])];
    for count in &results.syncs {
        rows.push(row(&[&count.engine, &format!("{:.2}", count.durable), &format!("{:.3}", count.buffered)]));
    }
    (rows.len() > 1).then(|| format!("## Syncs, counted by a trace of system calls\n\n{}", table(rows)))
}

fn engine_settings(results: &Results) -> Result<String> {
    let mut rows = vec![row(&["engine", "settings"])];
    for engine in engines(results) {
        // Results may be of a build with more engines than this one.
        let text =
            if crate::engines::NAMES.contains(&engine.as_str()) { settings(&engine)? } else { "not in this build" };
        rows.push(vec![engine, text.to_owned()]);
    }
    Ok(table(rows))
}
