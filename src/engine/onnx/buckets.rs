//! Lengths that decode steps are captured for. A captured CUDA graph has frozen what the attention operator was told of the total
//! length, from which it derives how many blocks share the work: told the whole cache, short sequences would launch the blocks of the
//! longest. So there is one graph for each power of two, and one for the whole cache.

use super::{asynchronous, library::refused};
use crate::engine::EngineError;
use ort::session::RunOptions;

/// Length of the first bucket. Graphs for shorter ones would cost memory, and lengths near it do not differ: on an H100 dense-120m decoded
/// at 1,945 tok/s in a cache of 384 tokens and at 1,942 in one of 1,024.
const FIRST: usize = 512;

/// The bucket that a sequence of `total` tokens belongs to: what the operator is told.
pub(super) fn bound(total: usize, capacity: usize) -> usize {
    total.next_power_of_two().max(FIRST).min(capacity)
}

/// The buckets of sequences from `shortest` to `longest` tokens.
pub(super) fn between(shortest: usize, longest: usize, capacity: usize) -> Vec<usize> {
    let mut bounds = vec![bound(shortest, capacity)];
    while bounds.last().is_some_and(|last| *last < longest) {
        let next = bounds.last().map_or(capacity, |last| last + 1);
        bounds.push(bound(next, capacity));
    }
    bounds
}

/// The captured graph of one bucket.
pub(super) struct Graph {
    bound: usize,
    options: RunOptions,
    state: State,
}

/// What has become of a bucket's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// None was run while graphs may be captured.
    Cold,
    /// One was run: its kernels are loaded and chosen.
    Warm,
    /// They are captured.
    Captured,
}

/// One graph for each bucket of a cache.
pub(super) struct Graphs(Vec<Graph>);

impl Graphs {
    /// Graphs for a cache of so many tokens; none of them is captured yet.
    pub(super) fn new(capacity: usize) -> Result<Graphs, EngineError> {
        let graph = |(index, bound): (usize, usize)| {
            let options = run_options(&(index + 1).to_string())?;
            Ok(Graph {
                bound,
                options,
                state: State::Cold,
            })
        };
        let bounds = between(1, capacity, capacity).into_iter().enumerate();
        Ok(Graphs(
            bounds.map(graph).collect::<Result<_, EngineError>>()?,
        ))
    }

    /// Options to run a decode step of this bucket with; `None` for one that is in no graph. While graphs may be captured the first
    /// step of a bucket warms its kernels and the second is captured: by running it several times, so that its ids are none of any
    /// text. At other times a bucket that is not captured runs kernel by kernel.
    pub(super) fn step(&mut self, bound: usize, may_capture: bool) -> Option<&RunOptions> {
        let graph = self.0.iter_mut().find(|graph| graph.bound == bound)?;
        graph.state = next(graph.state, may_capture);
        (graph.state == State::Captured).then_some(&graph.options)
    }
}

/// The state in which a step runs that finds its bucket in this one.
fn next(state: State, may_capture: bool) -> State {
    match (state, may_capture) {
        (State::Cold, true) => State::Warm,
        (State::Warm, true) => State::Captured,
        (state, _) => state,
    }
}

/// Options of a run that is in no graph, in a session that captures others.
pub(super) fn outside() -> Result<RunOptions, EngineError> {
    run_options("-1")
}

fn run_options(id: &str) -> Result<RunOptions, EngineError> {
    let mut options = RunOptions::new().map_err(|error| refused(&error))?;
    asynchronous(&mut options)?;
    options
        .set("gpu_graph_id", id)
        .map_err(|error| refused(&error))?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_sequences_share_a_bucket_and_the_whole_cache_is_the_last() {
        assert_eq!(bound(1, 4000), 512);
        assert_eq!(bound(512, 4000), 512);
        assert_eq!(bound(513, 4000), 1024);
        assert_eq!(bound(2049, 4000), 4000);
        assert_eq!(bound(1, 384), 384);
        assert_eq!(between(257, 384, 384), [384]);
        assert_eq!(between(257, 384, 1024), [512]);
        assert_eq!(between(1, 4000, 4000), [512, 1024, 2048, 4000]);
        assert_eq!(between(600, 1025, 4000), [1024, 2048]);
    }

    #[test]
    fn a_bucket_is_warmed_then_captured_and_only_where_it_may_be() {
        assert_eq!(next(State::Cold, false), State::Cold);
        assert_eq!(next(State::Cold, true), State::Warm);
        assert_eq!(next(State::Warm, false), State::Warm);
        assert_eq!(next(State::Warm, true), State::Captured);
        for may_capture in [false, true] {
            assert_eq!(next(State::Captured, may_capture), State::Captured);
        }
    }

    proptest! {
        #[test]
        fn no_length_exceeds_its_bucket(capacity in 1usize..100_000, share in 0.0f64..1.0) {
            let total = 1 + ((capacity - 1) as f64 * share) as usize;
            let bound = bound(total, capacity);
            prop_assert!(bound >= total && bound <= capacity);
            prop_assert!(between(1, capacity, capacity).contains(&bound));
            prop_assert!(between(total, capacity, capacity).ends_with(&[capacity]));
        }
    }
}
