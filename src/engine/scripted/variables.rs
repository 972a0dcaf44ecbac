//! What variables of the worker's environment do to a scripted model, as ONNX Runtime's tunings do to a real one.

use super::{Behaviour, Fault};
use serde::Deserialize;

/// What one value of a variable does.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Effect {
    faster: f64,
    takes_mib: u64,
    fault: Option<Fault>,
}

impl Default for Effect {
    fn default() -> Effect {
        Effect {
            faster: 1.0,
            takes_mib: 0,
            fault: None,
        }
    }
}

/// The behaviour with the effects of the variables that are set, as `value` tells.
pub fn applied(mut behaviour: Behaviour, value: impl Fn(&str) -> Option<String>) -> Behaviour {
    for (variable, effect) in std::mem::take(&mut behaviour.variables) {
        let is_set = variable
            .split_once('=')
            .is_some_and(|(name, wanted)| value(name).is_some_and(|set| set == wanted));
        if !is_set {
            continue;
        }
        for step in &mut behaviour.step_ms {
            *step /= effect.faster;
        }
        behaviour.memory.add_mib(effect.takes_mib);
        behaviour.fault = effect.fault.or(behaviour.fault);
    }
    behaviour
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_variable_with_that_value_has_its_effect() {
        let script = r#"{"step_ms": [8.0], "variables": {"A=1": {"faster": 2.0}, "A=0": {"faster": 0.5}, "B": {"faster": 9.0}}}"#;
        let behaviour: Behaviour = serde_json::from_str(script).unwrap();
        for (value, step) in [(Some("1"), 4.0), (Some("0"), 16.0), (None, 8.0)] {
            let set = |name: &str| (name == "A").then_some(value?.to_owned());
            assert_eq!(applied(behaviour.clone(), set).step_ms, [step]);
        }
    }
}
