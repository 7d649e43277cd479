//! What can be read of manifest files that are damaged: every entry by itself, whether the one before it is whole or not.
//!
//! Owns: finding entries behind damage. Never: gives what a store may be opened with: what a missing entry said, nobody knows.

use byteorder::{ByteOrder, LittleEndian};

use crate::backing::Backing;
use crate::format::manifest::{ENTRY_HEADER_BYTES, ENTRY_TAG, Entry};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::{GRANULE_BYTES, Seed};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::manifest::{Loaded, SEARCH_BYTES_MAX, load, read_bytes};

/// What is left of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Remnants {
    pub(crate) loaded: Loaded,
    /// Whether it is all of it.
    pub(crate) is_whole: bool,
}

/// Reads all entries of a store's manifest files that are whole. Of two with one number, that of the newer file counts.
pub(crate) fn load_what_is(
    backing: &dyn Backing,
    files: &[SegmentSeq],
    uuid: [u8; 16],
    segment_bytes: Option<u64>,
) -> Remnants {
    if let Ok(loaded) = load(backing, files) {
        return Remnants { loaded, is_whole: true };
    }
    let segment_bytes = segment_bytes.unwrap_or_default();
    let mut loaded = Loaded { uuid, segment_bytes, files: files.to_vec(), ..Loaded::default() };
    for number in files {
        // One that cannot be read says nothing.
        let Ok((_, bytes)) = read_bytes(backing, *number) else { continue };
        read_entries(&bytes, Seed::new(uuid, *number), &mut loaded);
    }
    Remnants { loaded, is_whole: false }
}

fn read_entries(bytes: &[u8], seed: Seed, loaded: &mut Loaded) {
    let mut offset = to_u64(SEGMENT_HEADER_BYTES);
    let mut searched = 0;
    while let Some(rest) = bytes.get(to_usize(offset)..).filter(|rest| !rest.is_empty()) {
        let header = rest.get(..ENTRY_HEADER_BYTES).filter(|header| LittleEndian::read_u32(header) == ENTRY_TAG);
        let decoded = header.and_then(|header| {
            searched += u64::from(LittleEndian::read_u32(&header[8..12])).min(to_u64(rest.len()));
            // Bytes that look like entries at every place would take the square of their number.
            let is_near = searched <= SEARCH_BYTES_MAX.saturating_add(to_u64(bytes.len()));
            let before = LittleEndian::read_u32(&header[24..28]);
            Some(()).filter(|()| is_near).and_then(|()| Entry::decode(rest, seed, offset, before).ok())
        });
        match decoded {
            Some(decoded) => {
                loaded.entry_bytes.insert(decoded.entry.number, decoded.bytes);
                loaded.entries.insert(decoded.entry.number, decoded.entry.body);
                offset += decoded.bytes;
            }
            None => offset += GRANULE_BYTES,
        }
    }
}
