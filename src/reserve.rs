//! The reserve: files that only occupy disk space, so that a full disk still has some for operations that free more.
//!
//! Owns: the files `reserve-0`, `reserve-1` and so on. Never: decides what the space is for, or how much there should
//! be; the engine does. `docs/full-disk.md` describes the rules.
//! Invariants: 1. Only an opening releases the first piece, since nothing else may make opening impossible.
//! 2. The collector gets neither the first piece nor the second.
//! 3. Pieces are created and deleted whole, so that the reserve follows the store without giving up what it has.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::backing::Backing;
use crate::error::is_no_space;

/// Prefix of file names.
const PREFIX: &str = "reserve-";
/// The name of the whole reserve in stores of earlier versions.
const OLD_NAME: &str = "reserve";
/// The number used for it here.
const OLD_NUMBER: u32 = u32::MAX;
/// The sizes of the pieces withheld from the collector: the first is only for an opening, the second is the last resort
/// of small operations such as a delete. If others take the space that the collector was given, these still exist.
const KEPT: [u64; 2] = [64 << 10, 32 << 10];
/// The numbers of the other pieces start here.
const NUMBERS_FROM: u32 = 2;
/// Piece sizes are multiples of this.
const STEP_BYTES: u64 = 64 << 10;
/// If space is short, pieces down to this size are created.
const LEAST_BYTES: u64 = 8 << 10;
/// Maximum size of a piece: a process may have a file size limit that just suffices for its segments.
const PIECE_BYTES_MAX: u64 = 16 << 20;
/// If there are more pieces than this, they are combined.
const PIECES_MAX: usize = 64;

/// How much to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The smallest piece except the first, and the second if there is no other: for a few blocks.
    Least,
    /// All but the first and the second.
    Most,
    /// All: for an opening.
    All,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    number: u32,
    bytes: u64,
}

impl Piece {
    /// Whether it is withheld from the collector.
    fn is_kept(self) -> bool {
        self.number < NUMBERS_FROM
    }

    fn name(self) -> String {
        if self.number == OLD_NUMBER { OLD_NAME.to_owned() } else { format!("{PREFIX}{}", self.number) }
    }

    fn number_of(name: &str) -> Option<u32> {
        if name == OLD_NAME {
            return Some(OLD_NUMBER);
        }
        name.strip_prefix(PREFIX)?.parse().ok()
    }
}

/// Whether this is the name of a piece.
pub(crate) fn is_piece(name: &str) -> bool {
    Piece::number_of(name).is_some()
}

/// The pieces, once listed.
#[derive(Debug, Default)]
struct Pieces {
    all: Option<Vec<Piece>>,
}

/// The reserve of one store.
#[derive(Debug)]
pub(crate) struct Reserve {
    backing: Arc<dyn Backing>,
    pieces: Mutex<Pieces>,
    /// It is known to be smaller than it should be: free space belongs to operations that free more.
    is_short: AtomicBool,
    /// Bytes for the collector when the reserve was last complete.
    last_bytes: AtomicU64,
}

impl Reserve {
    /// The reserve of a store whose lock is held. Nothing is listed yet.
    pub(crate) fn new(backing: Arc<dyn Backing>) -> Self {
        let (pieces, is_short, last_bytes) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        Self { backing, pieces, is_short, last_bytes }
    }

    /// Whether it is smaller than it should be, as far as this process knows.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Acquire)
    }

    /// Bytes for the collector when the reserve was last complete.
    pub(crate) fn last_bytes(&self) -> u64 {
        self.last_bytes.load(Ordering::Relaxed)
    }

    /// Bytes for the collector now.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.pieces.lock().look(&*self.backing).map_or(0, |all| held(all))
    }

    /// Releases space to an operation that frees more. The reserve is short until it is complete again. Returns the
    /// number of bytes released, if any.
    pub(crate) fn release(&self, how: Release) -> Option<u64> {
        let mut pieces = self.pieces.lock();
        let all = pieces.look(&*self.backing).ok()?;
        // The smallest first.
        all.sort_unstable_by_key(|piece| (piece.is_kept(), std::cmp::Reverse(piece.number == 1), piece.bytes));
        let (mut released, mut bytes) = (false, 0);
        all.retain(|piece| {
            let stays = match how {
                Release::Least => piece.number == 0 || released,
                Release::Most => piece.is_kept(),
                Release::All => false,
            };
            if stays {
                return true;
            }
            // Before the file is deleted, so that no ordinary commit takes the space.
            self.is_short.store(true, Ordering::Release);
            let is_gone = is_gone(&self.backing.delete(&piece.name()));
            released |= is_gone;
            bytes += if is_gone { piece.bytes } else { 0 };
            !is_gone
        });
        released.then_some(bytes)
    }

    /// Its files.
    pub(crate) fn files(&self) -> io::Result<Vec<String>> {
        self.pieces.lock().look(&*self.backing).map(|all| all.iter().map(|piece| piece.name()).collect())
    }

    /// Ensures the two withheld pieces and at least `least` bytes for the collector. If some are missing, creates up to
    /// `target` bytes, or as much as there is space for; deletes a large excess. Returns the bytes for the collector if
    /// they suffice.
    ///
    /// # Errors
    /// If a piece cannot be created for a reason other than lack of space, commits do not wait for it: the reserve is
    /// then not short.
    pub(crate) fn keep(&self, least: u64, target: u64) -> io::Result<Option<u64>> {
        let mut pieces = self.pieces.lock();
        let result = pieces.look(&*self.backing).and_then(|all| keep(&*self.backing, all, least, target.max(least)));
        self.is_short.store(matches!(result, Ok(None)), Ordering::Release);
        if let Ok(Some(bytes)) = result {
            self.last_bytes.store(bytes, Ordering::Relaxed);
        }
        result
    }
}

impl Pieces {
    fn look(&mut self, backing: &dyn Backing) -> io::Result<&mut Vec<Piece>> {
        if self.all.is_none() {
            let mut all = Vec::new();
            for name in backing.list()? {
                let Some(number) = Piece::number_of(&name) else { continue };
                let bytes = backing.open(&name)?.len()?;
                all.push(Piece { number, bytes });
            }
            self.all = Some(all);
        }
        Ok(self.all.get_or_insert_default())
    }
}

fn is_gone(deleted: &io::Result<()>) -> bool {
    deleted.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
}

/// Bytes for the collector.
fn held(all: &[Piece]) -> u64 {
    all.iter().filter(|piece| !piece.is_kept()).map(|piece| piece.bytes).sum()
}

fn keep(backing: &dyn Backing, all: &mut Vec<Piece>, least: u64, target: u64) -> io::Result<Option<u64>> {
    let mut has_kept = true;
    for (number, bytes) in (0..).zip(KEPT) {
        // A small one was created when space was short.
        let is_small = |piece: &Piece| piece.number == number && piece.bytes < bytes;
        all.retain(|piece| !is_small(piece) || !is_gone(&backing.delete(&piece.name())));
        if all.iter().all(|piece| piece.number != number) {
            has_kept &= make(backing, all, number, bytes)? == bytes;
        }
    }
    if held(all) < least {
        if all.len() >= PIECES_MAX {
            all.retain(|piece| piece.is_kept() || !is_gone(&backing.delete(&piece.name())));
        }
        fill(backing, all, target)?;
    }
    // Deletes a large excess, the largest pieces first.
    all.sort_unstable_by_key(|piece| std::cmp::Reverse(piece.bytes));
    while held(all) > 2 * target + STEP_BYTES {
        let more = held(all) - target;
        let Some(index) = all.iter().position(|piece| !piece.is_kept() && piece.bytes <= more) else { break };
        backing.delete(&all.remove(index).name())?;
    }
    Ok(Some(held(all)).filter(|bytes| has_kept && *bytes >= least))
}

/// A file size limit does not count: it will not go away.
fn is_want_of_room(error: &io::Error) -> bool {
    is_no_space(error) && error.kind() != io::ErrorKind::FileTooLarge
}

/// Creates pieces up to this many bytes, or until space runs out.
fn fill(backing: &dyn Backing, all: &mut Vec<Piece>, bytes: u64) -> io::Result<()> {
    let mut most = PIECE_BYTES_MAX;
    while held(all) < bytes && most >= LEAST_BYTES {
        let missing = (bytes - held(all)).next_multiple_of(STEP_BYTES).min(most);
        let used = |number: &u32| all.iter().any(|piece| piece.number == *number);
        let Some(number) = (NUMBERS_FROM..OLD_NUMBER).find(|number| !used(number)) else { break };
        let made = make(backing, all, number, missing)?;
        if made < missing {
            // Less than twice that is left.
            most = made / 2;
        }
    }
    Ok(())
}

/// Creates a piece of this size, or of roughly as much as there is space for. Returns its size.
fn make(backing: &dyn Backing, all: &mut Vec<Piece>, number: u32, bytes: u64) -> io::Result<u64> {
    let name = Piece { number, bytes }.name();
    let mut tried = bytes;
    while tried >= LEAST_BYTES {
        let file = match backing.create(&name) {
            // Left over because it could not be deleted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                backing.delete(&name).and_then(|()| backing.create(&name))
            }
            result => result,
        };
        let file = match file {
            Err(error) if is_want_of_room(&error) => break,
            result => result?,
        };
        let made = file.allocate(tried);
        drop(file);
        match made {
            Ok(()) => {
                all.push(Piece { number, bytes: tried });
                return Ok(tried);
            }
            // Half of it would only take the space.
            Err(error) => match (backing.delete(&name), is_want_of_room(&error)) {
                (_, false) => return Err(error),
                (Err(error), true) => return Err(error),
                (Ok(()), true) => tried = (tried / 2).next_multiple_of(4_096),
            },
        }
    }
    Ok(0)
}
