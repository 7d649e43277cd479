//! Records with a unique key of 16 random bytes and a section that many records share, and stores of them.

use std::path::Path;

use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, RecordId, RecordSet, Store, Transaction};

pub const VALUE_BYTES: usize = 200;
/// The first bytes of a value are its key.
pub const KEY_BYTES: usize = 16;
pub const BATCH: usize = 1000;
/// Different sections.
pub const SECTIONS: u32 = 1000;
/// Entries of a range.
pub const RANGE: usize = 100;

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        to_index(self.next()) % end
    }
}

pub fn to_index(number: u64) -> usize {
    usize::try_from(number >> 1).expect("64 bits")
}

pub fn to_u64(number: usize) -> u64 {
    u64::try_from(number).expect("64 bits")
}

/// The value of a number: all its bytes are random, the same at each call.
pub fn value(number: u64, out: &mut [u8]) {
    let mut numbers = Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for part in out.chunks_mut(8) {
        part.copy_from_slice(&numbers.next().to_le_bytes()[..part.len()]);
    }
}

pub fn value_of(number: usize) -> [u8; VALUE_BYTES] {
    let mut bytes = [0; VALUE_BYTES];
    value(to_u64(number), &mut bytes);
    bytes
}

/// The values of one batch of `count` in all, generated before its time starts.
pub fn values(first: usize, count: usize) -> Vec<[u8; VALUE_BYTES]> {
    (first..(first + BATCH).min(count)).map(value_of).collect()
}

pub fn key_of(number: usize) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    value(to_u64(number), &mut bytes);
    bytes
}

pub fn section(record: &[u8]) -> u32 {
    u32::from_le_bytes(record[KEY_BYTES..KEY_BYTES + 4].try_into().expect("four bytes")) % SECTIONS
}

/// Uniformly random indexes.
pub fn questions(count: usize, end: usize) -> impl Iterator<Item = usize> {
    let mut numbers = Numbers(42);
    (0..count).map(move |_| numbers.below(end))
}

/// Reads every byte of a value.
pub fn words(bytes: &[u8]) -> u64 {
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).fold(0_u64, |sum, bytes| sum.wrapping_mul(31).wrapping_add(word(bytes)))
}

/// A store of one set, and what was loaded into it.
#[derive(Debug)]
pub struct Loaded {
    pub store: Store,
    pub set: RecordSet,
    pub ids: Vec<RecordId>,
}

impl Loaded {
    /// A new store whose commits are buffered.
    pub fn new(options: Options, path: &Path) -> Self {
        let store = options.durability(Durability::Buffered).open(path).expect("a store");
        let set = store.record_set("things").expect("a set");
        Self { store, set, ids: Vec::new() }
    }

    /// Loads values in batches, up to `count` records in all.
    pub fn load(&mut self, count: usize) {
        while self.ids.len() < count {
            let batch = values(self.ids.len(), count);
            self.insert(&batch);
        }
    }

    /// One transaction with these values.
    pub fn insert(&mut self, values: &[[u8; VALUE_BYTES]]) {
        let mut tx = self.begin();
        self.ids.extend(values.iter().map(|bytes| tx.insert(&self.set, bytes).expect("inserted")));
        commit(tx);
    }

    pub fn begin(&self) -> Transaction {
        self.store.begin().expect("begun")
    }

    /// IDs at random, the same at each call.
    pub fn asked(&self, count: usize) -> Vec<RecordId> {
        questions(count, self.ids.len()).map(|index| self.ids[index]).collect()
    }

    /// The two indexes of the set: a unique one of keys, and one of sections.
    pub fn indexes(&self) -> (Index, Index) {
        let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..KEY_BYTES]));
        let by_section = Extractor::new("section", 1, |record, keys| keys.push(&section(record)));
        let unique = self.store.unique_index(&self.set, "key", key).expect("a unique index");
        (unique, self.store.index(&self.set, "section", by_section).expect("an index"))
    }
}

pub fn commit(tx: Transaction) {
    tx.commit_with(Durability::Buffered).expect("committed");
}
