//! A session: one transaction after another, each operation chosen by a seed.
//!
//! Owns: the operations of a transaction, and the notes of its reads. A session can be driven step by step, so that one
//! thread can interleave several by seed.

use std::collections::{BTreeMap, BTreeSet};

use tenure::{Durability, Error, RecordId, Result, Savepoint, Transaction};

use crate::common::Rng;
use crate::histories::world::{
    ELEMENTS, GROUPS, LISTS, Read, Status, Txn, What, World, Writes, parse, record, state_of,
};

/// What is known of a list without the transaction's own writes.
#[derive(Debug, Clone)]
enum Base {
    Whole(Vec<u64>),
    Length(usize),
}

#[derive(Debug)]
struct Active {
    tx: Transaction,
    txn: Txn,
    bases: BTreeMap<u32, Base>,
    known_members: BTreeSet<RecordId>,
    points: Vec<(Savepoint, Writes)>,
    elements: u64,
    left: usize,
    has_state: bool,
}

#[derive(Debug)]
pub struct Session {
    journal: u32,
    rng: Rng,
    active: Option<Active>,
    pub done: Vec<Txn>,
    /// The store takes no more writes.
    pub is_over: bool,
    names: usize,
}

impl Session {
    /// `number` is below `SESSIONS`.
    pub fn new(number: u32, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self { journal: LISTS + number, rng, active: None, done: Vec::new(), is_over: false, names: 0 }
    }

    pub fn number(&self) -> u32 {
        self.journal
    }

    /// One operation, or a beginning or an end of a transaction.
    pub fn step(&mut self, world: &World) {
        if self.is_over {
            return;
        }
        let Some(mut active) = self.active.take() else {
            match self.begin(world) {
                Ok(active) => self.active = Some(active),
                Err(_) => self.is_over = true,
            }
            return;
        };
        if active.left == 0 {
            self.end(world, active);
            return;
        }
        active.left -= 1;
        match active.operate(world, &mut self.rng, self.names) {
            Ok(()) => self.active = Some(active),
            Err(error) => {
                assert!(error.is_conflict() || self.is_power_out(&error), "an operation failed: {error}");
                active.txn.end = world.now();
                self.done.push(active.txn);
            }
        }
    }

    /// Drops a transaction that is under way.
    pub fn stop(&mut self, world: &World) {
        if let Some(mut active) = self.active.take() {
            drop(active.tx);
            active.txn.end = world.now();
            self.done.push(active.txn);
        }
    }

    fn is_power_out(&mut self, error: &Error) -> bool {
        self.is_over = matches!(error, Error::Io { .. } | Error::Poisoned { .. } | Error::Indeterminate { .. });
        self.is_over
    }

    fn begin(&mut self, world: &World) -> Result<Active> {
        let begin = world.now();
        let tx = world.weakness.weakened(world.store.begin_with(world.isolation)?);
        self.names += 1;
        let txn = Txn {
            number: world.number(),
            run: world.run,
            begin,
            end: 0,
            status: Status::Nothing,
            seq: None,
            is_synced: false,
            reads: Vec::new(),
            writes: Writes::default(),
            contradiction: None,
            is_blind: false,
        };
        Ok(Active {
            tx,
            txn,
            bases: BTreeMap::new(),
            known_members: BTreeSet::new(),
            points: Vec::new(),
            elements: 0,
            left: 1 + self.rng.below(7),
            has_state: false,
        })
    }

    fn end(&mut self, world: &World, mut active: Active) {
        let writes = &active.txn.writes;
        let has_written = !(writes.appended.is_empty() && writes.members.is_empty());
        let has_written = has_written || !(writes.removed.is_empty() && writes.claims.is_empty());
        if self.rng.one_in(12) {
            drop(active.tx);
        } else if !has_written {
            active.tx.commit_with(Durability::Buffered).expect("a transaction that only read");
        } else {
            // A crash leaves it to the session's own list to tell whether the transaction is there.
            let result = active.append(world, self.journal).and_then(|()| {
                active.txn.is_synced = self.rng.one_in(5);
                let durability = if active.txn.is_synced { Durability::Sync } else { Durability::Buffered };
                active.tx.commit_with(durability)
            });
            match result {
                Ok(seq) => (active.txn.status, active.txn.seq) = (Status::Committed, Some(seq)),
                Err(Error::Conflict { .. } | Error::UniqueViolation { .. }) => {}
                Err(error) => {
                    assert!(self.is_power_out(&error), "a commit failed: {error}");
                    active.txn.status = Status::Unknown;
                }
            }
        }
        if active.txn.status == Status::Nothing {
            active.txn.writes = Writes::default();
        }
        active.txn.end = world.now();
        self.done.push(active.txn);
        if self.rng.one_in(60) {
            let saved = world.store.save_snapshot();
            self.is_over |= saved.is_err_and(|error| self.is_power_out(&error));
        }
    }
}

impl Active {
    fn operate(&mut self, world: &World, rng: &mut Rng, names: usize) -> Result<()> {
        let list = u32::try_from(rng.below(LISTS as usize)).unwrap();
        match rng.below(22) {
            0..=3 => self.read(world, list).map(drop),
            4..=7 => self.append(world, list),
            8 => self.append_blind(world, list),
            9 => self.lengths(world, list),
            10 => {
                let id = self.look_up(world, What::List, list)?;
                self.contradict(id != Some(world.ids[list as usize]), || format!("list {list} by name: {id:?}"));
                self.read(world, list).map(drop)
            }
            11..=12 => {
                let group = u32::try_from(rng.below(GROUPS as usize)).unwrap();
                let id = self.tx.insert(&world.set, record(What::Member, group, &[]))?;
                self.txn.writes.members.insert(id, group);
                world.members.lock().unwrap().push(id);
                Ok(())
            }
            13..=14 => self.members(world, rng),
            15 => self.remove(world, rng),
            16..=17 => {
                let name = u32::try_from(world.run).unwrap() * 1000 + u32::try_from(names + rng.below(4)).unwrap();
                let is_taken = rng.below(3) > 0 && self.claimed(world, name)?;
                if !is_taken {
                    match self.tx.insert(&world.set, record(What::Claim, name, &[])) {
                        Ok(id) => drop(self.txn.writes.claims.insert(id, name)),
                        Err(Error::UniqueViolation { id, .. }) => {
                            self.has_state = true;
                            if !self.txn.writes.claims.contains_key(&id) {
                                self.txn.reads.push(Read::Name { name, found: Some(id) });
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            18..=19 => self.scan(world),
            20 => {
                self.points.push((self.tx.savepoint(), self.txn.writes.clone()));
                Ok(())
            }
            _ => {
                if !self.points.is_empty() {
                    self.points.truncate(1 + rng.below(self.points.len()));
                    let (point, writes) = self.points.last().cloned().expect("one is left");
                    self.tx.roll_back_to(point)?;
                    self.txn.writes = writes;
                }
                Ok(())
            }
        }
    }

    fn contradict(&mut self, is_wrong: bool, what: impl Fn() -> String) {
        if is_wrong && self.txn.contradiction.is_none() {
            self.txn.contradiction = Some(what());
        }
    }

    /// A record as the transaction sees it.
    fn get(&mut self, id: RecordId) -> Result<Vec<u8>> {
        self.has_state = true;
        self.tx.get(id)?.to_vec()
    }

    fn entries(&mut self, world: &World, from: (u32, u32), end: (u32, u32)) -> Result<Vec<(u32, usize, RecordId)>> {
        self.has_state = true;
        let of = |entry: tenure::IndexEntry| {
            let (object, len) = state_of(&entry.key);
            (object, len, entry.id)
        };
        self.tx.range(&world.state, from..end)?.map(|entry| entry.map(of)).collect()
    }

    /// Reads a list: what is there, own elements included.
    fn read(&mut self, world: &World, list: u32) -> Result<Vec<u64>> {
        let elements = match parse(&self.get(world.ids[list as usize])?) {
            (What::List, of, elements) if of == list => elements,
            other => panic!("not list {list}: {other:?}"),
        };
        self.note_list(list, &elements);
        Ok(elements)
    }

    /// A list was seen, own elements included.
    fn note_list(&mut self, list: u32, elements: &[u64]) {
        let own = self.txn.writes.appended.get(&list).cloned().unwrap_or_default();
        let is_own = elements.ends_with(&own);
        let base = elements[..elements.len().saturating_sub(own.len())].to_vec();
        let is_same = match self.bases.get(&list) {
            Some(Base::Whole(before)) => *before == base,
            Some(Base::Length(len)) => *len == base.len(),
            None => true,
        };
        let before = self.bases.get(&list).cloned();
        self.contradict(!(is_own && is_same), || format!("list {list}: {before:?} and now {elements:?}"));
        if !matches!(self.bases.get(&list), Some(Base::Whole(_))) {
            self.txn.reads.push(Read::List { list, elements: base.clone() });
            self.bases.insert(list, Base::Whole(base));
        }
    }

    /// Everything in the set, and how many that is.
    fn scan(&mut self, world: &World) -> Result<()> {
        self.has_state = true;
        let len = self.tx.len(&world.set)?;
        let (mut seen, mut own, mut claims, mut count) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), 0);
        for found in &self.tx.scan(&world.set)? {
            let found = found?;
            count += 1;
            let (what, object, elements) = parse(&found.to_vec()?);
            match what {
                What::List => self.note_list(object, &elements),
                What::Member => drop(seen.insert(found.id())),
                // Another may have the name as well: then the commit refuses it.
                What::Claim if self.txn.writes.claims.contains_key(&found.id()) => drop(own.insert(found.id())),
                What::Claim => {
                    let twice = claims.insert(object, found.id());
                    self.contradict(twice.is_some(), || format!("name {object} twice: {twice:?}"));
                }
            }
        }
        self.contradict(count != len, || format!("{len} records, and {count} in a scan"));
        let writes = &self.txn.writes;
        let wrong = writes.members.keys().any(|id| seen.contains(id) == writes.removed.contains(id))
            || writes.removed.iter().any(|id| seen.contains(id))
            || !own.iter().eq(writes.claims.keys());
        self.contradict(wrong, || "own writes are not in a scan".to_owned());
        seen.retain(|id| !self.txn.writes.members.contains_key(id));
        self.known_members.extend(&seen);
        let removed = self.txn.writes.removed.clone();
        self.txn.reads.push(Read::Members { from: 0, end: GROUPS, seen, removed });
        self.txn.reads.push(Read::Claims { seen: claims, own: self.txn.writes.claims.values().copied().collect() });
        Ok(())
    }

    fn element(&mut self) -> u64 {
        self.elements += 1;
        assert!(self.elements < ELEMENTS);
        self.txn.number * ELEMENTS + self.elements
    }

    fn append(&mut self, world: &World, list: u32) -> Result<()> {
        let mut elements = self.read(world, list)?;
        let element = self.element();
        elements.push(element);
        self.tx.update(world.ids[list as usize], record(What::List, list, &elements))?;
        self.txn.writes.appended.entry(list).or_default().push(element);
        Ok(())
    }

    /// Replaces a list that was read outside, if it is still what it was.
    fn append_blind(&mut self, world: &World, list: u32) -> Result<()> {
        if self.bases.contains_key(&list) {
            return self.append(world, list);
        }
        let id = world.ids[list as usize];
        let (before, version) = {
            let found = world.store.get(id)?;
            (parse(&found.to_vec()?).2, found.seq())
        };
        let (mut elements, element) = (before.clone(), self.element());
        elements.push(element);
        self.has_state = true;
        match self.tx.update_if(id, version, record(What::List, list, &elements)) {
            Ok(()) => {
                self.txn.reads.push(Read::List { list, elements: before.clone() });
                self.bases.insert(list, Base::Whole(before));
                self.txn.writes.appended.entry(list).or_default().push(element);
                Ok(())
            }
            // What it saw instead is not known here.
            Err(Error::VersionMismatch { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The lengths of some lists, by the index.
    fn lengths(&mut self, world: &World, from: u32) -> Result<()> {
        let end = (from + 3).min(LISTS);
        let entries = self.entries(world, (What::List as u32, from), (What::List as u32, end))?;
        let lists: Vec<u32> = entries.iter().map(|(list, ..)| *list).collect();
        self.contradict(!lists.iter().copied().eq(from..end), || format!("lists {from} to {end}: {entries:?}"));
        for (list, len, _) in entries {
            let own = self.txn.writes.appended.get(&list).map_or(0, Vec::len);
            let base = len.saturating_sub(own);
            match self.bases.get(&list) {
                Some(Base::Whole(before)) => {
                    let before = before.len();
                    self.contradict(before != base, || format!("list {list}: length {before} and now {base}"));
                }
                Some(Base::Length(before)) => {
                    let before = *before;
                    self.contradict(before != base, || format!("list {list}: length {before} and now {base}"));
                }
                None => {
                    self.txn.reads.push(Read::Length { list, len: base });
                    self.bases.insert(list, Base::Length(base));
                }
            }
        }
        Ok(())
    }

    fn members(&mut self, world: &World, rng: &mut Rng) -> Result<()> {
        let from = u32::try_from(rng.below(GROUPS as usize)).unwrap();
        let end = (from + 1 + u32::try_from(rng.below(3)).unwrap()).min(GROUPS);
        let entries = self.entries(world, (What::Member as u32, from), (What::Member as u32, end))?;
        let mut seen: BTreeSet<RecordId> = entries.iter().map(|(.., id)| *id).collect();
        self.contradict(seen.len() != entries.len(), || format!("an entry twice: {entries:?}"));
        let writes = &self.txn.writes;
        let mut own =
            writes.members.iter().filter(|(id, group)| (from..end).contains(group) && !writes.removed.contains(id));
        let wrong = own.any(|(id, _)| !seen.contains(id)) || writes.removed.iter().any(|id| seen.contains(id));
        self.contradict(wrong, || format!("own writes are not in groups {from} to {end}"));
        seen.retain(|id| !self.txn.writes.members.contains_key(id));
        self.known_members.extend(&seen);
        let removed = self.txn.writes.removed.clone();
        self.txn.reads.push(Read::Members { from, end, seen, removed });
        Ok(())
    }

    /// Removes a member that was seen in a range, or one of which only the ID is known.
    fn remove(&mut self, world: &World, rng: &mut Rng) -> Result<()> {
        let known: Vec<RecordId> = if rng.one_in(3) {
            world.members.lock().unwrap().clone()
        } else {
            self.known_members.iter().chain(self.txn.writes.members.keys()).copied().collect()
        };
        if known.is_empty() {
            return Ok(());
        }
        let id = known[rng.below(known.len())];
        // Behind a savepoint it is a read like others.
        self.has_state |= !self.points.is_empty();
        let is_blind = !self.has_state;
        match self.tx.delete(id) {
            Ok(()) => {
                self.txn.is_blind |= is_blind;
                self.contradict(self.txn.writes.removed.contains(&id), || format!("{id} removed twice"));
                self.txn.writes.removed.insert(id);
                Ok(())
            }
            Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {
                let is_known = self.known_members.contains(&id) && !self.txn.writes.removed.contains(&id);
                self.contradict(is_known, || format!("{id} was seen and is not there"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn look_up(&mut self, world: &World, what: What, object: u32) -> Result<Option<RecordId>> {
        self.has_state = true;
        self.tx.find(&world.name, &(what as u32, object))
    }

    /// Whether a name is taken, by another or by this transaction.
    fn claimed(&mut self, world: &World, name: u32) -> Result<bool> {
        let found = self.look_up(world, What::Claim, name)?;
        let own: Vec<RecordId> =
            self.txn.writes.claims.iter().filter(|(_, own)| **own == name).map(|(id, _)| *id).collect();
        match found {
            Some(id) if own.contains(&id) => {}
            found if own.is_empty() => self.txn.reads.push(Read::Name { name, found }),
            Some(_) => {} // Another's as well as its own: the commit refuses it.
            None => self.contradict(true, || format!("its own claim of {name} is not there")),
        }
        Ok(found.is_some())
    }
}
