//! What makes figures worse or less steady: power mode, clocks, heat, throttling, swap, memory that others hold.

use super::gpu::Gpu;
use super::{Facts, Finding, Severity};
use crate::device::{Cap, Jetson};
use crate::trial::slowing;
use crate::units::Bytes;

/// Findings about the conditions of a measurement.
pub fn findings(facts: &Facts, gpu: &Gpu<'_>) -> Vec<Finding> {
    let machine = &facts.machine;
    let mut found: Vec<Finding> = [
        throttled(gpu),
        gpu_heat(gpu),
        zone_heat(facts),
        machine.jetson.as_ref().and_then(events),
        machine.jetson.as_ref().and_then(power_mode),
        machine.jetson.as_ref().and_then(moving_clocks),
        power_limit(gpu),
        swap(facts),
        others(gpu),
        mig(gpu),
        own_memory(facts, gpu),
        unified(facts, gpu),
        limit(facts),
    ]
    .into_iter()
    .flatten()
    .collect();
    if machine.on_battery == Ok(true) {
        found.push(Finding::new(
            Severity::Warning,
            "on_battery",
            "this machine runs on its battery, where CPU and GPU are held back",
            "plug it in before measuring",
        ));
    }
    if gpu.query(|gpu| &gpu.display_active) == Ok(true) {
        found.push(Finding::new(
            Severity::Note,
            "display_active",
            "a display is drawn by this GPU and takes some of its memory and time",
            "stop the desktop before measuring, or use another GPU for the display",
        ));
    }
    if let Ok(governor @ ("powersave" | "schedutil" | "ondemand" | "conservative")) =
        machine.governor.as_deref()
    {
        found.push(Finding::new(
            Severity::Note,
            "cpu_governor",
            format!("the CPU's clock follows its load (governor {governor})"),
            "for steadier figures: cpupower frequency-set -g performance",
        ));
    }
    found
}

fn throttled(gpu: &Gpu<'_>) -> Option<Finding> {
    let reasons = gpu.query(|gpu| &gpu.throttle_reasons).ok()?;
    let words = slowing(&reasons);
    (!words.is_empty()).then(|| {
        Finding::new(
            Severity::Warning,
            "throttled",
            format!("the GPU's clocks are held down by {}", words.join(" and ")),
            "cool it, or raise its power limit, and measure again",
        )
    })
}

/// As near to its limit as this, a longer run will reach it.
const NEAR_CELSIUS: f64 = 5.0;

fn gpu_heat(gpu: &Gpu<'_>) -> Option<Finding> {
    let now = f64::from(gpu.query(|gpu| &gpu.temperature_c).ok()?);
    let limit = f64::from(gpu.query(|gpu| &gpu.slowdown_temperature_c).ok()?);
    (now >= limit - NEAR_CELSIUS).then(|| hot("the GPU", now, limit))
}

fn zone_heat(facts: &Facts) -> Option<Finding> {
    let zones = facts.machine.zones.iter();
    let mut near = zones.filter_map(|zone| {
        let (now, limit) = (zone.celsius.clone().ok()?, zone.throttles_at?);
        (now >= limit - NEAR_CELSIUS).then(|| hot(&zone.name, now, limit))
    });
    near.next()
}

fn hot(what: &str, now: f64, limit: f64) -> Finding {
    Finding::new(
        Severity::Warning,
        "hot",
        format!("{what} is at {now:.0} C, and from {limit:.0} C on clocks are cut"),
        "let it cool, and give it a fan or a lower power mode",
    )
}

/// Counters stand since the start of the system, alarms for now.
fn events(jetson: &Jetson) -> Option<Finding> {
    let raised = jetson.alarms.iter().filter(|(_, count)| *count > 0);
    let names: Vec<String> = raised
        .map(|(name, count)| format!("{name} = {count}"))
        .collect();
    (!names.is_empty()).then(|| {
        Finding::new(
            Severity::Warning,
            "over_current",
            format!(
                "the board was throttled for its supply since it started ({})",
                names.join(", ")
            ),
            "use a stronger power supply or a lower power mode; the counters begin anew at a restart",
        )
    })
}

fn power_mode(jetson: &Jetson) -> Option<Finding> {
    let mode = jetson.power_mode.as_ref().ok()?;
    let fastest = jetson.fastest_mode()?;
    if fastest.id == mode.id {
        return None;
    }
    let cap = match mode.gpu {
        Cap::Hertz(hertz) => format!(", which holds the GPU at {} MHz or less", hertz / 1_000_000),
        Cap::Unlimited | Cap::NotNamed => String::new(),
    };
    Some(Finding::new(
        Severity::Warning,
        "power_mode",
        format!("power mode is {}{cap}", mode.name),
        format!(
            "figures are those of this mode; for the fastest: sudo nvpmodel -m {} ({})",
            fastest.id, fastest.name
        ),
    ))
}

fn moving_clocks(jetson: &Jetson) -> Option<Finding> {
    let clock = jetson.gpu_clock.as_ref().ok()?;
    let (least, most) = (clock.min_mhz.clone().ok()?, clock.max_mhz.clone().ok()?);
    (least < most).then(|| {
        Finding::new(
            Severity::Note,
            "clocks_move",
            format!("the GPU's clock moves between {least} and {most} MHz with its load"),
            "for steadier figures: sudo jetson_clocks",
        )
    })
}

fn power_limit(gpu: &Gpu<'_>) -> Option<Finding> {
    let limit = gpu.query(|gpu| &gpu.power_limit_mw).ok()?;
    let delivered = gpu.query(|gpu| &gpu.default_power_limit_mw).ok()?;
    (limit < delivered).then(|| {
        let watts = |milliwatts: u64| milliwatts / 1000;
        Finding::new(
            Severity::Note,
            "power_limit",
            format!(
                "the GPU's power limit is {} W, and {} W as delivered",
                watts(limit),
                watts(delivered)
            ),
            format!("to lift it: sudo nvidia-smi -pl {}", watts(delivered)),
        )
    })
}

/// Less than this is what a system writes out in its idle hours.
const SWAP_MATTERS: Bytes = Bytes(64 << 20);

fn swap(facts: &Facts) -> Option<Finding> {
    let used = facts.machine.memory.swap_used.clone().ok()?;
    (used >= SWAP_MATTERS).then(|| {
        Finding::new(
            Severity::Warning,
            "swap_in_use",
            format!("swap in use: {} MiB", used.0 >> 20),
            "close what is not needed, or restart; weights that are swapped are read at the speed of the disk",
        )
    })
}

fn others(gpu: &Gpu<'_>) -> Option<Finding> {
    let processes = gpu.query(|gpu| &gpu.processes).ok()?;
    if processes.is_empty() {
        return None;
    }
    let pids: Vec<String> = processes
        .iter()
        .map(|process| process.pid.to_string())
        .collect();
    let bytes: Option<Bytes> = processes.iter().map(|process| process.bytes).sum();
    let held = bytes.map_or_else(
        || "memory the driver does not tell".to_owned(),
        |bytes| format!("{} MiB of its memory", bytes.0 >> 20),
    );
    Some(Finding::new(
        Severity::Warning,
        "gpu_shared",
        format!(
            "other processes use this GPU ({}) and hold {held}",
            pids.join(", ")
        ),
        "end them before measuring, or choose another GPU with --device cuda:N",
    ))
}

fn mig(gpu: &Gpu<'_>) -> Option<Finding> {
    (gpu.query(|gpu| &gpu.mig) == Ok(true)).then(|| {
        Finding::new(
            Severity::Note,
            "mig",
            "this GPU is cut into instances (MIG), and CUDA sees one of them",
            "read figures as those of the instance, not of the whole GPU",
        )
    })
}

fn own_memory(facts: &Facts, gpu: &Gpu<'_>) -> Option<Finding> {
    gpu.used()?;
    let reason = facts.answers.own_process.as_ref().err()?;
    Some(Finding::new(
        Severity::Note,
        "own_memory_unknown",
        format!("the driver does not tell this process's own GPU memory: {reason}"),
        "memory is taken from what is free on the whole GPU: keep other processes off it",
    ))
}

fn unified(facts: &Facts, gpu: &Gpu<'_>) -> Option<Finding> {
    (gpu.unified() == Ok(true)).then(|| {
        let available = match &facts.machine.memory.available {
            Ok(bytes) => format!("{} MiB now", bytes.0 >> 20),
            Err(reason) => format!("not known: {reason}"),
        };
        Finding::new(
            Severity::Note,
            "unified_memory",
            format!("CPU and GPU share one memory, so a model may take what main memory has available ({available})"),
            "close what is not needed; moving weights to the host frees nothing here",
        )
    })
}

fn limit(facts: &Facts) -> Option<Finding> {
    let limit = facts.machine.memory.limit.clone().ok()?;
    Some(Finding::new(
        Severity::Note,
        "memory_limit",
        format!("this process may use {} MiB of main memory", limit.0 >> 20),
        "start the container with more (docker run --memory) if a model does not fit",
    ))
}
