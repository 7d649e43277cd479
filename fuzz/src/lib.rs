//! What the fuzz targets share: inputs made plausible, what must hold for every input, and inputs to begin with.
//!
//! Owns: the checks. Never: runs a fuzzer; the targets do.
//! A decoder that is fed with mutated bytes fails at its first checksum. So each check runs on the bytes as they
//! are and then once more on the same bytes with tags, lengths and checksums mended.

pub mod check;
pub mod dump;
pub mod import;
pub mod reseal;
pub mod seeds;

use tenure::SegmentSeq;
use tenure::format::Seed;

/// Where the blocks under test lie in their segment.
pub const AT: u64 = 4096;

/// The seed of the segment in which the blocks under test lie.
pub fn seed() -> Seed {
    Seed::new(*b"a store of tests", SegmentSeq(7))
}
