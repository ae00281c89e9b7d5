//! Random numbers that are the same for ever: ChaCha8 with our own small integer helpers.
//!
//! The helpers of a general crate may change their algorithm between versions; these may not, since every
//! drawn number is part of "one seed, one output". Not for secrets.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for; purposes never share numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Names, ids and shapes of the fleet.
    Fleet = 1,
    /// Ids of gateways, one per account and Region.
    Gateways = 2,
    /// What happens when.
    Life = 3,
    /// Batching, delays, duplicates.
    CloudWatch = 4,
    /// Bytes of damaged records.
    Damage = 5,
}

/// A stream of random numbers.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// The stream number `index` of this purpose.
    pub(super) fn new(seed: u64, purpose: Purpose, index: u64) -> Random {
        let mut bytes = [0_u8; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&(purpose as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&index.to_le_bytes());
        Random(ChaCha8Rng::from_seed(bytes))
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..count`; 0 if `count` is 0. The bias of multiply-and-shift (below 2^-32) does no harm here.
    pub(super) fn below(&mut self, count: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(count)) >> 32) as u32
    }

    /// A number in `low..high`; `low` if the range is empty.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        let drawn = ((u128::from(self.bits()) * u128::from(span)) >> 64) as i64;
        low.saturating_add(drawn)
    }

    /// True once in `count` times.
    pub(super) fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    /// One of the items.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, items: [T; N]) -> T {
        items[self.below(N as u32) as usize]
    }

    /// An EC2 id such as `vpn-0a1b2c3d4e5f60718`: the prefix, a zero and 16 hex digits.
    pub(super) fn resource_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_a_seed_are_pinned() {
        let mut random = Random::new(1, Purpose::Life, 0);
        let drawn: Vec<u32> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(drawn, PINNED, "a change here changes every simulated day");
    }

    const PINNED: [u32; 4] = [173, 503, 548, 58];

    #[test]
    fn ranges_are_kept_and_empty_ranges_do_no_harm() {
        let mut random = Random::new(7, Purpose::Fleet, 3);
        for _ in 0..1000 {
            assert!((5..9).contains(&random.between(5, 9)));
            assert!(random.below(3) < 3);
        }
        assert_eq!(random.between(5, 5), 5);
        assert_eq!(random.between(5, 1), 5);
        assert_eq!(random.below(0), 0);
    }
}
