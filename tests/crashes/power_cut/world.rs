//! A store on a failing disk, and a model of every state that it went through.
//!
//! Owns: the operations, the states, and the check of the state after a failure. It returns a problem instead of
//! panicking, so that a test can also prove that a planted fault is found.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::{Durability, Error, Options, Point, RecordId, Store};

use crate::common;
use crate::common::{Contents, Rng};

/// The problem.
pub type Wrong = String;

pub const SETS: [&str; 2] = ["a", "b"];

/// The readable content of a store at one commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub contents: Contents,
    /// Names of marks; the commit is unknown if the call that created it failed.
    pub marks: BTreeMap<String, Option<u64>>,
}

impl State {
    pub fn of(store: &Store) -> Result<Self, Wrong> {
        let contents = common::contents(store).map_err(|error| format!("reading: {error}"))?;
        let marks = common::marks(store).into_iter().map(|(name, seq)| (name, Some(seq))).collect();
        Ok(Self { contents, marks })
    }

    /// Whether the state found is this one, as far as it is known.
    pub fn is(&self, found: &Self) -> bool {
        let is_same = |(name, seq): (&String, &Option<u64>)| {
            found.marks.get(name).is_some_and(|there| seq.is_none() || seq == there)
        };
        self.contents == found.contents && self.marks.len() == found.marks.len() && self.marks.iter().all(is_same)
    }
}

/// One public operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Insert,
    Update,
    Delete,
    InsertLarge,
    RecordSet,
    Mark,
    SaveSnapshot,
    Sync,
    Reopen,
    /// The process is killed: what it wrote is still in the page cache.
    Kill,
    /// Several changes in one transaction.
    Several,
    /// A transaction that is dropped.
    Abort,
    /// Everything that can be gained is collected.
    Collect,
    /// A snapshot is saved under a name.
    SaveNamed,
    /// A named snapshot is dropped, if there is one.
    DropNamed,
    /// The store rolls back to a named snapshot, if it has one.
    RollBack,
}

/// Operations that matter to the collector.
pub const OPS_BESIDE_COLLECT: [Op; 7] =
    [Op::Insert, Op::Update, Op::Delete, Op::InsertLarge, Op::SaveSnapshot, Op::Collect, Op::Kill];

/// Operations that matter to rollback.
pub const OPS_OF_THE_PAST: [Op; 8] =
    [Op::Insert, Op::Update, Op::Delete, Op::SaveNamed, Op::DropNamed, Op::RollBack, Op::Collect, Op::Kill];

/// Operations that matter to merging.
pub const OPS_BESIDE_MERGES: [Op; 6] = [Op::Reopen, Op::Kill, Op::Insert, Op::Update, Op::Delete, Op::SaveNamed];

pub const OPS: [Op; 10] = [
    Op::Insert,
    Op::Update,
    Op::Delete,
    Op::InsertLarge,
    Op::RecordSet,
    Op::Mark,
    Op::SaveSnapshot,
    Op::Sync,
    Op::Reopen,
    Op::Kill,
];

/// How a backing is presented to the store: as it is, or with a planted fault.
pub type Wrap = fn(FaultBacking) -> Arc<dyn Backing>;

pub fn as_it_is(backing: FaultBacking) -> Arc<dyn Backing> {
    Arc::new(backing)
}

pub fn options(durability: Durability) -> Options {
    Options::new().background(false).segment_bytes(64 << 10).durability(durability)
}

/// Named snapshots.
pub type Named = BTreeMap<String, State>;

pub fn names_of(store: &Store) -> Result<BTreeSet<String>, Wrong> {
    let snapshots = store.snapshots().map_err(|error| format!("listing snapshots: {error}"))?;
    Ok(snapshots.into_iter().filter_map(|snapshot| snapshot.name).collect())
}

/// A store and the states that it went through.
#[derive(Debug)]
pub struct World {
    pub backing: FaultBacking,
    pub options: Options,
    pub durability: Durability,
    pub store: Option<Store>,
    pub wrap: Wrap,
    pub rng: Rng,
    /// States in the order of commits. The first ones may be forgotten.
    pub states: Vec<State>,
    /// The oldest state that a power cut may lead back to: an index into `states`.
    pub floor: usize,
    /// The state that a failed operation would have led to.
    pub attempted: Option<State>,
    /// Every ID that was handed out.
    pub ever: BTreeSet<RecordId>,
    /// Named snapshots and their content.
    pub named: Named,
    /// The state that a failed operation on them would have led to.
    pub attempted_names: Option<Named>,
    /// The least number that the last commit can have since the store went back.
    pub last_seq_min: u64,
    /// The same, if the failed rollback took effect.
    pub attempted_seq_min: u64,
    /// Records that collections have moved.
    pub moved: u64,
    /// How often the store went back.
    pub rolled_back: u64,
    /// Bytes of an ordinary value, at most.
    pub value_bytes_max: usize,
    names: u32,
    /// Images that were judged.
    judged: Cell<u32>,
}

impl World {
    /// Continues from the content of a backing.
    pub fn open(backing: FaultBacking, durability: Durability, wrap: Wrap, seed: u64) -> Result<Self, Wrong> {
        let options = options(durability);
        let store = options.open_backing(wrap(backing.clone())).map_err(|error| format!("opening: {error}"))?;
        let state = State::of(&store)?;
        let mut named = Named::new();
        for name in names_of(&store)? {
            let past = options.open_backing_at(wrap(backing.clone()), &Point::Name(name.clone()));
            named.insert(name, State::of(&past.map_err(|error| format!("opening the past: {error}"))?)?);
        }
        let all = named.values().chain([&state]).flat_map(|state| state.contents.values());
        let ever = all.flat_map(BTreeMap::keys).copied().collect();
        Ok(Self {
            backing,
            options,
            durability,
            store: Some(store),
            wrap,
            rng: Rng::new(seed),
            states: vec![state],
            floor: 0,
            attempted: None,
            ever,
            named,
            attempted_names: None,
            last_seq_min: 0,
            attempted_seq_min: 0,
            moved: 0,
            rolled_back: 0,
            value_bytes_max: 40,
            names: 0,
            judged: Cell::new(0),
        })
    }

    pub fn now(&self) -> &State {
        self.states.last().expect("a state")
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    fn value(&mut self) -> Vec<u8> {
        let len = self.rng.below(self.value_bytes_max);
        self.rng.bytes(len)
    }

    fn some_id(&mut self) -> Option<(String, RecordId)> {
        let all: Vec<_> = self
            .now()
            .contents
            .iter()
            .flat_map(|(set, records)| records.keys().map(move |id| (set.clone(), *id)))
            .collect();
        let index = self.rng.below(all.len());
        all.get(index).cloned()
    }

    fn some_name(&mut self) -> Option<String> {
        let index = self.rng.below(self.named.len());
        self.named.keys().nth(index).cloned()
    }

    fn set_name(&mut self) -> String {
        let names: Vec<String> = self.now().contents.keys().cloned().collect();
        let index = self.rng.below(names.len());
        names[index].clone()
    }

    fn insert(&mut self, next: &mut State, tx: &mut tenure::Transaction, bytes: Vec<u8>) -> Result<(), Error> {
        let name = self.set_name();
        let set = self.store().find_set(&name).expect("a set");
        let id = tx.insert(&set, &bytes)?;
        assert!(self.ever.insert(id), "{id} was handed out twice");
        next.contents.get_mut(&name).expect("a set").insert(id, bytes);
        Ok(())
    }

    /// Changes in a transaction; what it would lead to is in `next` as soon as it is known.
    fn change(&mut self, op: Op, next: &mut State, tx: &mut tenure::Transaction) -> Result<(), Error> {
        match op {
            Op::InsertLarge => {
                let bytes = self.rng.bytes(70_000);
                self.insert(next, tx, bytes)
            }
            Op::Update | Op::Delete => {
                let Some((set, id)) = self.some_id() else { return Ok(()) };
                if !next.contents[&set].contains_key(&id) {
                    return Ok(());
                }
                if op == Op::Delete {
                    tx.delete(id)?;
                    next.contents.get_mut(&set).expect("a set").remove(&id);
                } else {
                    let bytes = self.value();
                    tx.update(id, &bytes)?;
                    next.contents.get_mut(&set).expect("a set").insert(id, bytes);
                }
                Ok(())
            }
            Op::Several => {
                for _ in 0..=self.rng.below(5) {
                    let one = [Op::Insert, Op::Update, Op::Delete][self.rng.below(3)];
                    self.change(one, next, tx)?;
                }
                Ok(())
            }
            _ => {
                let bytes = self.value();
                self.insert(next, tx, bytes)
            }
        }
    }

    /// Saves or drops a named snapshot.
    fn change_names(&mut self, op: Op, store: &Store) -> Result<bool, Error> {
        let mut names = self.named.clone();
        let result = if op == Op::SaveNamed {
            self.names += 1;
            let name = format!("kept {}", self.names);
            names.insert(name.clone(), self.now().clone());
            store.save_named_snapshot(&name).map(|_| true)
        } else {
            // What it deletes was emptied by commits that are durable by then; others may not be.
            let name = self.some_name().filter(|name| names.remove(name).is_some());
            name.map_or(Ok(false), |name| store.drop_snapshot(&name).map(|()| false))
        };
        match &result {
            Ok(_) => self.named = names,
            Err(_) => self.attempted_names = Some(names),
        }
        result
    }

    /// Rolls back to a named snapshot; the resulting state is in `next`.
    fn roll_back(&mut self, store: Store, next: &mut State) -> Result<bool, Error> {
        let Some(name) = self.some_name() else { return Ok(false) };
        *next = self.named[&name].clone();
        drop(self.store.take());
        self.attempted_seq_min = store.last_seq().0 + 1;
        let store = store.roll_back_to(&Point::Name(name))?;
        assert!(store.last_seq().0 >= self.attempted_seq_min, "a commit number comes back");
        self.last_seq_min = self.attempted_seq_min;
        self.rolled_back += 1;
        self.store = Some(store);
        Ok(true)
    }

    /// Runs one operation and notes its result, or the result it would have had.
    pub fn run(&mut self, op: Op) -> Result<(), Error> {
        let mut next = self.now().clone();
        let store = self.store().clone();
        let before = self.states.len() - 1;
        let result = match op {
            Op::RecordSet => {
                self.names += 1;
                let name = format!("set {}", self.names);
                next.contents.insert(name.clone(), BTreeMap::new());
                store.record_set(&name).map(|_| false)
            }
            Op::Mark if !next.marks.is_empty() && self.rng.one_in(4) => {
                let name = next.marks.pop_first().expect("a mark").0;
                store.drop_mark(&name).map(|()| true)
            }
            Op::Mark => {
                let name = format!("mark {}", self.rng.below(3));
                next.marks.insert(name.clone(), None);
                store.mark(&name).map(|seq| {
                    next.marks.insert(name, Some(seq.0));
                    self.durability == Durability::Sync
                })
            }
            Op::SaveSnapshot => store.save_snapshot().map(|_| true),
            Op::Sync => store.sync().map(|()| true),
            Op::Collect => store.collect(None).map(|collected| {
                self.moved += collected.records;
                true
            }),
            Op::SaveNamed | Op::DropNamed => self.change_names(op, &store),
            Op::RollBack => self.roll_back(store, &mut next),
            Op::Reopen => {
                drop(store);
                let store = self.store.take().expect("an open store");
                let closed = store.close();
                self.open_again().and(closed).map(|()| true)
            }
            Op::Kill => {
                let killed = self.backing.kill_image();
                drop(self.store.take());
                drop(store);
                self.backing = killed;
                self.open_again().map(|()| true)
            }
            _ => store.begin().and_then(|mut tx| {
                self.change(op, &mut next, &mut tx)?;
                if op == Op::Abort {
                    next = self.now().clone();
                    return Ok(false);
                }
                tx.commit_with(self.durability).map(|_| self.durability == Durability::Sync)
            }),
        };
        match result {
            Ok(is_durable) => {
                if next != *self.now() {
                    self.states.push(next);
                    self.attempted = None;
                }
                if is_durable {
                    self.floor = self.states.len() - 1;
                }
                Ok(())
            }
            Err(error) => {
                // The others promise that nothing remains.
                let may_remain = matches!(error, Error::Io { .. } | Error::Indeterminate { .. });
                if may_remain && next != self.states[before] {
                    self.attempted = Some(next);
                }
                Err(error)
            }
        }
    }

    /// Opens the store where nothing was lost. What the last operation left is decided now, and durable.
    fn open_again(&mut self) -> Result<(), Error> {
        let store = self.options.open_backing((self.wrap)(self.backing.clone()))?;
        let found = match State::of(&store) {
            Ok(found) => found,
            // The power went out in a step that opening does not depend on.
            Err(_) if self.backing.list().is_err() => {
                self.store = Some(store);
                return Ok(());
            }
            Err(wrong) => panic!("opened again: {wrong}"),
        };
        if !self.now().is(&found) {
            let attempted = self.attempted.take().filter(|attempted| attempted.is(&found));
            assert!(attempted.is_some(), "opened again: {:?} became {found:?}", self.now());
            self.states.push(found);
        }
        self.attempted = None;
        self.floor = self.states.len() - 1;
        self.store = Some(store);
        Ok(())
    }

    /// Goes on from an image.
    pub fn resume(&mut self, image: FaultBacking) -> Result<(), Wrong> {
        let (store, state) = self.open_image(&image, "resuming")?;
        self.judge(&state)?;
        self.judge_past(&image, &store, &state)?;
        let names = names_of(&store)?;
        self.named.extend(self.attempted_names.take().unwrap_or_default());
        self.named.retain(|name, _| names.contains(name));
        (self.last_seq_min, self.attempted_seq_min) = (0, 0);
        (self.backing, self.store, self.states, self.floor, self.attempted) =
            (image, Some(store), vec![state], 0, None);
        Ok(())
    }

    /// Whether a state is one that a power cut may lead to, and which.
    pub fn judge(&self, found: &State) -> Result<(), Wrong> {
        let allowed = self.states[self.floor..].iter().chain(&self.attempted);
        if allowed.clone().any(|state| state.is(found)) {
            return Ok(());
        }
        let lost = self.states[..self.floor].iter().rposition(|state| state.is(found));
        Err(match lost {
            Some(index) => format!("the state is that of commit {index}, and {} was acknowledged", self.floor),
            None => {
                let shown = |state: &State| {
                    let sizes = |records: &BTreeMap<RecordId, Vec<u8>>| {
                        records.iter().map(|(id, bytes)| format!("{id}:{}", bytes.len())).collect::<Vec<_>>().join(" ")
                    };
                    let sets = state.contents.iter().map(|(name, records)| format!("{name} [{}]", sizes(records)));
                    format!("{} {:?}", sets.collect::<Vec<_>>().join(" "), state.marks)
                };
                let allowed: Vec<String> = allowed.map(shown).collect();
                format!("the state is none that was: {}\nallowed:\n{}", shown(found), allowed.join("\n"))
            }
        })
    }

    /// Whether named snapshots are those that there can be, hold what they held, and no commit number comes back.
    fn judge_past(&self, image: &FaultBacking, store: &Store, found: &State) -> Result<(), Wrong> {
        let is_back = self.attempted_seq_min > 0
            && !self.states[self.floor..].iter().any(|state| state.is(found))
            && self.attempted.as_ref().is_some_and(|attempted| attempted.is(found));
        let last_seq_min = if is_back { self.attempted_seq_min } else { self.last_seq_min };
        if store.last_seq().0 < last_seq_min {
            return Err(format!("{} is the last commit, {last_seq_min} the next one", store.last_seq()));
        }
        let names = names_of(store)?;
        let is_these = |named: &&Named| named.keys().eq(&names);
        let right = [&self.named].into_iter().chain(&self.attempted_names).find(is_these);
        let right = right.ok_or_else(|| {
            let attempted = self.attempted_names.as_ref().map(|names| names.keys().collect::<Vec<_>>());
            format!("snapshots {names:?}, and {:?} or {attempted:?} are right", self.named.keys().collect::<Vec<_>>())
        })?;
        for (name, state) in right {
            let past = self.options.open_backing_at((self.wrap)(image.clone()), &Point::Name(name.clone()));
            let past = past.map_err(|error| format!("opening {name:?}: {error}"))?;
            if !state.is(&State::of(&past)?) {
                return Err(format!("snapshot {name:?} holds something else than it held"));
            }
        }
        Ok(())
    }

    fn open_image(&self, image: &FaultBacking, what: &str) -> Result<(Store, State), Wrong> {
        let store = self.options.open_backing((self.wrap)(image.clone()));
        let store = store.map_err(|error| format!("{what}: {error}"))?;
        let state = State::of(&store).map_err(|wrong| format!("{what}: {wrong}"))?;
        Ok((store, state))
    }

    /// Judges an image of a power cut: it opens, is in an allowed state, stays in it, and works.
    pub fn check_image(&self, image: &FaultBacking) -> Result<(), Wrong> {
        let (store, state) = self.open_image(image, "opening the image")?;
        self.judge(&state).map_err(|wrong| format!("{wrong}\n{}", store.recovery_report()))?;
        self.judge_past(image, &store, &state)?;
        // Everything the first recovery has shown must be durable.
        let lost = image.crash_image_lose_all();
        let (again, second) = self.open_image(&lost, "opening again after a crash")?;
        if second != state {
            return Err("a second recovery gives another state".to_owned());
        }
        // What changes the store further is done for every second image: those that lost all, and some of those between.
        self.judged.set(self.judged.get() + 1);
        let goes_on = self.judged.get().is_multiple_of(2);
        if goes_on {
            self.check_next_commit(&again, &lost)?;
        }
        drop(again);
        self.check_new_ids(&store)?;
        let state = State::of(&store)?;
        no_strays(&store, image, "opened")?;
        store.close().map_err(|error| format!("closing after recovery: {error}"))?;
        // After a close nothing depends on unsynced data.
        let image = &image.crash_image_lose_all();
        let (store, third) = self.open_image(image, "opening after a close and a power cut")?;
        if third != state {
            return Err("closed and opened: another state".to_owned());
        }
        if self.judged.get().is_multiple_of(4) {
            store.collect(None).map_err(|error| format!("collecting after recovery: {error}"))?;
            if State::of(&store)? != state {
                return Err("collected: another state".to_owned());
            }
        }
        no_strays(&store, image, "opened after a close")?;
        if !goes_on {
            return Ok(());
        }
        // Slots that were live, too, must not give away an ID for the second time.
        let delete =
            |tx: &mut tenure::Transaction| third.contents.values().flatten().try_for_each(|(id, _)| tx.delete(*id));
        store.write(delete).map_err(|error| format!("deleting after recovery: {error}"))?;
        store.close().map_err(|error| format!("closing after deletions: {error}"))?;
        let reader = self.options.clone().read_only(true).open_backing(Arc::new(image.clone()));
        no_strays(&reader.map_err(|error| format!("reading after deletions: {error}"))?, image, "closed")?;
        self.check_new_ids(&self.open_image(image, "opening after deletions")?.0)
    }

    /// A commit that is acknowledged after recoveries survives the next power cut.
    fn check_next_commit(&self, store: &Store, backing: &FaultBacking) -> Result<(), Wrong> {
        let Some(set) = store.record_sets().into_iter().next() else { return Ok(()) };
        let inserted = store.begin().and_then(|mut tx| {
            let id = tx.insert(&set, "next")?;
            tx.commit_with(Durability::Sync).map(|_| id)
        });
        let id = inserted.map_err(|error| format!("committing after two recoveries: {error}"))?;
        let (store, _) = self.open_image(&backing.crash_image_lose_all(), "opening after the next commit")?;
        store.get(id).map(drop).map_err(|error| format!("the next commit is lost: {error}"))
    }

    /// No ID that anybody may have seen is given to another record.
    fn check_new_ids(&self, store: &Store) -> Result<(), Wrong> {
        for set in store.record_sets() {
            let mut tx = store.begin().map_err(|error| format!("beginning after recovery: {error}"))?;
            for _ in 0..5 {
                let id = tx.insert(&set, "new").map_err(|error| format!("inserting after recovery: {error}"))?;
                if self.ever.contains(&id) {
                    return Err(format!("{id} was handed out before the crash, and again after it"));
                }
            }
            tx.commit_with(Durability::Buffered).map_err(|error| format!("committing after recovery: {error}"))?;
        }
        Ok(())
    }

    /// Opens an image with a crash at every step of the recovery, and checks the resulting state.
    pub fn check_crashes_of_recovery(&self, image: &FaultBacking, seed: u64) -> Result<u64, Wrong> {
        for step in 0.. {
            let copy = image.crash_image_keep_all();
            copy.crash_at(step);
            let opened = self.options.open_backing((self.wrap)(copy.clone()));
            let is_over = opened.is_ok() && copy.steps() <= step;
            drop(opened);
            if is_over {
                return Ok(step);
            }
            let images = [copy.crash_image_keep_all(), copy.crash_image_lose_all(), copy.crash_image(seed + step)];
            for (number, image) in images.into_iter().enumerate() {
                self.check_image(&image)
                    .map_err(|wrong| format!("crash at step {step} of recovery, image {number}: {wrong}"))?;
            }
        }
        Ok(0)
    }
}

/// Whether the store refers to every file that is there.
pub fn no_strays(store: &Store, image: &FaultBacking, when: &str) -> Result<(), Wrong> {
    let strays = common::strays(store, &|| image.names());
    if strays.is_empty() { Ok(()) } else { Err(format!("{when}: nothing refers to {strays:?}")) }
}

/// All the images that are looked at after one crash.
pub fn images(backing: &FaultBacking, seed: u64) -> Vec<FaultBacking> {
    let seeded = (0..3).map(|index| backing.crash_image(seed * 8 + index));
    [backing.crash_image_keep_all(), backing.crash_image_lose_all()].into_iter().chain(seeded).collect()
}

/// The same with a snapshot that has a name, and changes since: a record replaced, one deleted, one in the place of that,
/// one more, and one that is gone again.
pub fn base_with_a_past() -> FaultBacking {
    let backing = base();
    let store = options(Durability::Sync).open_backing(Arc::new(backing.clone())).expect("opens");
    let set = store.find_set("a").expect("a set");
    let ids: Vec<RecordId> = store.view().scan(&set).map(|record| record.expect("reads").id()).collect();
    store.save_named_snapshot("past").expect("saves");
    store.write(|tx| tx.update(ids[0], "replaced")).expect("updates");
    store.write(|tx| tx.delete(ids[1])).expect("deletes");
    for _ in 0..2 {
        store.write(|tx| tx.insert(&set, "inserted")).expect("inserts");
    }
    let gone = store.write(|tx| tx.insert(&set, "soon gone")).expect("inserts");
    store.write(|tx| tx.delete(gone)).expect("deletes");
    store.close().expect("closes");
    backing.crash_image_lose_all()
}

/// The same after seven openings that each left a segment of their own, which the next close or recovery merges.
pub fn base_of_small_segments() -> FaultBacking {
    let backing = base();
    for number in 0..7_u8 {
        let options = options(Durability::Sync).collector(false);
        let store = options.open_backing(Arc::new(backing.clone())).expect("opens");
        let set = store.find_set(SETS[usize::from(number % 2)]).expect("a set");
        let ids = store.write(|tx| (0..3).map(|_| tx.insert(&set, [number; 9])).collect::<tenure::Result<Vec<_>>>());
        store.write(|tx| tx.delete(ids.as_ref().expect("inserted")[1])).expect("deletes");
        store.close().expect("closes");
    }
    backing.crash_image_lose_all()
}

/// A closed store with a few records, all of it durable.
pub fn base() -> FaultBacking {
    let backing = FaultBacking::new();
    let store = options(Durability::Sync).open_backing(Arc::new(backing.clone())).expect("a new store");
    for name in SETS {
        let set = store.record_set(name).expect("a set");
        for number in 0..2_usize {
            store.write(|tx| tx.insert(&set, vec![7; 5 + number])).expect("inserts");
        }
    }
    store.close().expect("closes");
    backing.crash_image_lose_all()
}
