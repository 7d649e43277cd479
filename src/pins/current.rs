//! A cell for the newest value, which readers access without a lock and without an atomic read-modify-write.
//!
//! Hazard pointers (Michael 2004): a reader announces the value that it is about to read and then verifies that it is
//! still the newest; the writer frees an older value only once no reader announces it. The barrier between announcing
//! and verifying is free for readers (see `barrier`). A locked instruction there would make every read wait for the
//! cache misses of the previous one.
//!
//! Invariants: 1. `newest` points into an `Arc` that `Values` holds. 2. An `Arc` leaves `Values` only when it is not the
//! newest and, after a heavy barrier, no slot of any thread names it.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fmt, ptr};

use crate::pins::barrier;
#[cfg(all(test, loom))]
use crate::sync::planted;
#[cfg(all(test, loom))]
use crate::sync::planted::Fault;
use crate::sync::{AtomicBool, AtomicPtr, Mutex};

/// Values that one thread can hold without a reference count. Models have few steps to spare.
const SLOTS: usize = if cfg!(all(test, loom)) { 1 } else { 8 };
/// Older values are examined once this many have gathered: seldom, because the barrier interrupts every processor.
const RETIRED_MAX: usize = if cfg!(all(test, loom)) { 1 } else { 256 };

/// A thread's announcements. Passed from thread to thread, never freed.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Slots {
    names: [AtomicPtr<()>; SLOTS],
    is_taken: AtomicBool,
}

#[cfg(not(all(test, loom)))]
/// The slots of all threads that ever read.
static ALL: Mutex<Vec<&'static Slots>> = Mutex::new(Vec::new());

#[cfg(all(test, loom))]
loom::lazy_static! {
    static ref ALL: Mutex<Vec<&'static Slots>> = Mutex::new(Vec::new());
}

fn take_slots() -> &'static Slots {
    let mut all = ALL.lock();
    if let Some(free) = all.iter().find(|slots| !slots.is_taken.swap(true, Ordering::AcqRel)) {
        return free;
    }
    let slots: &'static Slots = Box::leak(Box::default());
    slots.is_taken.store(true, Ordering::Release);
    all.push(slots);
    slots
}

/// A thread's slots, returned when it ends. What it still holds then stays announced.
struct Mine {
    slots: Cell<Option<&'static Slots>>,
}

impl Drop for Mine {
    fn drop(&mut self) {
        #[cfg(all(test, loom))]
        if std::thread::panicking() {
            return;
        }
        if let Some(slots) = self.slots.take() {
            slots.is_taken.store(false, Ordering::Release);
        }
    }
}

#[cfg(not(all(test, loom)))]
thread_local! {
    static MINE: Mine = const { Mine { slots: Cell::new(None) } };
}

#[cfg(all(test, loom))]
loom::thread_local! {
    static MINE: Mine = Mine { slots: Cell::new(None) };
}

/// A free slot of this thread; `None` when all are in use or the thread is ending.
#[inline]
fn free_slot() -> Option<&'static AtomicPtr<()>> {
    let slots = MINE.try_with(|mine| match mine.slots.get() {
        Some(slots) => slots,
        None => {
            let slots = take_slots();
            mine.slots.set(Some(slots));
            slots
        }
    });
    // An acquiring load, because another thread may have emptied it. Only this thread fills it.
    slots.ok()?.names.iter().find(|name| name.load(Ordering::Acquire).is_null())
}

#[derive(Debug)]
struct Values<T> {
    newest: Arc<T>,
    retired: Vec<Arc<T>>,
}

/// The newest value. One thread may call `store` while others read.
pub(crate) struct Current<T> {
    newest: AtomicPtr<T>,
    values: Mutex<Values<T>>,
}

impl<T> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl<T> Current<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        barrier::prepare();
        let newest = AtomicPtr::new(Arc::as_ptr(&value).cast_mut());
        Self { newest, values: Mutex::new(Values { newest: value, retired: Vec::new() }) }
    }

    /// The newest value, for as long as the guard exists.
    #[inline]
    pub(crate) fn load(&self) -> Held<'_, T> {
        let Some(slot) = free_slot() else { return Held::counted(Arc::clone(&self.values.lock().newest)) };
        let mut named = self.newest.load(Ordering::Acquire);
        loop {
            slot.store(named.cast(), Ordering::Release);
            barrier::light();
            #[cfg(all(test, loom))]
            if planted::is(Fault::NotMadeSure) {
                break;
            }
            let now = self.newest.load(Ordering::Acquire);
            if now == named {
                break;
            }
            named = now;
        }
        #[expect(unsafe_code, reason = "a reference that a slot keeps alive instead of a count")]
        // SAFETY: `named` was the newest value after the slot named it, so `Values` held its `Arc` then (invariant 1), and
        // holds it until the slot is emptied (invariant 2), which is when the guard is dropped. The guard cannot
        // outlive `self`, and with it `Values`.
        let value = unsafe { &*named };
        Held { hold: Hold::Named { value, slot, current: self } }
    }

    /// Replaces the value. Returns older values without readers, to be dropped outside of locks.
    #[must_use]
    pub(crate) fn store(&self, value: Arc<T>) -> Vec<Arc<T>> {
        let mut values = self.values.lock();
        let pointer = Arc::as_ptr(&value).cast_mut();
        let before = std::mem::replace(&mut values.newest, value);
        self.newest.store(pointer, Ordering::Release);
        values.retired.push(before);
        if values.retired.len() >= RETIRED_MAX { take_unnamed(&mut values.retired) } else { Vec::new() }
    }

    /// Drops older values without readers.
    pub(crate) fn reclaim(&self) {
        let freed = take_unnamed(&mut self.values.lock().retired);
        drop(freed);
    }

    /// A counted reference to a value that a slot names, and that `Values` therefore holds.
    fn counted(&self, named: &T) -> Option<Arc<T>> {
        let values = self.values.lock();
        let mut all = values.retired.iter().chain([&values.newest]);
        all.find(|value| ptr::eq(Arc::as_ptr(value), named)).map(Arc::clone)
    }
}

/// Takes out what no slot names.
fn take_unnamed<T>(retired: &mut Vec<Arc<T>>) -> Vec<Arc<T>> {
    if retired.is_empty() {
        return Vec::new();
    }
    barrier::heavy();
    let named: Vec<*const ()> = {
        let all = ALL.lock();
        let names = all.iter().flat_map(|slots| &slots.names);
        #[cfg(all(test, loom))]
        let names = names.filter(|_| !planted::is(Fault::NamesIgnored));
        names.map(|name| name.load(Ordering::Acquire).cast_const()).filter(|name| !name.is_null()).collect()
    };
    let (kept, freed) =
        std::mem::take(retired).into_iter().partition(|value| named.contains(&Arc::as_ptr(value).cast::<()>()));
    *retired = kept;
    freed
}

enum Hold<'c, T> {
    Named { value: &'c T, slot: &'static AtomicPtr<()>, current: &'c Current<T> },
    Counted(Arc<T>),
}

/// A value in use. It is not moved or freed until this is dropped.
pub(crate) struct Held<'c, T> {
    hold: Hold<'c, T>,
}

impl<T> Held<'_, T> {
    fn counted(value: Arc<T>) -> Self {
        Self { hold: Hold::Counted(value) }
    }

    /// A counted reference to the value.
    pub(crate) fn keep(&self) -> Option<Arc<T>> {
        match &self.hold {
            Hold::Named { value, current, .. } => current.counted(value),
            Hold::Counted(value) => Some(Arc::clone(value)),
        }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match &self.hold {
            Hold::Named { value, .. } => value,
            Hold::Counted(value) => value,
        }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Hold::Named { slot, .. } = &self.hold {
            #[cfg(all(test, loom))]
            if std::thread::panicking() {
                // The model has failed, and takes no further step.
                return;
            }
            #[cfg(all(test, loom))]
            if planted::is(Fault::WipedRelaxed) {
                slot.store(ptr::null_mut(), Ordering::Relaxed);
                return;
            }
            slot.store(ptr::null_mut(), Ordering::Release);
        }
    }
}

impl<T> fmt::Debug for Held<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Counts how many there are, and turns to garbage when dropped.
    struct Counted {
        numbers: [u64; 4],
        alive: Arc<AtomicU64>,
    }

    impl Counted {
        fn new(number: u64, alive: &Arc<AtomicU64>) -> Arc<Self> {
            alive.fetch_add(1, Ordering::SeqCst);
            Arc::new(Self { numbers: [number; 4], alive: Arc::clone(alive) })
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.numbers = [1, 2, 3, 4];
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_is_looked_at_stays_and_everything_else_goes() {
        let alive = Arc::default();
        let current = Current::new(Counted::new(0, &alive));
        let held: Vec<_> = (0..12).map(|_| current.load()).collect();
        for number in 1..100 {
            drop(current.store(Counted::new(number, &alive)));
        }
        assert!(held.iter().all(|held| held.numbers == [0; 4]));
        let kept = held[0].keep().expect("still there");
        let last = current.load();
        drop(held);
        current.reclaim();
        assert_eq!(alive.load(Ordering::SeqCst), 2, "the newest and the one that is kept");
        assert_eq!((kept.numbers, last.numbers), ([0; 4], [99; 4]));
        drop(kept);
        drop(last);
        current.reclaim();
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop(current);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn readers_beside_a_writer_see_whole_values_that_never_go_back() {
        let alive = Arc::default();
        let current = Current::new(Counted::new(0, &alive));
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut before = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let (one, other) = (current.load(), current.load());
                        assert!(one.numbers.iter().all(|number| *number == one.numbers[0]));
                        assert!(before <= one.numbers[0] && one.numbers[0] <= other.numbers[0]);
                        before = other.numbers[0];
                    }
                });
            }
            for number in 1..rounds {
                drop(current.store(Counted::new(number, &alive)));
            }
            stop.store(true, Ordering::Relaxed);
        });
        current.reclaim();
        assert_eq!(alive.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_guard_that_is_dropped_by_another_thread_empties_its_slot() {
        let alive = Arc::default();
        let current = Current::new(Counted::new(0, &alive));
        std::thread::scope(|scope| {
            let guards: Vec<_> = (0..SLOTS).map(|_| current.load()).collect();
            scope.spawn(move || drop(guards));
        });
        drop(current.store(Counted::new(1, &alive)));
        current.reclaim();
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        assert!(matches!(current.load().hold, Hold::Named { .. }), "the slots are free again");
    }
}
