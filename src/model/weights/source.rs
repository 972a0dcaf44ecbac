//! Where the values of weights come from.

use super::planner::Weight;
use super::values;
use crate::error::Result;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Fills a slice with values of one weight, as they lie in its dimensions: those at `start`, `start + step`, and so on, where
/// `step` is 1 or the weight's last dimension. Called from several threads.
pub type Values<'a> = Box<dyn Fn(u64, u64, &mut [f32]) + 'a>;

/// What knows the values of every weight of a layout.
pub trait Source: Sync {
    /// Those of one.
    fn values<'a>(&'a self, weight: &'a Weight) -> Values<'a>;

    /// Whether everything that was asked for could be given; to be asked when all was.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Random values of this seed.
pub struct Seeded(pub u64);

impl Source for Seeded {
    fn values<'a>(&'a self, weight: &'a Weight) -> Values<'a> {
        let key = xxh3_64_with_seed(weight.name.as_bytes(), self.0);
        let row = weight.last();
        Box::new(move |start, step, out| values::fill(weight.init, key, row, start, step, out))
    }
}
