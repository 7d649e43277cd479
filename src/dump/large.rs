//! Large values of a store that is built from another one.
//!
//! Owns: dividing them into chunks and lists. Never: holds more than one chunk in memory.

use std::io::Read;

use crate::dump::walk::unwrapped;
use crate::error::{Error, Result};
use crate::format::item::Kind;
use crate::format::value::{CHUNK_BYTES, DEPTH_MAX, Head, IDS_PER_LIST, encode_ids};
use crate::id::{RecordId, Seq, SetNumber, low_u32, to_u64, to_usize};
use crate::import::Import;

/// Imports a record with a value of this size. If the value is incomplete, nothing of it stays.
pub(super) fn bring(
    import: &mut Import,
    (set, id, seq): (SetNumber, RecordId, Seq),
    bytes: u64,
    from: &mut dyn Read,
) -> Result<()> {
    let mut all = Vec::new();
    match chunks(import, bytes, from, &mut all) {
        Ok(head) => import.bring(id, set, Kind::Head, seq, &head.encode()),
        Err(error) => {
            import.give_up_chunks(&all);
            Err(error)
        }
    }
}

fn chunks(import: &mut Import, bytes: u64, from: &mut dyn Read, all: &mut Vec<RecordId>) -> Result<Head> {
    let (mut left, mut chunk) = (bytes, vec![0; CHUNK_BYTES]);
    let mut ids = Vec::new();
    while left > 0 {
        chunk.truncate(to_usize(left.min(to_u64(CHUNK_BYTES))));
        from.read_exact(&mut chunk).map_err(unwrapped)?;
        let id = import.bring_chunk(&chunk)?;
        ids.push(id);
        all.push(id);
        left -= to_u64(chunk.len());
    }
    let mut depth = 0;
    while ids.len() > IDS_PER_LIST {
        if depth == DEPTH_MAX {
            let limit = to_u64(IDS_PER_LIST).pow(3) * to_u64(CHUNK_BYTES);
            return Err(Error::TooLarge { what: "value", bytes, limit });
        }
        let mut lists = Vec::new();
        for part in ids.chunks(IDS_PER_LIST) {
            let mut payload = Vec::with_capacity(part.len() * 8);
            encode_ids(part, &mut payload);
            lists.push(import.bring_chunk(&payload)?);
        }
        all.extend(&lists);
        ids = lists;
        depth += 1;
    }
    Ok(Head { total_bytes: bytes, chunk_bytes: low_u32(to_u64(CHUNK_BYTES)), depth, ids })
}
