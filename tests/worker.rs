//! The built program as a worker: one request line in, protocol lines out, with the scripted engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A trial of the scripted model `m`: prompt of 4, 3 generated, 2 repetitions after 1 untimed, vocabulary of 8.
fn trial(script: &Value) -> (tempfile::TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.json");
    std::fs::write(&path, script.to_string()).unwrap();
    let request = json!({
        "request": "trial",
        "trial": {
            "id": "m/plain/fp32/b1/pp4/tg3", "model": "m", "form": "plain", "precision": "fp32", "device": "cpu",
            "batch": 1, "prompt_tokens": 4, "gen_tokens": 3, "repetitions": 2, "warmup": 1, "threads": 1,
            "cuda_graph": false, "seed": 1, "budget": 1u64 << 30,
        },
        "engine": {"scripted": {"script": path}},
        "graph": "none.onnx",
        "io": {"caches": [{"kv_heads": 2, "head_dim": 4}], "vocab": 8, "shared_kv": true, "fused": true, "position_ids": false, "router_width": null},
        "weights": 10, "largest_tensor": 5, "weight_file": "", "tensors": [],
        "prompts": [[1, 2, 3, 4]],
        "golden": null, "tolerance": 1e-4, "sample_interval": 1_000_000,
        "enforce": "hard", "enforce_note": null, "device_free": null, "exclusive": false,
    });
    (folder, request)
}

fn start(request: &str) -> Child {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("edgebench"))
        .arg("__worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe stays in the child: closing it would end the worker.
    writeln!(child.stdin.as_mut().unwrap(), "{request}").unwrap();
    child
}

/// Runs to the end; the raw output and how it left.
fn finish(request: &Value) -> (String, ExitStatus) {
    let mut child = start(&request.to_string());
    let mut output = String::new();
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    (output, child.wait().unwrap())
}

fn messages(output: &str) -> Vec<Value> {
    output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of<'a>(messages: &'a [Value], kind: &str) -> Vec<&'a Value> {
    messages
        .iter()
        .filter(|message| message["message"] == kind)
        .collect()
}

fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the worker did not leave"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_trial_goes_through_its_phases_and_is_done() {
    let (_folder, request) = trial(
        &json!({"default": {"prefill_ms": 5.0, "step_ms": [2.0, 4.0], "first_run_ms": 20.0}}),
    );
    let (output, status) = finish(&request);
    assert!(status.success());
    let messages = messages(&output);
    assert_eq!(messages[0]["message"], "hello");
    assert_eq!(messages[0]["protocol"], 1);
    assert_eq!(messages.last().unwrap()["message"], "done");
    let phases: Vec<_> = of(&messages, "phase")
        .iter()
        .map(|message| message["phase"].as_str().unwrap())
        .collect();
    assert_eq!(
        phases,
        [
            "start", "runtime", "load", "warmup", "prefill", "decode", "prefill", "decode"
        ]
    );
    assert_eq!(of(&messages, "loaded")[0]["kv_cache"], 2 * 2 * 4 * 7 * 4);
    assert!(of(&messages, "warmed_up")[0]["ttft"].as_u64().unwrap() >= 25_000_000);
    let repetitions = of(&messages, "repetition");
    assert_eq!(repetitions.len(), 2);
    for repetition in repetitions {
        let timing = &repetition["timing"];
        assert!(timing["prefill"].as_u64().unwrap() >= 5_000_000);
        assert!(timing["ttft"].as_u64() >= timing["prefill"].as_u64());
        let itl: Vec<u64> = timing["itl"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step.as_u64().unwrap())
            .collect();
        assert!(
            itl.len() == 2 && itl[0] >= 2_000_000 && itl[1] >= 4_000_000,
            "{itl:?}"
        );
        assert!(timing["outside_run"].as_u64().unwrap() < itl.iter().sum());
        assert_eq!(repetition["first_ids"], json!([4, 5, 6]));
    }
    let memory = of(&messages, "memory");
    assert_eq!(memory[0]["phase"], "start");
    assert!(
        memory
            .iter()
            .all(|reading| reading["rss_anon"].as_u64().unwrap() > 0
                && reading["device_process"].is_null())
    );
}

#[test]
fn energy_and_state_are_read_around_the_timed_phases_only() {
    let power = json!({
        "source": {"Ok": "nvml_counter"}, "milliwatts": 5000,
        "throttle_reasons": [["gpu_idle"], [], [], ["sw_power_cap"]],
        "states": [{"temperature_c": {"Ok": 40.0}}, {"temperature_c": {"Ok": 55.5}}],
    });
    let (_folder, request) = trial(&json!({"default": {"power": power, "step_ms": [5.0]}}));
    let messages = messages(&finish(&request).0);
    let source = of(&messages, "energy_source");
    assert_eq!(source.len(), 1);
    assert_eq!(source[0]["source"], json!({"Ok": "nvml_counter"}));
    let marks = of(&messages, "power");
    let edges: Vec<String> = marks
        .iter()
        .map(|mark| format!("{} {}", mark["phase"], mark["edge"]).replace('"', ""))
        .collect();
    let once = ["prefill begin", "prefill end", "decode begin", "decode end"];
    assert_eq!(edges, [once, once].concat());
    for mark in &marks {
        let counter = mark["reading"]["counter_uj"]["Ok"].as_u64().unwrap();
        let at = mark["at"].as_u64().unwrap();
        // 5 W since the start: 5 microjoules each microsecond, read at the time that is told or a moment before.
        let spent = at / 200;
        assert!(counter <= spent && counter + 500_000 > spent, "{mark}");
    }
    let time = |index: usize| marks[index]["at"].as_u64().unwrap();
    for (begin, repetition) in [2, 6].into_iter().zip(of(&messages, "repetition")) {
        let itl = repetition["timing"]["itl"].as_array().unwrap();
        let steps: u64 = itl.iter().map(|step| step.as_u64().unwrap()).sum();
        assert!(steps >= 10_000_000 && time(begin + 1) - time(begin) >= steps);
    }
    assert_eq!(
        marks[3]["reading"]["throttle_reasons"],
        json!(["sw_power_cap"])
    );
    let states: Vec<&Value> = marks.iter().map(|mark| &mark["state"]).collect();
    assert_eq!(states[0]["temperature_c"], json!({"Ok": 40.0}));
    assert_eq!(states[7]["temperature_c"], json!({"Ok": 55.5}));
    assert!(states[1..7].iter().all(|state| state.is_null()));
}

#[test]
fn a_trial_that_breaks_while_decoding_still_tells_the_state_it_left() {
    let power =
        json!({"source": {"Err": "no counter here"}, "states": [{"sm_clock_mhz": {"Ok": 1500}}]});
    let fault = json!({"at": "step", "nth": 5, "what": "out_of_memory"});
    let (_folder, request) = trial(&json!({"default": {"power": power, "fault": fault}}));
    let messages = messages(&finish(&request).0);
    let source = of(&messages, "energy_source");
    assert_eq!(source[0]["source"], json!({"Err": "no counter here"}));
    let last = of(&messages, "power").pop().unwrap().clone();
    assert_eq!(
        (&last["phase"], &last["edge"]),
        (&json!("decode"), &json!("end"))
    );
    assert_eq!(last["state"]["sm_clock_mhz"], json!({"Ok": 1500}));
    assert!(last["reading"]["counter_uj"].is_null());
}

#[test]
fn one_generated_token_has_no_latency_between_tokens() {
    let (_folder, mut request) = trial(&json!({}));
    request["trial"]["gen_tokens"] = json!(1);
    let messages = messages(&finish(&request).0);
    assert_eq!(of(&messages, "repetition")[0]["timing"]["itl"], json!([]));
}

#[test]
fn memory_taken_at_load_shows_in_the_load_phase() {
    let (_folder, request) = trial(&json!({"default": {"grow_mib": 64}}));
    let messages = messages(&finish(&request).0);
    let memory = of(&messages, "memory");
    let rss = |reading: &Value| {
        reading["rss_anon"].as_u64().unwrap() + reading["rss_file"].as_u64().unwrap()
    };
    let base = rss(memory[0]);
    let most = memory
        .iter()
        .filter(|reading| reading["phase"] == "load")
        .map(|reading| rss(reading))
        .max()
        .unwrap();
    assert!(
        most - base > 60 << 20 && most - base < 80 << 20,
        "{base} {most}"
    );
}

#[test]
fn a_model_is_held_to_its_reference_before_it_is_timed() {
    let one = |id: usize| {
        (0..8)
            .map(|index| if index == id { 1.0 } else { 0.0 })
            .collect::<Vec<f32>>()
    };
    let golden =
        json!({"prompt": [1, 2, 3, 4, 5], "logits": [one(5), one(6), one(7)], "ids": [5, 6, 7]});
    let (_folder, mut request) = trial(&json!({}));
    request["golden"] = golden.clone();
    let (output, status) = finish(&request);
    let checked = messages(&output);
    assert!(status.success());
    assert_eq!(of(&checked, "checked")[0]["decode_error"], 0.0);
    assert_eq!(of(&checked, "checked")[0]["ids_equal"], true);
    assert!(of(&checked, "checked")[0]["quantization"].is_null());

    // A reference of other weights, twice as sure of itself and of another mind at the end, is told of and fails nothing.
    let twice = |id| {
        one(id)
            .iter()
            .map(|value| 2.0 * value)
            .collect::<Vec<f32>>()
    };
    request["unquantized"] = json!({"prompt": [1, 2, 3, 4, 5], "logits": [twice(5), twice(6), twice(7)], "ids": [5, 6, 1]});
    let (output, status) = finish(&request);
    assert!(status.success());
    let expected = json!({"error": 0.5, "same_top": 2, "positions": 3});
    let told = messages(&output);
    assert_eq!(of(&told, "checked")[0]["quantization"], expected);

    // At the end a text is read token by token: after five tokens it says 5, after six 6, where the reference is twice as sure and
    // has another top id at the second of them.
    request["decode_rule"] = json!({"reading": "pieces", "tolerance": 1e-4});
    request["fp32_text"] = json!({"text": [1, 2, 3, 4, 5, 6], "top": [5, 7], "sampled": [0, 5, 6], "logits": [[0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]});
    let (output, status) = finish(&request);
    assert!(status.success());
    let told = messages(&output);
    let expected = json!({"Ok": {"error": 0.5, "same_top": 1, "positions": 2}});
    assert_eq!(of(&told, "fp32_compared")[0]["facts"], expected);
    request["fp32_text"]["text"] = json!([1, 2, 3, 4, 5, 6, 7, 0]);
    let told = messages(&finish(&request).0);
    let reason = of(&told, "fp32_compared")[0]["facts"]["Err"]
        .as_str()
        .unwrap();
    assert!(
        reason.contains("8 tokens") && reason.contains("context of 7"),
        "{reason}"
    );

    // A batch has no reference of its own.
    request["trial"]["batch"] = json!(2);
    request["prompts"] = json!([[1, 2, 3, 4], [1, 2, 3, 4]]);
    assert!(of(&messages(&finish(&request).0), "checked").is_empty());

    let (_folder, mut request) = trial(&json!({"default": {"logit_offset": 0.5}}));
    request["golden"] = golden;
    let (output, status) = finish(&request);
    let differing = messages(&output);
    assert_eq!(status.code(), Some(3));
    assert_eq!(of(&differing, "checked")[0]["prefill_error"], 0.5);
    assert_eq!(differing.last().unwrap()["kind"], "model");
    assert!(of(&differing, "repetition").is_empty());
}

#[test]
fn each_scripted_fault_ends_as_it_should() {
    let table = [
        (
            json!({"at": "load", "what": "out_of_memory"}),
            "out_of_memory",
            0,
        ),
        (
            json!({"at": "append", "nth": 3, "what": "out_of_memory"}),
            "out_of_memory",
            1,
        ),
        (
            json!({"at": "step", "nth": 5, "what": "out_of_memory"}),
            "out_of_memory",
            1,
        ),
        (
            json!({"at": "open", "what": {"runtime": "no"}}),
            "runtime",
            0,
        ),
        (json!({"at": "open", "what": {"device": "no"}}), "device", 0),
        (json!({"at": "load", "what": {"model": "no"}}), "model", 0),
        (json!({"at": "load", "what": {"other": "no"}}), "other", 0),
    ];
    for (fault, kind, repetitions) in table {
        let (_folder, request) = trial(&json!({"models": {"m": {"fault": fault}}}));
        let messages = messages(&finish(&request).0);
        let last = messages.last().unwrap();
        assert_eq!(
            (&last["message"], &last["kind"]),
            (&json!("failed"), &json!(kind)),
            "{fault}"
        );
        assert_eq!(of(&messages, "repetition").len(), repetitions, "{fault}");
    }
    for (what, signal, code) in [
        (json!("crash"), Some(6), None),
        (json!("kill"), Some(9), None),
        (json!({"exit": 7}), None, Some(7)),
    ] {
        let (_folder, request) =
            trial(&json!({"default": {"fault": {"at": "step", "what": what}}}));
        let (output, status) = finish(&request);
        assert_eq!((status.signal(), status.code()), (signal, code), "{what}");
        assert!(of(&messages(&output), "done").is_empty());
    }
}

#[test]
fn garbage_and_another_protocol_come_out_as_scripted() {
    let fault = json!({"at": "append", "what": {"garbage": "hello from a library"}});
    let (_folder, request) = trial(&json!({"default": {"fault": fault}}));
    assert!(
        finish(&request)
            .0
            .lines()
            .any(|line| line == "hello from a library")
    );
    let (_folder, request) = trial(&json!({"default": {"hello_protocol": 99}}));
    assert_eq!(messages(&finish(&request).0)[0]["protocol"], 99);
}

#[test]
fn a_worker_leaves_when_its_stdin_closes_even_inside_the_engine() {
    for at in ["load", "append", "step"] {
        let (_folder, request) = trial(&json!({"default": {"fault": {"at": at, "what": "hang"}}}));
        let mut child = start(&request.to_string());
        let last = match at {
            "load" => "load",
            _ => "warmup",
        };
        let lines = BufReader::new(child.stdout.as_mut().unwrap())
            .lines()
            .map(Result::unwrap);
        let reached = lines
            .into_iter()
            .any(|line| serde_json::from_str::<Value>(&line).unwrap()["phase"] == last);
        assert!(reached && child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        assert!(wait(&mut child).success());
    }
}

#[test]
fn memory_is_held_until_stdin_closes_and_no_longer() {
    for hold in [json!({"free": 5}), json!({"fault": "hang"})] {
        let (_folder, trial) = trial(&json!({"hold": hold}));
        let request =
            json!({"request": "hold", "engine": trial["engine"], "device": 0, "leave": 7});
        let mut child = start(&request.to_string());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next =
            || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        assert_eq!(next()["message"], "hello");
        if hold["free"].is_u64() {
            let said = next();
            assert_eq!(
                (&said["message"], &said["free"]),
                (&json!("holding"), &json!(5))
            );
        }
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        assert!(wait(&mut child).success());
        assert!(lines.next().is_none(), "it has more to say");
    }
}

#[test]
fn a_probe_tells_the_scripted_facts() {
    let (folder, _) = trial(
        &json!({"probe": {"runtime_version": "9.9", "providers": ["A"], "cuda_unavailable": "no driver"}}),
    );
    let engine = json!({"scripted": {"script": folder.path().join("script.json")}});
    let (output, status) = finish(&json!({"request": "probe", "engine": engine, "device": "auto"}));
    let messages = messages(&output);
    assert!(status.success());
    let facts = of(&messages, "probed")[0];
    assert_eq!(
        (&facts["runtime_version"], &facts["cuda_unavailable"]),
        (&json!("9.9"), &json!("no driver"))
    );
}

#[test]
fn a_request_it_does_not_understand_is_a_failure_with_a_greeting() {
    for request in [json!({"request": "dance"}), json!(7)] {
        let (output, status) = finish(&request);
        let messages = messages(&output);
        assert_eq!(messages[0]["message"], "hello");
        assert_eq!(messages[1]["kind"], "other");
        assert!(!status.success());
    }
}

#[test]
fn a_missing_or_broken_script_is_named() {
    let (folder, request) = trial(&json!({"defualt": {}}));
    let said = messages(&finish(&request).0);
    assert!(
        said.last().unwrap()["reason"]
            .as_str()
            .unwrap()
            .contains("defualt")
    );
    drop(folder);
    let said = messages(&finish(&request).0);
    assert!(
        said.last().unwrap()["reason"]
            .as_str()
            .unwrap()
            .contains("could not read the script")
    );
}
