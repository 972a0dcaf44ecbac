//! Every way a trial can end: its row says so, the run goes on, finished repetitions are kept.

use crate::sandbox::{Sandbox, report, statuses};
use serde_json::{Value, json};

/// How the trial of `tiny-llama` must end.
struct Expected {
    status: &'static str,
    phase: Option<&'static str>,
    reason: &'static str,
    repetitions: u64,
    code: i32,
}

/// Runs `tiny-llama` by the script and `tiny-gpt2` after it; returns the row of the first.
#[track_caller]
fn check(behaviour: &Value, more: &[&str], expected: &Expected) -> Value {
    let sandbox = Sandbox::new();
    let script = json!({"models": {"tiny-llama": behaviour}});
    let mut args = vec!["--model", "tiny-llama,tiny-gpt2", "-o", "result.json"];
    args.extend(more);
    let ran = sandbox.scripted(&script, &args).left_with(expected.code);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(
        statuses(&report),
        [expected.status, "ok"],
        "{behaviour}: {ran}"
    );
    assert_eq!(report["finished"], true);
    let row = &report["trials"][0];
    assert_eq!(
        row["failed_phase"],
        json!(expected.phase),
        "{behaviour}: {row}"
    );
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.contains(expected.reason), "{behaviour}: {reason}");
    assert_eq!(reason.lines().count(), 1, "{reason}");
    let kept = row["decode_tok_s"]["n"].as_u64().unwrap_or(0);
    assert_eq!(kept, expected.repetitions, "{behaviour}: {row}");
    assert_eq!(row["samples_ns"].as_array().unwrap().len() as u64, kept);
    // People are told as well, in the table and while it runs.
    assert!(
        ran.stdout.contains(expected.status)
            || ran.stdout.contains(&expected.status.replace('_', " ")),
        "{ran}"
    );
    assert!(ran.stderr.contains(expected.status), "{ran}");
    assert!(sandbox.processes().is_empty(), "a process is left");
    row.clone()
}

fn fault(at: &str, nth: u32, what: Value) -> Value {
    json!({"fault": {"at": at, "nth": nth, "what": what}})
}

// One untimed and two timed repetitions of one append and two steps each: append 3 and step 5 are in the second timed one.

fn ends(
    status: &'static str,
    phase: &'static str,
    reason: &'static str,
    repetitions: u64,
) -> Expected {
    Expected {
        status,
        phase: Some(phase),
        reason,
        repetitions,
        code: 6,
    }
}

#[test]
fn a_worker_that_dies() {
    let table = [
        (
            fault("load", 1, json!("crash")),
            ends("crashed", "load", "SIGABRT", 0),
        ),
        (
            fault("append", 3, json!("crash")),
            ends("crashed", "prefill", "SIGABRT", 1),
        ),
        (
            fault("step", 5, json!("kill")),
            ends("crashed", "decode", "SIGKILL", 1),
        ),
        (
            fault("append", 1, json!({"exit": 3})),
            ends("crashed", "warmup", "exit code 3", 0),
        ),
        (
            fault("open", 1, json!({"exit": 0})),
            ends("failed", "runtime", "without a result", 0),
        ),
    ];
    for (behaviour, expected) in table {
        check(&behaviour, &[], &expected);
    }
}

#[test]
fn a_worker_that_hangs() {
    let table = [
        (
            fault("load", 1, json!("hang")),
            ends("timed_out", "load", "--timeout", 0),
        ),
        (
            fault("step", 5, json!("hang")),
            ends("timed_out", "decode", "within 3s", 1),
        ),
    ];
    for (behaviour, expected) in table {
        check(&behaviour, &["--timeout", "3s"], &expected);
    }
}

#[test]
fn a_worker_that_says_something_else() {
    let rubbish = json!({"garbage": "Segmentation fault (not really)"});
    let table = [
        (
            fault("load", 1, rubbish.clone()),
            ends("failed", "load", "not the protocol: Segmentation fault", 0),
        ),
        (
            fault("step", 5, rubbish),
            ends(
                "failed",
                "decode",
                "not the protocol: Segmentation fault",
                1,
            ),
        ),
        (
            json!({"hello_protocol": 99}),
            ends("failed", "start", "protocol 99", 0),
        ),
    ];
    for (behaviour, expected) in table {
        check(&behaviour, &[], &expected);
    }
}

#[test]
fn an_allocation_that_is_refused() {
    for (at, nth, phase, repetitions) in [
        ("load", 1, "load", 0),
        ("append", 3, "prefill", 1),
        ("step", 5, "decode", 1),
    ] {
        let behaviour = fault(at, nth, json!("out_of_memory"));
        check(
            &behaviour,
            &[],
            &ends("out_of_memory", phase, "refused an allocation", repetitions),
        );
    }
}

#[test]
fn an_engine_that_gives_up_with_a_reason() {
    for what in ["runtime", "device", "model", "other"] {
        let behaviour = fault("load", 1, json!({what: "it would not"}));
        check(&behaviour, &[], &ends("failed", "load", "it would not", 0));
    }
}

#[test]
fn a_worker_that_outgrows_the_budget_is_out_of_memory_with_phase_and_size() {
    // A little more than the budget is seen and ended, as in a phase without a limit.
    for (at, mib, phase) in [("load", 280, "load"), ("open", 512, "runtime")] {
        let expected = ends("out_of_memory", phase, "the budget is 256.0 MiB", 0);
        let behaviour = fault(at, 1, json!({"grow_mib": mib}));
        let row = check(&behaviour, &["--vram-budget", "256M"], &expected);
        let peak = row["memory"]["peak_bytes"].as_u64().unwrap();
        assert!(peak > 256 << 20, "{row}");
        assert!(row["failed_bytes"].as_u64().unwrap() > 256 << 20, "{row}");
    }
}

#[test]
fn a_worker_that_asks_for_far_more_than_the_budget_is_refused_it() {
    // Politely by `grow_mib`, which is told; by the death of a library that does not expect it in `burst_mib`.
    for (what, reason) in [
        ("grow_mib", "could not allocate 536870912 bytes"),
        (
            "burst_mib",
            "and ended (memory allocation of 536870912 bytes failed)",
        ),
    ] {
        for (at, nth, phase, repetitions) in [
            ("load", 1, "load", 0),
            ("append", 3, "prefill", 1),
            ("step", 5, "decode", 1),
        ] {
            let behaviour = fault(at, nth, json!({what: 512}));
            let expected = ends("out_of_memory", phase, reason, repetitions);
            let row = check(&behaviour, &["--vram-budget", "256M"], &expected);
            assert_eq!(row["failed_bytes"], 512 << 20, "{row}");
            assert!(
                row["reason"]
                    .as_str()
                    .unwrap()
                    .contains("held to the budget of 256.0 MiB")
            );
            // What it did not get it did not take.
            let peak = row["memory"]["peak_bytes"].as_u64().unwrap();
            assert!(peak < 256 << 20, "{row}");
        }
    }
}

#[test]
fn what_fits_the_budget_is_not_in_its_way() {
    let sandbox = Sandbox::new();
    let script = json!({"models": {"tiny-llama": fault("step", 5, json!({"grow_mib": 200}))}});
    let more = [
        "--model",
        "tiny-llama",
        "--vram-budget",
        "256M",
        "--format",
        "json",
    ];
    let report = sandbox.scripted(&script, &more).left_with(0).json();
    let peak = report["trials"][0]["memory"]["peak_bytes"]
        .as_u64()
        .unwrap();
    assert!((200 << 20..256 << 20).contains(&peak), "{report}");
}

#[test]
fn with_try_all_what_is_predicted_not_to_fit_runs_and_what_is_too_long_does_not() {
    let sandbox = Sandbox::new();
    let run = |more: &[&str]| {
        let args = ["--vram-budget", "200M", "--format", "json", "--try-all"];
        sandbox.scripted(&json!({}), &[&args[..], more].concat())
    };
    let report = run(&["--model", "dense-120m", "--precision", "fp32"])
        .left_with(0)
        .json();
    assert_eq!(statuses(&report), ["ok"]);
    let predicted = &report["trials"][0]["memory"]["predicted_peak_bytes"];
    assert!(predicted.as_u64().unwrap() > 200 << 20, "{report}");
    run(&["--model", "tiny-gpt2", "-p", "100000"]).refused(2, &["positions"]);
}

#[test]
fn a_model_predicted_not_to_fit_is_not_started_and_that_is_no_failure() {
    let sandbox = Sandbox::new();
    // It would crash if it were started.
    let script = json!({"models": {"dense-120m": fault("open", 1, json!("crash"))}});
    let more = [
        "--model",
        "dense-120m,tiny-gpt2",
        "--precision",
        "fp32",
        "--vram-budget",
        "200M",
        "-o",
        "result.json",
    ];
    sandbox.scripted(&script, &more).left_with(0);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(statuses(&report), ["does_not_fit", "ok"]);
    let row = &report["trials"][0];
    for part in [
        "dense-120m in fp32",
        "the budget is 200.00 MiB",
        "would fit",
    ] {
        assert!(row["reason"].as_str().unwrap().contains(part), "{row}");
    }
    assert!(row["wall_s"].is_null(), "{row}");
    assert!(row["not_measured"]["wall_s"].is_string(), "{row}");
}

#[test]
fn a_probe_that_fails_ends_the_run_with_one_sentence() {
    let table = [
        (json!({"runtime": "it is too old"}), 4, "it is too old"),
        (json!({"device": "it is on fire"}), 5, "it is on fire"),
        (json!("crash"), 4, "SIGABRT"),
        (json!({"garbage": "hello"}), 4, "not the protocol: hello"),
    ];
    for (fault, code, part) in table {
        let sandbox = Sandbox::new();
        let ran = sandbox.scripted(&json!({"probe_fault": fault}), &["--model", "tiny-gpt2"]);
        ran.refused(code, &[part]);
        assert!(!sandbox.models().exists());
    }
}

#[test]
fn on_a_memory_that_cpu_and_gpu_share_both_count_and_the_source_is_named() {
    let sandbox = Sandbox::new();
    let gpu = json!({
        "index": 0, "name": "Example board", "compute_capability": "8.7",
        "memory_total": 1_u64 << 40, "memory_free": 1_u64 << 40, "unified_memory": true,
        "driver_version": null, "cuda_version": null, "power_limit_mw": null,
        "sm_clock_mhz": null, "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
    });
    let script = json!({
        "probe": {"runtime_version": "0.0.0", "providers": ["CUDAExecutionProvider"], "gpu": gpu, "cuda_unavailable": null},
        "default": {"grow_mib": 400},
    });
    let engine = sandbox.script(&script);
    let mut args = vec!["--engine", &engine, "--device", "cuda", "--format", "json"];
    args.extend(["--model", "tiny-gpt2", "--vram-budget", "64G"]);
    args.extend(crate::sandbox::QUICK);
    let report = sandbox.run(&args).left_with(0).json();
    let memory = &report["trials"][0]["memory"];
    let method = memory["method"].as_str().unwrap();
    // This machine's own files are read, and few have a list of nvmap's clients.
    assert!(
        ["MemAvailable", "NvMapMemUsed", "nvmap's list"]
            .iter()
            .any(|source| method.contains(source)),
        "{method}"
    );
    assert!(memory["peak_bytes"].is_u64(), "{report}");
}

#[test]
fn a_replay_that_reads_a_stale_buffer() {
    // It says 5 of 8 ids for ever, as fast as before.
    let stale = json!({"stale_from": 5});
    let row = check(&stale, &[], &ends("failed", "selfcheck", "decode", 2));
    let reason = row["reason"].as_str().unwrap();
    for part in [
        "after 6 tokens",
        "1.0e0 of the largest logit",
        "1.0e-4 is allowed",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    let found = &row["decode_check"];
    assert_eq!(found["passed"], false, "{row}");
    assert_eq!(
        (&found["position"], &found["error"]),
        (&json!(6), &json!(1.0))
    );
    // A batch has it in every row, and one that never gets so far has nothing to be stale.
    let more = ["--batch", "3"];
    check(
        &stale,
        &more,
        &ends("failed", "selfcheck", "after 6 tokens", 2),
    );
}

#[test]
fn decode_is_held_to_prefill_in_every_row_that_decodes() {
    let sandbox = Sandbox::new();
    let script = json!({"default": {"stale_from": 6}});
    let args = ["--model", "tiny-llama", "-o", "result.json"];
    let ran = sandbox.scripted(&script, &args).left_with(0);
    let row = &report(&sandbox.work().join("result.json"))["trials"][0];
    let expected =
        json!({"passed": true, "tolerance": 1e-4, "error": 0.0, "position": 6, "read": "pieces"});
    assert_eq!(row["decode_check"], expected, "{row}");
    assert!(
        ran.stdout
            .contains("Decode was held to prefill in one trial"),
        "{ran}"
    );
    // The check comes after everything that is measured.
    let phases = row["memory"]["readings"].as_array().unwrap().iter();
    let phases: Vec<_> = phases.map(|look| look["phase"].as_str().unwrap()).collect();
    assert_eq!(phases.last(), Some(&"decode"));
    assert!(!phases.contains(&"selfcheck"), "{phases:?}");
}

#[test]
fn a_check_that_cannot_be_made_costs_no_row() {
    // One untimed and two timed repetitions have three appends; the fourth reads again.
    let sandbox = Sandbox::new();
    let script = json!({"default": fault("append", 4, json!("out_of_memory"))});
    let args = ["--model", "tiny-llama", "-o", "result.json"];
    sandbox.scripted(&script, &args).left_with(0);
    let row = &report(&sandbox.work().join("result.json"))["trials"][0];
    assert_eq!(
        (&row["status"], &row["decode_check"]),
        (&json!("ok"), &json!(null))
    );
    let reason = row["not_measured"]["decode_check"].as_str().unwrap();
    assert!(reason.contains("no memory to read"), "{reason}");
    // One generated token comes out of the prompt.
    let args = ["--model", "tiny-llama", "-n", "1", "-o", "one.json"];
    let script = sandbox.script(&json!({"default": {"stale_from": 0}}));
    let shape = [
        "--engine", &script, "--device", "cpu", "--seed", "1", "-p", "4",
    ];
    sandbox.run(&[&shape[..], &args].concat()).left_with(0);
    let row = &report(&sandbox.work().join("one.json"))["trials"][0];
    assert_eq!(row["decode_check"], json!(null));
    let reason = row["not_measured"]["decode_check"].as_str().unwrap();
    assert!(reason.contains("no decode step"), "{reason}");
}
