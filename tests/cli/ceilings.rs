//! Ceilings found by running: bounds with what limits them, every fault at the edge, and failures that are remembered.

use crate::sandbox::{Ran, Sandbox, names, report, statuses};
use serde_json::{Value, json};

/// A machine with a GPU of 8 GiB whose memory a trial fills as the script says: 360 MiB and 1,400 bytes for each position, which is
/// near what is predicted for `tiny-gpt2`.
fn gpu(unified: bool, behaviour: Value) -> Value {
    let mut default = json!({
        "device_used_mib": 50,
        "memory": {"base_mib": 360, "bytes_per_token": 1400},
    });
    for (name, value) in behaviour.as_object().unwrap() {
        match value.as_object() {
            Some(fields) if name == "memory" => {
                default["memory"]
                    .as_object_mut()
                    .unwrap()
                    .extend(fields.clone());
            }
            _ => default[name] = value.clone(),
        }
    }
    json!({
        "probe": {
            "runtime_version": "0.0.0",
            "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
            "gpu": {
                "index": 0, "name": "Scripted GPU", "compute_capability": "9.0",
                "memory_total": 8u64 << 30, "memory_free": 8u64 << 30, "unified_memory": unified,
                "driver_version": "1.0", "cuda_version": null, "power_limit_mw": null, "sm_clock_mhz": null,
                "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
            },
            "cuda_unavailable": null,
        },
        "default": default,
    })
}

/// Runs one trial of 64+32 tokens on that machine and searches for what `--ceiling` says.
fn search(sandbox: &Sandbox, script: &Value, ceiling: &str, more: &[&str]) -> Ran {
    let engine = sandbox.script(script);
    let mut args = vec!["--engine", &engine, "--device", "cuda", "-o", "result.json"];
    args.extend(["--ceiling", ceiling]);
    args.extend(SHAPE);
    args.extend(more);
    sandbox.run(&args)
}

/// The ceilings of a run that went well, each with reasons for what it lacks.
#[track_caller]
fn ceilings(sandbox: &Sandbox, ran: Ran) -> Vec<Value> {
    ran.left_with(0);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(report["finished"], true);
    assert!(
        statuses(&report).iter().all(|status| *status == "ok"),
        "{report}"
    );
    let ceilings = report["ceilings"].as_array().unwrap().clone();
    for ceiling in &ceilings {
        for (name, value) in ceiling.as_object().unwrap() {
            let told = ceiling["not_measured"][name].is_string();
            assert_eq!(value.is_null(), told, "{name} of {ceiling}");
        }
        let trials = ceiling["trials"].as_array().unwrap();
        assert!(trials.len() <= 8, "{ceiling}");
        let failed = |trial: &&Value| trial["status"] != "ok";
        let least = trials
            .iter()
            .filter(failed)
            .filter_map(|trial| trial["size"].as_u64())
            .min();
        if ceiling["remembered_from"].is_null() && ceiling["limited_by"] != "throughput_cliff" {
            assert_eq!(ceiling["fails"].as_u64(), least, "{ceiling}");
        }
    }
    assert!(sandbox.processes().is_empty(), "a process is left");
    ceilings
}

#[track_caller]
fn one(sandbox: &Sandbox, ran: Ran) -> Value {
    let mut ceilings = ceilings(sandbox, ran);
    assert_eq!(ceilings.len(), 1);
    ceilings.remove(0)
}

/// What was found, in one line: `fits/fails/limited_by/failed_phase`.
fn found(ceiling: &Value) -> String {
    let word = |name: &str| match &ceiling[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    ["fits", "fails", "limited_by", "failed_phase"]
        .map(word)
        .join("/")
}

fn sizes(ceiling: &Value) -> Vec<u64> {
    let trials = ceiling["trials"].as_array().unwrap().iter();
    trials
        .map(|trial| trial["size"].as_u64().unwrap())
        .collect()
}

/// One trial; the seed is one that has no reference logits.
const SHAPE: [&str; 8] = ["--seed", "1", "-p", "64", "-n", "32", "-r", "1"];

/// A sequence of 96 positions takes 134,400 bytes, so 312.08 of them fit in the 40 MiB above the base.
const BUDGET: [&str; 4] = ["--model", "tiny-gpt2", "--vram-budget", "400M"];

#[test]
fn contexts_and_batches_are_searched_for_on_a_gpu_without_being_asked() {
    let sandbox = Sandbox::new();
    let engine = sandbox.script(&gpu(false, json!({})));
    let mut args = vec!["--engine", &engine, "--device", "cuda", "-o", "result.json"];
    args.extend(SHAPE);
    args.extend(BUDGET);
    let ran = sandbox.run(&args);
    for line in [
        "tiny-gpt2 fused fp16, context: fits 128 (positions), peak 360 MiB",
        "tiny-gpt2 fused fp16, batch 64+32: fits 312, fails 313 (memory), peak 400 MiB",
    ] {
        assert!(ran.stderr.contains(line), "{ran}");
    }
    assert!(
        ran.stdout.contains("limited by") && ran.stdout.contains("Longest context"),
        "{ran}"
    );
    let ceilings = ceilings(&sandbox, ran);
    let [context, batch] = ceilings.as_slice() else {
        panic!("{ceilings:?}")
    };
    assert_eq!(found(context), "128/-/positions/-");
    assert_eq!(
        found(batch).split('/').take(3).collect::<Vec<_>>(),
        ["312", "313", "memory"]
    );
    assert_eq!(context["peak_bytes"], (360 << 20) + 128 * 1400);
    assert_eq!(batch["peak_bytes"], (360 << 20) + 312 * 134_400);
    assert!(
        context["decode_tok_s"].as_f64().unwrap() > 0.0
            && context["ttft_ms"].as_f64().unwrap() > 0.0
    );
    assert!(sizes(batch).len() <= 5, "{batch}");
    let shown = sandbox.run(&["show", "result.json"]).left_with(0);
    assert!(
        shown
            .stdout
            .contains("batch 64+32  tiny-gpt2  fp16        312    313  memory"),
        "{shown}"
    );
    let lines = sandbox
        .run(&["show", "result.json", "--format", "jsonl"])
        .left_with(0);
    assert_eq!(lines.stdout.lines().count(), 3);
}

#[test]
fn ceilings_of_two_results_are_compared_where_both_have_them() {
    let sandbox = Sandbox::new();
    let found = |memory: Value, ceiling: &str, name: &str| {
        let script = gpu(false, json!({"memory": memory}));
        search(&sandbox, &script, ceiling, &BUDGET).left_with(0);
        let work = sandbox.work();
        std::fs::rename(work.join("result.json"), work.join(name)).unwrap();
        // The failures of one machine are not another's.
        sandbox.run(&["cache", "clear"]).left_with(0);
    };
    found(json!({}), "context,batch", "a.json");
    found(json!({"base_mib": 380}), "batch", "b.json");
    let compare = |format: &str| {
        let args = ["compare", "a.json", "b.json", "--format", format];
        sandbox.run(&args).left_with(0)
    };
    let ceilings = compare("json").json()["against"][0]["ceilings"].clone();
    assert_eq!(ceilings.as_array().unwrap().len(), 1, "{ceilings}");
    let (fits, other) = (
        &ceilings[0]["baseline"]["fits"],
        &ceilings[0]["other"]["fits"],
    );
    // 20 MiB above the base hold 156.04 sequences.
    assert_eq!(
        (fits, other, &ceilings[0]["ratio"]),
        (&json!(312), &json!(156), &json!(0.5))
    );
    for format in ["table", "markdown"] {
        let text = compare(format).stdout;
        let line = text.lines().find(|line| line.contains("batch 64+32"));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        for part in ["tiny-gpt2", "fp16", "312", "156", "0.50", "memory"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[test]
fn a_context_is_found_to_64_tokens() {
    let memory = json!({"memory": {"base_mib": 418, "bytes_per_token": 24_000}});
    let sandbox = Sandbox::new();
    // 524 tokens fit in the 12 MiB above the base.
    let more = ["--model", "alchemist-16m", "--vram-budget", "430M"];
    let ceiling = one(
        &sandbox,
        search(&sandbox, &gpu(false, memory), "context", &more),
    );
    assert_eq!(found(&ceiling), "512/576/memory/load");
    assert_eq!(
        (&ceiling["granularity"], &ceiling["batch"]),
        (&json!(64), &json!(1))
    );
    assert!(sizes(&ceiling).len() <= 5, "{ceiling}");
}

#[test]
fn the_largest_model_is_one_that_ran() {
    let sandbox = Sandbox::new();
    // Nothing runs but the smallest; the others are predicted to fit.
    let mut script = gpu(false, json!({"memory": {"base_mib": 900}}));
    script["models"]["alchemist-16m"] = json!({"device_used_mib": 50, "memory": {"base_mib": 400}});
    let more = ["--model", "alchemist-16m", "--vram-budget", "470M"];
    let ceiling = one(&sandbox, search(&sandbox, &script, "model", &more));
    assert_eq!(
        (&ceiling["model"], &ceiling["precision"]),
        (&json!("alchemist-16m"), &json!("fp32"))
    );
    let larger = &ceiling["larger"];
    assert!(
        larger["status"].is_string() && larger["reason"].is_string(),
        "{ceiling}"
    );
    assert_eq!(ceiling["peak_bytes"], 400 << 20);
}

#[test]
fn on_the_cpu_nothing_is_searched_for_unless_asked() {
    let sandbox = Sandbox::new();
    let ran = sandbox.scripted(&json!({}), &["--model", "tiny-gpt2", "-o", "result.json"]);
    assert!(ran.stderr.contains("--ceiling context,batch"), "{ran}");
    assert!(!ran.stdout.contains("eiling"), "{ran}");
    assert_eq!(
        report(&sandbox.work().join("result.json"))["ceilings"],
        json!([])
    );
    let none = ["--model", "tiny-gpt2", "--ceiling", "none"];
    let ran = sandbox.scripted(&json!({}), &none).left_with(0);
    assert!(!ran.stderr.contains("ceiling"), "{ran}");
}

#[test]
fn memory_that_is_refused_at_the_edge_is_a_bound_with_its_phase() {
    for (at, phase) in [("load", "load"), ("append", "prefill"), ("step", "decode")] {
        let fault = json!({"fault": {"at": at, "what": "out_of_memory", "above_mib": 399}});
        let sandbox = Sandbox::new();
        let ceiling = one(
            &sandbox,
            search(&sandbox, &gpu(false, fault), "batch", &BUDGET),
        );
        assert_eq!(found(&ceiling), format!("304/305/memory/{phase}"));
        let reason = ceiling["reason"].as_str().unwrap();
        assert!(reason.contains("refused an allocation"), "{reason}");
    }
}

#[test]
fn a_worker_that_is_killed_in_mid_search_is_a_bound_and_the_search_goes_on() {
    let fault = json!({"fault": {"at": "step", "what": "kill", "above_mib": 399}});
    let sandbox = Sandbox::new();
    let ran = search(&sandbox, &gpu(false, fault), "context,batch", &BUDGET);
    assert!(ran.stdout.contains("SIGKILL"), "{ran}");
    let ceilings = ceilings(&sandbox, ran);
    assert_eq!(found(&ceilings[0]), "128/-/positions/-");
    assert_eq!(found(&ceilings[1]), "304/305/failure/decode");
}

#[test]
fn a_size_that_runs_from_borrowed_memory_does_not_count() {
    let spill = json!({"step_ms": [2.0], "memory": {"spills_above_mib": 399}});
    let sandbox = Sandbox::new();
    let ran = search(&sandbox, &gpu(false, spill), "batch", &BUDGET);
    assert!(ran.stdout.contains("throughput cliff"), "{ran}");
    let ceiling = one(&sandbox, ran);
    assert_eq!(found(&ceiling), "304/305/throughput_cliff/-");
    let reason = ceiling["reason"].as_str().unwrap();
    assert!(
        reason.contains("it ran, but a decode step took"),
        "{reason}"
    );
    // It is no failure: nothing is remembered.
    assert!(names(&sandbox.path().join("cache/edgebench/ceilings")).is_empty());
}

/// The same on the CPU, where nobody has to tell who else uses the device: above 40 MiB, 312 sequences, nothing is given.
fn on_cpu(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let engine = sandbox.script(&json!({"default": {
        "memory": {"bytes_per_token": 1400},
        "fault": {"at": "step", "what": "out_of_memory", "above_mib": 40},
    }}));
    let mut args = vec!["--engine", &engine, "--device", "cpu", "-o", "result.json"];
    args.extend(["--ceiling", "batch", "--model", "tiny-gpt2"]);
    args.extend(SHAPE);
    args.extend(more);
    sandbox.run(&args)
}

#[test]
fn a_remembered_failure_is_not_tried_again_until_it_is_forgotten() {
    let sandbox = Sandbox::new();
    const BUDGET: [&str; 2] = ["--vram-budget", "400M"];
    let run = |more: &[&str]| one(&sandbox, on_cpu(&sandbox, more));
    let first = run(&BUDGET);
    let fails = first["fails"].as_u64().unwrap();
    assert!(fails > 312 && first["remembered_from"].is_null(), "{first}");
    let second = run(&BUDGET);
    assert!(sizes(&second).iter().all(|size| *size < fails), "{second}");
    assert!(second["fails"].as_u64().unwrap() <= fails, "{second}");
    let list = sandbox.run(&["cache"]).left_with(0);
    assert!(list.stdout.contains("ceilings/failures.json"), "{list}");
    // What is remembered now is the smallest there is; nothing is left but to say so.
    let mut last = second;
    for _ in 0..8 {
        if last["remembered_from"].is_null() {
            last = run(&BUDGET);
        }
    }
    let date = last["remembered_from"].as_str();
    assert!(date.is_some_and(|date| date.ends_with('Z')), "{last}");
    // Another budget is another search, and so is another way to hold it.
    for other in [
        &["--vram-budget", "390M"][..],
        &["--vram-budget", "400M", "--enforce", "soft"],
    ] {
        let other = run(other);
        assert!(other["remembered_from"].is_null(), "{other}");
    }
    sandbox.run(&["cache", "clear"]).left_with(0);
    assert!(!sandbox.run(&["cache"]).stdout.contains("failures"));
    // The worker's own memory varies by a few sequences from run to run, so the sizes need not be those of the first.
    let again = run(&BUDGET);
    assert!(again["remembered_from"].is_null(), "{again}");
    assert!(again["fails"].as_u64().is_some(), "{again}");
}

#[test]
fn a_row_that_ran_out_of_memory_is_not_tried_again() {
    let sandbox = Sandbox::new();
    let fault = json!({"fault": {"at": "step", "what": "out_of_memory", "above_mib": 372}});
    let more = [&BUDGET[..], &["--precision", "fp16", "--batch", "1,94"]].concat();
    let ran = search(&sandbox, &gpu(false, fault), "batch", &more);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(statuses(&report), ["ok", "out_of_memory"], "{ran}");
    let ceiling = &report["ceilings"][0];
    assert_eq!(found(ceiling), "93/94/memory/warmup");
    assert!(ceiling["remembered_from"].is_null());
    assert!(sizes(ceiling).iter().all(|size| *size < 94), "{ceiling}");
}

#[test]
fn without_a_reading_of_memory_there_is_no_ceiling() {
    let sandbox = Sandbox::new();
    let mut script = gpu(false, json!({}));
    script["default"] = json!({});
    let ceilings = ceilings(
        &sandbox,
        search(&sandbox, &script, "context,batch", &BUDGET),
    );
    for ceiling in ceilings {
        assert_eq!(ceiling["status"], "not_searched", "{ceiling}");
        let reason = ceiling["reason"].as_str().unwrap();
        assert!(reason.contains("its memory was not read"), "{reason}");
    }
}

#[test]
fn a_damaged_memory_of_failures_is_told_and_written_anew() {
    let sandbox = Sandbox::new();
    let file = sandbox
        .path()
        .join("cache/edgebench/ceilings/failures.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[{").unwrap();
    let ran = on_cpu(&sandbox, &["--vram-budget", "400M"]);
    let warned = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning: "));
    assert_eq!(
        warned.filter(|line| line.contains("failures.json")).count(),
        1,
        "{ran}"
    );
    assert!(one(&sandbox, ran)["fails"].as_u64() > Some(312));
    assert_eq!(report(&file).as_array().unwrap().len(), 1);
}

#[test]
fn where_cpu_and_gpu_share_one_memory_a_margin_is_kept() {
    let sandbox = Sandbox::new();
    let ceiling = one(
        &sandbox,
        search(&sandbox, &gpu(true, json!({})), "batch", &BUDGET),
    );
    let reason = ceiling["reason"].as_str().unwrap();
    assert!(
        reason.contains("so that this machine does not run out of memory"),
        "{reason}"
    );
    // 95 % of 400 MiB, or of what is free here, of which the worker takes a few MiB for itself.
    const OWN: u64 = 8 << 20;
    assert_eq!(ceiling["limited_by"], "margin", "{ceiling}");
    let margin = ceiling["margin_bytes"].as_u64().unwrap();
    assert!(margin <= 380 << 20);
    let peaks = ceiling["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| trial["peak_bytes"].as_u64().unwrap());
    assert!(peaks.max().unwrap() <= margin + OWN, "{ceiling}");
    let fits = ceiling["fits"].as_u64().unwrap();
    let most = (margin - (360 << 20)) / 134_400;
    assert!(
        fits <= most + OWN / 134_400 && fits >= most - OWN / 134_400,
        "{fits} of {most}: {ceiling}"
    );
}

#[test]
fn a_model_whose_trial_did_not_run_is_not_searched_for() {
    let sandbox = Sandbox::new();
    let script = gpu(false, json!({"fault": {"at": "load", "what": "crash"}}));
    search(&sandbox, &script, "context,batch", &BUDGET).left_with(6);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(report["finished"], true);
    for ceiling in report["ceilings"].as_array().unwrap() {
        assert_eq!(
            (&ceiling["status"], &ceiling["trials"]),
            (&json!("not_searched"), &json!([]))
        );
        assert!(
            ceiling["reason"].as_str().unwrap().contains("SIGABRT"),
            "{ceiling}"
        );
    }
}

#[test]
fn the_stream_ends_with_the_ceilings() {
    let sandbox = Sandbox::new();
    let script = gpu(false, json!({}));
    let more = [&BUDGET[..], &["--format", "jsonl"]].concat();
    let ran = search(&sandbox, &script, "context,batch", &more).left_with(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{ran}");
    assert_eq!(lines[0]["status"], "ok");
    assert_eq!(lines[1]["ceiling"]["kind"], "context");
    assert_eq!(lines[2]["ceiling"]["fails"], 313);
}

#[test]
fn the_ceilings_of_test_size_models_on_the_cpu_are_measured() {
    let sandbox = Sandbox::new();
    let args = [
        "--device",
        "cpu",
        "--model",
        "tiny-llama",
        "--ceiling",
        "context,batch",
        "--vram-budget",
        "120M",
        "-r",
        "1",
        "-o",
        "result.json",
    ];
    let ceilings = ceilings(&sandbox, sandbox.run(&args));
    let [context, batch] = ceilings.as_slice() else {
        panic!("{ceilings:?}")
    };
    assert_eq!(found(context), "128/-/positions/-");
    // How much a row of a batch takes is the runtime's affair; the bounds are what ran.
    let (fits, peak) = (
        batch["fits"].as_u64().unwrap(),
        batch["peak_bytes"].as_u64().unwrap(),
    );
    assert!(
        fits > 16 && (60 << 20..=120 << 20).contains(&peak),
        "{batch}"
    );
    assert!(batch["decode_tok_s"].as_f64().unwrap() > 0.0);
    match batch["limited_by"].as_str() {
        Some("memory") => assert_eq!(batch["fails"].as_u64(), Some(fits + 1), "{batch}"),
        Some("margin") => assert!(
            batch["reason"].as_str().unwrap().contains("95 %"),
            "{batch}"
        ),
        _ => assert_eq!(batch["status"], "not_closed", "{batch}"),
    }
}
