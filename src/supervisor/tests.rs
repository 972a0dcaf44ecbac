//! The supervisor against workers that are shell scripts: each way a worker can misbehave.

use super::*;
use crate::protocol::DecoderIo;
use crate::trial::Enforce;
use crate::trial::{Form, PoolReading, Trial};
use crate::units::Nanos;

pub(super) const HELLO: &str = r#"{"message":"hello","protocol":1,"version":"0","pid":1}"#;
pub(super) const LOAD: &str = r#"{"message":"phase","phase":"load","at":5}"#;
pub(super) const REPETITION: &str = r#"{"message":"repetition","timing":{"prefill":1,"ttft":2,"itl":[3],"outside_run":0},"first_ids":[4]}"#;
pub(super) const DONE: &str = r#"{"message":"done"}"#;

fn memory(at: u64, mib: u64) -> String {
    let bytes = mib << 20;
    format!(
        r#"{{"message":"memory","at":{at},"phase":"load","rss_anon":{bytes},"rss_file":0,"device_process":null,"device_used":null}}"#
    )
}

pub(super) fn request() -> TrialRequest {
    TrialRequest {
        trial: Trial {
            id: "m/plain/fp32/b1/pp2/tg2".into(),
            model: "m".into(),
            form: Form::Plain,
            prompt_tokens: 2,
            gen_tokens: 2,
            budget: Bytes(100 << 20),
            ..Trial::example()
        },
        engine: EngineKind::Scripted {
            script: "none".into(),
        },
        graph: PathBuf::new(),
        copies_graph: None,
        packing_check: None,
        io: DecoderIo {
            caches: vec![],
            vocab: 4,
            shared_kv: false,
            fused: false,
            kv_cache: Default::default(),
            position_ids: false,
            router_width: None,
            foreign: None,
            pass: None,
        },
        weights: Bytes(0),
        largest_tensor: Bytes(0),
        weight_file: PathBuf::new(),
        tensors: vec![],
        prompts: vec![vec![1, 2]],
        golden: None,
        unquantized: None,
        tolerance: 1e-4,
        decode_rule: None,
        fp32_text: None,
        output_check: false,
        router_check: None,
        whole_sequence: false,
        routing: false,
        sample_interval: Some(Nanos(1_000_000)),
        enforce: Enforce::Hard,
        enforce_note: None,
        enforce_asked: false,
        device_free: None,
        bus_id: None,
        exclusive: false,
        unified_memory: false,
    }
}

pub(super) fn shell(script: &str) -> WorkerCommand {
    WorkerCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
    }
}

/// Says the lines, then runs the rest of the script.
fn says(lines: &[&str], then: &str) -> WorkerCommand {
    let echoes: String = lines
        .iter()
        .map(|line| format!("echo '{line}'; "))
        .collect();
    shell(&format!("{echoes}{then}"))
}

fn run_with(worker: &WorkerCommand, timeout: Duration) -> TrialResult {
    run(&request(), worker, timeout, &mut |_| {})
}

pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const SHORT: Duration = Duration::from_millis(400);

#[test]
fn a_finished_trial_is_ok_and_its_events_come_in_order() {
    let worker = says(&[HELLO, LOAD, REPETITION, DONE], "exit 0");
    let mut events = Vec::new();
    let result = run(&request(), &worker, LONG, &mut |event| events.push(event));
    assert_eq!(result.outcome, Outcome::Ok);
    assert_eq!(events, [Event::Phase(Phase::Load), Event::Repetition]);
    assert_eq!((result.repetitions.len(), result.first_ids), (1, vec![4]));
}

#[test]
fn each_misbehaviour_has_its_word_and_keeps_finished_repetitions() {
    let table = [
        (
            "echo oops; exec sleep 600",
            "failed",
            "not the protocol: oops",
        ),
        (
            "echo '{\"message\":\"surprise\"}'",
            "failed",
            "not the protocol",
        ),
        (&format!("echo '{HELLO}'"), "failed", "not the protocol"),
        (
            "head -c 5000000 /dev/zero | tr '\\0' x; exec sleep 600",
            "failed",
            "more than 4 MiB",
        ),
        ("exit 0", "failed", "exit code 0 and without a result"),
        (
            "echo broken >&2; exit 3",
            "crashed",
            "in the load phase with exit code 3",
        ),
        (
            "kill -9 $$",
            "crashed",
            "SIGKILL in the load phase: usually the system's out-of-memory killer",
        ),
        ("kill -11 $$", "crashed", "SIGSEGV"),
        (
            "echo memory allocation of 17 bytes failed >&2; kill -6 $$",
            "out_of_memory",
            "in the load phase and ended (memory allocation of 17 bytes failed); the worker is held to the budget of 100.0 MiB",
        ),
        (
            "echo '{\"message\":\"failed\",\"kind\":\"out_of_memory\",\"reason\":\"too big\"}'; exit 6",
            "out_of_memory",
            "too big",
        ),
        (
            "echo '{\"message\":\"failed\",\"kind\":\"model\",\"reason\":\"bad graph\"}'; exit 3",
            "failed",
            "bad graph",
        ),
        (
            "echo '{\"message\":\"done\"}'; kill -6 $$",
            "crashed",
            "SIGABRT in the load phase after it had said",
        ),
    ];
    for (then, word, reason) in table {
        let result = run_with(&says(&[HELLO, LOAD, REPETITION], then), LONG);
        assert_eq!(
            result.outcome.status(),
            word,
            "{then}: {:?}",
            result.outcome
        );
        assert!(
            result.outcome.reason().unwrap().contains(reason),
            "{then}: {:?}",
            result.outcome
        );
        assert_eq!(result.repetitions.len(), 1, "{then}");
    }
}

#[test]
fn the_deadline_holds_for_each_phase_by_itself() {
    let result = run_with(&says(&[HELLO, LOAD], "exec sleep 600"), SHORT);
    let Outcome::TimedOut { phase, reason } = result.outcome else {
        panic!("{:?}", result.outcome)
    };
    assert_eq!(phase, Phase::Load);
    assert!(
        reason.contains("the load phase did not end within 400ms"),
        "{reason}"
    );
    // Three phases of less than the deadline each, together more than it.
    let phases = ["load", "warmup", "prefill"].map(|name| {
        format!(r#"echo '{{"message":"phase","phase":"{name}","at":1}}'; sleep 0.6; "#)
    });
    let slow = shell(&format!("echo '{HELLO}'; {}echo '{DONE}'", phases.concat()));
    assert_eq!(
        run_with(&slow, Duration::from_millis(1500)).outcome,
        Outcome::Ok
    );
}

#[test]
fn a_worker_that_outgrows_the_budget_is_ended_with_the_figures() {
    let readings = [memory(1, 50), memory(2, 150), memory(3, 151)];
    let lines = [HELLO, LOAD, &readings[0], &readings[1], &readings[2]];
    let result = run_with(&says(&lines, "exec sleep 600"), LONG);
    let Outcome::OutOfMemory {
        phase: Phase::Load,
        requested: Some(Bytes(bytes)),
        reason,
    } = &result.outcome
    else {
        panic!("{:?}", result.outcome)
    };
    assert_eq!(*bytes, 101 << 20);
    assert!(
        reason.contains("the load phase took 101.0 MiB") && reason.contains("budget is 100.0 MiB"),
        "{reason}"
    );
    assert_eq!(result.memory.len(), 2);
}

#[test]
fn another_protocol_and_a_missing_greeting_are_told_apart() {
    let other = HELLO.replace("\"protocol\":1", "\"protocol\":99");
    let result = run_with(&says(&[&other], "exec sleep 600"), LONG);
    assert!(
        result.outcome.reason().unwrap().contains("protocol 99"),
        "{:?}",
        result.outcome
    );
    let result = run_with(&says(&[LOAD], "exec sleep 600"), LONG);
    assert!(
        result
            .outcome
            .reason()
            .unwrap()
            .contains("not the protocol"),
        "{:?}",
        result.outcome
    );
}

#[test]
fn a_program_that_is_not_there_is_a_failed_trial_with_the_cause() {
    let nowhere = WorkerCommand {
        program: "/nonexistent/worker".into(),
        args: vec![],
    };
    let result = run_with(&nowhere, LONG);
    assert_eq!(result.outcome.status(), "failed");
    assert!(
        result
            .outcome
            .reason()
            .unwrap()
            .contains("/nonexistent/worker: No such file"),
        "{:?}",
        result.outcome
    );
}

#[test]
fn a_crash_keeps_the_last_words_on_stderr() {
    let result = run_with(&says(&[HELLO], "echo last words >&2; kill -6 $$"), LONG);
    let Outcome::Crashed { stderr_tail, .. } = result.outcome else {
        panic!("{:?}", result.outcome)
    };
    assert_eq!(stderr_tail, "last words");
}

#[test]
fn a_worker_that_is_done_and_stays_is_ok() {
    let result = run_with(&says(&[HELLO, LOAD, DONE], "exec sleep 600"), SHORT);
    assert_eq!(result.outcome, Outcome::Ok);
}

#[test]
fn a_probe_brings_the_facts_or_an_error_of_the_right_kind() {
    let ask = |lines: &[&str], then: &str| {
        let engine = EngineKind::Scripted {
            script: "none".into(),
        };
        probe(&engine, DeviceChoice::Auto, &says(lines, then), LONG)
    };
    let probed = r#"{"message":"probed","runtime_version":"1.2.3","providers":[]}"#;
    assert_eq!(
        ask(&[HELLO, probed, DONE], "").unwrap().runtime_version,
        "1.2.3"
    );
    let failed = |kind: &str| format!(r#"{{"message":"failed","kind":"{kind}","reason":"no"}}"#);
    assert!(matches!(
        ask(&[HELLO, &failed("device")], ""),
        Err(Error::Device(_))
    ));
    assert!(matches!(
        ask(&[HELLO, &failed("runtime")], ""),
        Err(Error::Runtime(_))
    ));
    assert!(matches!(ask(&[HELLO, DONE], ""), Err(Error::Runtime(_))));
    let crash = ask(&[HELLO], "echo bad driver >&2; kill -11 $$")
        .unwrap_err()
        .to_string();
    assert!(
        crash.contains("SIGSEGV") && crash.ends_with("(bad driver)"),
        "{crash}"
    );
}

fn look(rss: u64, own: Option<u64>, used: Option<u64>) -> MemoryReading {
    MemoryReading {
        at: crate::units::Nanos(0),
        phase: Phase::Load,
        rss_anon: Some(Bytes(rss)),
        rss_file: Some(Bytes(0)),
        device_process: own.map(Bytes),
        device_used: used.map(Bytes),
        arena: None,
        pool: None,
    }
}

#[test]
fn a_budget_counts_what_its_device_hands_out() {
    let judge = |device| OverBudget::new(device, Bytes(100));
    let mut cpu = judge(Device::Cpu);
    assert!(cpu.judge(&look(1000, Some(5000), None)).is_none());
    assert!(cpu.judge(&look(1100, None, None)).is_none());
    assert!(cpu.judge(&look(1101, None, None)).is_some());

    let mut gpu = judge(Device::Cuda(0));
    assert!(gpu.judge(&look(9000, Some(100), Some(7000))).is_none());
    assert!(gpu.judge(&look(9000, Some(101), Some(7000))).is_some());

    // One reading without the driver's word does not change the gauge.
    assert!(gpu.judge(&look(9000, None, Some(7000))).is_none());
    assert!(gpu.judge(&look(9000, None, Some(9000))).is_none());

    // Without the driver's word on this process, what everybody uses above the start has to do.
    let mut shared = judge(Device::Cuda(0));
    assert!(shared.judge(&look(0, None, Some(7000))).is_none());
    assert!(shared.judge(&look(0, None, None)).is_none());
    assert!(shared.judge(&look(0, None, Some(7101))).is_some());
}

#[test]
fn on_a_shared_memory_gpu_and_resident_memory_count_together() {
    let told = |bytes: Option<u64>| bytes.map(Bytes).ok_or_else(|| "not told".to_owned());
    let pool = |rss, process, gpu, available| MemoryReading {
        pool: Some(PoolReading {
            process: told(process),
            gpu: told(gpu),
            available: told(available),
        }),
        ..look(rss, None, Some(1 << 40))
    };
    let judge = || OverBudget::new(Device::Cuda(0), Bytes(100));
    let taken = |end: Option<End>| match end {
        Some(End::OverBudget { needed, .. }) => needed.0,
        other => panic!("{other:?}"),
    };
    // The list of clients: 60 bytes on the GPU and 41 of growth.
    let mut clients = judge();
    assert!(
        clients
            .judge(&pool(1000, None, Some(7), Some(9000)))
            .is_none()
    );
    assert!(
        clients
            .judge(&pool(1040, Some(60), Some(70), Some(1)))
            .is_none()
    );
    // A look without the list changes nothing.
    assert!(
        clients
            .judge(&pool(1000, None, Some(9999), Some(1)))
            .is_none()
    );
    assert_eq!(taken(clients.judge(&pool(1041, Some(60), None, None))), 101);

    // Without it what everybody's GPU memory has grown by.
    let mut everybody = judge();
    assert!(
        everybody
            .judge(&pool(1000, None, Some(500), Some(9000)))
            .is_none()
    );
    assert_eq!(
        taken(everybody.judge(&pool(1011, None, Some(590), Some(9000)))),
        101
    );

    // Without that the fall of what is available, in which the process's own memory is.
    let mut available = judge();
    assert!(
        available
            .judge(&pool(1000, None, None, Some(9000)))
            .is_none()
    );
    assert!(
        available
            .judge(&pool(1090, None, None, Some(8900)))
            .is_none()
    );
    assert_eq!(
        taken(available.judge(&pool(1090, None, None, Some(8899)))),
        101
    );

    // Nothing is told: nothing is judged.
    let mut silent = judge();
    assert!(silent.judge(&pool(1000, None, None, None)).is_none());
    assert!(silent.judge(&pool(9000, None, None, None)).is_none());
}
