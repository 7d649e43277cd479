//! The local directory of a bucket: which epoch it belongs to, and what it has that the bucket lacks.
//!
//! Owns: the files `remote-<k>` and `remote-<k>.<i>`, and which files are shipped. Never: deletes a file that was written after its epoch began.
//! Invariant: a complete mark of epoch k says that the directory holds at least what the bucket did when epoch k began.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::backing::{Backing, BackingFile, UNFINISHED};
use crate::error::{Error, Result};
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::remote::journal::Noted;
use crate::remote::object::{Nonce, Piece};
use crate::remote::table::Table;

const MARK: &str = "remote-";
/// Marks of one epoch besides the first.
const MARKS_MAX: u32 = 64;
/// Files whose last part is compared with the bucket's, when the directory is opened.
const NEWEST_CHECKED: usize = 16;
const LOCK: &str = "lock";
/// Space for a full disk, which each machine reserves for itself.
const RESERVE: &str = "reserve";

/// Whether a file of this name belongs to the bucket's store.
pub(super) fn is_shipped(name: &str) -> bool {
    let is_reserve = name.strip_prefix(RESERVE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    name != LOCK && !is_reserve && !is_mark(name)
}

/// The epoch of a mark. An epoch may have several, which differ after a dot.
fn epoch_of(name: &str) -> Option<u64> {
    let rest = name.strip_prefix(MARK)?;
    let (digits, more) = rest.split_once('.').unwrap_or((rest, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits.len() == 16 && are_digits(digits) && are_digits(more)).then(|| digits.parse().ok())?
}

pub(super) fn is_mark(name: &str) -> bool {
    epoch_of(name).is_some()
}

pub(super) fn manifest_number(name: &str) -> Option<SegmentSeq> {
    FileKind::parse_name(name).and_then(|(kind, number)| (kind == FileKind::Manifest).then_some(number))
}

/// Fails if a file is shorter than in the bucket.
fn check_len(name: &str, len: u64, known: u64) -> Result<()> {
    if len >= known {
        return Ok(());
    }
    let what = "a file of the local directory, which may be an older copy";
    Err(Error::corrupt(name, len, what, format!("{known} bytes, as in the bucket"), format!("{len} bytes")))
}

/// Fails if no manifest is left: no store deletes its last one. The bucket must not lose the files for which the directory has none.
fn check_manifest(names: &[String], table: &Table) -> Result<()> {
    let is_manifest = |name: &str| manifest_number(name).is_some();
    let lost = table.iter().find(|(name, _)| is_manifest(name)).filter(|_| !names.iter().any(|name| is_manifest(name)));
    let Some((name, _)) = lost else { return Ok(()) };
    Err(Error::corrupt(name, 0, "a manifest of the local directory", "one, as in the bucket", "none"))
}

/// The mark of an epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) epoch: u64,
    pub(super) nonce: Nonce,
    /// The directory has all files of the bucket.
    pub(super) is_complete: bool,
}

/// How the directory and the bucket differ.
#[derive(Debug)]
pub(super) struct Difference {
    /// What the bucket lacks.
    pub(super) events: Vec<(Arc<str>, Noted)>,
    /// The files that the directory lacks.
    pub(super) gone: Vec<Arc<str>>,
}

/// Bytes that the bucket has, and the directory does not.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) name: String,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// The local backing, under its lock.
#[derive(Debug)]
pub(super) struct Local<'b>(pub(super) &'b Arc<dyn Backing>);

impl Local<'_> {
    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error + use<> {
        let place = format!("{name} in {}", self.0.location());
        move |source| Error::io(action, place, source)
    }

    fn names(&self) -> Result<Vec<String>> {
        self.0.list().map_err(|source| Error::io("list", self.0.location(), source))
    }

    pub(super) fn shipped(&self) -> Result<Vec<String>> {
        Ok(self.names()?.into_iter().filter(|name| is_shipped(name)).collect())
    }

    /// The marks. One that is torn was written before its epoch began, and counts for nothing.
    pub(super) fn marks(&self) -> Result<Vec<Mark>> {
        let mut marks = Vec::new();
        for name in self.names()? {
            let Some(epoch) = epoch_of(&name) else { continue };
            let file = self.0.open(&name).map_err(self.failed("open", &name))?;
            let len = file.len().map_err(self.failed("read", &name))?;
            if !(17..=18).contains(&len) {
                continue;
            }
            let mut bytes = vec![0; to_usize(len)];
            file.read_at(0, &mut bytes).map_err(self.failed("read", &name))?;
            let mut nonce = Nonce::default();
            nonce.copy_from_slice(bytes.get(..16).unwrap_or(&[0; 16]));
            marks.push(Mark { epoch, nonce, is_complete: bytes.last() == Some(&1) });
        }
        Ok(marks)
    }

    /// Notes a nonce before its epoch begins, in a file of this name. The returned handle completes it. Those of earlier openings stay:
    /// the request by which one of them began the epoch may arrive after its process has died.
    pub(super) fn note(&self, mark: Mark) -> Result<(String, Arc<dyn BackingFile>)> {
        let first = format!("{MARK}{:016}", mark.epoch);
        let (mut name, mut more) = (first.clone(), 0);
        let file = loop {
            match self.0.create(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && more < MARKS_MAX => {
                    more += 1;
                    name = format!("{first}.{more}");
                }
                // So many requests are not under way: the last one makes room.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.0.delete(&name).map_err(self.failed("delete", &name))?;
                }
                file => break file.map_err(self.failed("create", &name))?,
            }
        };
        let bytes = [&mark.nonce[..], &[u8::from(mark.is_complete)]].concat();
        file.append(&bytes).and_then(|()| file.sync()).map_err(self.failed("write", &name))?;
        Ok((name, file))
    }

    /// Whether files are being fetched, or an opening that fetched them was interrupted. Other copies that are not complete have no mark
    /// of an epoch.
    pub(super) fn is_fetching(&self) -> io::Result<bool> {
        let names = self.0.list()?;
        if !names.iter().any(|name| name == UNFINISHED) || !names.iter().any(|name| is_mark(name)) {
            return Ok(false);
        }
        // That of a load is not empty.
        self.0.open(UNFINISHED)?.len().map(|len| len == 0)
    }

    /// Deletes all marks but this one.
    pub(super) fn forget_others(&self, own: &str) -> Result<()> {
        for name in self.names()?.into_iter().filter(|name| is_mark(name) && *name != own) {
            self.0.delete(&name).map_err(self.failed("delete", &name))?;
        }
        Ok(())
    }

    /// Deletes files of an opening that did not fetch all of them, but for what says so, unless that is fetched as well.
    pub(super) fn empty(&self, is_load: bool) -> Result<()> {
        let names = self.shipped()?;
        let mut fetched = names.iter().filter(|name| is_load || *name != UNFINISHED);
        fetched.try_for_each(|name| self.0.delete(name).map_err(self.failed("delete", name)))
    }

    /// Files that the bucket has and the directory lacks, whole or in part, and that recovery would not miss: the end of the log, and
    /// the newest manifest. What is shorter is deleted, so that all of them can be fetched.
    ///
    /// They may have been deleted. Then the store deletes them again, as after a crash in which the deletion was lost.
    pub(super) fn lost_ends(&self, table: &Table) -> Result<Vec<String>> {
        let missing = self.missing_ends(table)?;
        for name in self.shipped()?.iter().filter(|name| missing.contains(name)) {
            self.0.delete(name).map_err(self.failed("delete", name))?;
        }
        Ok(missing)
    }

    fn missing_ends(&self, table: &Table) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let names = self.shipped()?;
        for (kind, least) in [(FileKind::Records, to_u64(SEGMENT_HEADER_BYTES)), (FileKind::Manifest, 0)] {
            let number_of = |name: &str| FileKind::parse_name(name).filter(|(found, _)| *found == kind);
            let (mut last, mut lens) = (None, BTreeMap::new());
            for (name, (_, number)) in names.iter().filter_map(|name| Some((name, number_of(name)?))) {
                let len = self.0.open(name).and_then(|file| file.len()).map_err(self.failed("measure", name))?;
                lens.insert(&**name, len);
                let is_whole = table.len_of(name).is_none_or(|known| known <= len);
                if len > least && is_whole {
                    last = last.max(Some(number));
                }
            }
            // Without any manifest the directory is not the store's.
            if kind == FileKind::Manifest && lens.is_empty() {
                continue;
            }
            for (name, pieces) in table.iter() {
                let is_after = number_of(name).is_some_and(|(_, number)| Some(number) > last);
                let known = pieces.last().map_or(0, Piece::end);
                let len = lens.get(name).copied();
                if is_after && known > least && len.is_none_or(|len| len < known) {
                    missing.push(name.to_owned());
                }
            }
        }
        Ok(missing)
    }

    /// What the bucket has, and the directory of its writer would have: all that the bucket has of a file was synced there, and a manifest is
    /// only deleted once a newer one is durable. Other files that are not there say nothing: they may have been deleted.
    pub(super) fn behind(&self, table: &Table) -> Result<Option<Behind>> {
        let names = self.shipped()?;
        for name in &names {
            let Some(end) = table.len_of(name) else { continue };
            let begin = self.0.open(name).and_then(|file| file.len()).map_err(self.failed("measure", name))?;
            if begin < end {
                return Ok(Some(Behind { name: name.clone(), begin, end }));
            }
        }
        if let Some((name, piece, _)) = self.differing(table)? {
            return Ok(Some(Behind { name, begin: piece.begin, end: piece.end() }));
        }
        let here = names.iter().filter_map(|name| manifest_number(name)).max();
        let known =
            table.iter().filter_map(|(name, pieces)| Some((manifest_number(name)?, name, pieces.last()?.end())));
        let newer = known.max().filter(|(number, ..)| Some(*number) > here);
        Ok(newer.map(|(_, name, end)| Behind { name: name.to_owned(), begin: 0, end }))
    }

    /// Fails if the directory lacks what the bucket has and cannot fetch it, before it says that it is the bucket's: then it is an older
    /// copy of itself, or has lost data, and whoever has the rest is to go on.
    pub(super) fn check_holds(&self, table: &Table) -> Result<()> {
        let (names, fetched) = (self.shipped()?, self.missing_ends(table)?);
        for name in names.iter().filter(|name| !fetched.contains(name)) {
            let Some(known) = table.len_of(name) else { continue };
            let len = self.0.open(name).and_then(|file| file.len()).map_err(self.failed("measure", name))?;
            check_len(name, len, known)?;
        }
        check_manifest(&names, table)?;
        self.check_newest(table)
    }

    /// Fails if files lack what the bucket got last: then the directory is an older copy of itself.
    pub(super) fn check_newest(&self, table: &Table) -> Result<()> {
        let Some((name, piece, computed)) = self.differing(table)? else { return Ok(()) };
        let what = "a file of the local directory, which may be an older copy";
        let expected = format!("{} bytes with checksum {:08x}, as in the bucket", piece.bytes, piece.checksum);
        Err(Error::corrupt(&*name, piece.begin, what, expected, format!("{computed:08x}")))
    }

    /// A file of which the directory has other bytes than the bucket got last, and their checksum. Lengths do not tell, because space is
    /// allocated ahead.
    fn differing(&self, table: &Table) -> Result<Option<(String, Piece, u32)>> {
        let last = |name: String| Some((*table.file(&name)?.pieces.last()?, name));
        let mut newest: Vec<(Piece, String)> = self.shipped()?.into_iter().filter_map(last).collect();
        newest.sort_by_key(|(piece, _)| Reverse(piece.place.at()));
        for (piece, name) in newest.into_iter().take(NEWEST_CHECKED) {
            let file = self.0.open(&name).map_err(self.failed("open", &name))?;
            if file.len().map_err(self.failed("read", &name))? < piece.end() {
                continue;
            }
            let mut bytes = vec![0; to_usize(piece.bytes)];
            file.read_at(piece.begin, &mut bytes).map_err(self.failed("read", &name))?;
            let computed = crc32fast::hash(&bytes);
            if computed != piece.checksum {
                return Ok(Some((name, piece, computed)));
            }
        }
        Ok(None)
    }

    /// What the directory has that the bucket lacks, as events that take effect together; and the files that it lacks.
    pub(super) fn difference(&self, table: &Table) -> Result<Difference> {
        let mut events: Vec<(Arc<str>, Noted)> = Vec::new();
        let names = self.shipped()?;
        for name in &names {
            let shared: Arc<str> = Arc::from(name.as_str());
            let file = self.0.open(name).map_err(self.failed("open", name))?;
            let len = file.len().map_err(self.failed("read", name))?;
            let known = table.len_of(name);
            let begin = known.unwrap_or_default();
            if known.is_none() {
                events.push((Arc::clone(&shared), Noted::Create));
            }
            check_len(name, len, begin)?;
            if begin < len {
                // What the bucket has, the directory must not lose.
                file.sync().map_err(self.failed("sync", name))?;
                events.push((shared, Noted::Range { file, begin, end: len }));
            }
        }
        check_manifest(&names, table)?;
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let gone = table.iter().filter(|(name, _)| !names.contains(name)).map(|(name, _)| Arc::from(name));
        Ok(Difference { events, gone: gone.collect() })
    }
}
