//! Integers of all widths as one type.
//!
//! Owns: the range from `i128::MIN` to `u128::MAX`. Never: encodes. Invariant: a number has one representation, so
//! equality and order are those of the numbers.

use std::fmt;
use std::num::TryFromIntError;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Parts {
    /// Below zero.
    Negative(i128),
    /// Zero and above.
    Natural(u128),
}

/// An integer of a key, from `i128::MIN` to `u128::MAX`. Its original width is not kept.
///
/// ```
/// use tenure::key::Integer;
///
/// assert_eq!(Integer::from(5_i8), Integer::from(5_u64));
/// assert!(Integer::from(-1) < Integer::from(u128::MAX));
/// assert_eq!(Integer::from(-7).to_i128(), Some(-7));
/// assert_eq!(u8::try_from(Integer::from(300)).ok(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Integer(Parts);

impl Integer {
    /// The smallest integer that a key can hold.
    pub const MIN: Self = Self(Parts::Negative(i128::MIN));
    /// The largest integer that a key can hold.
    pub const MAX: Self = Self(Parts::Natural(u128::MAX));

    /// The number, unless it is above `i128::MAX`.
    pub fn to_i128(self) -> Option<i128> {
        match self.0 {
            Parts::Negative(number) => Some(number),
            Parts::Natural(number) => i128::try_from(number).ok(),
        }
    }

    /// The number, unless it is negative.
    pub fn to_u128(self) -> Option<u128> {
        match self.0 {
            Parts::Negative(_) => None,
            Parts::Natural(number) => Some(number),
        }
    }

    /// Whether the number is negative.
    pub fn is_negative(self) -> bool {
        matches!(self.0, Parts::Negative(_))
    }

    /// All bits in two's complement, most significant byte first. Only [`is_negative`](Self::is_negative) distinguishes
    /// a number above `i128::MAX` from a negative number with the same bytes.
    pub(super) fn bytes(self) -> [u8; 16] {
        match self.0 {
            Parts::Negative(number) => number.to_be_bytes(),
            Parts::Natural(number) => number.to_be_bytes(),
        }
    }
}

impl From<i128> for Integer {
    fn from(number: i128) -> Self {
        Self(u128::try_from(number).map_or(Parts::Negative(number), Parts::Natural))
    }
}

impl From<u128> for Integer {
    fn from(number: u128) -> Self {
        Self(Parts::Natural(number))
    }
}

macro_rules! narrow {
    ($wide:ty: $($narrow:ty),*) => {$(
        impl From<$narrow> for Integer {
            fn from(number: $narrow) -> Self {
                Self::from(<$wide>::from(number))
            }
        }
    )*};
}

narrow!(i128: i8, i16, i32, i64);
narrow!(u128: u8, u16, u32, u64);

impl From<isize> for Integer {
    fn from(number: isize) -> Self {
        // No target has more than 128 bits.
        Self::from(i128::try_from(number).unwrap_or(i128::MAX))
    }
}

impl From<usize> for Integer {
    fn from(number: usize) -> Self {
        Self::from(u128::try_from(number).unwrap_or(u128::MAX))
    }
}

macro_rules! back {
    ($($number:ty),*) => {$(
        impl TryFrom<Integer> for $number {
            type Error = TryFromIntError;

            fn try_from(integer: Integer) -> Result<Self, TryFromIntError> {
                match integer.0 {
                    Parts::Negative(number) => Self::try_from(number).map_err(TryFromIntError::from),
                    Parts::Natural(number) => Self::try_from(number).map_err(TryFromIntError::from),
                }
            }
        }
    )*};
}

back!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Parts::Negative(number) => number.fmt(f),
            Parts::Natural(number) => number.fmt(f),
        }
    }
}

impl fmt::Debug for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_meet_in_one_number() {
        assert_eq!(Integer::from(i128::MAX), Integer::from(i128::MAX.unsigned_abs()));
        assert_eq!(Integer::from(-1_i8), Integer::from(-1_i128));
        assert!(Integer::MIN < Integer::from(-1) && Integer::from(i128::MAX) < Integer::MAX);
        assert_eq!((Integer::MAX.to_i128(), Integer::MIN.to_u128()), (None, None));
        assert_eq!(u128::try_from(Integer::MAX), Ok(u128::MAX));
        assert!(i64::try_from(Integer::MAX).is_err() && u64::try_from(Integer::from(-1)).is_err());
        assert_eq!(format!("{} {}", Integer::MIN, Integer::MAX), format!("{} {}", i128::MIN, u128::MAX));
    }
}
