//! The frame around the counted operations.
//!
//! Owns: how often they run, and their allocations. Never: counts what a case does before or after.

use crate::support::allocator;
use crate::support::callgrind::measured_part;

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
