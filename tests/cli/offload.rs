//! Weights in main memory: that a worker which dies gives locked memory back, and what one memory for CPU and GPU makes of it.
//! A script plays the GPU.

use crate::sandbox::{QUICK, Ran, Sandbox, report, statuses, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::Stdio;

/// A GPU of 64 GiB with memory of its own, or the CPU's.
fn script(unified: bool) -> Value {
    let gpu = json!({
        "index": 0, "name": "Example board", "compute_capability": "8.7",
        "memory_total": 64_u64 << 30, "memory_free": 64_u64 << 30, "unified_memory": unified,
        "driver_version": null, "cuda_version": null, "power_limit_mw": null,
        "sm_clock_mhz": null, "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
    });
    json!({"probe": {
        "runtime_version": "0.0.0", "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "gpu": gpu, "cuda_unavailable": null,
    }})
}

/// A run of one model on that GPU: its row and what was said.
fn run(unified: bool, offload: &str, budget: &str, code: i32) -> (Value, Ran) {
    let sandbox = Sandbox::new();
    let engine = sandbox.script(&script(unified));
    let mut args = vec!["--engine", &engine, "--device", "cuda", "--ceiling", "none"];
    args.extend(["--model", "tiny-moe-q", "--offload", offload]);
    args.extend(["--vram-budget", budget, "--precision", "fp16"]);
    args.extend(["-o", "result.json"]);
    args.extend(QUICK);
    let ran = sandbox.run(&args).left_with(code);
    let result = report(&sandbox.work().join("result.json"));
    (result["trials"][0].clone(), ran)
}

#[test]
fn on_one_memory_weights_are_counted_once_wherever_they_lie_and_auto_keeps_none_apart() {
    let need = |row: &Value| row["memory"]["predicted_peak_bytes"].as_u64().unwrap();
    let (none, _) = run(true, "none", "8G", 0);
    assert!(none["offload"].is_null(), "{none}");
    let (auto, ran) = run(true, "auto", "8G", 0);
    let offload = &auto["offload"];
    assert_eq!(offload["unified_memory"], true, "{auto}");
    assert_eq!(offload["mapped_bytes"], 0, "{auto}");
    assert_eq!(need(&auto), need(&none));
    assert!(
        ran.stdout.contains("--offload auto keeps none apart"),
        "{ran}"
    );

    let (experts, ran) = run(true, "experts", "8G", 0);
    let offload = &experts["offload"];
    let mapped = offload["mapped_bytes"].as_u64().unwrap();
    assert!(mapped > 1 << 16, "{experts}");
    assert!(need(&experts).abs_diff(need(&none)) < 1 << 14, "{experts}");
    assert!(offload["ways"].is_null() && offload["elsewhere"].is_null());
    assert!(ran.stdout.contains("never copied"), "{ran}");

    // With a memory of its own the same GPU has less to hold.
    let (apart, _) = run(false, "experts", "8G", 0);
    assert!(apart["offload"]["unified_memory"].is_null(), "{apart}");
    assert!(need(&apart) < need(&experts), "{apart}");
}

#[test]
fn a_model_too_large_for_one_memory_is_refused_with_the_reason_why_offloading_does_not_help() {
    for offload in ["auto", "all"] {
        let (row, _) = run(true, offload, "64M", 0);
        assert_eq!(row["status"], "does_not_fit", "{row}");
        let reason = row["reason"].as_str().unwrap();
        assert!(reason.contains("CPU and GPU share one memory"), "{reason}");
        assert!(!reason.contains("in main memory that can be there"));
    }
}

/// Bytes of a field of one of the kernel's files.
fn told(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

#[test]
fn a_worker_killed_in_the_middle_of_its_load_gives_back_what_it_had_locked() {
    // Pinned memory is not swapped, as locked memory is not: what is kept of it is lost to the host.
    const LOCKED: u64 = 4 << 20;
    let sandbox = Sandbox::new();
    let stuck = json!({"lock_mib": LOCKED >> 20, "fault": {"at": "load", "what": "hang"}});
    let engine = sandbox.script(&json!({"default": stuck}));
    let mut args = vec!["--engine", &engine, "--device", "cpu", "--ceiling", "none"];
    args.extend([
        "--model",
        "tiny-gpt2",
        "--vram-budget",
        "1G",
        "-o",
        "result.json",
    ]);
    args.extend(QUICK);
    let before = told("/proc/meminfo", "Mlocked:");
    let mut command = sandbox.command(&args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let worker = until("a worker that holds locked memory", || {
        let holds = |pid: &u32| told(&format!("/proc/{pid}/status"), "VmLck:") >= LOCKED;
        sandbox.processes().into_iter().find(holds)
    });
    assert!(told("/proc/meminfo", "Mlocked:") >= before + LOCKED / 2);
    let worker = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    let result = report(&sandbox.work().join("result.json"));
    assert_eq!(statuses(&result), ["crashed"], "{result}");
    let row = &result["trials"][0];
    assert_eq!(row["failed_phase"], "load", "{row}");
    assert!(row["reason"].as_str().unwrap().contains("SIGKILL"), "{row}");
    assert!(sandbox.processes().is_empty(), "a process is left");
    until("the end of the locked memory", || {
        (told("/proc/meminfo", "Mlocked:") <= before + LOCKED / 2).then_some(())
    });
}
