//! Chance that can be had again.

/// A row of numbers that follows from the seed (xorshift). The seed is not 0.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number, below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
