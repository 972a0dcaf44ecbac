//! What moves while it is read: power, clocks, temperatures, throttling.

use super::{Fact, Value, fact, list, rows, text};
use crate::device::{Jetson, Machine, Rail, Zone};
use crate::doctor::gpu::Gpu;
use crate::protocol::Told;

/// The Jetson's own facts, where this is one.
fn jetson(machine: &Machine) -> Told<&Jetson> {
    let board = machine.jetson.as_ref();
    board.ok_or_else(|| "this is no Jetson".into())
}

/// Power and clocks.
pub fn power(machine: &Machine, gpu: &Gpu<'_>) -> Vec<Fact> {
    let board = jetson(machine);
    let mode = board.clone().and_then(|board| board.power_mode.clone());
    let modes = board.clone().and_then(|board| {
        let names = board.power_modes.iter();
        let names = names.map(|mode| format!("{} ({})", mode.name, mode.id));
        list(names.collect(), "/etc/nvpmodel.conf names none")
    });
    let rails = board.clone().and_then(|board| {
        let all = board.rails.iter().map(rail);
        rows(all.collect(), "no power monitor is there")
    });
    let watts = |told: Told<u64>| told.map(Value::MilliWatts);
    let mut facts = vec![
        fact(
            "mode",
            "power mode",
            mode.map(|mode| Value::Text(format!("{} ({})", mode.name, mode.id))),
        ),
        fact("modes", "power modes", modes),
        fact(
            "board_power_mw",
            "board (VDD_IN)",
            watts(board.and_then(Jetson::board_milliwatts)),
        ),
        fact("rails", "rails", rails),
        fact("gpu_power_mw", "GPU", watts(gpu.query(|gpu| &gpu.power_mw))),
        fact(
            "gpu_power_limit_mw",
            "GPU, limit",
            watts(gpu.query(|gpu| &gpu.power_limit_mw)),
        ),
        fact(
            "gpu_default_power_limit_mw",
            "GPU, as delivered",
            watts(gpu.query(|gpu| &gpu.default_power_limit_mw)),
        ),
    ];
    facts.extend(clocks(machine, gpu));
    facts
}

fn clocks(machine: &Machine, gpu: &Gpu<'_>) -> Vec<Fact> {
    let clock = jetson(machine).and_then(|board| board.gpu_clock.clone());
    let mhz = |told: Told<u64>| told.map(Value::MegaHertz);
    // A Jetson's files tell the GPU clock where NVML does not.
    let or_file = |query: Told<u32>, file: Told<u64>| {
        let query = query.map(u64::from);
        query.or_else(|reason| machine.jetson.as_ref().map_or(Err(reason), |_| file))
    };
    let of_files = clock.clone();
    let now = of_files.clone().and_then(|clock| clock.now_mhz);
    let most = of_files.clone().and_then(|clock| clock.max_mhz);
    let state = gpu.query(|gpu| &gpu.performance_state);
    vec![
        fact(
            "performance_state",
            "performance state",
            state.map(|state| Value::Text(format!("P{state}"))),
        ),
        fact(
            "gpu_clock_mhz",
            "GPU clock",
            mhz(or_file(gpu.query(|gpu| &gpu.sm_clock_mhz), now)),
        ),
        fact(
            "gpu_min_clock_mhz",
            "GPU clock, least",
            mhz(of_files.and_then(|clock| clock.min_mhz)),
        ),
        fact(
            "gpu_max_clock_mhz",
            "GPU clock, most",
            mhz(or_file(gpu.query(|gpu| &gpu.max_sm_clock_mhz), most)),
        ),
        fact(
            "gpu_governor",
            "GPU governor",
            clock.and_then(|clock| clock.governor).map(Value::Text),
        ),
        fact(
            "memory_clock_mhz",
            "memory clock",
            mhz(gpu.query(|gpu| &gpu.memory_clock_mhz).map(u64::from)),
        ),
        fact(
            "max_memory_clock_mhz",
            "memory clock, most",
            mhz(gpu.query(|gpu| &gpu.max_memory_clock_mhz).map(u64::from)),
        ),
        fact("cpu_governor", "CPU governor", text(&machine.governor)),
    ]
}

fn rail(rail: &Rail) -> Vec<(&'static str, Told<Value>)> {
    vec![
        ("label", Ok(Value::Text(rail.label.clone()))),
        ("voltage_mv", rail.millivolts.clone().map(Value::MilliVolts)),
        (
            "current_ma",
            rail.milliamperes.clone().map(Value::MilliAmperes),
        ),
        ("power_mw", rail.milliwatts.clone().map(Value::MilliWatts)),
    ]
}

fn zone(zone: &Zone) -> Vec<(&'static str, Told<Value>)> {
    let limit = zone.throttles_at.ok_or("it has no such limit");
    vec![
        ("zone", Ok(Value::Text(zone.name.clone()))),
        ("temperature_c", zone.celsius.clone().map(Value::Celsius)),
        (
            "throttles_at_c",
            limit.map(Value::Celsius).map_err(str::to_owned),
        ),
    ]
}

/// Temperatures, and what holds the clocks down.
pub fn thermal(machine: &Machine, gpu: &Gpu<'_>) -> Vec<Fact> {
    let alarm = |(name, count): &(String, u64)| {
        vec![
            ("name", Ok(Value::Text(name.clone()))),
            ("count", Ok(Value::Count(*count))),
        ]
    };
    let events = jetson(machine).and_then(|board| {
        let all = board.alarms.iter().map(alarm);
        rows(all.collect(), "no monitor counts them")
    });
    let zones = machine.zones.iter().map(zone);
    let celsius = |told: Told<u32>| told.map(|degrees| Value::Celsius(f64::from(degrees)));
    vec![
        fact(
            "gpu_temperature_c",
            "GPU",
            celsius(gpu.query(|gpu| &gpu.temperature_c)),
        ),
        fact(
            "gpu_slowdown_c",
            "GPU slows at",
            celsius(gpu.query(|gpu| &gpu.slowdown_temperature_c)),
        ),
        fact(
            "zones",
            "zones",
            rows(zones.collect(), "the system shows none"),
        ),
        fact(
            "throttle_reasons",
            "clocks held down by",
            gpu.query(|gpu| &gpu.throttle_reasons).map(Value::List),
        ),
        fact("supply_events", "supply events", events),
    ]
}
