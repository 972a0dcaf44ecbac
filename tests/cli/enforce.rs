//! How a budget is held on a GPU: taken away or watched, with the reason in the row; every fault under it; and that nothing stays
//! behind. A script plays the GPU and the process that takes its memory away.

use crate::sandbox::{QUICK, Ran, Sandbox, report, statuses, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::Stdio;

/// The budget of these runs.
const BUDGET: u64 = 1 << 30;

/// A GPU of 8 GiB that nobody else uses, with other facts; `more` is the rest of the script.
fn script(facts: &Value, more: &Value) -> Value {
    let mut gpu = json!({
        "index": 0, "name": "Scripted GPU", "compute_capability": "9.0",
        "memory_total": 8_u64 << 30, "memory_free": 8_u64 << 30, "unified_memory": false,
        "display_active": false, "others": [],
        "driver_version": "1.0", "cuda_version": null, "power_limit_mw": null, "sm_clock_mhz": null,
        "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
    });
    let merged = gpu.as_object_mut().unwrap();
    merged.extend(facts.as_object().unwrap().clone());
    let mut script = json!({
        "probe": {
            "runtime_version": "0.0.0",
            "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
            "gpu": gpu,
            "cuda_unavailable": null,
        },
        "default": {"device_used_mib": 50, "memory": {"base_mib": 360}},
    });
    let whole = script.as_object_mut().unwrap();
    whole.extend(more.as_object().unwrap().clone());
    script
}

/// Arguments of a run on that GPU.
fn args<'a>(engine: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["--engine", engine, "--device", "cuda", "--ceiling", "none"];
    args.extend(["--vram-budget", "1G", "-o", "result.json"]);
    args.extend(QUICK);
    args.extend(more);
    args
}

fn run(sandbox: &Sandbox, script: &Value, more: &[&str]) -> Ran {
    let engine = sandbox.script(script);
    sandbox.run(&args(&engine, more))
}

/// The memory of the one row of a run that went well, and what people were shown.
#[track_caller]
fn memory(facts: &Value, rest: &Value, more: &[&str]) -> (Value, Ran) {
    let sandbox = Sandbox::new();
    let more = [&["--model", "tiny-gpt2"], more].concat();
    let ran = run(&sandbox, &script(facts, rest), &more).left_with(0);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(statuses(&report), ["ok"], "{ran}");
    assert!(sandbox.processes().is_empty(), "a process is left");
    let row = &report["trials"][0];
    let memory = row["memory"].clone();
    assert_eq!(
        memory["left_free_bytes"].is_null(),
        row["not_measured"]["memory.left_free_bytes"].is_string(),
        "{row}"
    );
    (memory, ran)
}

/// Checks that the budget was held softly, and that row, table and progress say why.
#[track_caller]
fn is_soft(facts: &Value, rest: &Value, more: &[&str], reason: &str) {
    let (memory, ran) = memory(facts, rest, more);
    assert_eq!(memory["enforced"], "soft", "{memory}");
    let how = memory["enforced_how"].as_str().unwrap();
    assert!(
        how.starts_with("the process is watched, ") && how.contains(reason),
        "{how}"
    );
    assert!(memory["left_free_bytes"].is_null(), "{memory}");
    let shown = ran.stdout.replace("\n  ", " ");
    assert!(shown.contains(&format!("held softly: {how}")), "{ran}");
}

#[test]
fn memory_beyond_the_budget_is_taken_away_where_nobody_else_needs_it() {
    let (memory, ran) = memory(&json!({}), &json!({}), &[]);
    assert_eq!(memory["enforced"], "hard");
    assert_eq!(memory["left_free_bytes"], BUDGET);
    let how = memory["enforced_how"].as_str().unwrap();
    assert!(how.contains("left 1024 MiB free"), "{how}");
    assert!(
        ran.stdout.contains("held") && !ran.stdout.contains("softly"),
        "{ran}"
    );
    assert!(!ran.stderr.contains("softly"), "{ran}");
}

#[test]
fn what_could_not_be_taken_away_is_told_and_the_trial_runs_all_the_same() {
    let table = [
        (json!({"fault": "out_of_memory"}), "refused an allocation"),
        (json!({"fault": "crash"}), "SIGABRT"),
        (json!({"fault": {"exit": 3}}), "exit code 3"),
        (json!({"fault": {"device": "it fell off"}}), "it fell off"),
        (json!({"fault": {"garbage": "hm"}}), "not the protocol: hm"),
        (json!({"free": 900_u64 << 20}), "only 900 MiB are free"),
        (json!({"free": 2_u64 << 30}), "left 2048 MiB free"),
    ];
    for (hold, reason) in table {
        is_soft(&json!({}), &json!({"hold": hold}), &[], reason);
    }
    let hangs = json!({"hold": {"fault": "hang"}});
    let more = ["--timeout", "2s"];
    is_soft(&json!({}), &hangs, &more, "did not end within 2s");
}

#[test]
fn a_gpu_that_others_need_is_only_watched_unless_asked() {
    let other = json!([{"pid": 7, "bytes": 1 << 20, "name": "game"}]);
    let table = [
        (json!({"display_active": true}), "the GPU draws a display"),
        (
            json!({"display_active": null}),
            "whether the GPU draws a display",
        ),
        (
            json!({"others": other}),
            "process 7 (game) uses the GPU too",
        ),
        (json!({"others": null}), "who else uses the GPU"),
    ];
    for (facts, reason) in table {
        is_soft(&facts, &json!({}), &[], reason);
        let (memory, ran) = memory(&facts, &json!({}), &["--enforce", "hard"]);
        assert_eq!(memory["enforced"], "hard", "{reason}: {ran}");
        assert_eq!(memory["left_free_bytes"], BUDGET, "{reason}: {ran}");
    }
    is_soft(
        &json!({}),
        &json!({}),
        &["--enforce", "soft"],
        "as asked for",
    );
}

#[test]
fn a_memory_that_cpu_and_gpu_share_is_never_taken_away() {
    let facts = json!({"unified_memory": true});
    is_soft(&facts, &json!({}), &[], "shares its memory with the CPU");
    let sandbox = Sandbox::new();
    let more = ["--model", "tiny-gpt2", "--enforce", "hard"];
    run(&sandbox, &script(&facts, &json!({})), &more).refused(
        2,
        &[
            "--enforce hard",
            "GPU 0 (Scripted GPU) shares its memory with the CPU",
            "use --enforce soft",
        ],
    );
    assert!(sandbox.written().is_empty() && !sandbox.models().exists());
}

#[test]
fn exclusive_refuses_a_gpu_that_others_use_and_names_them() {
    let others = json!([
        {"pid": 7, "bytes": 1 << 20, "name": "game"},
        {"pid": 8, "bytes": null, "name": null},
    ]);
    let refused = |facts: Value, parts: &[&str]| {
        let sandbox = Sandbox::new();
        let more = ["--model", "tiny-gpt2", "--exclusive"];
        run(&sandbox, &script(&facts, &json!({})), &more).refused(5, parts);
        assert!(sandbox.written().is_empty(), "{facts}");
    };
    refused(
        json!({"others": others}),
        &["--exclusive", "process 7 (game), process 8", "Scripted GPU"],
    );
    refused(json!({"others": null}), &["--exclusive", "does not tell"]);
    let (memory, _) = memory(&json!({}), &json!({}), &["--exclusive"]);
    assert_eq!(memory["enforced"], "hard");
}

#[test]
fn memory_is_looked_at_as_often_as_asked() {
    // 400 MiB are there before the session, which takes longer than is allowed: only a look in between can see them.
    let grown = json!({"default": {"grow_mib": 400, "session_ms": 60_000.0}});
    for (interval, status, reason) in [
        ("10ms", "out_of_memory", "the budget is 256.0 MiB"),
        ("1s", "out_of_memory", "the budget is 256.0 MiB"),
        ("off", "timed_out", "did not end within 3s"),
    ] {
        let sandbox = Sandbox::new();
        let more = [
            "--model",
            "tiny-gpt2",
            "--enforce",
            "soft",
            "--timeout",
            "3s",
        ];
        let more = [
            &more[..],
            &["--vram-budget", "256M", "--sample-interval", interval],
        ]
        .concat();
        let ran = sandbox.scripted(&grown, &[&more[..], &["--format", "json"]].concat());
        let report = ran.left_with(6).json();
        assert_eq!(statuses(&report), [status], "{interval}");
        let row = &report["trials"][0];
        assert_eq!(row["failed_phase"], "load", "{row}");
        assert!(row["reason"].as_str().unwrap().contains(reason), "{row}");
    }
    // Without looks in between the ends of the phases are read all the same.
    let (memory, _) = memory(&json!({}), &json!({}), &["--sample-interval", "off"]);
    assert_eq!(memory["peak_bytes"], 360 << 20, "{memory}");
    for wrong in ["0", "0ms", "999us", "junk", "-1s", "", "1h"] {
        let more = ["--model", "tiny-gpt2", "--sample-interval", wrong];
        let ran = Sandbox::new().scripted(&json!({}), &more).left_with(2);
        assert!(
            ran.stderr.contains("--sample-interval") && ran.stderr.contains("off"),
            "{ran}"
        );
    }
}

#[test]
fn every_fault_under_a_hard_budget_is_a_clean_row_and_the_next_trial_is_clean() {
    // One untimed and two timed repetitions of one append and two steps each.
    let table = [
        ("load", 1, "out_of_memory", "out_of_memory", "load", 0),
        ("append", 3, "out_of_memory", "out_of_memory", "prefill", 1),
        ("step", 5, "out_of_memory", "out_of_memory", "decode", 1),
        ("load", 1, "kill", "crashed", "load", 0),
        ("append", 3, "crash", "crashed", "prefill", 1),
        ("step", 5, "kill", "crashed", "decode", 1),
    ];
    for (at, nth, what, status, phase, kept) in table {
        let sandbox = Sandbox::new();
        let faulty = json!({
            "device_used_mib": 50, "memory": {"base_mib": 360},
            "fault": {"at": at, "nth": nth, "what": what},
        });
        let mut script = script(&json!({}), &json!({}));
        script["models"] = json!({"tiny-llama": faulty});
        let more = ["--model", "tiny-llama,tiny-gpt2"];
        let ran = run(&sandbox, &script, &more).left_with(6);
        let report = report(&sandbox.work().join("result.json"));
        assert_eq!(statuses(&report), [status, "ok"], "{at}: {ran}");
        let rows = report["trials"].as_array().unwrap();
        assert_eq!(rows[0]["failed_phase"], phase, "{ran}");
        assert_eq!(rows[0]["reason"].as_str().unwrap().lines().count(), 1);
        assert_eq!(rows[0]["decode_tok_s"]["n"].as_u64().unwrap_or(0), kept);
        for row in rows {
            assert_eq!(row["memory"]["enforced"], "hard", "{row}");
            assert_eq!(row["memory"]["left_free_bytes"], BUDGET, "{row}");
        }
        assert!(sandbox.processes().is_empty(), "a process is left");
    }
}

#[test]
fn what_outgrows_a_hard_budget_is_stopped_with_its_size_and_no_row_above_it_is_ok() {
    let sandbox = Sandbox::new();
    let mut script = script(&json!({}), &json!({}));
    let large = json!({"device_used_mib": 50, "memory": {"base_mib": 1100}});
    script["models"] = json!({"tiny-llama": large});
    let more = ["--model", "tiny-llama,tiny-gpt2"];
    let ran = run(&sandbox, &script, &more).left_with(6);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(statuses(&report), ["out_of_memory", "ok"], "{ran}");
    let row = &report["trials"][0];
    assert_eq!(row["failed_bytes"], 1100 << 20, "{row}");
    // Both took memory, so both are in the table of what it is made of, and so they are when the file is shown again.
    for text in [
        ran.stdout.clone(),
        sandbox.run(&["show", "result.json"]).left_with(0).stdout,
    ] {
        let table = text
            .split("\nMemory\n")
            .nth(1)
            .unwrap_or_else(|| panic!("{text}"));
        let table = table.split("\n\n").next().unwrap();
        assert!(
            table.contains("tiny-llama") && table.contains("tiny-gpt2") && table.contains("1100"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

#[test]
fn a_killed_run_leaves_neither_its_worker_nor_what_holds_memory_for_it() {
    let sandbox = Sandbox::new();
    let fault = json!({"fault": {"at": "step", "what": "hang"}});
    let engine = sandbox.script(&script(&json!({}), &json!({"default": fault})));
    let mut command = sandbox.command(&args(&engine, &["--model", "tiny-gpt2"]));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("program, holder and worker", || {
        (sandbox.processes().len() == 3).then_some(())
    });
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    until("the end of both", || {
        sandbox.processes().is_empty().then_some(())
    });
}
