//! Chance that can be had again: everything planned is drawn from one seed.

use signet_core::algorithm::sha256_hex;

/// A stream of draws (`SplitMix64`). Two of the same seed and purpose are the same.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream for one purpose, independent of all others of the seed.
    #[must_use]
    pub fn of(seed: u64, purpose: &str) -> Self {
        let digest = sha256_hex(format!("{seed} {purpose}").as_bytes());
        Self(u64::from_str_radix(&digest[..16], 16).unwrap_or_default())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).unwrap_or_default()
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// Whether one in `of` comes up.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// One of several, which are not none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One of several, by their weights.
    pub fn weighted<T: Copy>(&mut self, of: &[(u32, T)]) -> T {
        let total: u32 = of.iter().map(|(weight, _)| weight).sum();
        let mut draw = u32::try_from(self.number() % u64::from(total)).unwrap_or_default();
        for (weight, value) in of {
            if draw < *weight {
                return *value;
            }
            draw -= weight;
        }
        of[0].1
    }

    /// Several in another order.
    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        for end in (1..of.len()).rev() {
            of.swap(end, self.below(end + 1));
        }
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_purpose_draw_the_same_and_no_other() {
        let draws = |seed, purpose| -> Vec<u64> {
            let mut dice = Dice::of(seed, purpose);
            (0..5).map(|_| dice.number()).collect()
        };
        assert_eq!(draws(7, "items"), draws(7, "items"));
        assert_ne!(draws(7, "items"), draws(8, "items"));
        assert_ne!(draws(7, "items"), draws(7, "kills"));
    }

    #[test]
    fn draws_are_within_their_bounds_and_reach_them() {
        let mut dice = Dice::of(1, "bounds");
        let mut seen = [0_usize; 3];
        for _ in 0..1000 {
            seen[dice.weighted(&[(1, 0_usize), (2, 1), (0, 2)])] += 1;
            assert!((3..=5).contains(&dice.between(3, 5)));
        }
        assert!(seen[0] > 200 && seen[1] > seen[0] && seen[2] == 0, "{seen:?}");
        assert_eq!(dice.bytes(13).len(), 13);
        let mut order: Vec<usize> = (0..20).collect();
        dice.shuffle(&mut order);
        assert_ne!(order, (0..20).collect::<Vec<_>>());
    }
}
