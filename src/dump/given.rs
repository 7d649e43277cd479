//! Building a store from records that arrive one by one and already have IDs.
//!
//! Owns: the slots in between, about which nothing is known. Never: assigns such a slot to another record.

use std::path::Path;
use std::sync::Arc;

use crate::backing::Backing;
use crate::catalogue::check_name;
use crate::dump::large;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX};
use crate::id::{RecordId, SLOT_END, Seq, SetNumber, reuse_max, to_u64};
use crate::import::{Beginning, Import};
use crate::options::Options;

/// Builds a new store with one set, from records that already have IDs and versions: those of an export.
///
/// An export does not contain deleted IDs. So slots between its records are never reused, and their IDs are *deleted*.
/// A [dump](crate::Store::dump) preserves more.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use tenure::{RecordId, Seq, dump::GivenIds};
///
/// let id: RecordId = "12.3".parse().unwrap();
/// let mut new = GivenIds::begin(dir.path().join("new.tenure"), "notes", Seq(7), id.slot() + 1)?;
/// new.put(id, Seq(5), b"a note")?;
/// new.finish()?;
/// let store = tenure::Store::open(dir.path().join("new.tenure"))?;
/// assert_eq!(store.get(id)?.as_slice(), Some(&b"a note"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct GivenIds {
    import: Import,
    seq: Seq,
    slot_end: u64,
    last: Option<RecordId>,
}

/// The error for an invalid row.
fn wrong(why: String) -> Error {
    Error::BadValue { what: "record of an export", why }
}

impl GivenIds {
    const SET: SetNumber = SetNumber::FIRST_USER;

    /// Starts a store in a directory that is empty or does not exist yet. `seq` is the highest version of any record,
    /// and `slot_end` is above the slots of all their IDs.
    ///
    /// # Errors
    /// `Exists` if the directory is not empty, `BadName` for the set, and errors of the file system.
    pub fn begin(to: impl AsRef<Path>, set: &str, seq: Seq, slot_end: u64) -> Result<Self> {
        check_name("record set", set)?;
        if seq.0 >= 1 << 62 || slot_end > SLOT_END {
            return Err(wrong(format!("version {seq} or slot {slot_end} is beyond those that there can be")));
        }
        let to: Arc<dyn Backing> = Arc::new(crate::backup::directory(to.as_ref())?);
        let beginning = Beginning {
            last_seq: seq,
            page_end: slot_end.div_ceil(to_u64(ENTRIES_PER_PAGE)),
            has_floors: true,
            sets: [(Self::SET, set.to_owned())].into(),
            ..Beginning::default()
        };
        let mut import = Import::begin(&to, &Options::new(), &beginning)?;
        import.leave_saving();
        Ok(Self { import, seq, slot_end, last: None })
    }

    /// Adds a record. IDs must ascend.
    ///
    /// # Errors
    /// `BadValue` if the ID does not ascend, or if the ID or version is above what was announced.
    pub fn put(&mut self, id: RecordId, seq: Seq, value: &[u8]) -> Result<()> {
        if let Some(last) = self.last.filter(|last| last.slot() >= id.slot()) {
            return Err(wrong(format!("ID {id} comes after {last}: IDs must ascend, each slot once")));
        }
        if id.slot() >= self.slot_end || seq > self.seq {
            return Err(wrong(format!("ID {id} with version {seq} is above what was announced")));
        }
        let page = id.slot() / to_u64(ENTRIES_PER_PAGE);
        if self.last.is_none_or(|last| last.slot() / to_u64(ENTRIES_PER_PAGE) < page) {
            if self.import.is_full() {
                self.import.settle()?;
            }
            let retired = [Entry::freed_after(reuse_max()); ENTRIES_PER_PAGE];
            self.import.open_page(page, Self::SET, 0, &retired)?;
        }
        self.last = Some(id);
        if value.len() <= PAYLOAD_BYTES_MAX {
            return self.import.bring(id, Self::SET, Kind::Record, seq, value);
        }
        large::bring(&mut self.import, (Self::SET, id, seq), to_u64(value.len()), &mut &*value)
    }

    /// Makes everything durable. Until then the directory does not open as a store.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(self) -> Result<()> {
        self.import.finish()
    }
}
