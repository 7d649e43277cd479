//! The checksums, implemented from the document alone, and compared with those of the code.

use crate::format_document::{AT, DOCUMENT, UUID, file_header, manifest_entry, sealed_frame, seed};
use crate::markdown::number;
use tenure::SegmentSeq;
use tenure::format::manifest::Body;
use tenure::format::{Seed, checksum};

pub fn crc(start: u32, bytes: &[u8]) -> u32 {
    let step = |register: u32, _| if register & 1 == 1 { register >> 1 ^ 0xedb8_8320 } else { register >> 1 };
    let byte = |register: u32, byte: &u8| (0..8).fold(register ^ u32::from(*byte), step);
    bytes.iter().fold(start ^ 0xffff_ffff, byte) ^ 0xffff_ffff
}

/// The factors of `mix`, as the document gives them.
fn factors() -> [u64; 2] {
    let found: Vec<u64> = DOCUMENT
        .split_whitespace()
        .collect::<Vec<_>>()
        .windows(2)
        .filter(|pair| pair[0] == "*" && pair[1].starts_with("0x"))
        .map(|pair| number(pair[1]))
        .collect();
    found.try_into().expect("two factors")
}

fn mix(mut value: u64) -> u64 {
    let [first, second] = factors();
    value = (value ^ value >> 30).wrapping_mul(first);
    value = (value ^ value >> 27).wrapping_mul(second);
    value ^ value >> 31
}

pub fn seed_at(uuid: [u8; 16], file: u64, at: u64) -> u32 {
    let uuid = u128::from_le_bytes(uuid);
    let (low, high) = (u64::try_from(uuid & u128::from(u64::MAX)).unwrap(), u64::try_from(uuid >> 64).unwrap());
    let seed = mix(mix(low ^ mix(high)).wrapping_add(file));
    u32::try_from(mix(seed ^ at) >> 32).unwrap()
}

pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

#[test]
fn the_crc_of_the_document_is_the_well_known_one() {
    assert_eq!(crc(0, b"123456789"), 0xcbf4_3926);
    assert_eq!(crc(crc(0, b"1234"), b"56789"), 0xcbf4_3926);
    assert!(DOCUMENT.contains("`0xedb88320`"));
}

#[test]
fn seeds_and_checks_are_those_of_the_formulas() {
    for (uuid, file, at) in [(UUID, 1, 128), (UUID, u64::MAX, 0), ([0; 16], 0, 0), ([0xff; 16], 3, 1 << 40)] {
        assert_eq!(Seed::new(uuid, SegmentSeq(file)).at(at), seed_at(uuid, file, at), "{uuid:?} {file} {at}");
    }
    assert_eq!(checksum(0x1234_5678, b"bytes"), crc(0x1234_5678, b"bytes"));

    let header = file_header().encode();
    assert_eq!(u32_at(&header, 124), crc(0, &header[..124]), "check of a file header");

    let bytes = sealed_frame();
    let (control, record) = (&bytes[64..72], &bytes[80..104]);
    let seeds = [seed_at(UUID, 9, AT), seed_at(UUID, 9, AT + 64), seed_at(UUID, 9, AT + 80)];
    assert_eq!(u32_at(control, 0), crc(crc(0, &bytes[72..76]) ^ seeds[1], &control[4..]), "check of a control item");
    assert_eq!(u32_at(record, 0), crc(crc(0, &bytes[104..109]) ^ seeds[2], &record[4..]), "check of a record");
    assert_eq!(u32_at(&bytes, 8), crc(0, &[control, record].concat()), "body check of a frame");
    assert_eq!(u32_at(&bytes, 4), crc(seeds[0], &bytes[8..64]), "head check of a frame");

    let (entry, check) = manifest_entry(Body::Drop(4)).encode(seed(), AT, 7);
    assert_eq!(check, crc(seeds[0], &entry[8..]), "check of a manifest entry");
    assert_eq!(u32_at(&entry, 4), check);
}
