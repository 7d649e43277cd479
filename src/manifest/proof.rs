//! The proof at the end of a manifest file: everything before it was synced.
//!
//! Owns: its bytes. Never: is required. It is written after the last entry once that was synced, and is not synced
//! itself: a process that can read it, from disk or from the page cache, knows of a successful sync.
//!
//! ```text
//! 0     4       8              12     16
//! +-----+-------+--------------+------+
//! | tag | check | check before | zero |
//! +-----+-------+--------------+------+
//! ```

use byteorder::{ByteOrder, LittleEndian};

use crate::format::{Seed, checksum};

/// Bytes of a proof.
const PROOF_BYTES: usize = 16;
/// Its first four bytes: `TnMp`.
const PROOF_TAG: u32 = 0x704d_6e54;

/// The proof at `offset`, after the entry with this checksum.
pub(super) fn encode(seed: Seed, offset: u64, check_before: u32) -> [u8; PROOF_BYTES] {
    let mut out = [0; PROOF_BYTES];
    LittleEndian::write_u32(&mut out[..4], PROOF_TAG);
    LittleEndian::write_u32(&mut out[8..12], check_before);
    let check = checksum(seed.at(offset), &out[8..]);
    LittleEndian::write_u32(&mut out[4..8], check);
    out
}

/// Whether the file ends with this proof.
pub(super) fn is_whole(rest: &[u8], seed: Seed, offset: u64, check_before: u32) -> bool {
    rest == encode(seed, offset, check_before)
}

/// Whether it ends with what a power cut may leave of a proof, which is no tear: nothing was lost.
pub(super) fn is_begun(rest: &[u8], seed: Seed, offset: u64, check_before: u32) -> bool {
    let proof = encode(seed, offset, check_before);
    rest.len() <= PROOF_BYTES && rest.iter().zip(proof).all(|(there, wanted)| *there == wanted || *there == 0)
}
