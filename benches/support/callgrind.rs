//! Counting instructions: a program again, under callgrind.
//!
//! Owns: the one function whose instructions callgrind collects, calling callgrind, and parsing its output. Never: counts
//! the kernel, which callgrind does not see.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

/// The function whose instructions count, in any program.
const FUNCTION: &str = "*measured_part";

/// The C library's allocator is not counted: its work depends on all earlier allocations, and on the library. The calls
/// have counts of their own.
const ALLOCATOR: &str = "*within_*";

/// The C library's copy and fill functions choose their instructions by processor. All but the baseline are turned off,
/// under the names of old and new versions of the library, and cache sizes are fixed.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-ERMS,-FSRM,-AVX2_Usable,-AVX512F_Usable,\
                        -AVX_Fast_Unaligned_Load,-Prefer_No_VZEROUPPER:\
                        glibc.cpu.x86_non_temporal_threshold=0x1000000";

/// Does what is to be counted: of callgrind's counts only those under this function matter.
#[inline(never)]
pub fn measured_part(work: &mut dyn FnMut()) {
    black_box(work)();
}

pub fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The instructions of each call of [`measured_part`], in order; there are so many.
pub fn count(program: &Path, arguments: &[&str], cases: usize) -> Vec<f64> {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={FUNCTION}"))
        .arg(format!("--toggle-collect={ALLOCATOR}"))
        .arg(format!("--dump-after={FUNCTION}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(arguments)
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()
        .expect("valgrind");
    assert!(output.status.success(), "valgrind failed: {}", String::from_utf8_lossy(&output.stderr));
    let totals: Vec<f64> = (1..=cases).map(|number| total(&dir.path().join(format!("out.{number}")))).collect();
    assert!(totals.iter().all(|total| *total > 0.0), "nothing was counted in some case: {totals:?}");
    totals
}

/// All instructions of one of callgrind's files.
fn total(path: &Path) -> f64 {
    let text = std::fs::read_to_string(path).expect("a file of callgrind");
    let found = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    found.expect("a line of totals")
}
