//! The search for the largest context or batch. Memory is close to affine in either, so two sizes that fit tell where the
//! budget ends; where they do not, the bracket is halved. No size at or above one that failed is ever tried.

use super::estimate::{self, Predict};
use super::{Failure, Fit, Kind, Limit, MOST_TRIALS, Sizes, Verdict, cliff};
use crate::units::Bytes;

/// Where to begin, as a part of the size that is predicted to fit. Far enough below to fit for certain, and to give memory a slope
/// and times a base; near enough for both to hold at the edge.
const FIRST: f64 = 0.625;

/// Parts of a size by which the next trial keeps off where it was expected to be, after so many that went otherwise; then halfway.
const STRIDES: [f64; 3] = [0.0, 0.015, 0.06];

/// What to try after the first failures, as long as nothing fits: parts of the smallest size that failed.
const RETREATS: [f64; 3] = [0.6, 0.3, 0.1];

/// A search that is going on.
pub struct Search<'a> {
    kind: Kind,
    sizes: Sizes,
    start: u32,
    budget: Bytes,
    margin: Option<Bytes>,
    predict: Predict<'a>,
    /// Ran before the search, and smaller than what is looked for: a base for the times.
    before: Option<Fit>,
    /// Ascending by size.
    fits: Vec<Fit>,
    /// The smallest.
    fails: Option<Failure>,
    trials: usize,
    /// Trials in a row that went otherwise than expected.
    surprises: u32,
    /// Trials that failed though memory let expect that they fit: something else than the budget ends the sizes.
    refuted: u32,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The largest size that fits.
    pub fits: Option<Fit>,
    /// The smallest that does not.
    pub fails: Option<Failure>,
    /// What keeps the size from being larger; `None` where that was not found out.
    pub limited_by: Option<Limit>,
    /// The margin, where that ended the search.
    pub margin: Option<Margin>,
    /// Whether nothing is left to try between the two, or above the first.
    pub complete: bool,
}

/// Why the next size was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margin {
    /// What the search stays under.
    pub limit: Bytes,
    /// The next size.
    pub next: u32,
    /// Its peak as the measured ones let expect it; `None` where none was measured.
    pub expected: Option<Bytes>,
}

impl<'a> Search<'a> {
    /// A search for a size that is predicted to be about `start`.
    pub fn new(
        kind: Kind,
        sizes: Sizes,
        start: u32,
        budget: Bytes,
        predict: Predict<'a>,
    ) -> Search<'a> {
        Search {
            kind,
            sizes,
            start,
            budget,
            margin: None,
            predict,
            before: None,
            fits: Vec::new(),
            fails: None,
            trials: 0,
            surprises: 0,
            refuted: 0,
        }
    }

    /// Never tries a size whose peak is expected above `limit`.
    pub fn with_margin(self, limit: Option<Bytes>) -> Search<'a> {
        Search {
            margin: limit,
            ..self
        }
    }

    /// Knows a size that failed earlier.
    pub fn with_failure(self, fails: Option<Failure>) -> Search<'a> {
        Search { fails, ..self }
    }

    /// Knows a size that ran before the search, as a base for the times only.
    pub fn with_base(self, before: Option<Fit>) -> Search<'a> {
        Search { before, ..self }
    }

    /// Knows a size that ran before the search, in the same shape as those that are searched for.
    pub fn with_fit(mut self, fit: Option<Fit>) -> Search<'a> {
        // One at or above a size that failed says nothing of the sizes below.
        let below = |fit: &Fit| {
            self.fails
                .as_ref()
                .is_none_or(|fails| fit.size < fails.size)
        };
        self.fits.extend(fit.filter(below));
        self
    }

    /// The next size to try; `None` when the search is over.
    pub fn next(&self) -> Option<u32> {
        let (low, high) = self.bracket();
        if self.trials >= MOST_TRIALS || low == high {
            return None;
        }
        let first = ((self.up_to(self.start) as f64 * FIRST) as usize).saturating_sub(1);
        let place = if self.trials == 0 && first >= low {
            first
        } else if low == 0 {
            self.retreat(high)
        } else {
            self.between(low, high)?
        };
        Some(self.size(place.clamp(low, high - 1)))
    }

    /// Takes in how the trial of a size went.
    pub fn tell(&mut self, size: u32, verdict: Verdict) {
        self.trials += 1;
        let expected = self.expected(size).is_none_or(|peak| peak <= self.target());
        let mut fits = matches!(verdict, Verdict::Fits(_));
        match verdict {
            Verdict::Fits(pass) => {
                self.fits.push(Fit { size, pass });
                self.fits.sort_by_key(|fit| fit.size);
                let cliff = cliff::first(self.kind, self.before.as_ref(), &self.fits);
                if let Some((index, reason)) = cliff {
                    fits = false;
                    let size = self.fits[index].size;
                    self.fits.truncate(index);
                    self.fail(size, Limit::ThroughputCliff, None, reason);
                }
            }
            Verdict::Fails {
                limit,
                phase,
                reason,
            } => self.fail(size, limit, phase, reason),
        }
        self.surprises = if fits == expected {
            0
        } else {
            self.surprises + 1
        };
        self.refuted += u32::from(expected && !fits);
    }

    fn fail(
        &mut self,
        size: u32,
        limit: Limit,
        phase: Option<crate::trial::Phase>,
        reason: String,
    ) {
        if self.fails.as_ref().is_none_or(|fails| size < fails.size) {
            self.fails = Some(Failure {
                size,
                limit,
                phase,
                reason,
                remembered_from: None,
            });
        }
    }

    /// What was found so far.
    pub fn found(&self) -> Found {
        let (low, high) = self.bracket();
        let margin = self.stopped_at(low, high);
        let limited_by = match (&self.fails, &margin) {
            (_, Some(_)) => Some(Limit::Margin),
            (Some(fails), None) => Some(fails.limit),
            (None, None) if low == high => Some(self.sizes.end),
            (None, None) => None,
        };
        Found {
            fits: self.fits.last().copied(),
            fails: self.fails.clone(),
            limited_by,
            complete: low == high || margin.is_some(),
            margin,
        }
    }

    /// How many sizes there are.
    fn count(&self) -> usize {
        self.sizes.most.div_ceil(self.sizes.step.max(1)) as usize
    }

    /// The size in a place, from 0.
    fn size(&self, place: usize) -> u32 {
        let size = (place as u64 + 1) * u64::from(self.sizes.step);
        u32::try_from(size).map_or(self.sizes.most, |size| size.min(self.sizes.most))
    }

    /// How many of the sizes are no larger than this.
    fn up_to(&self, size: u32) -> usize {
        if size >= self.sizes.most {
            self.count()
        } else {
            (size / self.sizes.step.max(1)) as usize
        }
    }

    /// The places that are open: what lies below the first fits, what lies from the second on does not.
    fn bracket(&self) -> (usize, usize) {
        let high = match &self.fails {
            // All sizes below the one that failed.
            Some(fails) => self.up_to(fails.size.saturating_sub(1)).min(self.count()),
            None => self.count(),
        };
        let low = self.fits.last().map_or(0, |fit| self.up_to(fit.size));
        (low.min(high), high)
    }

    /// What a peak must stay under.
    fn target(&self) -> Bytes {
        self.margin
            .map_or(self.budget, |margin| margin.min(self.budget))
    }

    fn expected(&self, size: u32) -> Option<Bytes> {
        let line = estimate::line(&self.fits, self.predict)?;
        Some(line.at(size, self.predict))
    }

    /// Where to try after failures, as long as nothing fits.
    fn retreat(&self, high: usize) -> usize {
        let failed = (self.surprises as usize).saturating_sub(1);
        let part = RETREATS.get(failed).copied().unwrap_or(0.0);
        (high as f64 * part) as usize
    }

    /// Where to try when something fits; `None` where the margin forbids it.
    fn between(&self, low: usize, high: usize) -> Option<usize> {
        let middle = middle(low, high);
        let Some(line) = estimate::line(&self.fits, self.predict) else {
            // Without a peak nobody can say what a larger size would take.
            let step = (low / 4).max(1);
            return self.margin.is_none().then(|| middle.min(low + step));
        };
        // How many sizes are expected to fit, of those that are open.
        let (mut fit, mut fail) = (low, high);
        while fit < fail {
            let middle = fit + (fail - fit) / 2;
            if line.at(self.size(middle), self.predict) <= self.target() {
                fit = middle + 1;
            } else {
                fail = middle;
            }
        }
        let stride = self.stride(high);
        if fit == low {
            // Expected to fail, which closes the search; upwards in growing strides while it does not.
            return self.margin.is_none().then(|| middle.min(low + stride));
        }
        let place = if self.surprises > 0 && self.fits.len() == 1 {
            // One point has no slope: a second one is worth more than a neighbour.
            middle
        } else if fit == high && self.surprises == 0 && self.refuted > 1 {
            middle
        } else if fit == high {
            middle.max((high - 1).saturating_sub(stride))
        } else {
            fit - 1
        };
        Some(place.min(fit - 1))
    }

    /// How far beside the place that was expected to be the next one: the more trials in a row went otherwise, the farther.
    fn stride(&self, high: usize) -> usize {
        let part = STRIDES.get(self.surprises as usize).copied();
        let stride = high as f64 * part.unwrap_or(1.0);
        stride as usize + (self.surprises as usize).saturating_sub(1)
    }

    /// The margin, where it is what keeps the next size from being tried.
    fn stopped_at(&self, low: usize, high: usize) -> Option<Margin> {
        let limit = self.margin?;
        if low == high || low == 0 || self.trials >= MOST_TRIALS || self.next().is_some() {
            return None;
        }
        let next = self.size(low);
        Some(Margin {
            limit,
            next,
            expected: self.expected(next),
        })
    }
}

/// Halfway between: of the numbers, or of their digits where they are of different orders.
fn middle(low: usize, high: usize) -> usize {
    if high > 4 * (low + 1) {
        ((low as f64 + 1.0) * high as f64).sqrt() as usize
    } else {
        low + (high - low) / 2
    }
}

#[cfg(test)]
mod tests;
