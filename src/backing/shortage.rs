//! Whether this thread waits for pages of files: then asking for several before touching the first pays.
//!
//! Owns: the judgement, thread by thread. Never: asks for a page. Asking for pages that are in memory costs about as much as
//! reading them, so it is only done while the thread is known to wait. Invariant: without waiting, a judgement is a
//! count, and one system call for every sixteenth.

use std::cell::Cell;

use crate::backing::map::waits_for_pages;

/// The waits are looked up once in so many judgements.
const LOOKS: u32 = 16;

#[derive(Clone, Copy, Default)]
struct Judgement {
    looks: u32,
    waits: u64,
    is_short: bool,
    /// Nothing was asked for since the last judgement, to see whether the thread would still wait.
    is_trial: bool,
}

thread_local! {
    static JUDGEMENT: Cell<Judgement> = const { Cell::new(Judgement { looks: 0, waits: 0, is_short: false, is_trial: false }) };
}

impl Judgement {
    fn next(mut self, waits: impl FnOnce() -> u64) -> Self {
        self.looks = self.looks.wrapping_add(1);
        if self.is_trial {
            let waits = waits();
            (self.is_short, self.is_trial) = (waits > self.waits, false);
            self.waits = waits;
        } else if self.looks.is_multiple_of(LOOKS) {
            let waits = waits();
            // While it asks it does not wait, so one time in so many it does not ask.
            self.is_trial = self.is_short;
            self.is_short |= waits > self.waits;
            self.waits = waits;
        }
        self
    }

    fn asks(self) -> bool {
        self.is_short && !self.is_trial
    }
}

/// Whether to ask for the pages that are about to be read.
#[inline]
pub(crate) fn asks_for_pages() -> bool {
    JUDGEMENT.with(|cell| {
        let judgement = cell.get().next(waits_for_pages);
        cell.set(judgement);
        judgement.asks()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_while_it_would_wait_and_stops_when_it_would_not() {
        let (mut judgement, mut waits, mut asked) = (Judgement::default(), 0, Vec::new());
        for round in 0..400 {
            judgement = judgement.next(|| waits);
            asked.push(judgement.asks());
            // What was not asked for is waited for, as long as memory is short.
            if !judgement.asks() && (100..200).contains(&round) {
                waits += 1;
            }
        }
        let share = |from: usize, to: usize| asked[from..to].iter().filter(|asked| **asked).count();
        assert_eq!(share(0, 100), 0);
        assert!(share(120, 200) >= 70, "{}", share(120, 200));
        assert_eq!(share(240, 400), 0);
    }
}
