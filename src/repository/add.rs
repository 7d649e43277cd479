//! Adding a backup of a running store.
//!
//! Owns: which pieces are there already, the order pieces before list. Never: blocks a writer, or shares bytes that it has not
//! compared by their sum.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::backing::{Backing, BackingFile};
use crate::backup::{read_back, with_saved};
use crate::error::{Error, Result};
use crate::format::manifest::Snapshot;
use crate::id::{Seq, to_u64, to_usize};
use crate::repository::at_once::{BYTES_AT_ONCE, PIECES_AT_ONCE, at_once};
use crate::repository::image::Image;
use crate::repository::list::{FilePieces, List, header};
use crate::repository::marks::{Mark, Work};
use crate::repository::names::{BackupId, DATA, HEADER, NOTES, Piece};
use crate::repository::place::Put;
use crate::repository::sum::Sum;
use crate::repository::{OnProgress, Repository, RepositoryProgress, tell};
use crate::store::Store;
use crate::verify::VerifyReport;

/// The largest piece.
const PIECE_BYTES_MAX: u64 = 8 << 20;
/// How often the number of a new backup may be taken by others.
const NUMBERS_MAX: u64 = 1_000;

/// Options for a backup to a repository.
#[derive(Debug, Clone)]
pub struct AddOptions {
    verify: bool,
}

impl Default for AddOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOptions {
    /// The default: everything is verified.
    pub fn new() -> Self {
        Self { verify: true }
    }

    /// Verifies all that the backup will contain before anything is written: every record, page and key index, by the
    /// checksums of the store. It reads the store a second time. Default: yes.
    #[must_use]
    pub fn verify(self, verify: bool) -> Self {
        Self { verify }
    }
}

/// A new backup in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Its number in the repository.
    pub id: BackupId,
    /// The last commit in it.
    pub seq: Seq,
    /// Files of the store in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes written to the repository, with the list.
    pub written: u64,
    /// Pieces written.
    pub pieces: u64,
    /// The result of verifying it, if that was not switched off.
    pub verified: Option<VerifyReport>,
}

/// The pieces of a file that are there, by where they begin; the longest first.
type Pieces = BTreeMap<u64, Vec<Piece>>;

/// What is there of the files of a backup.
#[derive(Debug, Default)]
struct There {
    pieces: BTreeMap<String, Pieces>,
    /// Names of objects that are there, but not whole.
    damaged: HashSet<String>,
    /// Names of the notes about them.
    notes: HashSet<String>,
}

impl There {
    /// Pieces that may be what a file has from `begin` on.
    fn from(&self, file: &str, begin: u64) -> &[Piece] {
        self.pieces.get(file).and_then(|pieces| pieces.get(&begin)).map(Vec::as_slice).unwrap_or_default()
    }

    /// How a piece is put.
    fn how(&self, name: &str) -> Put {
        if self.damaged.contains(name) { Put::Replacement } else { Put::New }
    }
}

/// A backup that is being added.
struct Adding<'r, 'p, 'm> {
    repository: &'r Repository,
    image: Arc<Image>,
    there: There,
    mark: &'m mut Mark<'r>,
    progress: &'m mut OnProgress<'p>,
    now: RepositoryProgress,
    pieces: u64,
    /// Pieces that are to be put, all at once.
    waiting: Vec<Waiting>,
}

/// A piece that is not there.
struct Waiting {
    /// Its name in the folder of data.
    name: String,
    bytes: Vec<u8>,
}

impl Repository {
    /// Backs up a running store: writes the bytes that the repository lacks, then the list of the backup. Readers and writers
    /// continue. An interrupted backup leaves nothing that counts, and the next one goes on with the pieces it wrote.
    ///
    /// # Errors
    /// `BadDestination` if the repository holds backups of another store or something else, or is inside the store, `Locked` while it
    /// is pruned, `Corrupt` if the store is damaged, and those of the place. One that names a list says that the backup is listed and may
    /// lack pieces.
    pub fn add(&self, store: &Store, options: &AddOptions, progress: &mut OnProgress<'_>) -> Result<Added> {
        let engine = store.engine();
        engine.check_writable()?;
        self.place.check_outside(&*engine.backing)?;
        let source = engine.log.source();
        self.make(source.uuid)?;
        let mut mark = Mark::put(&*self.place, Work::Backup)?;
        let added = with_saved(engine, store.collector(), |saved| {
            let image = Arc::new(Image::new(&engine.backing, saved, source.uuid, source.segment_bytes)?);
            let shown: Arc<dyn Backing> = Arc::clone(&image) as Arc<dyn Backing>;
            let verified = if options.verify { Some(read_back(&shown)?) } else { None };
            mark.begin_anew()?;
            let there = self.there(&image)?;
            let bytes_total = image.files().map(|(_, bytes)| bytes).sum();
            let now = RepositoryProgress { bytes_total, ..RepositoryProgress::default() };
            let (mark, waiting) = (&mut mark, Vec::new());
            let adding = Adding { repository: self, image, there, mark, progress, now, pieces: 0, waiting };
            adding.add(saved, source.uuid, verified)
        });
        drop(mark);
        store.collector().sweep(engine)?;
        added
    }

    /// Makes the repository of a store, or checks that it is.
    fn make(&self, uuid: [u8; 16]) -> Result<()> {
        let refused = |why| Err(Error::BadDestination { path: self.place.shown(), why });
        let theirs = match self.store()? {
            Some(theirs) => theirs,
            None if !self.place.is_empty()? => {
                return refused("it is neither empty nor a repository of backups");
            }
            None => {
                self.place.create()?;
                if self.place.put(HEADER, &header(uuid), Put::New)? { uuid } else { self.need_store()? }
            }
        };
        if theirs == uuid { Ok(()) } else { refused("it holds backups of another store") }
    }

    /// What is there of the files of an image.
    fn there(&self, image: &Image) -> Result<There> {
        let wanted: HashSet<&str> = image.files().map(|(name, _)| name).collect();
        let notes: HashSet<String> = self.place.list(NOTES)?.into_iter().map(|note| note.name).collect();
        let mut there = There::default();
        for object in self.place.list(DATA)? {
            let Some((file, piece)) = Piece::of_name(&object.name) else { continue };
            if !wanted.contains(file) {
                continue;
            }
            if object.bytes != piece.bytes || notes.contains(&object.name) {
                there.damaged.insert(object.name);
                continue;
            }
            let begin = there.pieces.entry(file.to_owned()).or_default().entry(piece.begin).or_default();
            begin.push(piece);
            begin.sort_unstable_by_key(|piece| std::cmp::Reverse(piece.bytes));
        }
        there.notes = notes;
        Ok(there)
    }
}

impl Adding<'_, '_, '_> {
    fn add(mut self, saved: &Snapshot, store: [u8; 16], verified: Option<VerifyReport>) -> Result<Added> {
        self.tell()?;
        let mut files = Vec::new();
        let all: Vec<(String, u64)> = self.image.files().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        for (name, bytes) in all {
            let pieces = self.file(&name, bytes)?;
            files.push(FilePieces { name, bytes, pieces });
        }
        self.put_waiting()?;
        self.tell()?;
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let list = List { store, timeline: saved.timeline, seq: saved.seq, micros, files };
        self.put_missing(&list)?;
        self.repository.place.settle(DATA)?;
        self.mark.check()?;
        let id = self.put_list(&list)?;
        self.confirm(id, &list).map_err(|error| self.failed(id, error))?;
        let Self { now, pieces, .. } = self;
        let (files, bytes) = (to_u64(list.files.len()), list.bytes());
        Ok(Added { id, seq: list.seq, files, bytes, written: now.written, pieces, verified })
    }

    /// Sees to it, once the list is there, that all it names is there and stays.
    fn confirm(&mut self, id: BackupId, list: &List) -> Result<()> {
        match self.mark.check() {
            // A pruning has taken this backup for dead. If it read the lists before this one was there, it deletes what only this one names,
            // however late. If it read them afterwards, it may have deleted older backups because of this one, which must stay then.
            Err(Error::Fenced { .. }) => {
                self.mark.put_again(|| tell(self.progress, self.now, "the backup"))?;
                if self.repository.is_gone(id)? {
                    let by =
                        format!("a pruning took it for dead, and deleted {} in favour of a newer one", id.object());
                    return Err(Error::Fenced { location: self.repository.place.shown(), by });
                }
            }
            checked => checked?,
        }
        // A pruning that deletes the mark from now on reads the list. One that was itself taken for dead may have deleted pieces until now.
        self.put_missing(list)
    }

    /// The error of a backup that failed when its list was there. That is not deleted: it may be the only one that a pruning has left.
    fn failed(&self, id: BackupId, error: Error) -> Error {
        if matches!(self.repository.is_gone(id), Ok(true)) {
            return error;
        }
        let file = format!(
            "{}, the list of backup {id}, which stays and may lack pieces: verify the repository, and delete this object if {id} does",
            self.repository.shown(&id.object())
        );
        Error::io("confirm", file, io::Error::other(format!("the backup failed because: {error}")))
    }

    fn tell(&mut self) -> Result<()> {
        tell(self.progress, self.now, "the backup")
    }

    /// The pieces of a file; those that are missing are put.
    fn file(&mut self, name: &str, bytes: u64) -> Result<Vec<Piece>> {
        let file = self.open(name)?;
        let (mut pieces, mut begin) = (Vec::new(), 0);
        while begin < bytes {
            let window = begin..bytes.min(begin.saturating_add(PIECE_BYTES_MAX));
            let piece = self.next_piece(name, &*file, window)?;
            begin += piece.bytes;
            self.now.bytes += piece.bytes;
            pieces.push(piece);
            self.mark.renew()?;
            self.tell()?;
        }
        Ok(pieces)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn BackingFile>> {
        self.image.open(name).map_err(|source| Error::io("open", name, source))
    }

    /// The piece with which a window of a file begins: the longest that is there, or else all of it.
    fn next_piece(&mut self, name: &str, file: &dyn BackingFile, window: Range<u64>) -> Result<Piece> {
        let (begin, len) = (window.start, window.end - window.start);
        let bytes = read(name, file, window)?;
        for piece in self.there.from(name, begin).iter().filter(|piece| piece.bytes <= len) {
            if bytes.get(..to_usize(piece.bytes)).is_some_and(|bytes| Sum::of(bytes) == piece.sum) {
                return Ok(*piece);
            }
        }
        let piece = Piece { begin, bytes: len, sum: Sum::of(&bytes) };
        self.wait(Waiting { name: piece.name(name), bytes })?;
        Ok(piece)
    }

    /// Adds a piece to those that wait. If they are as many as fit, they are put.
    fn wait(&mut self, piece: Waiting) -> Result<()> {
        self.waiting.push(piece);
        let bytes =
            self.waiting.iter().fold(PIECE_BYTES_MAX, |sum, piece| sum.saturating_add(to_u64(piece.bytes.len())));
        if bytes > BYTES_AT_ONCE || self.waiting.len() >= PIECES_AT_ONCE { self.put_waiting() } else { Ok(()) }
    }

    /// Puts the pieces that wait. If one of them is there meanwhile, it has the same bytes.
    fn put_waiting(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let (place, there) = (&self.repository.place, &self.there);
        let put = at_once(&waiting, |Waiting { name, bytes }| {
            place.put(&format!("{DATA}/{name}"), bytes, there.how(name))?;
            if there.notes.contains(name) { place.delete(&format!("{NOTES}/{name}")) } else { Ok(()) }
        });
        for (result, Waiting { name, bytes }) in put.into_iter().zip(&waiting) {
            result?;
            self.now.written += to_u64(bytes.len());
            self.pieces += 1;
            self.there.damaged.remove(name);
        }
        Ok(())
    }

    /// Puts the pieces of a list that are not there any more.
    fn put_missing(&mut self, list: &List) -> Result<()> {
        let is_there: HashSet<String> = self.repository.place.list(DATA)?.into_iter().map(|found| found.name).collect();
        for (name, piece) in list.pieces().filter(|(name, piece)| !is_there.contains(&piece.name(name))) {
            let file = self.open(name)?;
            let bytes = read(name, &*file, piece.begin..piece.begin + piece.bytes)?;
            let sum = Sum::of(&bytes);
            if sum != piece.sum {
                return Err(Error::corrupt(name, piece.begin, "file", piece.sum, sum));
            }
            self.wait(Waiting { name: piece.name(name), bytes })?;
        }
        self.put_waiting()
    }

    /// Puts the list under the next number.
    fn put_list(&mut self, list: &List) -> Result<BackupId> {
        let bytes = list.encode();
        let newest = self.repository.ids()?.last().map_or(0, |(id, _)| id.0);
        for number in newest.saturating_add(1)..newest.saturating_add(NUMBERS_MAX) {
            let id = BackupId(number);
            // After an error it may still be stored, as late as any request may arrive.
            let put = self.repository.place.put(&id.object(), &bytes, Put::New).inspect_err(|_| self.mark.stay());
            if put? {
                self.now.written += to_u64(bytes.len());
                return Ok(id);
            }
        }
        Err(Error::Exhausted { what: "number for a backup", limit: NUMBERS_MAX })
    }
}

fn read(name: &str, file: &dyn BackingFile, part: Range<u64>) -> Result<Vec<u8>> {
    let len = part.end - part.start;
    let mut bytes = vec![0; to_usize(len)];
    file.read_at(part.start, &mut bytes).map_err(|source| Error::io("read", name, source))?;
    file.let_go(part.start, len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::ControlFlow;

    use super::*;
    use crate::repository::At;

    /// Cuts the only piece of a file after `at` bytes, and forgets all backups.
    fn cut(repository: &std::path::Path, file: &str, at: usize) -> (usize, Piece) {
        fs::remove_dir_all(repository.join("backups")).expect("deletes");
        fs::create_dir(repository.join("backups")).expect("creates");
        let names = fs::read_dir(repository.join(DATA)).expect("lists");
        let mut names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
        let name = names.find(|name| name.starts_with(file)).expect("a piece");
        let path = repository.join(DATA).join(&name);
        let bytes = fs::read(&path).expect("reads");
        let begin = Piece { begin: 0, bytes: to_u64(at), sum: Sum::of(&bytes[..at]) };
        fs::write(repository.join(begin.object(file)), &bytes[..at]).expect("writes");
        fs::remove_file(path).expect("deletes");
        (bytes.len(), begin)
    }

    #[test]
    fn of_a_segment_that_grew_only_the_rest_is_put() {
        let dir = tempfile::tempdir().expect("a directory");
        let [path, backups, restored] = ["store", "backups", "restored"].map(|name| dir.path().join(name));
        let store = Store::open(&path).expect("opens");
        let set = store.record_set("a").expect("a set");
        let id = store.write(|tx| tx.insert(&set, vec![7; 50_000])).expect("commits");
        let repository = Repository::in_directory(&backups);
        let mut go_on = |_| ControlFlow::Continue(());
        let mut add = || repository.add(&store, &AddOptions::new(), &mut go_on).expect("backs up");
        add();
        let log = fs::read_dir(&path).expect("lists").map(|entry| entry.expect("an entry").file_name());
        let log = log.map(|name| name.into_string().expect("text"));
        let log = log.filter(|name| name.starts_with("log-")).min().expect("a log segment");
        let (bytes, begin) = cut(&backups, &log, 30_000);
        let added = add();
        assert!(added.written < to_u64(bytes) - begin.bytes + 3_000, "{added:?}");
        let ids = repository.ids().expect("lists");
        let (newest, object) = ids.last().expect("a backup");
        let list = repository.read_list(*newest, object).expect("reads").expect("a list");
        let pieces = list.files.iter().find(|file| file.name == log).map(|file| &*file.pieces).expect("the segment");
        assert_eq!((pieces.len(), pieces[0]), (2, begin));
        // A piece with the right name and length and other bytes would not have been taken.
        let other = Piece { sum: Sum::of(&vec![1; 40_000]), bytes: 40_000, ..begin };
        fs::write(backups.join(other.object(&log)), vec![1; 40_000]).expect("writes");
        add();
        repository.restore(At::Newest, &restored, &mut |_| ControlFlow::Continue(())).expect("restores");
        let restored = Store::open(&restored).expect("opens");
        assert_eq!(restored.get(id).expect("reads").as_slice(), Some(&*vec![7; 50_000]));
    }
}
