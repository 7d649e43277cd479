//! Dumps: a whole store as one byte stream that does not depend on the file format, and creating a store from one.
//!
//! Owns: the stream of `docs/dump-format.md`, writing it from one state, loading it. Never: changes the dumped store,
//! or uses a frame with an invalid checksum.

mod destination;
mod frame;
mod frames;
mod given;
mod large;
mod load;
mod parts;
mod walk;
mod write;

pub use given::GivenIds;
pub use load::{LoadOptions, load, load_backing};

use std::io::Read;

use crate::dump::frames::Frames;
use crate::dump::parts::{Header, IndexPart, PagePart, RecordPart, SetPart, Totals};
use crate::dump::walk::{Feed, Sink, Walk};
use crate::error::{Corruption, Result};
use crate::id::{RecordId, Seq, SetNumber};

/// Progress of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpProgress {
    /// Bytes of the stream written so far.
    pub bytes: u64,
    /// Records so far.
    pub records: u64,
    /// Total records.
    pub records_total: u64,
}

/// Progress of a load, or of checking a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of the stream read so far.
    pub bytes: u64,
    /// Records so far.
    pub records: u64,
    /// Total records.
    pub records_total: u64,
}

/// Contents of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpReport {
    /// The last commit of the dumped state.
    pub seq: Seq,
    /// Sets.
    pub sets: u64,
    /// Key indexes.
    pub indexes: u64,
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Entries of all indexes.
    pub entries: u64,
    /// Bytes of the stream.
    pub bytes: u64,
}

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The contents of the dump.
    pub dump: DumpReport,
    /// Records that an earlier, interrupted load had already stored.
    pub resumed: u64,
    /// Names of indexes without entries, each with its set: they are built when a program opens them.
    pub incomplete: Vec<(String, String)>,
    /// The damage at which a load [until damage](LoadOptions::until_damage) stopped.
    pub damage: Option<Corruption>,
}

/// Reads a dump from beginning to end and checks everything in it, without storing anything.
///
/// `name` names the dump in errors. Memory does not grow with the dump.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// store.write(|tx| tx.insert(&notes, "a"))?;
/// let mut stream = Vec::new();
/// store.dump(&mut stream)?;
/// assert_eq!(tenure::dump::check(&mut &stream[..], "notes.dump", &mut |_| {})?.records, 1);
///
/// stream[200] ^= 1;
/// let error = tenure::dump::check(&mut &stream[..], "notes.dump", &mut |_| {}).unwrap_err();
/// assert!(error.is_corruption() && error.to_string().contains("notes.dump at byte"));
/// # Ok::<(), tenure::Error>(())
/// ```
///
/// # Errors
/// `Corrupt` with the offset in the stream, `Unsupported` for a dump of a later version, and errors of the source.
pub fn check(from: &mut dyn Read, name: &str, progress: &mut dyn FnMut(LoadProgress)) -> Result<DumpReport> {
    let mut frames = Frames::open(from, name)?;
    let mut walk = Walk::new(&mut frames, progress);
    let mut sink = Nothing::default();
    walk.run(&mut sink)?;
    let totals = walk.totals;
    Ok(report(sink.seq, &totals, frames.bytes()))
}

fn report(seq: Seq, totals: &Totals, bytes: u64) -> DumpReport {
    DumpReport {
        seq,
        sets: totals.sets.into(),
        indexes: totals.indexes.into(),
        records: totals.records,
        value_bytes: totals.value_bytes,
        entries: totals.entries,
        bytes,
    }
}

/// Stores nothing.
#[derive(Debug, Default)]
struct Nothing {
    seq: Seq,
}

impl Sink for Nothing {
    fn begin(&mut self, header: &Header, _: &[SetPart], _: &[IndexPart]) -> Result<()> {
        self.seq = header.last_seq;
        Ok(())
    }

    fn page(&mut self, _: &PagePart) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _: SetNumber, _: &RecordPart<'_>) -> Result<()> {
        Ok(())
    }

    fn large(&mut self, _: SetNumber, _: RecordId, _: Seq, _: u64, _: &mut dyn Read) -> Result<()> {
        Ok(())
    }

    fn page_is_whole(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn index(&mut self, _: &IndexPart, _: &mut Feed<'_>) -> Result<()> {
        Ok(())
    }
}
