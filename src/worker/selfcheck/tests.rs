//! The check itself, on an engine small enough to see through, with each way in which a replayed step can go stale.

use super::*;
use crate::protocol::{DecoderIo, EngineKind};
use crate::trial::{Arena, Enforce, KvCache, LoadFacts};
use crate::units::{Bytes, Nanos};

const VOCAB: usize = 11;

/// What a step reads that nobody writes any more.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::worker) enum Stale {
    Nothing,
    /// The ids of the first step, in this row.
    Ids(usize),
    /// The length: it writes over the position of the first step.
    Length,
}

/// A model whose logits depend on every id and its place.
pub(in crate::worker) struct Toy {
    stale: Stale,
    rows: Vec<Vec<i64>>,
    next: Vec<i64>,
    frozen: Option<(usize, Vec<i64>)>,
    /// New tokens times all tokens of each append, and the tokens appended.
    pub(in crate::worker) appends: Vec<(usize, usize)>,
    pub(in crate::worker) refuses: bool,
}

impl Toy {
    pub(in crate::worker) fn new(stale: Stale, batch: usize) -> Toy {
        Toy {
            stale,
            rows: vec![Vec::new(); batch],
            next: vec![0; batch],
            frozen: None,
            appends: Vec::new(),
            refuses: false,
        }
    }

    pub(in crate::worker) fn logits_of(row: &[i64]) -> Vec<f32> {
        let mut state = 1u64;
        for id in row {
            state = (state ^ *id as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(17);
        }
        let logit = |word: u64| (state.rotate_left(5 * word as u32) % 1000) as f32 - 500.0;
        (0..VOCAB as u64).map(logit).collect()
    }

    fn settle(&mut self) {
        for (row, next) in self.rows.iter().zip(&mut self.next) {
            let logits = Toy::logits_of(row);
            let best = (0..VOCAB).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            *next = best.unwrap() as i64;
        }
    }
}

impl Engine for Toy {
    fn load(&mut self, _: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        Err(EngineError::Other("there is nothing to load".into()))
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        self.rows.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    fn append(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        if self.refuses {
            return Err(EngineError::OutOfMemory("no".into()));
        }
        for (row, new) in self.rows.iter_mut().zip(rows) {
            row.extend(new);
        }
        let new = rows[0].len();
        self.appends.push((new * self.rows[0].len(), new));
        self.settle();
        Ok(Nanos(1))
    }

    fn step(&mut self) -> Result<Nanos, EngineError> {
        let now = (self.rows[0].len(), self.next.clone());
        let (length, ids) = self.frozen.get_or_insert(now).clone();
        for (index, row) in self.rows.iter_mut().enumerate() {
            match self.stale {
                Stale::Ids(stale) if stale == index => row.push(ids[index]),
                Stale::Length => {
                    row.truncate(length);
                    row.push(self.next[index]);
                }
                Stale::Ids(_) | Stale::Nothing => row.push(self.next[index]),
            }
        }
        self.settle();
        Ok(Nanos(1))
    }

    fn next_ids(&self) -> &[i64] {
        &self.next
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        Ok(self
            .rows
            .iter()
            .flat_map(|row| Toy::logits_of(row))
            .collect())
    }

    fn device_used(&self) -> Option<Bytes> {
        None
    }

    fn arena(&self) -> Option<Arena> {
        None
    }
}

pub(in crate::worker) fn request(prompts: Vec<Vec<i64>>, gen_tokens: u32) -> TrialRequest {
    TrialRequest {
        trial: Trial {
            model: "toy".into(),
            batch: prompts.len() as u32,
            prompt_tokens: prompts[0].len() as u32,
            gen_tokens,
            seed: 42,
            budget: Bytes(u64::MAX),
            ..Trial::example()
        },
        engine: EngineKind::Scripted {
            script: "none".into(),
        },
        graph: "none".into(),
        copies_graph: None,
        packing_check: None,
        io: DecoderIo {
            caches: Vec::new(),
            vocab: VOCAB as u32,
            shared_kv: true,
            fused: true,
            kv_cache: KvCache::Float,
            position_ids: false,
            router_width: None,
            foreign: None,
            pass: None,
        },
        weights: Bytes(0),
        largest_tensor: Bytes(0),
        weight_file: "none".into(),
        tensors: Vec::new(),
        prompts,
        golden: None,
        unquantized: None,
        tolerance: 0.0,
        decode_rule: None,
        fp32_text: None,
        output_check: false,
        router_check: None,
        whole_sequence: false,
        routing: false,
        sample_interval: None,
        enforce: Enforce::Soft,
        enforce_note: None,
        enforce_asked: false,
        device_free: None,
        bus_id: None,
        exclusive: false,
        unified_memory: false,
    }
}

/// One repetition, as the timed loop does it.
pub(super) fn generate(engine: &mut dyn Engine, request: &TrialRequest) -> Transcript {
    let mut transcript = Transcript::of(&request.trial);
    engine.reset().unwrap();
    engine.append(&request.prompts).unwrap();
    transcript.keep(engine.next_ids());
    for _ in 1..request.trial.gen_tokens {
        engine.step().unwrap();
        transcript.keep(engine.next_ids());
    }
    transcript
}

const EXACT: DecodeRule = DecodeRule {
    reading: Reading::Pieces,
    tolerance: 1e-6,
};

fn prompts() -> Vec<Vec<i64>> {
    vec![vec![1, 2, 3, 4], vec![4, 3, 2, 1], vec![5, 5, 5, 5]]
}

#[test]
fn what_a_step_reads_stale_is_seen_in_any_row() {
    for stale in [Stale::Nothing, Stale::Ids(0), Stale::Ids(2), Stale::Length] {
        for reading in [Reading::Pieces, Reading::Tokens] {
            let request = request(prompts(), 9);
            let mut engine = Toy::new(stale, 3);
            let transcript = generate(&mut engine, &request);
            let rule = DecodeRule { reading, ..EXACT };
            let facts = check(&mut engine, &request, &transcript, rule).unwrap();
            assert_eq!(facts.position, 4 + 8);
            assert_eq!(facts.passed(), stale == Stale::Nothing, "{facts:?}");
            assert_eq!(verdict(&facts).is_ok(), facts.passed());
        }
    }
}

#[test]
fn a_difference_is_told_with_position_error_and_allowance() {
    let facts = DecodeFacts {
        position: 1023,
        error: 0.25,
        rule: DecodeRule {
            reading: Reading::Tokens,
            tolerance: 1e-2,
        },
    };
    let said = verdict(&facts).unwrap_err().to_string();
    for part in [
        "decode",
        "1023 tokens",
        "2.5e-1",
        "token by token",
        "1.0e-2",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn no_piece_is_a_larger_run_than_the_prompt() {
    for (prompt, generated) in [(1, 5), (4, 9), (64, 960), (256, 128)] {
        let request = request(vec![(0..prompt).map(|id| id % 7).collect()], generated);
        let mut engine = Toy::new(Stale::Nothing, 1);
        let prompt = prompt as usize;
        for reading in [Reading::Pieces, Reading::Tokens] {
            let transcript = generate(&mut engine, &request);
            engine.appends.clear();
            let rule = DecodeRule { reading, ..EXACT };
            assert!(
                check(&mut engine, &request, &transcript, rule)
                    .unwrap()
                    .passed()
            );
            let read: usize = engine.appends.iter().map(|(_, new)| new).sum();
            assert_eq!(read, prompt + generated as usize - 1);
            assert_eq!(engine.appends[0], (prompt * prompt, prompt));
            // A single token is what a step is.
            let small = |(work, new): &(usize, usize)| *new == 1 || *work <= prompt * prompt;
            assert!(engine.appends.iter().all(small), "{:?}", engine.appends);
            let single = engine.appends[1..].iter().all(|(_, new)| *new == 1);
            assert_eq!(single, reading == Reading::Tokens || prompt == 1);
        }
    }
}

#[test]
fn refused_memory_is_told_as_that() {
    let request = request(prompts(), 3);
    let mut engine = Toy::new(Stale::Nothing, 3);
    let transcript = generate(&mut engine, &request);
    engine.refuses = true;
    let refused = check(&mut engine, &request, &transcript, EXACT).unwrap_err();
    assert!(matches!(refused, EngineError::OutOfMemory(_)));
}

#[test]
fn a_transcript_keeps_what_there_is_room_for_and_tells_the_first_row() {
    let request = request(prompts(), 20);
    let mut transcript = Transcript::of(&request.trial);
    let room = transcript.ids.capacity();
    for step in 0..1000 {
        transcript.keep(&[step, 100 + step, 200 + step]);
    }
    assert_eq!(transcript.ids.capacity(), room);
    assert_eq!(transcript.first_ids(), (0..16).collect::<Vec<i64>>());
    let read = transcript.read(&request.prompts);
    assert_eq!(read[1][..6], [4, 3, 2, 1, 100, 101]);
    transcript.clear();
    assert!(transcript.first_ids().is_empty());
}
