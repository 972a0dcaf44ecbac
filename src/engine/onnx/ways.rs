//! Weights in main memory can be read in place or copied first. Both are tried before anything is timed, and each phase gets what is
//! quicker: a copy reaches more of the link's rate, but takes all experts where a few are chosen.

use super::super::{Engine, EngineError};
use super::OnnxEngine;
use crate::trial::{LinkWay, LinkWays};
use crate::units::{Bytes, Nanos};
use std::time::{Duration, Instant};

/// Decode steps that are timed of each way, the first of which is not counted.
const STEPS: usize = 4;

/// Prompt and decode step of one way, in milliseconds.
type Times = (f64, Option<f64>);

impl OnnxEngine {
    /// Tries both ways and keeps the quicker one of each phase, none where there is but one; with the time that making the second
    /// session took. That one is made when the first has run and holds what it needs: the arena's limit is for both.
    pub(super) fn choose_ways(
        &mut self,
        arena_limit: Option<Bytes>,
    ) -> Result<(Option<LinkWays>, Duration), EngineError> {
        if self.request.copies_graph.is_none() {
            return Ok((None, Duration::ZERO));
        }
        let (in_place, expected) = self.time_way(LinkWay::InPlace)?;
        let started = Instant::now();
        let made = self.add_copies(arena_limit);
        let took = started.elapsed();
        let copied = match made {
            Ok(()) => self.time_way(LinkWay::Copied),
            Err(refused) => Err(refused),
        };
        let copied = match copied.map_err(|error| self.starved(error)) {
            Ok((times, logits)) => {
                let names = self.request.tensors.iter().map(|tensor| &tensor.name);
                let allowed = match names.into_iter().any(|name| name.contains("experts")) {
                    true => SAME_EXPERTS,
                    false => SAME,
                };
                Ok((times, difference(&expected, &logits, allowed)?))
            }
            // Copies need memory that reading in place does not.
            Err(EngineError::OutOfMemory(cause)) => Err(cause),
            Err(other) => return Err(other),
        };
        let ways = choice(in_place, copied);
        let loaded = self.loaded()?;
        loaded.bindings.clear();
        if ways.prompt == LinkWay::InPlace && ways.step == LinkWay::InPlace {
            loaded.allocators.truncate(1);
            loaded.copies = None;
        }
        loaded.ways = ways.clone();
        self.reset()?;
        Ok((Some(ways), took))
    }

    /// Runs a prompt of the trial's length twice and some decode steps in one way, outside of any CUDA graph: times, and the prompt's logits.
    fn time_way(&mut self, way: LinkWay) -> Result<(Times, Vec<f32>), EngineError> {
        let (prompt, vocab) = (
            self.request.trial.prompt_tokens as usize,
            i64::from(self.request.io.vocab),
        );
        let loaded = self.loaded()?;
        loaded.ways = LinkWays {
            prompt: way,
            step: way,
            ..LinkWays::default()
        };
        let room = loaded.io.capacity.saturating_sub(prompt);
        // Different tokens, so that a router chooses different experts.
        let row: Vec<i64> = (0..prompt as i64).map(|at| at * 7919 % vocab).collect();
        let rows = vec![row; loaded.io.batch];
        let mut prompt_time = Nanos(0);
        for _ in 0..2 {
            self.reset()?;
            prompt_time = self.prompt(&rows)?;
        }
        let logits = self.logits()?;
        let mut steps = Vec::new();
        for _ in 0..STEPS.min(room) {
            steps.push(self.token()?);
        }
        let step = steps.into_iter().skip(1).min().map(milliseconds);
        Ok(((milliseconds(prompt_time), step), logits))
    }
}

fn milliseconds(time: Nanos) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How far the logits of the two ways may be apart, by their squares. They run the same kernels on the same weights, and mostly give the
/// same bits; a library may choose other kernels for other addresses.
const SAME: f32 = 1e-2;

/// The same with experts: where rounding changes which of them a router of random weights chooses, logits differ by what an expert
/// does (fp16 itself makes 7 % of granite-1b-a400m's, benchmarks/results/h100-core-tuned.json). Other weights make all of it.
const SAME_EXPERTS: f32 = 0.25;

/// Difference of the logits, by their squares, relative to them; refuses copies that are not what was to be copied.
fn difference(expected: &[f32], found: &[f32], allowed: f32) -> Result<f32, EngineError> {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|one| one * one).sum::<f32>();
    let all = squares(&mut expected.iter().copied());
    let wrong = squares(&mut expected.iter().zip(found).map(|(a, b)| a - b));
    let difference = (wrong / all).sqrt();
    match expected.len() == found.len() && difference <= allowed {
        true => Ok(difference),
        false => Err(EngineError::Model(format!(
            "with weights copied from main memory before they are used the logits differ by {difference:.1e} of themselves from those with weights read there in place, where {allowed:.1e} is allowed; use --offload none"
        ))),
    }
}

/// All is read in place, because of this.
fn refused(cause: String) -> LinkWays {
    LinkWays {
        note: Some(format!("copies were refused: {cause}")),
        ..LinkWays::default()
    }
}

/// The quicker way of each phase.
fn choice(in_place: Times, copied: Result<(Times, f32), String>) -> LinkWays {
    let quicker = |here: f64, there: f64| match there < here {
        true => LinkWay::Copied,
        false => LinkWay::InPlace,
    };
    match copied {
        Ok((copied, difference)) => LinkWays {
            difference: Some(f64::from(difference)),
            prompt: quicker(in_place.0, copied.0),
            step: match (in_place.1, copied.1) {
                (Some(here), Some(there)) => quicker(here, there),
                _ => LinkWay::InPlace,
            },
            prompt_ms: [Some(in_place.0), Some(copied.0)],
            step_ms: [in_place.1, copied.1],
            note: None,
        },
        Err(cause) => LinkWays {
            prompt_ms: [Some(in_place.0), None],
            step_ms: [in_place.1, None],
            ..refused(cause)
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_logits_and_none_are_refused() {
        let differ = |found: &[f32]| difference(&[1.0, -4.0], found, SAME);
        assert_eq!(differ(&[1.0, -4.0]).unwrap(), 0.0);
        assert!(differ(&[1.0, -4.01]).unwrap() > 0.0);
        assert!(differ(&[1.1, -4.0]).is_err());
        assert!(differ(&[f32::NAN, -4.0]).is_err());
        assert!(differ(&[1.0]).is_err() && difference(&[], &[], SAME).is_err());
        assert!(difference(&[1.0, -4.0], &[1.1, -4.0], SAME_EXPERTS).is_ok());
    }

    #[test]
    fn each_phase_gets_the_quicker_way() {
        let ways = choice((88.0, Some(13.5)), Ok(((50.0, Some(46.0)), 0.0)));
        assert_eq!(
            (ways.prompt, ways.step),
            (LinkWay::Copied, LinkWay::InPlace)
        );
        assert_eq!(ways.prompt_ms, [Some(88.0), Some(50.0)]);
        let ways = choice((103.0, Some(43.0)), Ok(((40.0, Some(37.0)), 0.0)));
        assert_eq!((ways.prompt, ways.step), (LinkWay::Copied, LinkWay::Copied));
        let ways = choice((88.0, None), Err("no memory".into()));
        assert_eq!(
            (ways.prompt, ways.step),
            (LinkWay::InPlace, LinkWay::InPlace)
        );
        assert!(ways.note.unwrap().contains("no memory"));
    }
}
