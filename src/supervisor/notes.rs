//! What a worker said about its trial, kept as it comes.

use crate::protocol::{Message, Told};
use crate::trial::{
    CheckFacts, DecodeFacts, DifferenceFacts, Enforce, Enforcement, GpuProcess, LoadFacts,
    MemoryReading, Outcome, OutputFacts, Paging, Phase, PoolSource, PowerLog, Repetition,
    RoutedLayer, RouterFacts, Trial, TrialResult, WarmthFacts,
};
use crate::units::{Bytes, Nanos};
use std::collections::{BTreeMap, BTreeSet};

/// Everything said so far. Nothing is lost when the worker dies.
#[derive(Debug, Default)]
pub struct Notes {
    load: Option<LoadFacts>,
    check: Option<CheckFacts>,
    decode_check: Option<Told<DecodeFacts>>,
    output_check: Option<OutputFacts>,
    fp32_difference: Option<Told<DifferenceFacts>>,
    router_check: Option<Told<RouterFacts>>,
    first_run: Option<Repetition>,
    warmth: Option<WarmthFacts>,
    repetitions: Vec<Repetition>,
    first_ids: Vec<i64>,
    routing: Vec<RoutedLayer>,
    memory: Vec<MemoryReading>,
    power: PowerLog,
    paging: Option<Paging>,
    others: Option<Told<Vec<GpuProcess>>>,
    own: Vec<u32>,
    enforcement: Option<Enforcement>,
}

impl Notes {
    /// Nothing yet. `own` are processes of ours besides the worker.
    pub fn new(own: Vec<u32>, enforcement: Enforcement) -> Notes {
        Notes {
            own,
            enforcement: Some(enforcement),
            ..Notes::default()
        }
    }

    /// The budget was held otherwise than it was at the start.
    pub fn lost_hold(&mut self, enforcement: Enforcement) {
        self.enforcement = Some(enforcement);
    }

    /// Whether the budget was held by force.
    pub fn is_held(&self) -> bool {
        self.enforcement
            .as_ref()
            .is_some_and(|held| held.mode == Enforce::Hard)
    }

    /// Other processes seen so far, ours apart.
    pub fn others(&self) -> &[GpuProcess] {
        match &self.others {
            Some(Ok(others)) => others,
            Some(Err(_)) | None => &[],
        }
    }

    /// Adds those that were not there before. Who was seen once stays: the figures in between are touched.
    fn saw(&mut self, told: Told<Vec<GpuProcess>>) {
        match (&mut self.others, told) {
            (Some(Ok(known)), Ok(seen)) => {
                for process in seen {
                    if !self.own.contains(&process.pid)
                        && known.iter().all(|old| old.pid != process.pid)
                    {
                        known.push(process);
                    }
                }
            }
            (_, Ok(mut seen)) => {
                seen.retain(|process| !self.own.contains(&process.pid));
                self.others = Some(Ok(seen));
            }
            (Some(Ok(_)), Err(_)) => {}
            (others, Err(cause)) => *others = Some(Err(cause)),
        }
    }

    /// Writes down what belongs to the result.
    pub fn take(&mut self, message: Message) {
        match message {
            Message::Loaded(facts) => self.load = Some(facts),
            Message::Checked(facts) => self.check = Some(facts),
            Message::DecodeChecked { facts } => self.decode_check = Some(facts),
            Message::OutputsChecked { facts } => self.output_check = Some(facts),
            Message::Fp32Compared { facts } => self.fp32_difference = Some(facts),
            Message::RouterChecked { facts } => self.router_check = Some(facts),
            Message::WarmedUp(timing) => {
                self.first_run.get_or_insert(timing);
            }
            Message::Warmth(facts) => self.warmth = Some(facts),
            Message::Repetition { timing, first_ids } => {
                self.repetitions.push(timing);
                self.first_ids = first_ids;
            }
            Message::Routed { layers } => self.routing = layers,
            Message::Memory(reading) => self.memory.push(reading),
            Message::Paging(facts) => self.paging = Some(facts),
            Message::Others { processes } => self.saw(processes),
            Message::EnergySource { source } => self.power.source = Some(source),
            Message::Power(mark) => self.power.marks.push(*mark),
            Message::Hello { .. }
            | Message::Phase { .. }
            | Message::Driver { .. }
            | Message::Probed(_)
            | Message::Holding(_)
            | Message::ClocksLocked(_)
            | Message::ClocksRestored { .. }
            | Message::Measured(_)
            | Message::OwnProcess { .. }
            | Message::Done
            | Message::Failed { .. } => {}
        }
    }

    /// The trial's result.
    pub fn into_result(self, trial: Trial, outcome: Outcome, wall: Nanos) -> TrialResult {
        let limited = self
            .load
            .as_ref()
            .is_some_and(|facts| facts.arena_limit.is_some());
        TrialResult {
            offload: None,
            trial,
            outcome,
            load: self.load,
            repetitions: self.repetitions,
            first_run: self.first_run,
            warmth: self.warmth,
            check: self.check,
            decode_check: self.decode_check,
            output_check: self.output_check,
            fp32_difference: self.fp32_difference,
            router_check: self.router_check,
            memory: thin(self.memory),
            enforcement: self.enforcement.map(|held| with_arena(held, limited)),
            others: self.others,
            power: self.power,
            paging: self.paging,
            routing: self.routing,
            first_ids: self.first_ids,
            wall: Some(wall),
        }
    }
}

/// Adds that the runtime's arena was limited, where it was.
fn with_arena(held: Enforcement, limited: bool) -> Enforcement {
    match limited {
        true => Enforcement {
            how: format!(
                "{}; the runtime's arena is limited to what remains",
                held.how
            ),
            ..held
        },
        false => held,
    }
}

/// Keeps the first, the last and the largest of each phase, by each way of measuring, in the order they came.
fn thin(readings: Vec<MemoryReading>) -> Vec<MemoryReading> {
    let mut ends: BTreeMap<Phase, (usize, usize)> = BTreeMap::new();
    let mut largest: BTreeMap<(Phase, usize), (Bytes, usize)> = BTreeMap::new();
    for (index, reading) in readings.iter().enumerate() {
        ends.entry(reading.phase).or_insert((index, index)).1 = index;
        let measures = [reading.rss(), reading.device_process, reading.device_used];
        let shared = PoolSource::ALL.map(|source| source.level(reading));
        for (measure, bytes) in measures.into_iter().chain(shared).enumerate() {
            let Some(bytes) = bytes else { continue };
            let most = largest
                .entry((reading.phase, measure))
                .or_insert((bytes, index));
            if bytes > most.0 {
                *most = (bytes, index);
            }
        }
    }
    // The last with the arena's word, too: a sample may come after it.
    let mut told: BTreeMap<Phase, usize> = BTreeMap::new();
    let with_arena = readings.iter().enumerate();
    told.extend(
        with_arena
            .filter(|(_, reading)| reading.arena.is_some())
            .map(|(index, reading)| (reading.phase, index)),
    );
    let mut kept: BTreeSet<usize> = largest.into_values().map(|(_, index)| index).collect();
    kept.extend(ends.into_values().flat_map(|(first, last)| [first, last]));
    kept.extend(told.into_values());
    let numbered = readings.into_iter().enumerate();
    numbered
        .filter_map(|(index, reading)| kept.contains(&index).then_some(reading))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::PoolReading;

    #[test]
    fn first_last_and_largest_of_each_phase_stay() {
        let reading = |at, phase, rss: u64, device: Option<u64>| MemoryReading {
            at: Nanos(at),
            phase,
            rss_anon: Some(Bytes(rss)),
            rss_file: Some(Bytes(0)),
            device_process: device.map(Bytes),
            device_used: None,
            arena: None,
            pool: None,
        };
        let all = vec![
            reading(0, Phase::Start, 1, None),
            reading(1, Phase::Load, 1, None),
            reading(2, Phase::Load, 5, Some(1)),
            reading(3, Phase::Load, 4, Some(9)),
            reading(4, Phase::Load, 5, None),
            reading(5, Phase::Load, 3, None),
            reading(6, Phase::Load, 2, None),
        ];
        let kept: Vec<u64> = thin(all).iter().map(|reading| reading.at.0).collect();
        assert_eq!(kept, [0, 1, 2, 3, 6]);
        assert!(thin(Vec::new()).is_empty());
        // On a shared memory the look with the least available stays, whatever the process's own part was.
        let pool = |at, available| MemoryReading {
            pool: Some(PoolReading {
                process: Err("not told".into()),
                gpu: Err("not told".into()),
                available: Ok(Bytes(available)),
            }),
            ..reading(at, Phase::Load, 1, None)
        };
        let all = [9, 8, 3, 7, 8]
            .iter()
            .zip(0..)
            .map(|(left, at)| pool(at, *left));
        let kept: Vec<u64> = thin(all.collect())
            .iter()
            .map(|reading| reading.at.0)
            .collect();
        assert_eq!(kept, [0, 2, 4]);
    }
}
