//! Which records are asked for: uniform or Zipfian, from a seed, made before the time begins.

use anyhow::{Result, anyhow};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

/// The exponent that YCSB uses.
const EXPONENT: f64 = 0.99;
/// A prime that spreads ranks over all numbers.
const SPREAD: u64 = 2_654_435_761;

/// Uniformly random numbers.
pub fn uniform(seed: u64, records: u32, count: usize) -> Vec<u32> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(0..records)).collect()
}

/// Few are asked for often. The often ones lie apart from each other.
pub fn zipfian(seed: u64, records: u32, count: usize) -> Result<Vec<u32>> {
    let ranks = Zipf::new(f64::from(records), EXPONENT).map_err(|error| anyhow!("{error}"))?;
    let mut random = SmallRng::seed_from_u64(seed);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank from 1 to the number of records"
    )]
    let mut one = || (ranks.sample(&mut random) as u64 - 1) * SPREAD % u64::from(records);
    (0..count).map(|_| Ok(u32::try_from(one())?)).collect()
}
