//! The ways in which a trial is run: those that were asked for, or the steps from standard operators to all that the runtime offers.

use super::{Facts, Request};
use crate::model::foreign::Foreign;
use crate::trial::{Device, Form, KvUpdate};

/// One way to run a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Graph form.
    pub form: Form,
    /// How a fused graph's KV cache grows.
    pub kv_update: KvUpdate,
    /// Whether decode steps are captured into a CUDA graph.
    pub cuda_graph: bool,
    /// Whether settings of the runtime may be tried and kept.
    pub tune: bool,
    /// What tells its trial's id from others.
    pub suffix: &'static str,
}

const PLAIN: Way = Way {
    form: Form::Plain,
    kv_update: KvUpdate::InPlace,
    cuda_graph: false,
    tune: false,
    suffix: "",
};

/// The way of a graph that another program wrote.
pub fn as_it_is(foreign: &Foreign, request: &Request, facts: &Facts) -> Way {
    let decoder = foreign.decoder.as_ref();
    let even = decoder.is_some_and(|decoder| decoder.io.uneven_steps.is_none());
    Way {
        cuda_graph: request.cuda_graph && even && facts.device != Device::Cpu,
        form: foreign.form,
        kv_update: foreign.kv_update(),
        ..PLAIN
    }
}

/// The ways of a request, in the order in which they are run.
pub fn ways(request: &Request, facts: &Facts) -> Vec<Way> {
    if request.ablate {
        return steps(facts.device);
    }
    let way = |form: &Form| Way {
        form: *form,
        cuda_graph: request.cuda_graph && *form == Form::Fused && facts.device != Device::Cpu,
        tune: true,
        ..PLAIN
    };
    let mut forms = request.forms.clone();
    let mut seen = Vec::new();
    forms.retain(|form| {
        let new = !seen.contains(form);
        seen.push(*form);
        new
    });
    forms.iter().map(way).collect()
}

/// Each step adds one thing to the one before. The last is the way in which trials are run by default.
fn steps(device: Device) -> Vec<Way> {
    let fused = Way {
        form: Form::Fused,
        kv_update: KvUpdate::Copied,
        suffix: "/kv-copied",
        ..PLAIN
    };
    let in_place = Way {
        kv_update: KvUpdate::InPlace,
        suffix: match device {
            Device::Cpu => "",
            Device::Cuda(_) => "/no-graph",
        },
        ..fused
    };
    let graph = Way {
        cuda_graph: true,
        suffix: "/untuned",
        ..in_place
    };
    let tuned = Way {
        tune: true,
        suffix: "",
        ..graph
    };
    let mut steps = vec![PLAIN, fused, in_place];
    if device != Device::Cpu {
        steps.extend([graph, tuned]);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_adds_one_thing_and_the_last_is_the_default() {
        for device in [Device::Cpu, Device::Cuda(0)] {
            let steps = steps(device);
            let things = |way: &Way| {
                let in_place = way.form == Form::Fused && way.kv_update == KvUpdate::InPlace;
                let fused = way.form == Form::Fused;
                [fused, in_place, way.cuda_graph, way.tune].map(u32::from)
            };
            for (step, next) in steps.iter().zip(&steps[1..]) {
                let more: u32 = things(next).iter().sum();
                assert_eq!(more, things(step).iter().sum::<u32>() + 1);
            }
            let mut suffixes: Vec<_> = steps.iter().map(|way| (way.form, way.suffix)).collect();
            suffixes.dedup();
            assert_eq!(suffixes.len(), steps.len());
            assert_eq!(steps.last().map(|way| way.suffix), Some(""));
        }
    }
}
