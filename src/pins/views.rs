//! Existing views, their ages, and what they see.
//!
//! Owns: the register that statistics read, and the state that further views get without the writer's lock; both in parts,
//! so that threads that take views at once do not wait for each other. Never: decides how long a state is shared; the writer
//! does.
//! Invariant: a part shares a state only between `share` and `unshare`, which the writer calls under its lock.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::backing::Process;
use crate::sync::Mutex;

/// Parts of the register. A thread always uses the same one. Models have few steps to spare.
const PARTS: usize = if cfg!(all(test, loom)) { 1 } else { 16 };

#[cfg(not(all(test, loom)))]
/// The part of this thread.
fn part_of_thread() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PART: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
    }
    PART.try_with(|part| *part).unwrap_or_default()
}

#[cfg(all(test, loom))]
fn part_of_thread() -> usize {
    0
}

/// Which parts share a state: a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parts(u32);

/// Views by place, the places that are free, and the state for further views.
#[derive(Debug)]
struct Places<S> {
    views: Vec<Weak<Pin<S>>>,
    free: Vec<usize>,
    shared: Option<Arc<S>>,
}

/// Aligned, so that parts of different threads share no cache line.
#[repr(align(128))]
#[derive(Debug)]
struct Part<S> {
    places: Mutex<Places<S>>,
    process: Arc<Process>,
}

/// The views of a store, each of a state.
#[derive(Debug)]
pub(crate) struct Pins<S> {
    parts: [Arc<Part<S>>; PARTS],
}

impl<S> Default for Pins<S> {
    fn default() -> Self {
        let process = Arc::new(Process::this());
        let part = |_| {
            let places = Mutex::new(Places { views: Vec::new(), free: Vec::new(), shared: None });
            Arc::new(Part { places, process: Arc::clone(&process) })
        };
        Self { parts: std::array::from_fn(part) }
    }
}

/// One view: holds its state, and leaves the register when it is dropped.
#[derive(Debug)]
pub(crate) struct Pin<S> {
    state: Arc<S>,
    since: Instant,
    place: usize,
    part: Arc<Part<S>>,
}

impl<S> Pins<S> {
    /// Registers a view of the state that this thread's part shares, or of what `newest` returns if it shares none.
    pub(crate) fn pin(&self, newest: impl FnOnce() -> Arc<S>) -> Arc<Pin<S>> {
        let part = &self.parts[part_of_thread()];
        let since = Instant::now();
        let mut places = part.places.lock();
        let state = match &places.shared {
            Some(shared) => Arc::clone(shared),
            None => {
                // The writer locks a part under its own lock.
                drop(places);
                let state = newest();
                places = part.places.lock();
                state
            }
        };
        let free = places.free.pop();
        let place = free.unwrap_or(places.views.len());
        let pin = Arc::new(Pin { state, since, place, part: Arc::clone(part) });
        match places.views.get_mut(place) {
            Some(view) => *view = Arc::downgrade(&pin),
            None => places.views.push(Arc::downgrade(&pin)),
        }
        pin
    }

    /// Lets further views of this thread have the state. The caller holds the writer's lock.
    pub(crate) fn share(&self, state: &Arc<S>, with: &mut Parts) {
        let part = part_of_thread();
        self.parts[part].places.lock().shared = Some(Arc::clone(state));
        with.0 |= 1 << part;
    }

    /// Ends this. The caller holds the writer's lock, and a reference to the state.
    pub(crate) fn unshare(&self, with: &mut Parts) {
        let Parts(mut bits) = std::mem::take(with);
        while bits != 0 {
            self.parts[bits.trailing_zeros() as usize].places.lock().shared = None;
            bits &= bits - 1;
        }
    }

    /// The existing views, oldest first: what they see, and how long they have existed.
    pub(crate) fn list(&self) -> Vec<(Arc<S>, Duration)> {
        let mut views: Vec<Arc<Pin<S>>> = Vec::new();
        for part in &self.parts {
            views.extend(part.places.lock().views.iter().filter_map(Weak::upgrade));
        }
        views.sort_by_key(|view| view.since);
        let now = Instant::now();
        views.iter().map(|view| (Arc::clone(&view.state), now.duration_since(view.since))).collect()
    }
}

impl<S> Drop for Pins<S> {
    /// Nobody takes a view any more. Those that there are have the parts, and keep no state but their own.
    fn drop(&mut self) {
        #[cfg(all(test, loom))]
        if std::thread::panicking() {
            return;
        }
        // In a forked child a lock may be held for ever.
        if self.parts.first().is_some_and(|part| part.process.is_current()) {
            let shared: Vec<_> = self.parts.iter().filter_map(|part| part.places.lock().shared.take()).collect();
            drop(shared);
        }
    }
}

impl<S> Pin<S> {
    /// What the view sees.
    #[inline]
    pub(crate) fn state(&self) -> &Arc<S> {
        &self.state
    }
}

impl<S> Drop for Pin<S> {
    fn drop(&mut self) {
        #[cfg(all(test, loom))]
        if std::thread::panicking() {
            return;
        }
        // A forked child has a copy of the register that is not read, and possibly no thread to release its lock.
        if self.part.process.is_current() {
            let mut places = self.part.places.lock();
            if let Some(view) = places.views.get_mut(self.place) {
                *view = Weak::new();
            }
            places.free.push(self.place);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn views_of_all_threads_are_listed_oldest_first_until_they_are_dropped() {
        let pins = Pins::default();
        let mut views: Vec<_> = Vec::new();
        for number in 0..100 {
            // Each in a thread of its own, and so in every part.
            views.push(std::thread::scope(|scope| scope.spawn(|| pins.pin(|| Arc::new(number))).join().unwrap()));
        }
        let listed = |pins: &Pins<u64>| pins.list().iter().map(|(state, _)| **state).collect::<Vec<u64>>();
        assert_eq!(listed(&pins), (0..100).collect::<Vec<u64>>());
        views.retain(|view| view.state().is_multiple_of(3));
        assert_eq!(listed(&pins), (0..100).step_by(3).collect::<Vec<u64>>());
        views.insert(0, pins.pin(|| Arc::new(1_000)));
        let mut expected: Vec<u64> = (0..100).step_by(3).collect();
        expected.push(1_000);
        assert_eq!(listed(&pins), expected);
        drop(views);
        assert!(listed(&pins).is_empty());
        let places = || pins.parts.iter().map(|part| part.places.lock().views.len()).sum::<usize>();
        let before = places();
        (0..100).for_each(|number| drop(pins.pin(|| Arc::new(number))));
        assert_eq!(places(), before, "places are reused");
    }

    #[test]
    fn a_shared_state_is_had_without_asking_until_it_is_shared_no_more() {
        let (pins, state, mut parts) = (Pins::default(), Arc::new(7), Parts::default());
        pins.share(&state, &mut parts);
        let view = pins.pin(|| unreachable!("it is shared"));
        assert!(Arc::ptr_eq(view.state(), &state));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| pins.pin(|| Arc::new(8)));
            assert_eq!(**other.join().unwrap().state(), 8, "another thread's part has nothing");
        });
        drop(view);
        pins.unshare(&mut parts);
        assert_eq!(Arc::strong_count(&state), 1, "nothing keeps it");
        assert_eq!(**pins.pin(|| Arc::new(9)).state(), 9);
    }

    #[test]
    fn a_view_that_outlives_the_store_keeps_no_state_but_its_own() {
        let (pins, newest, mut parts) = (Pins::default(), Arc::new(2), Parts::default());
        let view = pins.pin(|| Arc::new(1));
        pins.share(&newest, &mut parts);
        drop(pins);
        assert_eq!(Arc::strong_count(&newest), 1, "nobody can get it any more");
        assert_eq!(**view.state(), 1);
    }
}
