//! A store with records of all sizes and two key indexes, and a model of its content.
//!
//! Owns: the changes, and the comparison of everything readable. It reports a problem instead of panicking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tenure::backing::{Backing, FaultBacking};
use tenure::extract::{Extractor, Keys};
use tenure::format::descriptor::PageRef;
use tenure::format::item::Kind;
use tenure::format::manifest::{Body, Entry};
use tenure::format::segment::SegmentHeader;
use tenure::format::value::Head;
use tenure::format::{Frame, Seed};
use tenure::{Durability, Options, Point, RecordId, Store, View};

use crate::common;
use crate::common::Rng;

/// The problem.
pub type Wrong = String;

pub type Model = BTreeMap<RecordId, Vec<u8>>;

const SEGMENT: u64 = 64 << 10;
const SET: &str = "goods";

pub fn options() -> Options {
    Options::new()
        .segment_bytes(SEGMENT)
        .durability(Durability::Buffered)
        .background(false)
        .space_ratio(1.1)
        .check_every_read(true)
}

fn told(what: &str) -> impl Fn(tenure::Error) -> Wrong {
    move |error| format!("{what}: {error}")
}

/// The number of a record, which is unique and stays when the record is updated.
fn by_number(record: &[u8], keys: &mut Keys) {
    record.get(..8).into_iter().for_each(|number| keys.push(number));
}

/// The byte after the number, which changes with each update.
fn by_state(record: &[u8], keys: &mut Keys) {
    record.get(8..9).into_iter().for_each(|state| keys.push(state));
}

/// The store and its model.
pub struct Shop {
    store: Store,
    model: Model,
    rng: Rng,
    next: u64,
}

impl Shop {
    pub fn open(backing: Arc<dyn Backing>, seed: u64) -> Result<Self, Wrong> {
        let store = options().open_backing(backing).map_err(told("opening"))?;
        let set = store.record_set(SET).map_err(told("making a set"))?;
        store.unique_index(&set, "number", Extractor::new("number", 1, by_number)).map_err(told("making an index"))?;
        store.index(&set, "state", Extractor::new("state", 1, by_state)).map_err(told("making an index"))?;
        Ok(Self { store, model: Model::new(), rng: Rng::new(seed), next: 0 })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    pub fn set_collecting(&self, collecting: bool) {
        self.store.set_collecting(collecting);
    }

    /// A value under a number: mostly small, sometimes of several chunks.
    fn value(&mut self, number: u64) -> Vec<u8> {
        let len = if self.rng.one_in(150) { 70_000 + self.rng.below(100_000) } else { 1 + self.rng.below(600) };
        [&number.to_le_bytes()[..], &self.rng.bytes(len)].concat()
    }

    fn numbered(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    }

    pub fn fill(&mut self, count: usize) -> Result<(), Wrong> {
        for _ in 0..count.div_ceil(100) {
            self.insert_some(100)?;
        }
        Ok(())
    }

    pub fn insert_some(&mut self, count: usize) -> Result<(), Wrong> {
        let set = self.store.find_set(SET).expect("the set");
        let mut tx = self.store.begin().map_err(told("beginning"))?;
        for _ in 0..count {
            self.next += 1;
            let value = self.value(self.next);
            let staged = self.store.stage(&value[..]).map_err(told("staging"))?;
            let id = tx.insert_staged(&set, &staged).map_err(told("inserting"))?;
            self.model.insert(id, value);
        }
        tx.commit_with(Durability::Sync).map(drop).map_err(told("committing"))
    }

    /// Replaces one record in `one_in`; small values keep their length every other time, so that only their content
    /// distinguishes the versions.
    pub fn update_some(&mut self, one_in: usize, durability: Durability) -> Result<(), Wrong> {
        let mut tx = self.store.begin().map_err(told("beginning"))?;
        let ids: Vec<RecordId> = self.model.keys().copied().collect();
        for id in ids {
            if !self.rng.one_in(one_in) {
                continue;
            }
            let old = &self.model[&id];
            let (number, len) = (Self::numbered(old), old.len());
            let value = if len < 60_000 && self.rng.one_in(2) {
                [&number.to_le_bytes()[..], &self.rng.bytes(len - 8)].concat()
            } else {
                self.value(number)
            };
            let staged = self.store.stage(&value[..]).map_err(told("staging"))?;
            tx.update_staged(id, &staged).map_err(told("updating"))?;
            self.model.insert(id, value);
        }
        tx.commit_with(durability).map(drop).map_err(told("committing"))
    }

    fn delete(&mut self, mut is_wanted: impl FnMut(&mut Rng, RecordId) -> bool) -> Result<(), Wrong> {
        let mut tx = self.store.begin().map_err(told("beginning"))?;
        let ids: Vec<RecordId> = self.model.keys().copied().collect();
        for id in ids {
            if is_wanted(&mut self.rng, id) {
                tx.delete(id).map_err(told("deleting"))?;
                self.model.remove(&id);
            }
        }
        tx.commit_with(Durability::Sync).map(drop).map_err(told("committing"))
    }

    pub fn delete_these(&mut self, ids: &BTreeSet<RecordId>) -> Result<(), Wrong> {
        self.delete(|_, id| ids.contains(&id))
    }

    pub fn delete_some(&mut self, one_in: usize) -> Result<(), Wrong> {
        self.delete(|rng, _| rng.one_in(one_in))
    }

    pub fn keep_one_in(&mut self, one_in: usize) -> Result<(), Wrong> {
        self.delete(|rng, _| !rng.one_in(one_in))
    }

    /// Rolls back, given the model of that state.
    pub fn roll_back_to(self, point: &Point, then: Model) -> Result<Self, Wrong> {
        let store = self.store.roll_back_to(point).map_err(told("rolling back"))?;
        Ok(Self { store, model: then, ..self })
    }

    pub fn check(&self) -> Result<(), Wrong> {
        check_store(&self.store, &self.model)
    }
}

/// Compares a set with these records, by ID, by scan, by key, and through views and indexes.
fn check_contents(store: &Store, model: &Model) -> Result<(), Wrong> {
    for (id, bytes) in model {
        let found = store.get(*id).and_then(|record| record.to_vec()).map_err(|error| format!("{id}: {error}"))?;
        if found != *bytes {
            return Err(format!("{id}: {} bytes that are not the newest version", found.len()));
        }
    }
    // It panics if two ways of reading disagree, so single reads come first.
    let found = common::contents(store).map_err(told("reading"))?;
    let found = found.get(SET).cloned().unwrap_or_default();
    if let Some((id, _)) = found.iter().find(|(id, _)| !model.contains_key(id)) {
        return Err(format!("{id} was deleted, and is there"));
    }
    Ok(())
}

/// A store and its indexes against a model.
pub fn check_store(store: &Store, model: &Model) -> Result<(), Wrong> {
    check_contents(store, model)?;
    check_view(&store.view(), model)?;
    let set = store.find_set(SET).ok_or("the set is gone")?;
    for name in ["number", "state"] {
        let index = store.find_index(&set, name).ok_or("an index is gone")?;
        let (view, mut keys) = (store.view(), 0);
        for (id, bytes) in model {
            let Some(key) = (if name == "number" { bytes.get(..8) } else { bytes.get(8..9) }) else { continue };
            keys += 1;
            let mut found = index.find(&view, key).map_err(told("looking up a key"))?;
            if !found.any(|entry| entry.is_ok_and(|entry| entry.id == *id)) {
                return Err(format!("index {name:?} does not lead to {id}"));
            }
        }
        let len = index.len(&view).map_err(told("counting keys"))?;
        if len != keys || index.all(&view).map_err(told("walking"))?.count() != usize::try_from(keys).expect("fits") {
            return Err(format!("index {name:?} has {len} entries, and {keys} are right"));
        }
    }
    Ok(())
}

/// Compares a view with its original state.
pub fn check_view(view: &View, model: &Model) -> Result<(), Wrong> {
    for (id, bytes) in model {
        let found =
            view.get(*id).and_then(|record| record.to_vec()).map_err(|error| format!("a view, {id}: {error}"))?;
        if found != *bytes {
            return Err(format!("a view, {id}: other bytes than it saw"));
        }
    }
    Ok(())
}

/// Opens the store after a crash, and compares it.
#[expect(clippy::needless_pass_by_value, reason = "an image is judged once")]
pub fn check_image(image: Arc<dyn Backing>, model: &Model) -> Result<(), Wrong> {
    check_one_of(&image, std::slice::from_ref(model))
}

/// Opens the store after a crash: it is in one of these states, verifies, and a collection changes nothing.
pub fn check_one_of(image: &Arc<dyn Backing>, states: &[Model]) -> Result<(), Wrong> {
    let shop = Shop::open(Arc::clone(image), 0)?;
    let results: Vec<_> = states.iter().map(|model| (check_store(shop.store(), model), model)).collect();
    let found = results.iter().find(|(result, _)| result.is_ok()).map(|(_, model)| *model);
    let wrongs = || results.iter().filter_map(|(result, _)| result.clone().err()).collect::<Vec<_>>().join("; ");
    let model = found.ok_or_else(wrongs)?;
    shop.store().collect(None).map_err(told("collecting"))?;
    check_store(shop.store(), model)?;
    drop(shop);
    let report = tenure::verify::verify_backing(image, &mut |_| {}).map_err(told("verifying"))?;
    if report.is_ok() { Ok(()) } else { Err(format!("{:?}", report.problems)) }
}

/// Opens a store whose newest snapshot may be damaged. Returns whether it was skipped.
pub fn check_fallen_back(image: Arc<dyn Backing>, model: &Model, round: u64) -> Result<bool, Wrong> {
    let store = options().open_backing(image).map_err(|error| format!("round {round}, opening: {error}"))?;
    check_store(&store, model).map_err(|wrong| format!("round {round}: {wrong}"))?;
    Ok(!store.recovery_report().fell_back.is_empty())
}

/// Root pages of the snapshots without a name, the newest last, by what the manifest says.
pub fn roots_of_snapshots(backing: &FaultBacking) -> Vec<PageRef> {
    let name = backing.names().into_iter().filter(|name| name.starts_with("manifest")).max().expect("a manifest");
    let bytes = backing.contents(&name).expect("a file");
    let header = SegmentHeader::decode(&bytes, &name).expect("a header");
    let seed = Seed::new(header.uuid, header.segment);
    let (mut roots, mut at, mut before) = (Vec::new(), 128, 0);
    while let Ok(decoded) = Entry::decode(&bytes[at..], seed, u64::try_from(at).expect("64 bits"), before) {
        if let Body::Snapshot(snapshot) = decoded.entry.body
            && snapshot.name.is_empty()
        {
            roots.push(snapshot.root.page);
        }
        at += usize::try_from(decoded.bytes).expect("fits");
        before = decoded.check;
    }
    roots
}

/// The records of which something was copied to a segment of a generation above the log, by what its files say.
pub fn survivors(backing: &FaultBacking) -> BTreeSet<RecordId> {
    let (mut copied, mut heads) = (BTreeSet::new(), BTreeMap::new());
    for name in backing.names().into_iter().filter(|name| name.starts_with("log")) {
        let bytes = backing.contents(&name).expect("a file");
        let header = SegmentHeader::decode(&bytes, &name).expect("a header");
        let seed = Seed::new(header.uuid, header.segment);
        let mut at = 128;
        while let Ok(frame) = Frame::parse(&bytes[at..], seed, u64::try_from(at).expect("64 bits")) {
            for (_, item) in frame.items().map(|item| item.expect("whole")).filter(|(_, item)| item.raw_id != 0) {
                let id = item.id().expect("an ID");
                if item.kind == Kind::Head as u8 {
                    heads.extend(Head::decode(item.payload).expect("a head").ids.into_iter().map(|chunk| (chunk, id)));
                }
                if header.generation > 0 {
                    copied.insert(id);
                }
            }
            at += usize::try_from(frame.header.bytes).expect("fits");
        }
    }
    copied.into_iter().map(|id| heads.get(&id).copied().unwrap_or(id)).collect()
}
