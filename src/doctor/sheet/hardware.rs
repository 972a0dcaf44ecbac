//! The machine itself: board, GPU, memory.

use super::{Fact, Value, bytes, fact, list, text};
use crate::device::{Jetson, Machine};
use crate::doctor::gpu::Gpu;
use crate::protocol::{GpuProcess, Told};

/// The board.
pub fn board(machine: &Machine) -> Vec<Fact> {
    let jetson = machine.jetson.as_ref().ok_or("this is no Jetson");
    let of =
        |get: &dyn Fn(&Jetson) -> Told<String>| -> Told<Value> { get(jetson?).map(Value::Text) };
    let container = match &machine.container {
        Some(sign) => format!("yes ({sign})"),
        None => "no sign of one".to_owned(),
    };
    vec![
        fact("model", "model", text(&machine.model)),
        fact(
            "soc",
            "chip",
            of(&|board| Ok(board.soc.clone()?.name.into())),
        ),
        fact("module", "module", of(&|board| board.module.clone())),
        fact("l4t", "Jetson Linux", of(&|board| board.l4t.clone())),
        fact(
            "jetpack",
            "JetPack",
            of(&|board| Ok(board.jetpack.clone()?.into())),
        ),
        fact("os", "system", text(&machine.os)),
        fact("kernel", "kernel", text(&machine.kernel)),
        fact("cpu", "CPU", text(&machine.cpu)),
        fact("container", "container", Ok(Value::Text(container))),
        fact(
            "on_battery",
            "on battery",
            machine.on_battery.clone().map(Value::Flag),
        ),
    ]
}

/// The GPU.
pub fn gpu(gpu: &Gpu<'_>, machine: &Machine) -> Vec<Fact> {
    let cards = machine.pci_gpus.iter().map(|card| match &card.device {
        Ok(device) => format!("{} (10de:{})", card.slot, device.trim_start_matches("0x")),
        Err(_) => card.slot.clone(),
    });
    let index = if gpu.is_there() {
        Ok(Value::Count(u64::from(gpu.index)))
    } else {
        Err("no NVIDIA GPU is seen".to_owned())
    };
    let module = machine.kernel_driver.as_ref().map_err(Clone::clone);
    let kind = module.map(|module| if module.open { "open" } else { "proprietary" });
    vec![
        fact("index", "index", index),
        fact("name", "name", text(&gpu.name())),
        fact(
            "compute_capability",
            "compute capability",
            text(&gpu.compute_capability()),
        ),
        fact(
            "unified_memory",
            "unified memory",
            gpu.unified().map(Value::Flag),
        ),
        fact("driver", "driver", text(&gpu.driver_version())),
        fact(
            "kernel_module",
            "kernel module",
            kind.map(|kind| Value::Text(kind.into())),
        ),
        fact(
            "pci",
            "on the PCI bus",
            list(cards.collect(), "no NVIDIA GPU is listed there"),
        ),
        fact(
            "device_files",
            "device files",
            list(
                machine.device_files.clone(),
                "there are none of an NVIDIA GPU in /dev",
            ),
        ),
        fact("mig", "MIG", gpu.query(|gpu| &gpu.mig).map(Value::Flag)),
        fact(
            "display_active",
            "drives a display",
            gpu.query(|gpu| &gpu.display_active).map(Value::Flag),
        ),
        fact(
            "persistence",
            "persistence mode",
            gpu.query(|gpu| &gpu.persistence).map(Value::Flag),
        ),
        fact("utilization_percent", "load", load(machine, gpu)),
        fact("processes", "other processes", processes(gpu)),
    ]
}

/// Load of the GPU, from NVML or a Jetson's files.
fn load(machine: &Machine, gpu: &Gpu<'_>) -> Told<Value> {
    let told = gpu.query(|gpu| &gpu.utilization_percent);
    match (told, &machine.jetson) {
        (Ok(load), _) => Ok(Value::Percent(f64::from(load))),
        (Err(_), Some(board)) => board.gpu_clock.clone()?.load_percent.map(Value::Percent),
        (Err(reason), None) => Err(reason),
    }
}

fn processes(gpu: &Gpu<'_>) -> Told<Value> {
    let row = |process: &GpuProcess| {
        let held = process.bytes.ok_or("the driver does not tell");
        vec![
            ("pid", Ok(Value::Count(u64::from(process.pid)))),
            ("bytes", held.map(Value::Bytes).map_err(str::to_owned)),
        ]
    };
    let all = gpu.query(|gpu| &gpu.processes)?;
    Ok(Value::Rows(all.iter().map(row).collect()))
}

/// Its memory and the CPU's.
pub fn memory(machine: &Machine, gpu: &Gpu<'_>) -> Vec<Fact> {
    let main = &machine.memory;
    let device = gpu.memory();
    let total = device.clone().map(|memory| memory.total);
    vec![
        fact("gpu_total_bytes", "GPU, all", bytes(total)),
        fact(
            "gpu_free_bytes",
            "GPU, free",
            bytes(device.map(|memory| memory.free)),
        ),
        fact("main_total_bytes", "main, all", bytes(main.total.clone())),
        fact(
            "main_available_bytes",
            "main, available",
            bytes(main.available.clone()),
        ),
        fact(
            "limit_bytes",
            "limit of the group",
            bytes(main.limit.clone()),
        ),
        fact(
            "swap_total_bytes",
            "swap, all",
            bytes(main.swap_total.clone()),
        ),
        fact(
            "swap_used_bytes",
            "swap, in use",
            bytes(main.swap_used.clone()),
        ),
        fact(
            "nvmap_used_bytes",
            "GPU driver's share",
            bytes(main.nvmap_used.clone()),
        ),
        fact("gpu_budget_bytes", "a model may take", bytes(gpu.budget())),
    ]
}
