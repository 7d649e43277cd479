//! The first byte of each component, and the limits of keys.
//!
//! Owns: the numbers of the encoding. Never: encodes. Tags of ascending components are below 0x80; a descending
//! component is the complement of the ascending one, so its first byte is above. The gaps are for future types.

/// Maximum length of a key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Maximum nesting depth of tuples.
pub const DEPTH_MAX: usize = 16;

/// Ends a tuple, a string or a byte string. Lower than every tag, so that a prefix sorts first.
pub(super) const END: u8 = 0x00;
/// Null.
pub(super) const NULL: u8 = 0x01;
/// False.
pub(super) const FALSE: u8 = 0x04;
/// True.
pub(super) const TRUE: u8 = 0x05;
/// A negative integer of `n` bytes has the tag `NEGATIVE_END - n`: 0x10 to 0x1f.
pub(super) const NEGATIVE_END: u8 = 0x20;
/// The integers from 0 to 31 are their own tags from here on: 0x20 to 0x3f.
pub(super) const SMALL: u8 = 0x20;
/// The first integer that is not its own tag.
pub(super) const SMALL_END: u8 = 32;
/// An integer from 32 on of `n` bytes has the tag `POSITIVE + n`: 0x40 to 0x4f.
pub(super) const POSITIVE: u8 = 0x3f;
/// Maximum number of bytes of an integer.
pub(super) const INTEGER_BYTES_MAX: u8 = 16;
/// A float, in 8 bytes.
pub(super) const FLOAT: u8 = 0x50;
/// A timestamp, in 8 bytes.
pub(super) const TIMESTAMP: u8 = 0x58;
/// A string.
pub(super) const STRING: u8 = 0x60;
/// A byte string.
pub(super) const BYTES: u8 = 0x68;
/// A tuple inside a key.
pub(super) const TUPLE: u8 = 0x70;
/// The lowest first byte of a descending component.
pub(super) const DESCENDING: u8 = 0x80;

/// Precedes a byte 0x00 or 0x01 of a string, which is then incremented by one, so that only the terminator is 0x00.
pub(super) const ESCAPE: u8 = 0x01;
