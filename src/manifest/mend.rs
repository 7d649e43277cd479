//! Reconstructing a damaged manifest header from the file's name, the headers of other files, and its first entry.
//!
//! Owns: the proof that this is the store's manifest: entries have seeds derived from the UUID and the file's number.
//! Never: writes; the next entry starts another file with an intact header.

use crate::backing::Backing;
use crate::error::{Error, Result};
use crate::format::Seed;
use crate::format::entry::SEGMENT_BYTES_END;
use crate::format::manifest::Entry;
use crate::format::segment::{FileKind, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::id::{SegmentSeq, to_u64};
use crate::log::SEGMENT_BYTES_MIN;

/// The header of a manifest file with a damaged one, if it can be reconstructed with certainty.
pub(super) fn header(backing: &dyn Backing, number: SegmentSeq, bytes: &[u8]) -> Result<Option<SegmentHeader>> {
    let Some((own, rest)) = bytes.split_at_checked(SEGMENT_HEADER_BYTES) else { return Ok(None) };
    let mut candidates = others(backing)?;
    candidates.extend(one_bit_back(own));
    candidates.extend(as_it_stands(own));
    let header = |(uuid, segment_bytes)| SegmentHeader {
        kind: FileKind::Manifest,
        generation: 0,
        uuid,
        segment: number,
        timeline: 0,
        previous: SegmentSeq(0),
        segment_bytes,
    };
    let is_whole = |header: &SegmentHeader| {
        let seed = Seed::new(header.uuid, number);
        // A header of a later version identifies the store as well.
        Entry::decode(rest, seed, to_u64(SEGMENT_HEADER_BYTES), 0).map_or_else(|error| error.unsupported, |_| true)
    };
    Ok(candidates.into_iter().map(header).find(is_whole))
}

/// A store's UUID, and its maximum segment size.
type Identity = ([u8; 16], u64);

/// What the headers of other files say.
fn others(backing: &dyn Backing) -> Result<Vec<Identity>> {
    let names = backing.list().map_err(|source| Error::io("list", backing.location(), source))?;
    let mut found: Vec<Identity> = Vec::new();
    for name in names.iter().filter(|name| FileKind::parse_name(name).is_some()) {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        // Files that cannot be read, or are gone by now, are ignored.
        let Ok(()) = backing.open(name).and_then(|file| file.read_at(0, &mut bytes)) else { continue };
        let identity = SegmentHeader::decode(&bytes, name).map(|header| (header.uuid, header.segment_bytes));
        found.extend(identity.ok().filter(|identity| !found.contains(identity)));
    }
    Ok(found)
}

/// The header before a single bit flipped, which its checksum identifies.
fn one_bit_back(own: &[u8]) -> Option<Identity> {
    let mut bytes = own.to_vec();
    for bit in 0..bytes.len() * 8 {
        let flip = 1_u8 << (bit % 8);
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= flip;
        }
        if let Ok(header) = SegmentHeader::decode(&bytes, "") {
            return Some((header.uuid, header.segment_bytes));
        }
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= flip;
        }
    }
    None
}

/// What the damaged header says, if plausible.
fn as_it_stands(own: &[u8]) -> Option<Identity> {
    let uuid = own.get(40..56)?.try_into().ok()?;
    let segment_bytes = u64::from_le_bytes(own.get(80..88)?.try_into().ok()?);
    let can_be = segment_bytes.is_power_of_two() && (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_END).contains(&segment_bytes);
    can_be.then_some((uuid, segment_bytes))
}
