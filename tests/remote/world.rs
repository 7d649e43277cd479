//! A store that a writer ships to a bucket, and what the store held after each commit.
//!
//! The bucket is in a directory, or on a real server if `TENURE_REMOTE_URL` names a bucket of one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use tempfile::TempDir;
use tenure::extract::Extractor;
use tenure::remote::Bucket;
use tenure::{Durability, Index, Options, RecordId, RecordSet, Result, Seq, Store, Transaction, View};

use crate::common::Rng;

/// Long enough for a slow server.
pub const LONG: Duration = Duration::from_mins(2);

pub type Records = BTreeMap<RecordId, Vec<u8>>;

/// What commits changed: the new value of each record, or that there is none.
pub type Changed = Vec<(Seq, BTreeMap<RecordId, Option<Vec<u8>>>)>;

/// A place for a bucket that nobody else uses.
#[derive(Debug)]
pub struct Place {
    pub url: String,
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        static USED: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::tempdir().unwrap();
        let url = match std::env::var("TENURE_REMOTE_URL") {
            Ok(url) => format!("{url}/elsewhere-{}-{}", std::process::id(), USED.fetch_add(1, Ordering::Relaxed)),
            Err(_) => format!("file://{}", dir.path().join("bucket").display()),
        };
        println!("the bucket is {url}");
        Self { url, dir }
    }

    /// Each one has its own connections, as in another process.
    pub fn bucket(&self) -> Bucket {
        Bucket::at(&self.url).unwrap()
    }

    /// Opens the store for reading, without a local copy.
    pub fn read(&self) -> Store {
        let view = self.bucket().view(None).unwrap();
        Options::new().read_only(true).open_backing(Arc::new(view)).unwrap()
    }

    /// The objects, as any program sees them, and the prefix of all names.
    pub fn objects(&self) -> (Box<dyn ObjectStore>, Path) {
        let url = self.url.parse().unwrap();
        object_store::parse_url_opts(&url, std::env::vars()).unwrap()
    }
}

fn number_of(record: &[u8]) -> &[u8] {
    record.get(..8).unwrap_or_default()
}

fn group_of(record: &[u8]) -> [u8; 1] {
    [record.get(7).unwrap_or(&0) % 8]
}

/// The side that writes. Records begin with a number that no other has, and belong to one of eight groups.
pub struct World {
    pub store: Store,
    notes: RecordSet,
    rng: Rng,
    pub now: Records,
    /// What the store held after each commit.
    pub history: BTreeMap<Seq, Records>,
}

impl World {
    pub fn new(store: Store, seed: u64) -> Self {
        Self::with(store, Rng::new(seed), Records::new())
    }

    /// Goes on in another handle.
    pub fn go_on(&mut self, store: Store) {
        let history = std::mem::take(&mut self.history);
        *self = Self::with(store, self.rng.clone(), self.now.clone());
        self.history.extend(history);
    }

    fn with(store: Store, rng: Rng, now: Records) -> Self {
        let notes = store.record_set("notes").unwrap();
        let number = Extractor::new("number", 1, |record, keys| keys.push(number_of(record)));
        store.unique_index(&notes, "number", number).unwrap();
        let group = Extractor::new("group", 1, |record, keys| keys.push(&group_of(record)[..]));
        store.index(&notes, "group", group).unwrap();
        store.wait_remote(store.last_seq()).unwrap();
        let history = BTreeMap::from([(store.last_seq(), now.clone())]);
        Self { store, notes, rng, now, history }
    }

    /// One commit of some changes, once the bucket has it.
    pub fn commit(&mut self) -> Result<Seq> {
        let (mut now, mut rng) = (self.now.clone(), self.rng.clone());
        let ((), seq) = self.store.write_with(Durability::Remote, |tx| {
            (now, rng) = (self.now.clone(), self.rng.clone());
            (0..=rng.below(4)).try_for_each(|_| change(tx, &self.notes, &mut now, &mut rng))
        })?;
        (self.now, self.rng) = (now, rng);
        self.history.insert(seq, self.now.clone());
        Ok(seq)
    }

    /// Moves all records, and deletes what they leave.
    pub fn collect(&self) {
        self.store.save_snapshot().unwrap();
        self.store.collect(None).unwrap();
        self.store.save_snapshot().unwrap();
        self.store.wait_remote(self.store.last_seq()).unwrap();
    }

    /// What the store held at a commit, which need not be one of this writer: the collector commits as well.
    pub fn at(&self, seq: Seq) -> &Records {
        self.history.range(..=seq).next_back().expect("a state").1
    }

    /// What each commit after this one changed.
    pub fn changes(&self, since: Seq) -> Changed {
        let mut before = self.at(since);
        let mut all = Changed::new();
        for (seq, after) in self.history.range(since.next()..) {
            let set = after.iter().filter(|(id, value)| before.get(id) != Some(value));
            let set = set.map(|(id, value)| (*id, Some(value.clone())));
            let gone = before.keys().filter(|id| !after.contains_key(id)).map(|id| (*id, None));
            let changes: BTreeMap<_, _> = set.chain(gone).collect();
            // A record that comes and goes in one commit is no change.
            if !changes.is_empty() {
                all.push((*seq, changes));
            }
            before = after;
        }
        all
    }
}

fn change(tx: &mut Transaction, notes: &RecordSet, now: &mut Records, rng: &mut Rng) -> Result<()> {
    // Numbers come again once their records are gone, and be it in the same commit.
    let used: BTreeSet<&[u8]> = now.values().map(|value| number_of(value)).collect();
    let free: Vec<_> = (0..150_u64).map(u64::to_be_bytes).filter(|number| !used.contains(&number[..])).collect();
    let mut value = free[rng.below(free.len())].to_vec();
    let len = if rng.one_in(80) { 70_000 } else { rng.below(500) };
    value.extend(rng.bytes(len));
    let one = now.keys().nth(rng.below(now.len())).copied();
    match one {
        Some(id) if now.len() > 100 || (now.len() > 40 && rng.one_in(3)) => {
            tx.delete(id)?;
            now.remove(&id);
        }
        Some(id) if rng.one_in(2) => {
            tx.update(id, &*value)?;
            now.insert(id, value);
        }
        _ => drop(now.insert(tx.insert(notes, &*value)?, value)),
    }
    Ok(())
}

/// The side that reads.
#[derive(Debug)]
pub struct Reader {
    notes: RecordSet,
    number: Index,
    group: Index,
}

impl Reader {
    pub fn new(store: &Store) -> Self {
        let notes = store.find_set("notes").unwrap();
        let index = |name| store.find_index(&notes, name).unwrap();
        Self { number: index("number"), group: index("group"), notes }
    }

    /// All records of a state, to which both indexes lead, and to nothing else.
    pub fn read(&self, view: &View) -> Records {
        let records: Records = view
            .scan(&self.notes)
            .map(|record| {
                let record = record.unwrap();
                (record.id(), record.to_vec().unwrap())
            })
            .collect();
        let mut groups: BTreeMap<[u8; 1], BTreeSet<RecordId>> = BTreeMap::new();
        for (id, value) in &records {
            assert_eq!(self.number.get(view, number_of(value)).unwrap(), Some(*id), "commit {}", view.seq());
            groups.entry(group_of(value)).or_default().insert(*id);
        }
        for group in (0..8).map(|group| [group]) {
            let found = self.group.find(view, &group[..]).unwrap().map(|entry| entry.unwrap().id);
            assert_eq!(found.collect::<BTreeSet<_>>(), groups.remove(&group).unwrap_or_default(), "{}", view.seq());
        }
        let len = u64::try_from(records.len()).unwrap();
        let lens = [view.len(&self.notes), self.number.len(view).unwrap(), self.group.len(view).unwrap()];
        assert_eq!(lens, [len; 3], "commit {}", view.seq());
        records
    }
}

/// Everything of a store.
pub fn read(store: &Store) -> Records {
    Reader::new(store).read(&store.view())
}
