//! What can be read of damaged manifest files: every entry by itself, whether or not the previous one is intact.
//!
//! Owns: finding entries after damage. Never: returns anything to open a store with: the contents of a missing entry
//! are unknown.

use byteorder::{ByteOrder, LittleEndian};

use crate::backing::Backing;
use crate::format::manifest::{ENTRY_HEADER_BYTES, ENTRY_TAG, Entry};
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::format::{GRANULE_BYTES, Seed};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::manifest::reading::{Loaded, SEARCH_BYTES_MAX, load, read_bytes};

/// The remains of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Remnants {
    pub(crate) loaded: Loaded,
    /// Whether it is complete.
    pub(crate) is_whole: bool,
}

/// Reads all intact entries of a store's manifest files. Of two with the same number, the one in the newer file counts.
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
        // An unreadable file is ignored.
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
            // Bytes that look like entries everywhere would make this quadratic.
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
