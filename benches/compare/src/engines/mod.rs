//! The engines, one a file, and which are in this build.

pub mod fjall;
pub mod ideal;
pub mod lmdb;
pub mod persy;
pub mod redb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
pub mod sqlite;
pub mod tenure;

use anyhow::{Result, bail};

use crate::engine::Engine;

/// Something that is done with an engine whose type is known.
pub trait Job {
    type Output;
    fn run<E: Engine>(self) -> Result<Self::Output>;
}

/// The one that is compared with the others.
pub const OWN: &str = "tenure";
/// The one that takes part in no comparison.
pub const LIMIT: &str = "ideal";
/// The one that takes part only where stores are larger than memory: elsewhere it does the same as another.
pub const ONLY_COLD: &str = lmdb::WITHOUT_READ_AHEAD;
/// All that are in this build, in the order of the report.
pub const NAMES: &[&str] = &[
    OWN,
    "lmdb",
    ONLY_COLD,
    "redb",
    "fjall",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
    "sqlite",
    "persy",
    LIMIT,
];

/// Runs a job with an engine.
pub fn run<J: Job>(name: &str, job: J) -> Result<J::Output> {
    match name {
        tenure::Tenure::NAME => job.run::<tenure::Tenure>(),
        redb::Redb::NAME => job.run::<redb::Redb>(),
        lmdb::Lmdb::<true>::NAME => job.run::<lmdb::Lmdb<true>>(),
        lmdb::WITHOUT_READ_AHEAD => job.run::<lmdb::Lmdb<false>>(),
        fjall::Fjall::NAME => job.run::<fjall::Fjall>(),
        #[cfg(feature = "rocksdb")]
        rocksdb::Rocks::NAME => job.run::<rocksdb::Rocks>(),
        sqlite::Sqlite::NAME => job.run::<sqlite::Sqlite>(),
        persy::Persy::NAME => job.run::<persy::Persy>(),
        ideal::Ideal::NAME => job.run::<ideal::Ideal>(),
        _ => bail!("there is no engine {name} in this build; there are {}", NAMES.join(", ")),
    }
}

/// The settings of an engine, for the report.
pub fn settings(name: &str) -> Result<&'static str> {
    struct Settings;
    impl Job for Settings {
        type Output = &'static str;
        fn run<E: Engine>(self) -> Result<&'static str> {
            Ok(E::SETTINGS)
        }
    }
    run(name, Settings)
}

/// An ID as an index. Programs that measure run on 64 bits.
pub fn index_of(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// A key of the index that is not unique, for engines with keys of bytes.
pub fn composite(section: u32, id: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&section.to_be_bytes());
    key[4..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The ID in such a key.
pub fn composite_id(key: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(key[4..].try_into()?))
}
