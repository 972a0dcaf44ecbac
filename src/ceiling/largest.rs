//! The search for the largest model: downwards from the largest that is predicted to fit until one runs, then upwards
//! to those that are predicted to need a little too much.

use super::MOST_TRIALS;
use crate::units::Bytes;

/// A model that is predicted to need at most so much more than the budget is tried too: predictions err.
const NEAR_EDGE_PERCENT: u64 = 10;

/// Most models that are tried though they are predicted not to fit.
const MOST_ABOVE: usize = 2;

/// A search that is going on, over candidates by their place in a list that descends by size.
#[derive(Debug, Clone)]
pub struct Largest {
    /// Predicted peaks.
    predicted: Vec<Bytes>,
    budget: Bytes,
    /// What a prediction must stay under to be tried.
    limit: Bytes,
    /// What was tried, and whether it fitted.
    tried: Vec<(usize, bool)>,
}

impl Largest {
    /// A search under `budget`; with a margin, nothing is tried that is predicted above it.
    pub fn new(predicted: Vec<Bytes>, budget: Bytes, margin: Option<Bytes>) -> Largest {
        let near = Bytes(budget.0.saturating_add(budget.0 / 100 * NEAR_EDGE_PERCENT));
        Largest {
            predicted,
            budget: margin.map_or(budget, |margin| margin.min(budget)),
            limit: margin.map_or(near, |margin| margin.min(near)),
            tried: Vec::new(),
        }
    }

    /// The place of the largest that ran.
    pub fn best(&self) -> Option<usize> {
        let ran = self.tried.iter().filter(|(_, fits)| *fits);
        ran.map(|(place, _)| *place).min()
    }

    /// Whether nothing is left to try.
    pub fn is_complete(&self) -> bool {
        self.candidate().is_none()
    }

    /// The place of the next larger one than the best, or of the smallest where none ran.
    pub fn next_larger(&self) -> Option<usize> {
        let best = self.best().unwrap_or(self.predicted.len());
        best.checked_sub(1)
    }

    /// The place to try next; `None` when the search is over.
    pub fn next(&self) -> Option<usize> {
        (self.tried.len() < MOST_TRIALS)
            .then(|| self.candidate())
            .flatten()
    }

    /// Takes in whether a candidate ran inside the budget.
    pub fn tell(&mut self, place: usize, fits: bool) {
        self.tried.push((place, fits));
    }

    fn candidate(&self) -> Option<usize> {
        let untried = |place: &usize| self.tried.iter().all(|(tried, _)| tried != place);
        let expected = |place: &usize| self.predicted[*place] <= self.budget;
        let mut fitting = (0..self.predicted.len()).filter(expected);
        let Some(best) = self.best() else {
            return fitting.find(untried);
        };
        // What is larger and failed was measured; nothing above it is any smaller.
        let above = (0..best).next_back().filter(untried)?;
        let bold = self.tried.iter().filter(|(place, _)| !expected(place));
        let allowed = expected(&above) || bold.count() < MOST_ABOVE;
        (allowed && self.predicted[above] <= self.limit).then_some(above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a search; the places that were tried.
    fn drive(largest: &mut Largest, fits: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut tried = Vec::new();
        while let Some(place) = largest.next() {
            tried.push(place);
            largest.tell(place, fits(place));
        }
        tried
    }

    fn search(predicted: &[u64], margin: Option<u64>) -> Largest {
        let bytes = predicted.iter().copied().map(Bytes).collect();
        Largest::new(bytes, Bytes(1000), margin.map(Bytes))
    }

    #[test]
    fn it_goes_down_until_one_runs() {
        let mut largest = search(&[5000, 900, 800, 700], None);
        assert_eq!(drive(&mut largest, |place| place >= 2), [1, 2]);
        assert_eq!((largest.best(), largest.next_larger()), (Some(2), Some(1)));
    }

    #[test]
    fn it_goes_up_where_the_prediction_is_near_the_edge() {
        let mut largest = search(&[1095, 1080, 1050, 900], None);
        assert_eq!(drive(&mut largest, |_| true), [3, 2, 1]);
        assert_eq!((largest.best(), largest.next_larger()), (Some(1), Some(0)));
        let mut largest = search(&[1200, 900], None);
        assert_eq!(drive(&mut largest, |_| true), [1]);
        let mut largest = search(&[1050, 900], Some(950));
        assert_eq!(drive(&mut largest, |_| true), [1]);
    }

    #[test]
    fn where_none_runs_the_smallest_is_the_next_larger() {
        let mut largest = search(&[2000, 900, 800], None);
        assert_eq!(drive(&mut largest, |_| false), [1, 2]);
        assert_eq!((largest.best(), largest.next_larger()), (None, Some(2)));
        assert_eq!(search(&[], None).next_larger(), None);
    }

    proptest! {
        #[test]
        fn never_more_than_eight_and_each_once(
            predicted in prop::collection::vec(0u64..2000, 0..30), fits in prop::collection::vec(any::<bool>(), 30),
            margin in prop::option::of(0u64..1000),
        ) {
            let mut largest = search(&predicted, margin);
            let tried = drive(&mut largest, |place| fits[place]);
            let distinct: std::collections::BTreeSet<_> = tried.iter().collect();
            prop_assert!(tried.len() <= MOST_TRIALS && distinct.len() == tried.len());
            prop_assert!(largest.best().is_none_or(|best| fits[best]));
            prop_assert!(tried.iter().all(|place| predicted[*place] <= margin.unwrap_or(1100).min(1100)));
        }
    }
}
