//! What several tests share: a seeded generator, copies of stores, and a reading of everything that a store says.
//!
//! Owns: the comparison of all ways by which a record can be read. Never: looks behind the public API.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tenure::Error;
use tenure::Lookup;
use tenure::RecordId;
use tenure::Result;
use tenure::Store;
use tenure::backing::Backing;
use tenure::backing::Memory;

/// Numbers from a seed: `SplitMix64`.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("64 bits");
        usize::try_from(self.number() % end).expect("64 bits")
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Tells threads that they are to end, also when the one that has this panics.
#[derive(Debug)]
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The records of each set.
pub type Contents = BTreeMap<String, BTreeMap<RecordId, Vec<u8>>>;

/// Everything that a store holds, read by scans; each record also by its ID, and counted.
///
/// # Panics
/// When two ways of reading disagree.
pub fn contents(store: &Store) -> Result<Contents> {
    let view = store.view();
    let mut all = Contents::new();
    for set in store.record_sets() {
        let mut records = BTreeMap::new();
        for record in view.scan(&set) {
            let record = record?;
            let (id, bytes) = (record.id(), record.to_vec()?);
            assert_eq!(record.len(), u64::try_from(bytes.len()).expect("64 bits"), "length of {id}");
            assert_eq!(view.get_in(&set, id)?.to_vec()?, bytes, "{id} by scan and by ID");
            assert_eq!(view.get(id)?.seq(), record.seq(), "{id} by scan and by ID");
            assert!(records.insert(id, bytes).is_none(), "{id} twice in one scan");
        }
        assert_eq!(view.len(&set), u64::try_from(records.len()).expect("64 bits"), "length of {set}");
        all.insert(set.name().to_owned(), records);
    }
    Ok(all)
}

/// The names and commits of all marks.
pub fn marks(store: &Store) -> BTreeMap<String, u64> {
    store.marks().into_iter().map(|mark| (mark.name, mark.seq.0)).collect()
}

/// Whether an ID means no record; an error that is neither of the two answers panics.
pub fn is_dead(store: &Store, id: RecordId) -> bool {
    match store.get(id) {
        Ok(_) => return false,
        Err(Error::Deleted { .. } | Error::NeverAllocated { .. }) => {}
        Err(error) => panic!("{id}: {error}"),
    }
    !matches!(store.lookup(id), Ok(Lookup::Live(_)))
}

/// The bytes of every regular file of a directory.
pub fn read_dir(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .filter(|entry| entry.file_type().expect("a type").is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().expect("a plain name");
            (name, std::fs::read(entry.path()).expect("a readable file"))
        })
        .collect()
}

/// Makes a directory with these files.
pub fn write_dir(path: &Path, files: &BTreeMap<String, Vec<u8>>) {
    std::fs::create_dir_all(path).expect("a new directory");
    for (name, bytes) in files {
        std::fs::write(path.join(name), bytes).expect("a new file");
    }
}

/// The bytes of every file of a store that nobody writes to.
pub fn read_backing(backing: &dyn Backing) -> BTreeMap<String, Vec<u8>> {
    let names = backing.list().expect("a list");
    names
        .into_iter()
        .map(|name| {
            let file = backing.open(&name).expect("a file");
            let len = usize::try_from(file.len().expect("a length")).expect("64 bits");
            let mut bytes = vec![0; len];
            file.read_at(0, &mut bytes).expect("readable");
            (name, bytes)
        })
        .collect()
}

/// A store in memory with these files.
pub fn memory_of(files: &BTreeMap<String, Vec<u8>>) -> Arc<dyn Backing> {
    let memory = Memory::new();
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "lock") {
        let file = memory.create(name).expect("a new file");
        file.append(bytes).expect("appended");
        file.sync().expect("synced");
    }
    Arc::new(memory)
}
