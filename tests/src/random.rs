//! Random numbers from a seed, the same on every machine.
//!
//! The invariant: a change of these functions changes every seeded stream; nothing but a seed goes in.

/// A generator after Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (splitmix64).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `end`, which is above 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A fraction from 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with a chance of so many in a thousand.
    pub fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
}

/// Ranks that are drawn as often as Zipf's law says: the first most, the n-th an n-th of that.
#[derive(Debug, Clone)]
pub struct Zipf {
    /// The chance of a rank or one before it.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// Prepares so many ranks, at least one.
    pub fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let mut cumulated = Vec::new();
        for rank in 1..=ranks.max(1) {
            sum += 1.0 / rank as f64;
            cumulated.push(sum);
        }
        cumulated.iter_mut().for_each(|chance| *chance /= sum);
        Self { cumulated }
    }

    /// Draws a rank, counted from 0.
    pub fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit();
        self.cumulated.partition_point(|&chance| chance <= at).min(self.cumulated.len() - 1)
    }
}
