//! Makes plausible blocks of any bytes: what stands in front of a decoder's real work is mended, the rest stays.

use tenure::format::frame::{FRAME_HEADER_BYTES, FRAME_TAG};
use tenure::format::item::Item;
use tenure::format::manifest::{ENTRY_HEADER_BYTES, ENTRY_TAG};
use tenure::format::node::{NODE_HEADER_BYTES, NODE_LEVEL_MAX, NODE_SLOT_BYTES, NODE_TAG, NODE_VERSION};
use tenure::format::segment::{MAGIC, SEGMENT_HEADER_BYTES};
use tenure::format::{FORMAT_VERSION, PAGE_BYTES, align, checksum};

use crate::{AT, seed};

fn put(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

/// Whole granules, and at least `least` bytes of them.
fn granules(data: &[u8], least: usize) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize((bytes.len() / 16 * 16).max(least), 0);
    bytes
}

/// A frame whose header holds, with the given number of items more than it has. `cut` leaves out what is no item, so
/// that with no surplus the whole frame must hold.
pub fn frame(data: &[u8], cut: bool, surplus: u32) -> Vec<u8> {
    let mut bytes = granules(data, FRAME_HEADER_BYTES);
    let (mut at, mut items, mut body) = (FRAME_HEADER_BYTES, surplus, 0);
    while let Ok(item) = Item::parse(&bytes[at..]) {
        let (header_bytes, item_bytes) = (item.header.len(), usize::try_from(item.bytes()).expect("fits"));
        let place = seed().at(AT + u64::try_from(at).expect("fits"));
        let check = checksum(checksum(0, item.payload) ^ place, &item.header[4..]);
        put(&mut bytes, at, check);
        body = checksum(body, &bytes[at..at + header_bytes]);
        items = items.wrapping_add(1);
        at += item_bytes;
    }
    if cut {
        bytes.truncate(at);
    }
    let length = u32::try_from(bytes.len()).expect("inputs are small");
    put(&mut bytes, 0, FRAME_TAG);
    put(&mut bytes, 8, body);
    put(&mut bytes, 12, length);
    put(&mut bytes, 20, items);
    bytes[16] = bytes[16].wrapping_sub(1) % 4 + 1;
    (bytes[18], bytes[19]) = (0, 1);
    let check = checksum(seed().at(AT), &bytes[8..FRAME_HEADER_BYTES]);
    put(&mut bytes, 4, check);
    bytes
}

/// A manifest entry whose header holds, first in its file. Its kind stays as it is.
pub fn manifest_entry(data: &[u8]) -> Vec<u8> {
    let mut bytes = granules(data, ENTRY_HEADER_BYTES);
    let whole = u32::try_from(bytes.len()).expect("inputs are small");
    put(&mut bytes, 0, ENTRY_TAG);
    if align(get(&bytes, 8).into()) != u64::from(whole) {
        put(&mut bytes, 8, whole);
    }
    put(&mut bytes, 24, 0);
    let check = checksum(seed().at(AT), &bytes[8..]);
    put(&mut bytes, 4, check);
    bytes
}

/// A file header whose check holds. `known` makes it one that this version must read or refuse only for its kind.
pub fn segment_header(data: &[u8], known: bool) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(SEGMENT_HEADER_BYTES, 0);
    bytes[..8].copy_from_slice(&MAGIC);
    if known {
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&[4, 12, 1, 0]);
        bytes[24..40].fill(0);
    }
    let check = checksum(0, &bytes[..124]);
    put(&mut bytes, 124, check);
    bytes
}

/// A node whose header holds: its slots and its prefix lie within it. Cells are as they come.
pub fn node(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().clamp(NODE_HEADER_BYTES, PAGE_BYTES), 0);
    (bytes[0], bytes[1]) = (NODE_TAG, NODE_VERSION);
    bytes[2] %= NODE_LEVEL_MAX + 1;
    let field = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let slots = u16::try_from((bytes.len() - NODE_HEADER_BYTES) / NODE_SLOT_BYTES).expect("nodes are small");
    let count = field(&bytes, 4).min(slots);
    bytes[4..6].copy_from_slice(&count.to_le_bytes());
    if usize::from(field(&bytes, 6)) + usize::from(field(&bytes, 8)) > bytes.len() {
        bytes[6..10].fill(0);
    }
    bytes
}
