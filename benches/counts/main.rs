//! Instructions and allocations of single operations, compared with those in `expected.json`: a regression shows on a noisy
//! machine too.
//!
//! `cargo bench --bench counts` prints what was expected and what was counted, and fails where they are more than 3 % apart.
//! `-- --write` writes the file anew. `-- --planted` does every twentieth operation twice, and fails unless that is found.
//! Instructions are counted by callgrind, a part of valgrind; where that is not there, allocations alone are compared.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures and prints"
)]

mod cases;
mod environment;
mod figures;
mod meter;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::figures::{Counts, Verdict, compare};
use crate::meter::Meter;
use crate::support::{allocator, callgrind};

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Expected {
    /// What the counts depend on beside the code.
    environment: Environment,
    /// Counts by operation.
    each: BTreeMap<String, Counts>,
}

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// This program counts for another run of it.
pub(crate) const CHILD: &str = "--child";
/// Every twentieth operation is done twice.
pub(crate) const PLANTED: &str = "--planted";

fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "counts", "expected.json"].iter().collect()
}

/// Name, operations and allocations of each case, from lines of a child's output.
fn lines(text: &str) -> Vec<(String, f64, f64)> {
    let line = |line: &str| {
        let mut parts = line.split('\t');
        let name = parts.next()?.to_owned();
        Some((name, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Counts by name. Without callgrind there are no instructions.
fn count(planted: bool) -> BTreeMap<String, Counts> {
    let program = std::env::current_exe().expect("this program");
    let mut arguments = vec![CHILD];
    arguments.extend(planted.then_some(PLANTED));
    let output = Command::new(&program).args(&arguments).output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases = lines(&String::from_utf8_lossy(&output.stdout));
    assert!(!cases.is_empty(), "nothing was counted");
    let instructions = callgrind::is_there().then(|| callgrind::count(&program, &arguments, cases.len()));
    let counts = cases.into_iter().enumerate().map(|(place, (name, operations, allocations))| {
        let instructions = instructions.as_ref().map(|all| figures::rounded(all[place] / operations));
        (name, Counts { instructions, allocations: figures::rounded(allocations / operations) })
    });
    counts.collect()
}

fn write(counts: BTreeMap<String, Counts>) -> ExitCode {
    if counts.values().any(|counts| counts.instructions.is_none()) {
        eprintln!("not written: valgrind is not there, so there are no instructions to write");
        return ExitCode::FAILURE;
    }
    let environment = environment::here();
    if environment.incremental {
        eprintln!("not written: set CARGO_INCREMENTAL=0, since an incremental build inlines less");
        return ExitCode::FAILURE;
    }
    let expected = Expected { environment, each: counts };
    let text = serde_json::to_string_pretty(&expected).expect("JSON") + "\n";
    std::fs::write(file(), text).expect("written");
    println!("written: {}", file().display());
    ExitCode::SUCCESS
}

fn check(counts: &BTreeMap<String, Counts>, planted: bool) -> ExitCode {
    let text = std::fs::read_to_string(file()).expect("benches/counts/expected.json");
    let expected: Expected = serde_json::from_str(&text).expect("the file's form");
    let (table, verdict) = compare(&expected.each, counts);
    println!("{table}");
    if counts.values().any(|counts| counts.instructions.is_none()) {
        println!("SKIPPED: instructions were not counted, because valgrind is not there");
        if planted {
            return ExitCode::SUCCESS;
        }
    }
    if planted {
        return match verdict {
            Verdict::Apart(names) if names.len() == expected.each.len() => {
                println!("as it must be: 5 % more work was found in every figure");
                ExitCode::SUCCESS
            }
            _ => {
                eprintln!("5 % more work was planted in every figure, and was not found in every one");
                ExitCode::FAILURE
            }
        };
    }
    let here = environment::here();
    match verdict {
        Verdict::Close => {
            println!("all figures are within 3 %");
            ExitCode::SUCCESS
        }
        Verdict::Apart(names) if here != expected.environment => {
            println!("NOT JUDGED: {} figures are more than 3 % apart, but were written elsewhere:", names.len());
            println!("  written with {:?}", expected.environment);
            println!("  counted with {here:?}");
            ExitCode::SUCCESS
        }
        Verdict::Apart(names) => {
            eprintln!("more than 3 % apart: {}", names.join("; "));
            eprintln!("if that is meant, better figures too: `cargo bench --bench counts -- --write`, and say why");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    if flag(CHILD) {
        cases::run(&mut Meter::new(flag(PLANTED)));
        return ExitCode::SUCCESS;
    }
    let counts = count(flag(PLANTED));
    if flag("--write") { write(counts) } else { check(&counts, flag(PLANTED)) }
}
