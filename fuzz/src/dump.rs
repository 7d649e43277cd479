//! What must hold for every stream that is to be a dump: it is loaded as a whole, or refused with the offset.
//!
//! Owns: the checks of the dump's reader, seeds, and mending of checks. Never: writes to a disk.

use std::sync::Arc;

use tenure::backing::{Backing, Memory};
use tenure::dump::LoadOptions;
use tenure::extract::Extractor;
use tenure::format::checksum;
use tenure::{Error, Options, Store};

/// Bytes in front of the first frame, and in front of a payload.
const PREAMBLE_BYTES: usize = 16;
const HEADER_BYTES: usize = 12;
/// A store whose pages end this low is loaded: the directory of all pages below takes room, one for each of them.
const PAGES_LOADED: u64 = 1 << 16;

/// The same frames with their checks mended, as far as the lengths lead.
pub fn resealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().max(PREAMBLE_BYTES), 0);
    bytes[..12].copy_from_slice(b"\x89TDMP\r\n\x1a\x01\0\0\0");
    let mut check = checksum(0, &bytes[..12]);
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    let mut at = PREAMBLE_BYTES;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES) {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let end = (at + HEADER_BYTES).saturating_add(usize::try_from(length).expect("64 bits"));
        let Some(payload) = bytes.get(at + HEADER_BYTES..end) else { break };
        let mut checked = check.to_le_bytes().to_vec();
        checked.extend_from_slice(&u64::try_from(at).expect("64 bits").to_le_bytes());
        checked.extend_from_slice(&bytes[at..at + 8]);
        checked.extend_from_slice(payload);
        check = checksum(0, &checked);
        bytes[at + 8..at + HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
        at = end;
    }
    bytes
}

/// Reads any bytes as a dump, as they are and with the checks mended.
pub fn check(data: &[u8]) {
    drop(read(data));
    let sealed = resealed(data);
    let is_whole = read(&sealed);
    let end = sealed.get(PREAMBLE_BYTES + HEADER_BYTES + 52..).and_then(|rest| rest.first_chunk::<8>());
    if end.is_none_or(|end| u64::from_le_bytes(*end) < PAGES_LOADED) {
        loaded(&sealed, is_whole);
    }
}

/// Whether the stream is a dump. What is wrong with it is told with a place inside.
fn read(stream: &[u8]) -> bool {
    match tenure::dump::check(&mut &*stream, "dump", &mut |_| {}) {
        Ok(report) => {
            assert_eq!(report.bytes, u64::try_from(stream.len()).expect("64 bits"));
            true
        }
        Err(error) => {
            is_told(&error, stream);
            false
        }
    }
}

fn is_told(error: &Error, stream: &[u8]) {
    match error {
        Error::Corrupt(damage) => {
            assert!(damage.offset <= u64::try_from(stream.len()).expect("64 bits"), "{damage}");
        }
        Error::Unsupported { .. } => {}
        other => panic!("{other}"),
    }
}

/// Loads the stream. A store that comes of it is whole, also one of a part.
fn loaded(stream: &[u8], is_whole: bool) {
    for until_damage in [false, true] {
        let to: Arc<dyn Backing> = Arc::new(Memory::new());
        let options = LoadOptions::new().until_damage(until_damage).checkpoint_bytes(64);
        match tenure::dump::load_backing(&mut &*stream, &to, &options, &mut |_| {}) {
            Ok(report) => {
                assert!(report.damage.is_some() || is_whole, "loaded and refused");
                let verified = tenure::verify::verify_backing(&to, &mut |_| {}).expect("a store");
                assert!(verified.is_ok(), "{:?}", verified.problems);
            }
            Err(error) => is_told(&error, stream),
        }
    }
}

/// Streams of stores with little in them.
pub fn seeds() -> Vec<Vec<u8>> {
    let head = || Extractor::new("head", 1, |record, keys| keys.push(&record[..record.len().min(2)]));
    let options = Options::new().background(false);
    let make = |fill: &dyn Fn(&Store)| {
        let store = options.open_backing(Arc::new(Memory::new())).expect("a store");
        fill(&store);
        let mut stream = Vec::new();
        store.dump(&mut stream).expect("dumped");
        stream
    };
    let records = |store: &Store| {
        let set = store.record_set("a").expect("a set");
        store.index(&set, "head", head()).expect("an index");
        let insert = |number: u32| store.write(|tx| tx.insert(&set, format!("{number} is it"))).expect("inserted");
        let ids: Vec<_> = (0..6).map(insert).collect();
        store.write(|tx| tx.delete(ids[1]).and_then(|()| tx.update(ids[2], "changed"))).expect("changed");
        store.record_set("empty").expect("a set");
    };
    let large = |store: &Store| {
        let set = store.record_set("files").expect("a set");
        store.write(|tx| tx.insert(&set, vec![7; 66_000])).expect("inserted");
    };
    vec![make(&|_| {}), make(&records), make(&large)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_dumps_and_what_sealing_makes() {
        for seed in seeds() {
            assert_eq!(resealed(&seed), seed);
            assert!(read(&seed));
            check(&seed);
        }
    }
}
