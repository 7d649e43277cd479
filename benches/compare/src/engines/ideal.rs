//! What the hardware gives: an append log, its locations in a `Vec`, its keys in ordered maps.
//!
//! Never: checks, syncs unless it is asked to, gives space back, or can be opened again. It marks the end of what is
//! possible, and takes part in no comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::{Condvar, Mutex, RwLock, RwLockReadGuard};

use anyhow::{Context as _, Result, ensure};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};
use crate::engines::index_of;

const SEGMENT_BYTES: usize = 64 << 20;

/// The log in memory, beside the file that it is also written to.
#[derive(Default)]
struct Log {
    segments: Vec<Vec<u8>>,
    /// Segment, offset, bytes; no bytes when deleted.
    locations: Vec<(u32, u32, u32)>,
    by_key: BTreeMap<Key, u64>,
    by_section: BTreeSet<(u32, u64)>,
    commits: u64,
}

impl Log {
    fn append(&mut self, bytes: &[u8]) -> (u32, u32, u32) {
        if self.segments.last().is_none_or(|segment| segment.len() + bytes.len() > SEGMENT_BYTES) {
            self.segments.push(Vec::with_capacity(SEGMENT_BYTES));
        }
        let number = self.segments.len() - 1;
        let segment = &mut self.segments[number];
        let offset = segment.len();
        segment.extend_from_slice(bytes);
        let part = |part: usize| u32::try_from(part).unwrap_or_default();
        (part(number), part(offset), part(bytes.len()))
    }

    fn read(&self, id: u64) -> &[u8] {
        let (segment, offset, bytes) = self.locations[index_of(id)];
        &self.segments[segment as usize][offset as usize..][..bytes as usize]
    }
}

/// Who syncs does it for all that have written.
#[derive(Default)]
struct Group {
    synced: u64,
    is_syncing: bool,
}

pub struct Ideal {
    log: RwLock<Log>,
    file: File,
    group: Mutex<Group>,
    woken: Condvar,
    setup: Setup,
}

impl Ideal {
    fn read(&self) -> Result<RwLockReadGuard<'_, Log>> {
        self.log.read().ok().context("poisoned")
    }

    fn write(&self, body: impl FnOnce(&mut Log, &mut Vec<u8>) -> Result<()>) -> Result<()> {
        let mut written = Vec::new();
        let mut log = self.log.write().ok().context("poisoned")?;
        body(&mut log, &mut written)?;
        (&self.file).write_all(&written)?;
        log.commits += 1;
        let commit = log.commits;
        drop(log);
        if self.setup.durable { self.wait(commit) } else { Ok(()) }
    }

    fn wait(&self, commit: u64) -> Result<()> {
        let mut group = self.group.lock().ok().context("poisoned")?;
        while group.synced < commit {
            if group.is_syncing {
                group = self.woken.wait(group).ok().context("poisoned")?;
                continue;
            }
            group.is_syncing = true;
            drop(group);
            let end = self.read()?.commits;
            self.file.sync_data()?;
            group = self.group.lock().ok().context("poisoned")?;
            (group.synced, group.is_syncing) = (end, false);
            self.woken.notify_all();
        }
        Ok(())
    }
}

impl Engine for Ideal {
    type Id = u64;
    type Session<'e> = &'e Self;

    const NAME: &'static str = "ideal";
    const SETTINGS: &'static str = "No engine: a log that is only appended to, kept in memory as well, locations in a `Vec`, \
        keys in a `BTreeMap` and a `BTreeSet`. One sync for all commits that wait. It checks nothing, collects nothing and \
        cannot be opened again.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let file = File::create(path.join("log"))?;
        Ok(Self { log: RwLock::default(), file, group: Mutex::default(), woken: Condvar::new(), setup })
    }

    fn session(&self) -> Result<&Self> {
        Ok(self)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }

    fn settle(&self) -> Result<()> {
        self.sync()
    }

    fn close(self) -> Result<()> {
        self.sync()
    }

    fn reopen(self, _: &Path, setup: Setup) -> Result<Self> {
        Ok(Self { setup, ..self })
    }

    fn to_word(id: u64) -> u64 {
        id
    }

    fn from_word(word: u64) -> Result<u64> {
        Ok(word)
    }
}

impl Session for &Ideal {
    type Id = u64;
    type View<'s>
        = ReadView<'s>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<u64>) -> Result<()> {
        let indexed = self.setup.indexed;
        self.write(|log, written| {
            written.extend_from_slice(&batch.bytes);
            for (id, bytes) in batch.iter() {
                let location = log.append(bytes);
                log.locations.push(location);
                if indexed {
                    ensure!(log.by_key.insert(data::key_of(bytes), id).is_none(), "a key twice");
                    log.by_section.insert((data::section_of(bytes), id));
                }
                ids.push(id);
            }
            Ok(())
        })
    }

    fn get(&mut self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(self.read()?.read(id));
        Ok(())
    }

    fn view(&mut self) -> Result<ReadView<'_>> {
        Ok(ReadView(Ideal::read(self)?))
    }

    fn update(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        self.write(|log, written| {
            for (id, bytes) in changes {
                written.extend_from_slice(bytes);
                log.locations[index_of(*id)] = log.append(bytes);
            }
            Ok(())
        })
    }

    fn update_keys(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        self.write(|log, written| {
            for (id, bytes) in changes {
                let old = data::key_of(log.read(*id));
                written.extend_from_slice(bytes);
                log.locations[index_of(*id)] = log.append(bytes);
                log.by_key.remove(&old);
                ensure!(log.by_key.insert(data::key_of(bytes), *id).is_none(), "a key twice");
            }
            Ok(())
        })
    }

    fn delete(&mut self, ids: &[u64]) -> Result<()> {
        self.write(|log, written| {
            for id in ids {
                let (key, section) = (data::key_of(log.read(*id)), data::section_of(log.read(*id)));
                written.extend_from_slice(&id.to_le_bytes());
                log.locations[index_of(*id)] = (0, 0, 0);
                log.by_key.remove(&key);
                log.by_section.remove(&(section, *id));
            }
            Ok(())
        })
    }
}

pub struct ReadView<'s>(RwLockReadGuard<'s, Log>);

impl View for ReadView<'_> {
    type Id = u64;

    fn get(&self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(self.0.read(id));
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(self.0.read(*self.0.by_key.get(key).context("no such key")?));
        Ok(())
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for (_, id) in self.0.by_section.range((sections.start, 0)..(sections.end, 0)) {
            visit(self.0.read(*id));
        }
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for (segment, offset, bytes) in &self.0.locations {
            if *bytes > 0 {
                visit(&self.0.segments[*segment as usize][*offset as usize..][..*bytes as usize]);
            }
        }
        Ok(())
    }
}
