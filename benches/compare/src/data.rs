//! The records that every engine is given.
//!
//! Owns: their layout, their bytes, what a reader must have seen. Never: talks to an engine.
//! Invariants: 1. Bytes follow from the record's number, its versions and the IDs it refers to, and from nothing else.
//! 2. A record refers to records of earlier batches only, so an engine that gives IDs itself has given them by then.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Bytes of the unique key, with which a record begins.
pub const KEY_BYTES: usize = 16;
/// Records that a record refers to.
pub const REFERENCES: usize = 4;
/// In place of a reference where there is none.
pub const NO_REFERENCE: u64 = u64::MAX;
/// Records of one load transaction.
pub const LOAD_BATCH: u32 = 1000;
/// Records of one section: of one key of the index that is not unique.
pub const SECTION_RECORDS: u32 = 10;
/// The shortest record: what stands in front of the payload, and some payload.
pub const VALUE_BYTES_MIN: usize = 64;

const SECTION_AT: usize = 16;
const REFERENCES_AT: usize = 24;
const VERSION_AT: usize = 56;
const PAYLOAD_AT: usize = 60;
/// A prime above every number of records that is likely, so that steps of it come past each number once.
const STEP: u64 = 2_654_435_761;

/// A unique key.
pub type Key = [u8; KEY_BYTES];

/// How often the key and the payload of a record were changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    pub key: u32,
    pub payload: u32,
}

/// What a record is when it is read.
#[derive(Debug, Clone, Copy)]
pub struct Data {
    pub records: u32,
    pub value_bytes: usize,
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn seed(number: u32, version: u32, what: u64) -> u64 {
    mix((u64::from(number) << 32 | u64::from(version)).wrapping_add(what.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// The unique key that a record's bytes begin with.
pub fn key_of(record: &[u8]) -> Key {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(&record[..KEY_BYTES]);
    key
}

/// The key of the index that is not unique.
pub fn section_of(record: &[u8]) -> u32 {
    record[SECTION_AT..SECTION_AT + 4].try_into().map_or(0, u32::from_le_bytes)
}

/// The number that a record carries, so that a scan can tell which it has met.
pub fn number_of(record: &[u8]) -> u32 {
    record[SECTION_AT + 4..REFERENCES_AT].try_into().map_or(0, u32::from_le_bytes)
}

/// The version of the payload that a record carries.
pub fn version_of(record: &[u8]) -> u32 {
    record[VERSION_AT..PAYLOAD_AT].try_into().map_or(0, u32::from_le_bytes)
}

/// The IDs that a record refers to, as words.
pub fn references_of(record: &[u8]) -> [u64; REFERENCES] {
    std::array::from_fn(|index| word(&record[REFERENCES_AT + 8 * index..REFERENCES_AT + 8 * index + 8]))
}

/// What a reader keeps of each record that it is shown: its first and its last word.
pub fn digest(record: &[u8]) -> u64 {
    let last = record.len().saturating_sub(8);
    word(&record[..8]).wrapping_add(word(&record[last..]).rotate_left(17))
}

impl Data {
    pub fn key(number: u32, version: u32) -> Key {
        let mut key = [0; KEY_BYTES];
        key[..8].copy_from_slice(&seed(number, version, 1).to_le_bytes());
        key[8..].copy_from_slice(&seed(number, version, 2).to_le_bytes());
        key
    }

    /// How many sections there are.
    pub fn sections(&self) -> u32 {
        self.records / SECTION_RECORDS
    }

    /// Records that come behind all others have sections of their own.
    fn section(&self, number: u32) -> u32 {
        let (round, number) = (number / self.records, number % self.records);
        let place = (u64::from(number) * STEP + 7) % u64::from(self.records);
        round * self.sections() + u32::try_from(place).unwrap_or_default() / SECTION_RECORDS
    }

    /// Numbers of the records of each section.
    pub fn by_section(&self) -> Vec<[u32; SECTION_RECORDS as usize]> {
        let mut sections = vec![[0; SECTION_RECORDS as usize]; self.sections() as usize];
        let mut filled = vec![0_usize; sections.len()];
        for number in 0..self.records {
            let section = self.section(number) as usize;
            sections[section][filled[section]] = number;
            filled[section] += 1;
        }
        sections
    }

    /// Numbers of the records that a record refers to. The first batch refers to none.
    pub fn references(number: u32) -> Option<[u32; REFERENCES]> {
        let end = number / LOAD_BATCH * LOAD_BATCH;
        let one = |index: usize| u32::try_from(seed(number, 0, 10 + index as u64) % u64::from(end)).unwrap_or_default();
        (end > 0).then(|| std::array::from_fn(one))
    }

    /// Appends a record to `out`. `word_of` gives the ID of a record of an earlier batch.
    pub fn record(&self, number: u32, versions: Versions, word_of: impl Fn(u32) -> u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&Self::key(number, versions.key));
        out.extend_from_slice(&self.section(number).to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        let references = Self::references(number);
        for index in 0..REFERENCES {
            let word = references.map_or(NO_REFERENCE, |numbers| word_of(numbers[index]));
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&versions.payload.to_le_bytes());
        out.resize(start + self.value_bytes, 0);
        let mut random = SmallRng::seed_from_u64(seed(number, versions.payload, 3));
        random.fill_bytes(&mut out[start + PAYLOAD_AT..]);
        // The last word is told without making the rest. In the shortest record a half of it is the version.
        let last = seed(number, versions.payload, 4).to_le_bytes();
        let from = PAYLOAD_AT.max(self.value_bytes - 8);
        let bytes = self.value_bytes - from;
        out[start + from..].copy_from_slice(&last[..bytes]);
    }

    /// What [`digest`] gives for a record.
    pub fn expected(&self, number: u32, versions: Versions) -> u64 {
        let tail = seed(number, versions.payload, 4);
        let last = match self.value_bytes - PAYLOAD_AT {
            bytes @ 0..8 => u64::from(versions.payload) << (8 * (4 - bytes.min(4))) | tail << (8 * (8 - bytes)),
            _ => tail,
        };
        seed(number, versions.key, 1).wrapping_add(last.rotate_left(17))
    }

    /// Bytes that a user has given in all.
    pub fn user_bytes(&self) -> u64 {
        u64::from(self.records) * self.value_bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_can_be_told_from_number_and_versions() {
        for value_bytes in [64, 68, 72, 200, 1024] {
            let data = Data { records: 5000, value_bytes };
            let versions = Versions { key: 2, payload: 77 };
            let mut out = vec![1, 2, 3];
            data.record(4321, versions, u64::from, &mut out);
            let record = &out[3..];
            assert_eq!(record.len(), value_bytes);
            assert_eq!(digest(record), data.expected(4321, versions), "{value_bytes} bytes");
            assert_eq!((number_of(record), version_of(record)), (4321, 77));
            assert_eq!(key_of(record), Data::key(4321, 2));
            assert!(references_of(record).iter().all(|word| *word < 4000));
        }
    }

    #[test]
    fn each_section_has_as_many_records() {
        let data = Data { records: 20_000, value_bytes: 64 };
        let mut met: Vec<u32> = data.by_section().concat();
        met.sort_unstable();
        assert!(met.iter().copied().eq(0..20_000));
    }
}
