//! Floats as integers that sort in the total order of IEEE 754.
//!
//! Owns: the mapping of bits. Never: changes a value; every bit pattern, NaNs included, round-trips.

/// The sign of an `f64`.
const SIGN: u64 = 1 << 63;

/// Maps to an unsigned integer that sorts like `f64::total_cmp`.
pub(super) fn to_ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The inverse of [`to_ordered`].
pub(super) fn from_ordered(ordered: u64) -> f64 {
    f64::from_bits(if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN })
}

/// The same number with 64 bits. The processor's conversion would turn signalling NaNs into quiet ones, and so make
/// different values equal; NaNs are therefore widened bit by bit.
pub(super) fn widen(value: f32) -> f64 {
    if !value.is_nan() {
        return f64::from(value);
    }
    let bits = u64::from(value.to_bits());
    f64::from_bits((bits >> 31) << 63 | 0x7ff << 52 | (bits & 0x7f_ffff) << 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_order_is_kept() {
        let bits = [
            0xffff_ffff_ffff_ffff_u64,
            0xfff8_0000_0000_0000,
            0xfff0_0000_0000_0001,
            0xfff0_0000_0000_0000,
            0xbff0_0000_0000_0000,
            0x8000_0000_0000_0001,
            0x8000_0000_0000_0000,
            0,
            1,
            0x3ff0_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0x7ff8_0000_0000_0000,
            0x7fff_ffff_ffff_ffff,
        ];
        for pair in bits.windows(2) {
            assert!(to_ordered(f64::from_bits(pair[0])) < to_ordered(f64::from_bits(pair[1])), "{pair:x?}");
        }
        for bits in bits {
            assert_eq!(from_ordered(to_ordered(f64::from_bits(bits))).to_bits(), bits);
        }
    }

    #[test]
    fn widening_keeps_values_and_order() {
        let bits = [0xffff_ffff, 0xffc0_0000, 0xff80_0001, 0xff80_0000, 0x8000_0001, 0x8000_0000, 0, 1, 0x3fc0_0000];
        let more = [0x7f80_0000, 0x7f80_0001, 0x7fbf_ffff, 0x7fc0_0000, 0x7fff_ffff];
        let all: Vec<f32> = bits.into_iter().chain(more).map(f32::from_bits).collect();
        for pair in all.windows(2) {
            assert!(pair[0].total_cmp(&pair[1]).is_lt());
            assert!(to_ordered(widen(pair[0])) < to_ordered(widen(pair[1])), "{pair:?}");
        }
        assert_eq!(widen(1.5).to_bits(), 1.5_f64.to_bits());
        assert_eq!(widen(f32::NAN).to_bits(), 0x7ff8_0000_0000_0000);
    }
}
