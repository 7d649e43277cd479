//! The files of a store, and the purpose of each.
//!
//! Owns: gathering the files that each layer refers to. Never: assumes from its name that a file belongs to the store.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::id::SegmentSeq;
use crate::recovery::Keeper;
use crate::stats::{FileNeed, FileRole, StoreFile};
use crate::store::Store;
use crate::store::opening::LOCK;
use std::collections::BTreeMap;

impl Store {
    /// The files that the store refers to now, by name, each with its size and the reason it is kept. A copy of the
    /// directory needs exactly these. Any other file in the directory does not belong to the store, or is deleted by
    /// the next opening. While other threads write, files come and go during the call; a file that is gone by the end,
    /// or missing, is left out. [`verify`](crate::verify) reports missing files.
    ///
    /// ```
    /// use tenure::{FileNeed, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("things.tenure");
    /// let store = Store::open(&path)?;
    /// let notes = store.record_set("notes")?;
    /// let id = store.write(|tx| tx.insert(&notes, [7; 9_000]))?;
    /// store.save_named_snapshot("before")?;
    /// store.write(|tx| tx.delete(id))?;
    /// store.collect(None)?;
    /// // The record is gone from the newest state. What keeps its bytes?
    /// let files = store.files()?;
    /// let kept = files.iter().filter(|file| file.need == FileNeed::Snapshot);
    /// assert!(kept.map(|file| file.bytes).sum::<u64>() > 9_000);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the backing store.
    pub fn files(&self) -> Result<Vec<StoreFile>> {
        let engine = self.engine();
        let mut all = Gathered::default();
        for number in engine.manifest.files() {
            all.add(FileKind::Manifest, number, FileNeed::Newest);
        }
        for (_, segment) in engine.heap.segments().iter() {
            all.add(FileKind::Records, segment.number(), FileNeed::Newest);
        }
        for (number, keeper) in self.collector().kept(engine) {
            all.add(FileKind::Records, number, need(keeper));
        }
        for number in engine.log.in_hand() {
            all.add(FileKind::Records, number, FileNeed::Work);
        }
        let (live, in_use) = engine.pages.in_use();
        for (numbers, need) in [(live, FileNeed::Newest), (in_use, FileNeed::Work)] {
            for number in numbers {
                all.add(FileKind::Pages, number, need);
            }
        }
        for number in engine.manifest.with_kept(crate::manifest::Kept::listed_pages) {
            all.add(FileKind::Pages, number, FileNeed::Snapshot);
        }
        let listed = |source| Error::io("list", engine.backing.location(), source);
        for name in engine.reserve.files().map_err(listed)? {
            all.0.insert(name, (FileRole::Reserve, FileNeed::Newest));
        }
        all.0.insert(LOCK.to_owned(), (FileRole::Lock, FileNeed::Newest));
        all.measured(engine)
    }
}

fn need(keeper: Keeper) -> FileNeed {
    match keeper {
        Keeper::Newest => FileNeed::Newest,
        Keeper::Snapshot => FileNeed::Snapshot,
        Keeper::Mark => FileNeed::Mark,
        Keeper::Consumer => FileNeed::Consumer,
        Keeper::Reader => FileNeed::Reader,
        Keeper::Work => FileNeed::Work,
    }
}

#[derive(Debug, Default)]
struct Gathered(BTreeMap<String, (FileRole, FileNeed)>);

impl Gathered {
    /// The first of several needs counts.
    fn add(&mut self, kind: FileKind, number: SegmentSeq, need: FileNeed) {
        let role = match kind {
            FileKind::Records => FileRole::Records,
            FileKind::Pages => FileRole::Pages,
            FileKind::Manifest => FileRole::Manifest,
        };
        let known = self.0.entry(kind.file_name(number)).or_insert((role, need));
        known.1 = known.1.min(need);
    }

    /// The files that exist, with their sizes.
    fn measured(self, engine: &Engine) -> Result<Vec<StoreFile>> {
        let mut files = Vec::new();
        for (name, (role, need)) in self.0 {
            match engine.backing.open(&name).and_then(|file| file.len()) {
                Ok(bytes) => files.push(StoreFile { name, role, need, bytes }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("measure", name, source)),
            }
        }
        Ok(files)
    }
}
