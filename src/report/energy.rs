//! Readings of energy to the energy figures of a row. What is not told, too short or out of order is `None` with its reason.

use super::row::ended;
use super::schema::{Energy, EnergyWindow};
use crate::model::foreign::NO_DECODER;
use crate::trial::{Edge, EnergySource, Phase, PowerLog, PowerMark, PowerSample, TrialResult};
use crate::units::Nanos;

/// Two samples of power further apart than this leave open what was between them.
const WIDEST_GAP: Nanos = Nanos(500_000_000);
/// A window must be so many steps of its source long.
const FEWEST_STEPS: u64 = 2;

/// A window, or why it has none.
type Told<T> = Result<T, String>;

/// The energy of a trial and the reasons, by path, for what of it is null; or why there is none at all.
pub fn energy(result: &TrialResult) -> Told<(Energy, Vec<(String, String)>)> {
    if result.trial.pass.is_some() {
        return Err(format!("it is told for each token: {NO_DECODER}"));
    }
    let log = &result.power;
    let source = match &log.source {
        Some(source) => source.as_ref().map_err(String::clone)?,
        None => return Err(ended(result, "a timed phase began")),
    };
    let timed = &result.repetitions;
    let batch = f64::from(result.trial.batch);
    let steps: f64 = timed.iter().map(|timing| timing.itl.len() as f64).sum();
    let count = timed.len() as f64;
    let (prefills, decodes) = (
        pairs(log, Phase::Prefill, timed.len()),
        pairs(log, Phase::Decode, timed.len()),
    );
    let (Some((begin, _)), Some((_, end))) = (prefills.first(), decodes.last()) else {
        return Err(ended(result, "a timed repetition was finished"));
    };
    let whole = window(
        source,
        log,
        &[(*begin, *end)],
        batch * (steps + count),
        "the timed part",
    )?;
    let decode = window(source, log, &decodes, batch * steps, "a decode");
    let prompts = batch * f64::from(result.trial.prompt_tokens) * count;
    let prefill = window(source, log, &prefills, prompts, "a prefill");
    let mut missing = Vec::new();
    let mut keep = |name: &str, told: Told<EnergyWindow>| {
        told.map_err(|reason| missing.push((format!("energy.{name}"), reason)))
            .ok()
    };
    let energy = Energy {
        mean_watts: whole.mean_watts,
        energy_j: whole.energy_j,
        per_token_j: whole.per_token_j,
        window_s: whole.window_s,
        measures: measures(source).to_owned(),
        decode: keep("decode", decode),
        prefill: keep("prefill", prefill),
        method: method(source),
    };
    Ok((energy, missing))
}

/// Mean power while decoding, or of the whole timed part where decoding has none of its own, with words for where it is from.
pub fn power(energy: &Energy) -> (f64, String) {
    let (watts, when) = match &energy.decode {
        Some(decode) => (decode.mean_watts, "while decoding"),
        None => (energy.mean_watts, "over the timed part, prompts included"),
    };
    let what = match energy.measures.as_str() {
        "gpu" => "the GPU alone",
        "cpu" => "the CPU alone",
        _ => "the board",
    };
    (watts, format!("measured: {what}, mean {when}"))
}

/// Beginning and end of each of the finished phases.
fn pairs(log: &PowerLog, phase: Phase, finished: usize) -> Vec<(&PowerMark, &PowerMark)> {
    let edges = |edge| {
        let marks = log.marks.iter();
        marks.filter(move |mark| mark.phase == phase && mark.edge == edge)
    };
    let pairs = edges(Edge::Begin).zip(edges(Edge::End)).take(finished);
    pairs.collect()
}

/// Energy over some spans together, for so many tokens.
fn window(
    source: &EnergySource,
    log: &PowerLog,
    spans: &[(&PowerMark, &PowerMark)],
    tokens: f64,
    name: &str,
) -> Told<EnergyWindow> {
    if tokens == 0.0 {
        return Err("one generated token takes no decode step".to_owned());
    }
    let least = Nanos(FEWEST_STEPS * step(source).0);
    let (mut seconds, mut joules) = (0.0, 0.0);
    for (from, to) in spans {
        let span = Nanos(to.at.0.saturating_sub(from.at.0));
        if span < least {
            return Err(format!(
                "{name} took {:.0} ms, which is too short to tell its energy by {}: {:.0} ms are needed; ask for longer prompts (-p), more tokens (-n) or more repetitions (-r)",
                span.as_millis_f64(),
                words(source),
                least.as_millis_f64()
            ));
        }
        seconds += span.as_secs_f64();
        joules += match source {
            EnergySource::NvmlCounter | EnergySource::Rapl(_) => difference(from, to)?,
            EnergySource::NvmlSamples | EnergySource::BoardRail(_) => {
                integral(&samples(log), from.at, to.at)?
            }
        };
    }
    Ok(EnergyWindow {
        mean_watts: joules / seconds,
        energy_j: joules,
        per_token_j: joules / tokens,
        window_s: seconds,
    })
}

/// Joules between two readings of a counter. None at all are no measurement: the counter stood still.
fn difference(from: &PowerMark, to: &PowerMark) -> Told<f64> {
    let read = |mark: &PowerMark| {
        let counter = mark.reading.counter_uj.clone();
        let counter = counter.ok_or("the counter was not read")?;
        counter.map_err(|reason| format!("the energy counter could not be read ({reason})"))
    };
    match read(to)?.checked_sub(read(from)?) {
        Some(0) => Err("the energy counter did not move".to_owned()),
        Some(microjoules) => Ok(microjoules as f64 / 1e6),
        None => Err("the energy counter went back".to_owned()),
    }
}

/// All samples in the order of their times.
fn samples(log: &PowerLog) -> Vec<PowerSample> {
    let marks = log.marks.iter();
    let mut all: Vec<PowerSample> = marks
        .flat_map(|mark| mark.reading.samples.clone())
        .collect();
    all.sort_by_key(|sample| sample.at.0);
    all
}

/// Joules between two moments: straight lines between the samples, and the nearest sample where one side has none.
fn integral(samples: &[PowerSample], from: Nanos, to: Nanos) -> Told<f64> {
    let first = samples.partition_point(|sample| sample.at < from);
    let end = samples.partition_point(|sample| sample.at <= to);
    // One sample beyond each end, where there is one.
    let near = &samples[first.saturating_sub(1)..(end + 1).min(samples.len())];
    let (Some(oldest), Some(newest)) = (near.first(), near.last()) else {
        return Err("no power was sampled".to_owned());
    };
    let apart = |early: Nanos, late: Nanos| Nanos(late.0.saturating_sub(early.0));
    let inside = near.windows(2).map(|two| apart(two[0].at, two[1].at));
    let widest = inside
        .chain([apart(from, oldest.at), apart(newest.at, to)])
        .max()
        .unwrap_or_default();
    if widest > WIDEST_GAP {
        return Err(format!(
            "no power was sampled for {:.0} ms",
            widest.as_millis_f64()
        ));
    }
    let inner = samples[first..end].iter().map(|sample| sample.at);
    let times: Vec<Nanos> = std::iter::once(from).chain(inner).chain([to]).collect();
    let slices = times.windows(2).map(|two| {
        let mean = (power_at(near, two[0]) + power_at(near, two[1])) / 2.0;
        mean * apart(two[0], two[1]).as_secs_f64()
    });
    Ok(slices.sum())
}

/// Watts at a moment.
fn power_at(samples: &[PowerSample], at: Nanos) -> f64 {
    let watts = |sample: &PowerSample| sample.milliwatts as f64 / 1e3;
    let next = samples.partition_point(|sample| sample.at < at);
    match (
        next.checked_sub(1).map(|last| &samples[last]),
        samples.get(next),
    ) {
        (Some(last), Some(next)) => {
            let share = (at.0 - last.at.0) as f64 / (next.at.0 - last.at.0) as f64;
            watts(last) + (watts(next) - watts(last)) * share
        }
        (Some(one), None) | (None, Some(one)) => watts(one),
        (None, None) => 0.0,
    }
}

/// What a source cannot look inside of.
fn step(source: &EnergySource) -> Nanos {
    let milliseconds = match source {
        EnergySource::NvmlCounter | EnergySource::BoardRail(_) => 100,
        EnergySource::NvmlSamples => 1000,
        EnergySource::Rapl(_) => 10,
    };
    Nanos(milliseconds * 1_000_000)
}

/// Whose energy it is.
fn measures(source: &EnergySource) -> &'static str {
    match source {
        EnergySource::NvmlCounter | EnergySource::NvmlSamples => "gpu",
        EnergySource::BoardRail(_) => "board",
        EnergySource::Rapl(_) => "cpu",
    }
}

/// A source in words.
fn words(source: &EnergySource) -> String {
    match source {
        EnergySource::NvmlCounter => "NVML's energy counter of the GPU, which moves every 20 to 100 ms".to_owned(),
        EnergySource::NvmlSamples => "the power samples of the GPU that its driver keeps (NVML), integrated; on most recent cards each is an average over a second".to_owned(),
        EnergySource::BoardRail(label) => format!("the power of the whole board (INA3221 rail {label}), sampled every 100 ms and integrated"),
        EnergySource::Rapl(count) => format!("the energy counters of {count} CPU package(s) (RAPL), main memory not included"),
    }
}

/// Where the figures come from and what they cover.
fn method(source: &EnergySource) -> String {
    format!(
        "{}; whatever else runs there counts, and so does what it draws when idle; energy_j: from the start of the first timed prefill to the end of the last decode, with the pauses between; per_token_j: energy_j / all generated tokens, so prompts are included; decode, prefill: from the start to the end of each such phase, added up, per token of that phase, only where each lasts {:.0} ms",
        words(source),
        FEWEST_STEPS as f64 * step(source).as_millis_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::trial::{Outcome, PowerReading};

    /// Marks around two repetitions: prefill 1 s, a pause of 0.5 s, decode 3 s, a pause of 1.5 s. By `counters` in joules.
    fn counted(counters: &[u64], source: EnergySource) -> TrialResult {
        let mut result = fixture::result("m", 5);
        result.repetitions.truncate(2);
        result.power.source = Some(Ok(source));
        let edges = [
            (Phase::Prefill, Edge::Begin, 0),
            (Phase::Prefill, Edge::End, 1000),
            (Phase::Decode, Edge::Begin, 1500),
            (Phase::Decode, Edge::End, 4500),
        ];
        let marks = (0..8).map(|index| {
            let (phase, edge, at) = edges[index % 4];
            PowerMark {
                at: Nanos((10_000 + index as u64 / 4 * 6000 + at) * 1_000_000),
                phase,
                edge,
                reading: PowerReading {
                    counter_uj: counters.get(index).map(|joules| Ok(joules * 1_000_000)),
                    ..PowerReading::default()
                },
                state: None,
            }
        });
        result.power.marks = marks.collect();
        result
    }

    const COUNTERS: [u64; 8] = [1000, 1100, 1120, 1240, 1300, 1420, 1440, 1560];

    #[test]
    fn a_counter_tells_the_whole_and_each_phase() {
        let result = counted(&COUNTERS, EnergySource::NvmlCounter);
        let (energy, missing) = energy(&result).unwrap();
        assert!(missing.is_empty());
        // Two repetitions of five tokens each, four of them decoded.
        assert_eq!((energy.energy_j, energy.window_s), (560.0, 10.5));
        assert_eq!(energy.per_token_j, 56.0);
        assert_eq!(energy.mean_watts, 560.0 / 10.5);
        let decode = energy.decode.clone().unwrap();
        assert_eq!((decode.energy_j, decode.window_s), (240.0, 6.0));
        assert_eq!((decode.mean_watts, decode.per_token_j), (40.0, 30.0));
        let prefill = energy.prefill.clone().unwrap();
        assert_eq!((prefill.energy_j, prefill.mean_watts), (220.0, 110.0));
        assert_eq!(prefill.per_token_j, 220.0 / 512.0);
        let (watts, words) = power(&energy);
        assert_eq!(watts, 40.0);
        assert_eq!(words, "measured: the GPU alone, mean while decoding");
    }

    #[test]
    fn a_batch_shares_the_energy() {
        let mut result = counted(&COUNTERS, EnergySource::NvmlCounter);
        result.trial.batch = 4;
        assert_eq!(energy(&result).unwrap().0.per_token_j, 14.0);
    }

    #[test]
    fn phases_too_short_for_the_counter_leave_the_whole() {
        let mut result = counted(&COUNTERS, EnergySource::NvmlCounter);
        // Prefill of 199 ms in the second repetition.
        result.power.marks[5].at = Nanos(result.power.marks[4].at.0 + 199_000_000);
        let (found, missing) = energy(&result).unwrap();
        assert_eq!((found.energy_j, found.prefill), (560.0, None));
        assert!(found.decode.is_some());
        assert_eq!(missing[0].0, "energy.prefill");
        assert!(missing[0].1.starts_with("a prefill took 199 ms"));
        let end = result.power.marks[0].at.0 + 150_000_000;
        for mark in &mut result.power.marks {
            mark.at = mark.at.min(Nanos(end));
        }
        let reason = energy(&result).unwrap_err();
        assert!(reason.starts_with("the timed part took 150 ms"), "{reason}");
    }

    #[test]
    fn a_counter_that_stands_still_goes_back_or_fails_is_a_reason() {
        let reason =
            |counters: &[u64]| energy(&counted(counters, EnergySource::Rapl(1))).unwrap_err();
        assert_eq!(reason(&[7; 8]), "the energy counter did not move");
        assert_eq!(
            reason(&[9, 9, 9, 9, 9, 9, 9, 5]),
            "the energy counter went back"
        );
        assert_eq!(reason(&[]), "the counter was not read");
        let mut lost = counted(&COUNTERS, EnergySource::NvmlCounter);
        lost.power.marks[3].reading.counter_uj = Some(Err("GPU is lost".to_owned()));
        let (found, missing) = energy(&lost).unwrap();
        assert_eq!((found.energy_j, found.decode), (560.0, None));
        assert!(missing[0].1.contains("GPU is lost"), "{missing:?}");
    }

    #[test]
    fn samples_are_integrated_and_a_gap_in_them_is_a_reason() {
        let board = EnergySource::BoardRail("VDD_IN".to_owned());
        let mut result = counted(&[], board);
        // 10 W at 9.9 s, rising by 1 W a second.
        let one = |tenth: u64| PowerSample {
            at: Nanos((9900 + tenth * 100) * 1_000_000),
            milliwatts: 10_000 + tenth * 100,
        };
        result.power.marks[7].reading.samples = (0..107).map(one).collect();
        let (found, missing) = energy(&result).unwrap();
        assert!(missing.is_empty() && found.measures == "board");
        // 10.1 W at the start and 20.6 W at the end, the last sample being right there.
        assert!((found.mean_watts - 15.35).abs() < 1e-9, "{found:?}");
        assert!(found.method.contains("VDD_IN"));
        result.power.marks[7].reading.samples.drain(30..36);
        let reason = energy(&result).unwrap_err();
        assert_eq!(reason, "no power was sampled for 700 ms");
        result.power.marks[7].reading.samples.clear();
        assert_eq!(energy(&result).unwrap_err(), "no power was sampled");
    }

    #[test]
    fn one_token_has_no_decode_and_a_broken_trial_counts_what_it_finished() {
        let mut result = counted(&COUNTERS, EnergySource::NvmlCounter);
        for timing in &mut result.repetitions {
            timing.itl.clear();
        }
        let (found, missing) = energy(&result).unwrap();
        assert_eq!((found.per_token_j, missing.len()), (280.0, 1));
        let mut broken = counted(&COUNTERS, EnergySource::NvmlCounter);
        broken.repetitions.truncate(1);
        let (found, _) = energy(&broken).unwrap();
        assert_eq!((found.energy_j, found.window_s), (240.0, 4.5));
        broken.repetitions.clear();
        broken.outcome = Outcome::OutOfMemory {
            phase: Phase::Decode,
            requested: None,
            reason: "no room".to_owned(),
        };
        assert!(energy(&broken).unwrap_err().contains("out_of_memory"));
        broken.power = PowerLog::default();
        assert!(energy(&broken).unwrap_err().contains("out_of_memory"));
        broken.power.source = Some(Err("not root".to_owned()));
        assert_eq!(energy(&broken).unwrap_err(), "not root");
    }
}
