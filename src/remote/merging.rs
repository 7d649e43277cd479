//! Merging small parts of files into larger ones, when a base is written.
//!
//! Owns: which parts are merged, and how many bytes that may upload again. Never: does I/O.

use crate::remote::object::Piece;
use crate::remote::table::Table;

/// A part of this size and more stays as it is.
const SMALL_BYTES: u64 = 64 << 10;
/// Fewer parts are not worth a request.
const PIECES_MIN: usize = 8;
/// A merged part is not larger.
const MERGED_BYTES_MAX: u64 = 8 << 20;
/// Bytes that each base may merge, however little was uploaded.
const ALLOWANCE_BYTES_MIN: u64 = 64 << 10;
/// Of what was uploaded, this fraction may be uploaded again.
const UPLOADED_OVER: u64 = 8;
/// What was not used is not saved beyond this.
const ALLOWANCE_BYTES_MAX: u64 = 8 << 20;

/// Bytes that may be uploaded again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance(u64);

impl Allowance {
    pub(super) fn uploaded(&mut self, bytes: u64) {
        self.0 = self.0.saturating_add(bytes / UPLOADED_OVER).min(ALLOWANCE_BYTES_MAX);
    }

    pub(super) fn bytes(self) -> u64 {
        self.0.max(ALLOWANCE_BYTES_MIN)
    }

    pub(super) fn used(&mut self, bytes: u64) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

/// Parts of a file that follow each other and become one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) name: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: u64,
}

impl Merge {
    pub(super) fn begin(&self) -> u64 {
        self.pieces.first().map_or(0, |piece| piece.begin)
    }
}

/// Chooses what to merge: the smallest parts first, because each saves as much as a large one.
///
/// A part that is larger than all that follow it together is left alone, so that a byte is merged a logarithmic number of times.
pub(super) fn choose(table: &Table, allowance: Allowance) -> Vec<Merge> {
    let mut merges = Vec::new();
    for (name, pieces) in table.iter() {
        for run in
            pieces.chunk_by(|left, right| is_small(left) == is_small(right)).filter(|run| run.iter().all(is_small))
        {
            let mut bytes: u64 = run.iter().map(|piece| piece.bytes).sum();
            let mut rest = run;
            while let [first, after @ ..] = rest
                && first.bytes > bytes - first.bytes
            {
                (bytes, rest) = (bytes - first.bytes, after);
            }
            merges.extend(cut(name, rest));
        }
    }
    merges.sort_by_key(|merge| merge.bytes / u64::try_from(merge.pieces.len()).unwrap_or(u64::MAX).max(1));
    let mut left = allowance.bytes();
    merges.retain(|merge| {
        let fits = merge.bytes <= left;
        left -= if fits { merge.bytes } else { 0 };
        fits
    });
    merges
}

fn is_small(piece: &Piece) -> bool {
    piece.bytes < SMALL_BYTES
}

/// Cuts a run into merges of at most some bytes each.
fn cut(name: &str, run: &[Piece]) -> Vec<Merge> {
    let mut merges = Vec::new();
    let mut next = Merge { name: name.to_owned(), pieces: Vec::new(), bytes: 0 };
    for piece in run {
        if next.bytes + piece.bytes > MERGED_BYTES_MAX {
            let full = Merge { name: name.to_owned(), pieces: Vec::new(), bytes: 0 };
            merges.push(std::mem::replace(&mut next, full));
        }
        next.bytes += piece.bytes;
        next.pieces.push(*piece);
    }
    merges.push(next);
    merges.retain(|merge| merge.pieces.len() >= PIECES_MIN);
    merges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_u64;
    use crate::remote::object::{BaseFile, Head, LogPoint, Place};

    fn table(sizes: &[u64]) -> Table {
        let mut begin = 0;
        let mut pieces = Vec::new();
        for (number, bytes) in (1..).zip(sizes.iter().copied()) {
            let at = LogPoint { epoch: 1, number };
            pieces.push(Piece { begin, bytes, checksum: 0, place: Place::Inline { at, offset: 0 } });
            begin += bytes;
        }
        let file = BaseFile { name: "log".to_owned(), head: Head::new(), pieces };
        Table::of_base("base", vec![file]).expect("a table")
    }

    #[test]
    fn bytes_are_merged_a_logarithmic_number_of_times() {
        let (mut sizes, mut merged, mut written) = (Vec::new(), 0, 0);
        for _ in 0..1000 {
            sizes.extend([100; 64]);
            written += 6400;
            let found = choose(&table(&sizes), Allowance(u64::MAX));
            for merge in found {
                let first = sizes.iter().scan(0, |at, size| Some(std::mem::replace(at, *at + size)));
                let first = first.take_while(|at| *at < merge.begin()).count();
                sizes.splice(first..first + merge.pieces.len(), [merge.bytes]);
                merged += merge.bytes;
            }
        }
        assert!(sizes.len() < 200, "{} parts", sizes.len());
        assert!(merged < 5 * written, "{merged} bytes merged of {written}");
    }

    #[test]
    fn no_more_is_merged_than_allowed_and_the_smallest_first() {
        let sizes = [vec![1000; 60], vec![SMALL_BYTES; 2], vec![10; 60], vec![1; 7]].concat();
        let all = choose(&table(&sizes), Allowance(0));
        assert_eq!(all.iter().map(|merge| merge.bytes).collect::<Vec<_>>(), [607, 60_000]);
        let sizes = [vec![5000; 60], vec![SMALL_BYTES; 2], vec![10; 60]].concat();
        let some = choose(&table(&sizes), Allowance(0));
        assert_eq!(some.iter().map(|merge| merge.bytes).collect::<Vec<_>>(), [600]);
        assert_eq!(to_u64(some[0].pieces.len()), 60);
        assert_eq!(choose(&table(&[10; 7]), Allowance(0)), []);
    }
}
