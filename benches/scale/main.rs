//! How each figure grows with the number of records, compared with its limit: the same work on a plain file, with a
//! vector of places and ordered maps of keys.
//!
//! `cargo bench --bench scale -- --to 10000000 --svg docs/performance/scale.svg` measures from ten thousand records on, by factors
//! of ten (`--from`), prints a Markdown table and draws it. `--rounds` (three) sets of how many rounds medians are taken; beyond a million
//! records it is one. Each round is a fresh process. What is measured is said in `docs/benchmarks.md`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures and prints"
)]

mod draw;
mod plain;
mod run;
mod store;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use crate::run::Figure;
use crate::support::allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// More than one round is measured up to this many records.
const RECORDS_OF_ROUNDS: usize = 1_000_000;

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn number(name: &str, default: usize) -> usize {
    argument(name).map_or(default, |text| text.parse().expect("a number"))
}

/// All figures at one size.
pub(crate) struct Size {
    pub(crate) records: usize,
    pub(crate) figures: Vec<Figure>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn measure(records: usize, rounds: usize) -> Size {
    let rounds = if records > RECORDS_OF_ROUNDS { 1 } else { rounds };
    let all: Vec<Vec<Figure>> = (0..rounds).map(|_| run::figures(records)).collect();
    let first = all.first().expect("a round");
    let figures = first.iter().enumerate().map(|(place, figure)| Figure {
        name: figure.name.clone(),
        unit: figure.unit.clone(),
        store: median(all.iter().map(|round| round[place].store).collect()),
        limit: median(all.iter().map(|round| round[place].limit).collect()),
    });
    Size { records, figures: figures.collect() }
}

fn short(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}")
}

/// `10k`, `1M`.
fn count(records: usize) -> String {
    match records {
        0..1000 => records.to_string(),
        1000..1_000_000 => format!("{}k", records / 1000),
        _ => format!("{}M", records / 1_000_000),
    }
}

fn print(sizes: &[Size]) {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return };
    let heads: Vec<String> = sizes.iter().map(|size| format!("{} | limit | ratio", count(size.records))).collect();
    println!("| what | unit | {} | growth | of the limit |", heads.join(" | "));
    println!("|---|---|{}---|---|", "---|---|---|".repeat(sizes.len()));
    for (place, figure) in first.figures.iter().enumerate() {
        let cells: Vec<String> = sizes
            .iter()
            .map(|size| {
                let Figure { store, limit, .. } = size.figures[place];
                format!("{} | {} | {:.1}", short(store), short(limit), store / limit)
            })
            .collect();
        let end = &last.figures[place];
        let growth = format!("{} | {}", short(end.store / figure.store), short(end.limit / figure.limit));
        println!("| {} | {} | {} | {growth} |", figure.name, figure.unit, cells.join(" | "));
    }
}

fn main() {
    if run::child() {
        return;
    }
    let (from, to) = (number("--from", 10_000), number("--to", 100_000));
    let sizes: Vec<Size> = std::iter::successors(Some(from), |records| records.checked_mul(10))
        .take_while(|records| *records <= to)
        .map(|records| measure(records, number("--rounds", 3)))
        .collect();
    print(&sizes);
    if let Some(path) = argument("--svg").map(PathBuf::from) {
        std::fs::write(&path, draw::draw(&sizes)).expect("written");
        println!("drawn: {}", path.display());
    }
}
