//! The frame around the counted operations.
//!
//! Owns: the one function whose instructions callgrind collects. Never: counts what a case does before or after.

use std::hint::black_box;

use crate::support::allocator;

/// Of callgrind's counts only those under this function matter. Its name is also in `callgrind`.
#[inline(never)]
pub(crate) fn measured_part(work: &mut dyn FnMut()) {
    black_box(work)();
}

pub(crate) struct Meter {
    planted: bool,
}

impl Meter {
    pub(crate) fn new(planted: bool) -> Self {
        Self { planted }
    }

    /// Calls `call` this many times, each time for `each` operations, and prints the allocations.
    pub(crate) fn count(&mut self, name: &str, each: usize, calls: usize, mut call: impl FnMut()) {
        let calls_done = if self.planted { calls + calls / 20 } else { calls };
        let mut work = || (0..calls_done).for_each(|_| call());
        allocator::set_counting(true);
        let before = allocator::calls();
        measured_part(&mut work);
        let allocations = allocator::calls() - before;
        allocator::set_counting(false);
        println!("{name}\t{}\t{allocations}", each * calls);
    }
}
