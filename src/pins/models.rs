//! Models of publishing and holding: every interleaving of a few threads, for `Current` itself.
//!
//! A value that the writer gets back is marked as freed and kept, so that a reader still using it is detected without
//! touching freed memory. The mark is a plain write and the use a plain read: a reader whose use is not ordered before
//! the mark is detected too.

#![expect(clippy::expect_used, reason = "test code outside of test functions")]
#![expect(clippy::arc_with_non_send_sync, reason = "the checker runs its threads in turns on one")]

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::pins::{Current, Parts, Pin, Pins};
use crate::sync::planted::Fault;
use crate::sync::{Mutex, planted};

const FREED: u64 = u64::MAX;
/// The checker's message for a use and a write without an order between them.
const RACE: &str = "Causality violation";

/// Runs a model in every order of steps with at most this many preemptions.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    assert!(orders.load(Relaxed) > 1000, "{orders:?} orders are too few to say anything");
}

struct Value {
    number: UnsafeCell<u64>,
}

impl Value {
    fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number: UnsafeCell::new(number) })
    }

    #[expect(unsafe_code, reason = "a plain read, which the checker watches")]
    fn look(&self) -> u64 {
        // SAFETY: the checker fails if anybody writes meanwhile.
        let number = self.number.with(|number| unsafe { *number });
        assert_ne!(number, FREED, "looked at after it was freed");
        number
    }

    #[expect(unsafe_code, reason = "a plain write, which the checker watches")]
    fn free(&self) {
        // SAFETY: the checker fails if anybody reads or writes meanwhile.
        self.number.with_mut(|number| unsafe { *number = FREED });
    }
}

/// Values that were returned, at which point others would be dropped.
fn free_all(freed: Vec<Arc<Value>>, kept: &mut Vec<Arc<Value>>) {
    for value in &freed {
        value.free();
    }
    kept.extend(freed);
}

/// A reader reads twice while the writer publishes twice.
fn publish() {
    check(6, || {
        let current = Arc::new(Current::new(Value::new(0)));
        let reader = {
            let current = Arc::clone(&current);
            loom::thread::spawn(move || {
                let held = current.load();
                let number = held.look();
                loom::thread::yield_now();
                assert_eq!(held.look(), number, "what is looked at stays what it is");
                drop(held);
                let later = current.load().look();
                assert!(later >= number, "from {number} back to {later}");
            })
        };
        let mut kept = Vec::new();
        for number in 1..3 {
            free_all(current.store(Value::new(number)), &mut kept);
        }
        reader.join().expect("a reader that ends");
        assert_eq!(current.load().look(), 2);
        free_all(current.store(Value::new(3)), &mut kept);
        assert_eq!(kept.len(), 3, "nobody looks any more, and everything older is given back");
    });
}

#[test]
fn what_is_looked_at_is_not_freed_and_never_goes_back() {
    publish();
}

#[test]
fn a_reader_without_its_barrier_is_found() {
    planted::must_be_found(Fault::NoLightBarrier, RACE, publish);
}

#[test]
fn a_writer_without_its_barrier_is_found() {
    planted::must_be_found(Fault::NoHeavyBarrier, RACE, publish);
}

#[test]
fn a_reader_that_does_not_make_sure_is_found() {
    planted::must_be_found(Fault::NotMadeSure, RACE, publish);
}

#[test]
fn freeing_what_is_named_is_found() {
    planted::must_be_found(Fault::NamesIgnored, RACE, publish);
}

#[test]
fn wiping_a_name_without_an_order_is_found() {
    planted::must_be_found(Fault::WipedRelaxed, RACE, publish);
}

/// A reader out of slots, and one that takes a counted reference: both hold by count.
#[test]
fn what_is_counted_outlives_its_name() {
    check(6, || {
        let alive = Arc::new(AtomicU64::new(0));
        let first = Counted::new(0, &alive);
        // So that no two values ever have the same address: the run must not depend on the allocator.
        let place = Arc::downgrade(&first);
        let current = Arc::new(Current::new(first));
        let reader = {
            let current = Arc::clone(&current);
            loom::thread::spawn(move || {
                let held = current.load();
                let counted = current.load();
                let kept = held.keep().expect("named, so it is there");
                assert_eq!(kept.number, held.number, "another value was counted");
                assert!(counted.number >= held.number);
                drop((held, counted));
                assert!(!kept.is_dropped.load(Ordering::Acquire));
                kept.number
            })
        };
        let mut places = Vec::new();
        for number in 1..3 {
            let value = Counted::new(number, &alive);
            places.push(Arc::downgrade(&value));
            drop(current.store(value));
        }
        assert!(reader.join().expect("a reader that ends") < 3);
        current.reclaim();
        assert_eq!(alive.load(Ordering::Acquire), 1, "only the newest is left");
        drop((place, places));
    });
}

struct Counted {
    number: u64,
    is_dropped: AtomicBool,
    alive: Arc<AtomicU64>,
}

impl Counted {
    fn new(number: u64, alive: &Arc<AtomicU64>) -> Arc<Self> {
        alive.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self { number, is_dropped: AtomicBool::new(false), alive: Arc::clone(alive) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.is_dropped.store(true, Ordering::Release);
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A small heap: two entries in leaves that are changed in place while no view holds them, and copied if one may;
/// the newest leaf and a table are published through `Current`, a table before the entries that lead to it.
struct Leaf {
    epoch: u64,
    entries: [AtomicU64; 2],
    alive: Arc<AtomicU64>,
}

impl Leaf {
    fn new(epoch: u64, entries: [u64; 2], alive: &Arc<AtomicU64>) -> Arc<Self> {
        alive.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self { epoch, entries: entries.map(AtomicU64::new), alive: Arc::clone(alive) })
    }

    fn numbers(&self) -> [u64; 2] {
        [&self.entries[0], &self.entries[1]].map(|entry| entry.load(Ordering::Acquire))
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Clone)]
struct State {
    leaf: Arc<Leaf>,
    /// Known segments: entries below this lead to one.
    table: u64,
}

struct Writer {
    state: State,
    epoch: u64,
    /// Leaves of this epoch and earlier ones may be in a view.
    held: u64,
    pinned: Option<Arc<State>>,
    /// Which parts of the register share it.
    parts: Parts,
    /// The states handed out, each with the last epoch of its leaves.
    views: Vec<(u64, Weak<State>)>,
    /// So that no two states ever have the same address.
    places: Vec<Weak<State>>,
}

impl Writer {
    fn published(&mut self) -> Arc<State> {
        let state = Arc::new(self.state.clone());
        self.places.push(Arc::downgrade(&state));
        state
    }

    /// Finds out what no view holds any more and may be changed in place.
    fn let_go_of_views(&mut self) {
        while self.views.pop_if(|(_, state)| state.strong_count() == 0).is_some() {}
        self.held = self.views.last().map_or(0, |(epoch, _)| *epoch);
    }
}

/// A planted fault of the small heap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Taking a view does not raise the epoch.
    PinsNothing,
    /// Entries are changed before the table that they lead to is published.
    TableLast,
    /// A commit does not forget the state shared by views.
    PinnedStays,
    /// A commit does not forget the state that parts of the register share.
    SharedStays,
    /// A state that only the writer has counts as held.
    HeldByNobody,
    /// A state that a view holds counts as dropped.
    LetGoTooEarly,
}

struct Heap {
    current: Current<State>,
    writer: Mutex<Writer>,
    pins: Pins<State>,
    wrong: Wrong,
}

impl Heap {
    fn new(wrong: Wrong, alive: &Arc<AtomicU64>) -> Self {
        let state = State { leaf: Leaf::new(1, [0, 0], alive), table: 1 };
        let mut writer = Writer {
            state,
            epoch: 1,
            held: 0,
            pinned: None,
            parts: Parts::default(),
            views: Vec::new(),
            places: Vec::new(),
        };
        Self { current: Current::new(writer.published()), writer: Mutex::new(writer), pins: Pins::default(), wrong }
    }

    fn view(&self) -> Arc<Pin<State>> {
        self.pins.pin(|| {
            let mut writer = self.writer.lock();
            let state = self.pin(&mut writer);
            self.pins.share(&state, &mut writer.parts);
            state
        })
    }

    fn pin(&self, writer: &mut Writer) -> Arc<State> {
        if let Some(pinned) = &writer.pinned {
            return Arc::clone(pinned);
        }
        let state = writer.published();
        if self.wrong != Wrong::PinsNothing {
            writer.held = writer.epoch;
            writer.epoch += 1;
            let held = (writer.held, Arc::downgrade(&state));
            writer.views.push(held);
        }
        writer.pinned = Some(Arc::clone(&state));
        state
    }

    /// Sets both entries to the next number, in a new segment.
    fn commit(&self) {
        let mut freed = Vec::new();
        let mut writer = self.writer.lock();
        if self.wrong != Wrong::SharedStays {
            self.pins.unshare(&mut writer.parts);
        }
        let pinned = match self.wrong {
            Wrong::PinnedStays => None,
            Wrong::HeldByNobody => writer.pinned.take(),
            _ => writer.pinned.take().filter(|pinned| Arc::strong_count(pinned) > 1),
        };
        writer.let_go_of_views();
        if self.wrong == Wrong::LetGoTooEarly {
            writer.held = 0;
        }
        let number = writer.state.table;
        writer.state.table += 1;
        if self.wrong != Wrong::TableLast {
            freed.extend(self.current.store(writer.published()));
        }
        if writer.state.leaf.epoch > writer.held {
            for entry in &writer.state.leaf.entries {
                entry.store(number, Ordering::Release);
            }
        } else {
            writer.state.leaf = Leaf::new(writer.epoch, [number; 2], &writer.state.leaf.alive);
            freed.extend(self.current.store(writer.published()));
        }
        if self.wrong == Wrong::TableLast {
            freed.extend(self.current.store(writer.published()));
        }
        drop(writer);
        drop((pinned, freed));
    }

    /// Reads one entry, outside any view. It leads to a segment of the table, or a newer table exists.
    fn read_once(&self, entry: usize) -> u64 {
        let mut state = self.current.load();
        loop {
            let number = state.leaf.entries[entry].load(Ordering::Acquire);
            if number < state.table {
                return number;
            }
            let now = self.current.load();
            assert!(!std::ptr::eq(&raw const *state, &raw const *now), "{number} leads to no segment: damaged");
            state = now;
        }
    }
}

/// A reader with a view and one-shot reads beside two commits.
fn pin(wrong: Wrong) {
    check(6, move || {
        let alive = Arc::new(AtomicU64::new(0));
        let heap = Arc::new(Heap::new(wrong, &alive));
        let reader = {
            let heap = Arc::clone(&heap);
            loom::thread::spawn(move || {
                let pin = heap.view();
                let view = pin.state();
                let seen = view.leaf.numbers();
                assert_eq!(seen[0], seen[1], "a view sees whole commits");
                assert_eq!(seen[0] + 1, view.table, "a view sees the entries of its commit");
                let newest = heap.read_once(1);
                assert!(newest >= seen[1], "a later read is older");
                assert_eq!(view.leaf.numbers(), seen, "a view changed");
                let is_listed = heap.pins.list().iter().any(|(state, _)| Arc::ptr_eq(state, view));
                assert!(is_listed, "a view that is not registered");
                drop(pin);
            })
        };
        heap.commit();
        heap.commit();
        reader.join().expect("a reader that ends");
        assert!(heap.pins.list().is_empty(), "a view that is gone is registered");
        assert_eq!(heap.view().state().leaf.numbers(), [2, 2], "what was committed");
        let leaf = Arc::as_ptr(&heap.writer.lock().state.leaf);
        heap.commit();
        heap.current.reclaim();
        assert_eq!(alive.load(Ordering::Acquire), 1, "what no view holds is gone");
        assert!(std::ptr::eq(leaf, Arc::as_ptr(&heap.writer.lock().state.leaf)), "copied for nobody");
    });
}

#[test]
fn a_view_keeps_what_it_sees_and_nothing_more() {
    pin(Wrong::Nothing);
}

#[test]
#[should_panic(expected = "a view changed")]
fn a_view_that_pins_nothing_is_found() {
    pin(Wrong::PinsNothing);
}

#[test]
#[should_panic(expected = "a view changed")]
fn a_view_that_is_let_go_of_too_early_is_found() {
    pin(Wrong::LetGoTooEarly);
}

#[test]
#[should_panic(expected = "copied for nobody")]
fn a_copy_for_a_view_that_is_gone_is_found() {
    pin(Wrong::HeldByNobody);
}

#[test]
#[should_panic(expected = "leads to no segment")]
fn an_entry_before_its_table_is_found() {
    pin(Wrong::TableLast);
}

#[test]
#[should_panic(expected = "what no view holds is gone")]
fn a_shared_state_that_stays_is_found() {
    pin(Wrong::SharedStays);
}

#[test]
#[should_panic(expected = "what no view holds is gone")]
fn a_pinned_state_that_stays_is_found() {
    pin(Wrong::PinnedStays);
}
