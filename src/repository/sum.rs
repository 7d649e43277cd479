//! What a piece contains, in 96 bits: a CRC-32, and a chain of mixed words.
//!
//! Owns: computing and printing them. Never: protects against forgery; two different pieces with the same sum are an
//! accident that does not happen.

use std::fmt::{Debug, Display, Formatter};
use std::str::FromStr;

use byteorder::{ByteOrder, LittleEndian};

use crate::format::mix;
use crate::id::to_u64;

/// Added at each step, so that words of zeros change the chain.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The sum of a piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sum {
    check: u32,
    mixed: u64,
}

impl Sum {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut mixed = to_u64(bytes.len());
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            mixed = mix((mixed ^ LittleEndian::read_u64(word)).wrapping_add(STEP));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(words.remainder()) {
            *to = *from;
        }
        mixed = mix((mixed ^ u64::from_le_bytes(last)).wrapping_add(STEP));
        Self { check: crc32fast::hash(bytes), mixed }
    }
}

impl Display for Sum {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}{:016x}", self.check, self.mixed)
    }
}

impl Debug for Sum {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self, f)
    }
}

impl FromStr for Sum {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let (check, mixed) = text.split_at_checked(8).filter(|_| digits && text.len() == 24).ok_or(())?;
        let check = u32::from_str_radix(check, 16).map_err(drop)?;
        Ok(Self { check, mixed: u64::from_str_radix(mixed, 16).map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_or_missing_byte_changes_both_halves() {
        let bytes: Vec<u8> = (0..100_u8).map(|at| if at < 40 { 0 } else { at }).collect();
        let sum = Sum::of(&bytes);
        assert_eq!(sum.to_string().parse(), Ok(sum));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            for other in [Sum::of(&changed), Sum::of(&bytes[..at])] {
                assert!(other.check != sum.check && other.mixed != sum.mixed, "byte {at}");
            }
        }
    }
}
