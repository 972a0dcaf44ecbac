//! What a program can load: CUDA, ONNX Runtime, NVML.

use super::{Fact, Value, bytes, fact, list};
use crate::doctor::Facts;
use crate::doctor::gpu::Gpu;
use crate::doctor::kernels::Kernels;

/// CUDA.
pub fn cuda(facts: &Facts, gpu: &Gpu<'_>) -> Vec<Fact> {
    let why = || -> String {
        match (&facts.answers.probe, gpu.unusable()) {
            (Err(reason), _) => reason.clone(),
            (Ok(_), Some(sentence)) => sentence.to_owned(),
            (Ok(_), None) => "CUDA was not tried, because the CPU was asked for".into(),
        }
    };
    let seen = gpu.seen().ok_or_else(|| match gpu.unusable() {
        Some(_) => "CUDA did not come so far: cuda.unusable_because says why".into(),
        None => why(),
    });
    let usable = match &facts.answers.probe {
        Ok(probe) if probe.gpu.is_some() => Ok(Value::Flag(true)),
        Ok(_) if gpu.unusable().is_some() => Ok(Value::Flag(false)),
        _ => Err(why()),
    };
    let refusal = match (gpu.used(), gpu.unusable()) {
        (Some(_), _) => Err("CUDA can be used".to_owned()),
        (None, Some(sentence)) => Ok(Value::Text(sentence.to_owned())),
        (None, None) => Err(why()),
    };
    vec![
        fact("usable", "usable", usable),
        fact("unusable_because", "not usable because", refusal),
        fact(
            "version",
            "runtime version",
            seen.clone()
                .and_then(|seen| {
                    seen.version
                        .clone()
                        .ok_or_else(|| "it does not tell".into())
                })
                .map(Value::Text),
        ),
        fact(
            "driver_serves",
            "driver serves up to",
            gpu.driver()
                .and_then(|driver| driver.cuda_version.clone())
                .map(Value::Text),
        ),
        fact(
            "libraries",
            "libraries in use",
            seen.and_then(|seen| list(seen.libraries.clone(), "none was loaded")),
        ),
        fact(
            "toolkits",
            "toolkits",
            list(
                facts.machine.toolkits.clone(),
                "/usr/local has no cuda-* folder",
            ),
        ),
    ]
}

/// ONNX Runtime and its GPU code.
pub fn runtime(facts: &Facts) -> Vec<Fact> {
    let runtime = facts.runtime.as_ref().map_err(Clone::clone);
    let probe = facts.answers.probe.as_ref().map_err(Clone::clone);
    let code = |pick: fn(&Kernels) -> &Vec<u32>, none: &str| {
        let kernels = facts.kernels.as_ref().map_err(Clone::clone)?;
        let names = pick(kernels).iter().map(|sm| format!("sm_{sm}"));
        list(names.collect(), none)
    };
    vec![
        fact(
            "library",
            "library",
            runtime
                .clone()
                .map(|runtime| Value::Text(runtime.path.clone())),
        ),
        fact(
            "origin",
            "named by",
            runtime.map(|runtime| Value::Text(runtime.origin.clone())),
        ),
        fact(
            "version",
            "version",
            probe
                .clone()
                .map(|probe| Value::Text(probe.runtime_version.clone())),
        ),
        fact(
            "build",
            "build",
            probe.clone().and_then(|probe| {
                let build = probe.runtime_build.clone();
                build
                    .map(Value::Text)
                    .ok_or_else(|| "the library does not tell it".into())
            }),
        ),
        fact(
            "providers",
            "providers",
            probe.and_then(|probe| list(probe.providers.clone(), "the library names none")),
        ),
        fact(
            "kernels",
            "GPU kernels for",
            code(|kernels| &kernels.cubins, "the CUDA provider holds none"),
        ),
        fact(
            "ptx",
            "PTX from",
            code(|kernels| &kernels.ptx, "the CUDA provider holds none"),
        ),
    ]
}

/// NVML and what it supports.
pub fn nvml(facts: &Facts, gpu: &Gpu<'_>) -> Vec<Fact> {
    let driver = gpu.driver();
    let queries = gpu.queries().map(|gpu| gpu.queries());
    let answered = queries.clone().and_then(|queries| {
        let names = queries.iter().filter(|(_, answer)| answer.is_ok());
        list(
            names.map(|(name, _)| (*name).to_owned()).collect(),
            "no query is answered",
        )
    });
    let refused = queries.map(|queries| {
        let refused = queries.into_iter().filter_map(|(name, answer)| {
            let reason = answer.err()?;
            Some(vec![
                ("query", Ok(Value::Text(name.into()))),
                ("reason", Ok(Value::Text(reason))),
            ])
        });
        Value::Rows(refused.collect())
    });
    vec![
        fact(
            "version",
            "version",
            driver
                .clone()
                .and_then(|driver| driver.nvml_version.clone())
                .map(Value::Text),
        ),
        fact(
            "gpus",
            "GPUs",
            driver.map(|driver| Value::Count(driver.gpus.len() as u64)),
        ),
        fact("supported", "supported", answered),
        fact("not_supported", "not supported", refused),
        fact(
            "own_process_bytes",
            "own process",
            bytes(facts.answers.own_process.clone()),
        ),
        fact(
            "energy_mj",
            "energy counter",
            gpu.query(|gpu| &gpu.energy_mj).map(Value::MilliJoules),
        ),
    ]
}
