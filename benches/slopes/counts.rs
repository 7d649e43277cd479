//! Instructions of one operation at two sizes of what it does not concern: a slope shows on a noisy machine too.
//!
//! Owns: the limit of their growth, and a slope that must be found. Never: measures time.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::cases::{CASES, Case, Measure};
use crate::support::callgrind;

/// This program counts for another run of it.
pub(crate) const CHILD: &str = "--child";

/// How many times as many instructions the larger size may take. It is four to a hundred times the smaller one, so that even a
/// part of the work that grows along with it is found; a search in a tree may be some steps deeper.
const GROWTH_MAX: f64 = 1.4;

/// Cases that do little but search a tree by name, from 10 names to 1,000: three times as deep.
const SEARCHES: &[&str] = &["set a mark, a view alive", "open a set by name"];
const GROWTH_MAX_OF_SEARCHES: f64 = 2.2;

/// What no limit is worth having without: it grows with the size.
const PLANTED: Case = Case {
    name: "a slope that must be found",
    beside: "steps",
    sizes: &[100, 1_000, 10_000],
    run: |_: &Path, size: usize, measure: Measure<'_>| {
        measure(10, &mut |_| (0..size).for_each(|step| _ = black_box(step)));
    },
};

/// The cases, each with the sizes that are counted.
fn cases() -> impl Iterator<Item = (&'static Case, [usize; 2])> {
    let sizes = |case: &'static Case| Some([*case.sizes.first()?, *case.sizes.get(case.sizes.len().checked_sub(2)?)?]);
    CASES.iter().chain([&PLANTED]).filter_map(move |case| Some((case, sizes(case)?)))
}

/// Does each case at both sizes, and prints how many operations each was.
pub(crate) fn run() {
    for (case, sizes) in cases() {
        for size in sizes {
            let dir = tempfile::tempdir().expect("a directory");
            let mut operations = 0;
            (case.run)(dir.path(), size, &mut |count, operation| {
                callgrind::measured_part(&mut || (0..count).for_each(&mut *operation));
                operations = count;
            });
            println!("{operations}");
        }
    }
}

/// Counts, prints a table, and tells whether all is flat but what was planted.
pub(crate) fn check() -> ExitCode {
    if !callgrind::is_there() {
        println!("SKIPPED: instructions were not counted, because valgrind is not there");
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(&program).arg(CHILD).output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout);
    let operations: Vec<f64> = lines.lines().map(|line| line.parse().expect("a number")).collect();
    let totals = callgrind::count(&program, &[CHILD], operations.len());
    let each: Vec<f64> = totals.iter().zip(&operations).map(|(total, operations)| total / operations).collect();
    println!("| one operation | beside | instructions | growth |\n|---|---|---|---|");
    let mut steep = Vec::new();
    for ((case, sizes), counts) in cases().zip(each.chunks_exact(2)) {
        let growth = counts[1] / counts[0];
        let figures = format!("{}: {:.0}; {}: {:.0}", sizes[0], counts[0], sizes[1], counts[1]);
        println!("| {} | {} | {figures} | {growth:.2} |", case.name, case.beside);
        let max = if SEARCHES.contains(&case.name) { GROWTH_MAX_OF_SEARCHES } else { GROWTH_MAX };
        if growth > max {
            steep.push(format!("{}, beside {} ({growth:.2}, at most {max})", case.name, case.beside));
        }
    }
    let is_found = steep.pop_if(|last| last.starts_with(PLANTED.name)).is_some();
    if !is_found {
        eprintln!("the slope that was planted was not found");
    }
    if !steep.is_empty() {
        eprintln!("too many more instructions at the larger size: {}", steep.join("; "));
    }
    if is_found && steep.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
