//! Doing several things at once that wait for a place.
//!
//! Owns: the threads, and which pieces are read or put together. Never: has more of them under way than asked.

use std::panic::resume_unwind;
use std::thread;

/// Pieces that are read or put together; and their bytes, unless one is larger.
pub(super) const PIECES_AT_ONCE: usize = 16;
pub(super) const BYTES_AT_ONCE: u64 = 32 << 20;

/// Does the same with each item, all at once. The results are in the order of the items.
pub(super) fn at_once<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if let [item] = items {
        return vec![each(item)];
    }
    thread::scope(|scope| {
        let each = &each;
        let start = |item| thread::Builder::new().spawn_scoped(scope, move || each(item));
        let started: Vec<_> = items.iter().map(|item| (item, start(item))).collect();
        let ended = started.into_iter().map(|(item, thread)| match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            // There are too many threads.
            Err(_) => each(item),
        });
        ended.collect()
    })
}

/// Takes from the front what is read or put together.
pub(super) fn some_of<T>(items: &[T], bytes: impl Fn(&T) -> u64) -> (&[T], &[T]) {
    let mut sum = 0_u64;
    let fits = |item: &&T| {
        sum = sum.saturating_add(bytes(item));
        sum <= BYTES_AT_ONCE
    };
    let count = items.iter().take(PIECES_AT_ONCE).take_while(fits).count().max(1);
    items.split_at(count.min(items.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_fit_are_taken() {
        let sizes = [20 << 20, 12 << 20, 1, 40 << 20, 1, 1];
        let mut rest = &sizes[..];
        let mut counts = Vec::new();
        while !rest.is_empty() {
            let (some, others) = some_of(rest, |bytes| *bytes);
            counts.push(some.len());
            rest = others;
        }
        assert_eq!(counts, [2, 1, 1, 2]);
        assert_eq!(some_of(&[0_u8; 99], |_| 0).0.len(), PIECES_AT_ONCE);
        assert_eq!(at_once(&[1, 2, 3], |number| number * 2), [2, 4, 6]);
    }
}
