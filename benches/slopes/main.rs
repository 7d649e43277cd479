//! How the time of one operation grows with what the operation does not concern.
//!
//! `cargo bench --bench slopes` prints a table: a line for each case, a column for each size. `-- --only TEXT` does the cases whose
//! name contains the text. It asserts nothing about time, it measures. Each figure comes from a fresh store; the least of
//! three, or of one if that takes long. `-- --counts` counts instructions instead, at two sizes, and fails where they grow.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures and prints"
)]

mod cases;
mod counts;
mod page_files;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cases::CASES;

/// What takes longer is measured once.
const LONG: Duration = Duration::from_secs(3);

fn wanted() -> String {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--only");
    at.and_then(|at| arguments.get(at + 1)).cloned().unwrap_or_default()
}

fn main() -> ExitCode {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    if has(counts::CHILD) {
        counts::run();
        return ExitCode::SUCCESS;
    }
    if has("--counts") {
        return counts::check();
    }
    draw();
    ExitCode::SUCCESS
}

fn draw() {
    let only = wanted();
    println!("| one operation | beside | µs |\n|---|---|---|");
    for case in CASES.iter().filter(|case| case.name.contains(&only) || case.beside.contains(&only)) {
        let mut figures = Vec::new();
        for size in case.sizes {
            let measure = |_: usize| {
                let dir = tempfile::tempdir().expect("a directory");
                let mut time = Duration::ZERO;
                (case.run)(dir.path(), *size, &mut |count, operation| {
                    let begin = Instant::now();
                    (0..count).for_each(operation);
                    time = begin.elapsed() / u32::try_from(count).expect("few");
                });
                time
            };
            let begin = Instant::now();
            let measured = (0..3).map_while(|round| (round == 0 || begin.elapsed() < LONG).then(|| measure(round)));
            let time = measured.min().unwrap_or(Duration::ZERO);
            figures.push(format!("{size}: {:.2}", 1e6 * time.as_secs_f64()));
        }
        println!("| {} | {} | {} |", case.name, case.beside, figures.join("; "));
    }
    if "page files".contains(&only) {
        page_files::measure(1 << 20);
    }
}
