//! The device's state around the timed phases, as a row tells it.

use super::row::ended;
use super::schema::{DeviceConditions, Readings};
use crate::trial::{DeviceState, TrialResult};
use std::collections::BTreeSet;

/// State at the first and the last reading with the reasons, by path, for what of it is null; or why there is none.
pub fn device_state(
    result: &TrialResult,
) -> Result<(DeviceConditions, Vec<(String, String)>), String> {
    let marks = &result.power.marks;
    let mut states = marks.iter().filter_map(|mark| mark.state.as_ref());
    let Some(first) = states.next() else {
        return Err(ended(result, "a timed phase began"));
    };
    let last = states.next_back();
    let mut missing = Vec::new();
    let start = readings("start", first, &mut missing);
    let end = last.map(|state| readings("end", state, &mut missing));
    if end.is_none() {
        let reason = ended(result, "the timed part was over");
        missing.push(("device_state.end".to_owned(), reason));
    }
    let told = |state: &&DeviceState| state.throttle_reasons.is_ok();
    let reasons = if [Some(first), last].iter().flatten().any(told) {
        Some(throttle_reasons(result))
    } else {
        let reason = first.throttle_reasons.clone().err().unwrap_or_default();
        missing.push(("device_state.throttle_reasons".to_owned(), reason));
        None
    };
    let conditions = DeviceConditions {
        start,
        end,
        throttle_reasons: reasons,
    };
    Ok((conditions, missing))
}

/// Every throttle reason that was seen at an edge of a timed phase, by name.
pub fn throttle_reasons(result: &TrialResult) -> Vec<String> {
    let seen: BTreeSet<&String> = result
        .power
        .marks
        .iter()
        .flat_map(|mark| &mark.reading.throttle_reasons)
        .collect();
    seen.into_iter().cloned().collect()
}

fn readings(when: &str, state: &DeviceState, missing: &mut Vec<(String, String)>) -> Readings {
    fn told<T: Clone>(
        path: String,
        fact: &Result<T, String>,
        missing: &mut Vec<(String, String)>,
    ) -> Option<T> {
        let reason = |reason: &String| missing.push((path, reason.clone()));
        fact.as_ref().map_err(reason).ok().cloned()
    }
    let path = |name: &str| format!("device_state.{when}.{name}");
    let limit = told(path("power_limit_w"), &state.power_limit_mw, missing);
    Readings {
        sm_clock_mhz: told(path("sm_clock_mhz"), &state.sm_clock_mhz, missing),
        memory_clock_mhz: told(path("memory_clock_mhz"), &state.memory_clock_mhz, missing),
        cpu_clock_mhz: told(path("cpu_clock_mhz"), &state.cpu_clock_mhz, missing),
        temperature_c: told(path("temperature_c"), &state.temperature_c, missing),
        power_limit_w: limit.map(|milliwatts| milliwatts as f64 / 1e3),
        throttle_reasons: told(path("throttle_reasons"), &state.throttle_reasons, missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::trial::{Edge, Phase, PowerMark, PowerReading};
    use crate::units::Nanos;

    fn mark(reasons: &[&str], state: Option<DeviceState>) -> PowerMark {
        PowerMark {
            at: Nanos(0),
            phase: Phase::Decode,
            edge: Edge::End,
            reading: PowerReading {
                throttle_reasons: reasons.iter().map(|name| (*name).to_owned()).collect(),
                ..PowerReading::default()
            },
            state,
        }
    }

    #[test]
    fn start_and_end_are_told_and_throttle_reasons_add_up() {
        let state = |celsius| DeviceState {
            temperature_c: Ok(celsius),
            power_limit_mw: Ok(28_500),
            throttle_reasons: Ok(Vec::new()),
            ..DeviceState::unknown("no")
        };
        let mut result = fixture::result("m", 8);
        result.power.marks = vec![
            mark(&["gpu_idle"], Some(state(40.0))),
            mark(&["sw_power_cap", "gpu_idle"], None),
            mark(&[], Some(state(77.5))),
        ];
        let (found, missing) = device_state(&result).unwrap();
        let end = found.end.unwrap();
        assert_eq!(found.start.temperature_c, Some(40.0));
        assert_eq!(
            (end.temperature_c, end.power_limit_w),
            (Some(77.5), Some(28.5))
        );
        let union = ["gpu_idle", "sw_power_cap"].map(str::to_owned).to_vec();
        assert_eq!(found.throttle_reasons, Some(union));
        let paths: Vec<&str> = missing.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths[0], "device_state.start.sm_clock_mhz");
        assert_eq!(paths.len(), 6);
    }

    #[test]
    fn a_state_that_was_not_read_is_a_reason() {
        let mut result = fixture::result("m", 8);
        result.power.marks.clear();
        assert!(device_state(&result).unwrap_err().contains("timed phase"));
        result.power.marks = vec![mark(&[], Some(DeviceState::unknown("no driver")))];
        let (found, missing) = device_state(&result).unwrap();
        assert_eq!((found.end, found.throttle_reasons), (None, None));
        let reason = |path: &str| missing.iter().find(|(name, _)| name == path);
        assert!(reason("device_state.end").is_some());
        assert_eq!(
            reason("device_state.throttle_reasons").map(|(_, reason)| reason.as_str()),
            Some("no driver")
        );
    }
}
