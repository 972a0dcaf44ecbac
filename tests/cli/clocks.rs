//! `--lock-clocks` against a driver's library that sets nothing and writes down what it was asked to.

use crate::sandbox::{QUICK, Ran, Sandbox, names, report, statuses, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const LOCKED: [&str; 2] = ["lock graphics 1380 1380", "lock memory 5001 5001"];
const RESTORED: [&str; 2] = ["reset graphics", "reset memory"];
const MODELS: &str = "tiny-gpt2,tiny-llama";

/// A sandbox with the driver's library.
struct Machine {
    sandbox: Sandbox,
}

impl Machine {
    fn new() -> Machine {
        let sandbox = Sandbox::new();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvml/fake.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-w", "-o"])
            .arg(sandbox.path().join("libnvidia-ml.so.1"))
            .arg(source)
            .status()
            .unwrap();
        assert!(built.success());
        Machine { sandbox }
    }

    fn script(&self, behaviour: Value) -> String {
        self.sandbox.script(&json!({
            "probe": {
                "runtime_version": "0.0.0",
                "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
                "gpu": {
                    "index": 0, "name": "Scripted GPU", "compute_capability": "9.0",
                    "memory_total": 8u64 << 30, "memory_free": 8u64 << 30, "unified_memory": false,
                    "driver_version": "1.0", "cuda_version": null, "power_limit_mw": null,
                    "sm_clock_mhz": null, "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
                },
                "cuda_unavailable": null,
            },
            "models": behaviour,
        }))
    }

    /// A command that finds the library, which refuses what `mode` says.
    fn command(&self, mode: &str, behaviour: Value, more: &[&str]) -> Command {
        let engine = self.script(behaviour);
        let mut args = vec!["--engine", &engine, "--enforce", "soft", "--tune", "off"];
        args.extend(["--ceiling", "none", "-o", "result.json", "--model", MODELS]);
        args.extend(QUICK);
        args.extend(more);
        // A shell may have started the tests with SIGINT ignored, which a program inherits.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT,TERM")
            .arg(crate::sandbox::program())
            .args(args)
            .env("LD_LIBRARY_PATH", self.sandbox.path())
            .env("FAKE_NVML", mode)
            .env("FAKE_NVML_LOG", self.log_file());
        self.sandbox.settle(&mut command);
        command
    }

    fn run(&self, mode: &str, more: &[&str]) -> Ran {
        self.sandbox.finish(self.command(mode, json!({}), more))
    }

    fn log_file(&self) -> PathBuf {
        self.sandbox.path().join("nvml.log")
    }

    /// What the library was asked to set so far.
    fn calls(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Notes about clocks that are locked.
    fn notes(&self) -> Vec<String> {
        let mut names = names(&self.folder());
        names.retain(|name| name != ".lock");
        names
    }

    fn folder(&self) -> PathBuf {
        self.sandbox.path().join("cache/edgebench/clocks")
    }

    fn environment(&self) -> Value {
        report(&self.sandbox.work().join("result.json"))["environment"].clone()
    }

    /// The process that holds the clocks.
    fn keeper(&self) -> Pid {
        let name = &self.notes()[0];
        let note = report(&self.folder().join(name));
        Pid::from_raw(note["pid"].as_i64().unwrap().try_into().unwrap()).unwrap()
    }

    /// A run whose second trial never ends.
    fn hanging(&self) -> Command {
        let hang = json!({"tiny-llama": {"fault": {"at": "step", "what": "hang"}}});
        self.command("", hang, &["--device", "cuda", "--lock-clocks"])
    }

    /// A run that never ends by itself, its clocks locked.
    fn under_way(&self) -> Child {
        let mut command = self.hanging();
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.process_group(0).spawn().unwrap();
        let path = self.sandbox.work().join("result.json");
        until("the first trial", || {
            let there = path.exists().then(|| report(&path));
            there.filter(|report| statuses(report)[0] == "ok")
        });
        until("the worker of the second", || {
            (self.sandbox.processes().len() == 3).then_some(())
        });
        assert_eq!(self.calls(), LOCKED);
        assert_eq!(self.notes().len(), 1);
        child
    }

    /// Ends such a run; the signal it left with, once no process of it is left.
    fn end(&self, how: impl FnOnce(Pid)) -> Option<i32> {
        let mut child = self.under_way();
        how(Pid::from_child(&child));
        let status = child.wait().unwrap();
        until("the end of all", || {
            self.sandbox.processes().is_empty().then_some(())
        });
        status.signal()
    }
}

#[test]
fn without_the_flag_nothing_is_set_and_the_result_says_what_was_free() {
    let machine = Machine::new();
    let ran = machine.run("", &["--device", "cuda"]).left_with(0);
    assert!(machine.calls().is_empty() && machine.notes().is_empty());
    assert!(ran.stderr.contains("--lock-clocks was not given"), "{ran}");
    let environment = machine.environment();
    assert_eq!(environment["locked_clocks"], Value::Null);
    let reason = environment["not_measured"]["locked_clocks"]
        .as_str()
        .unwrap();
    assert!(reason.contains("--lock-clocks"), "{reason}");
    let ran = machine
        .run("", &["--device", "cuda", "--repeat", "2"])
        .left_with(0);
    let words = ran
        .stdout
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        words.contains("Not pinned down: clocks (--lock-clocks was not given"),
        "{ran}"
    );
    machine
        .run("", &["--device", "cuda", "--lock-clocks", "--dry-run"])
        .left_with(0);
    assert!(machine.calls().is_empty() && machine.notes().is_empty());
}

#[test]
fn they_are_locked_for_the_run_written_down_and_restored() {
    let machine = Machine::new();
    let ran = machine
        .run("", &["--device", "cuda", "--lock-clocks"])
        .left_with(0);
    assert!(ran.stderr.contains("locked at 1380 MHz"), "{ran}");
    assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
    assert!(machine.notes().is_empty());
    let locked = machine.environment()["locked_clocks"].clone();
    assert_eq!(locked["gpu"], "Fake GPU");
    assert_eq!(
        (&locked["graphics_mhz"], &locked["memory_mhz"]),
        (&json!(1380), &json!(5001))
    );
    assert_eq!(locked["before"]["application_graphics_mhz"], 1590);
    assert!(
        locked["rule"].as_str().unwrap().contains("1400 MHz"),
        "{locked}"
    );
}

#[test]
fn a_memory_clock_that_cannot_be_locked_is_null_with_a_reason() {
    let machine = Machine::new();
    machine
        .run("memory_unsupported", &["--device", "cuda", "--lock-clocks"])
        .left_with(0);
    let locked = machine.environment()["locked_clocks"].clone();
    assert_eq!(
        (&locked["graphics_mhz"], &locked["memory_mhz"]),
        (&json!(1380), &Value::Null)
    );
    assert!(
        locked["memory_reason"]
            .as_str()
            .unwrap()
            .contains("not support")
    );
    assert_eq!(machine.calls().last().unwrap(), "reset memory refused");
    assert!(machine.notes().is_empty());
}

#[test]
fn trials_that_fail_leave_no_clock_locked() {
    let machine = Machine::new();
    let crash = json!({"tiny-gpt2": {"fault": {"at": "step", "what": "crash"}}});
    let command = machine.command("", crash, &["--device", "cuda", "--lock-clocks"]);
    machine.sandbox.finish(command).left_with(6);
    assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
    assert!(machine.notes().is_empty());
}

#[test]
fn what_cannot_be_locked_stops_the_run_in_one_sentence_with_nothing_half_locked() {
    let refused = |call: &str| format!("{call} refused");
    let table: [(&str, &str, Vec<String>); 3] = [
        (
            "permission",
            "not allow",
            [LOCKED[0], RESTORED[0], RESTORED[1]].map(refused).to_vec(),
        ),
        (
            "memory_permission",
            "memory's clock",
            vec![
                LOCKED[0].into(),
                refused(LOCKED[1]),
                RESTORED[0].into(),
                RESTORED[1].into(),
            ],
        ),
        ("unsupported", "not support", Vec::new()),
    ];
    for (mode, part, calls) in table {
        let machine = Machine::new();
        machine
            .run(mode, &["--device", "cuda", "--lock-clocks"])
            .refused(5, &["--lock-clocks", part, "root", "leave the flag out"]);
        assert_eq!(machine.calls(), calls, "{mode}");
        assert!(machine.notes().is_empty(), "{mode}");
    }
}

#[test]
fn without_a_gpu_or_its_driver_the_flag_is_refused() {
    let machine = Machine::new();
    machine
        .run("", &["--device", "cpu", "--lock-clocks"])
        .refused(2, &["--lock-clocks", "--device cpu"]);
    let mut command = machine.command("", json!({}), &["--device", "cuda", "--lock-clocks"]);
    let empty = machine.sandbox.path().join("work");
    std::fs::write(empty.join("libnvidia-ml.so.1"), "").unwrap();
    command.env("LD_LIBRARY_PATH", empty);
    let ran = machine.sandbox.finish(command);
    ran.refused(5, &["--lock-clocks", "leave the flag out"]);
    assert!(machine.calls().is_empty());
}

#[test]
fn a_signal_from_the_keyboard_restores_them() {
    let machine = Machine::new();
    let signal = machine.end(|pid| kill_process_group(pid, Signal::INT).unwrap());
    assert_eq!(signal, Some(2));
    assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
    assert!(machine.notes().is_empty());
}

#[test]
fn so_does_a_request_to_end_to_the_program_or_to_all_its_processes() {
    for all in [false, true] {
        let machine = Machine::new();
        let signal = machine.end(|pid| {
            if all {
                kill_process(machine.keeper(), Signal::TERM).unwrap();
            }
            kill_process(pid, Signal::TERM).unwrap();
        });
        assert_eq!(signal, Some(15));
        assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
        assert!(machine.notes().is_empty());
    }
}

#[test]
fn a_program_that_is_killed_leaves_them_to_the_process_that_holds_them() {
    let machine = Machine::new();
    let signal = machine.end(|pid| kill_process(pid, Signal::KILL).unwrap());
    assert_eq!(signal, Some(9));
    assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
    assert!(machine.notes().is_empty());
}

#[test]
fn where_both_are_killed_the_next_start_restores_them_and_says_so() {
    let machine = Machine::new();
    machine.end(|pid| {
        kill_process(machine.keeper(), Signal::KILL).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    });
    assert_eq!(machine.calls(), LOCKED);
    assert_eq!(machine.notes().len(), 1);
    // Where it may not, it says what to do and keeps the note.
    let ran = machine
        .run("reset_permission", &["--device", "cpu", "--quiet"])
        .left_with(0);
    assert!(ran.stderr.contains("could not be restored"), "{ran}");
    assert!(ran.stderr.contains("nvidia-smi"), "{ran}");
    assert_eq!(machine.notes().len(), 1);
    let ran = machine
        .run("", &["--device", "cpu", "--quiet"])
        .left_with(0);
    let said = ran
        .stderr
        .lines()
        .filter(|line| line.contains("are restored"));
    assert_eq!(said.count(), 1, "{ran}");
    assert_eq!(machine.calls()[4..], RESTORED);
    assert!(machine.notes().is_empty());
    let ran = machine
        .run("", &["--device", "cpu", "--quiet"])
        .left_with(0);
    assert!(
        !ran.stderr.contains("restored") && machine.calls().len() == 6,
        "{ran}"
    );
}

#[test]
fn a_second_run_on_the_same_gpu_is_refused_and_leaves_the_first_alone() {
    let machine = Machine::new();
    machine.end(|pid| {
        // By the script of the first, whose worker may only be about to read it.
        let second = machine.hanging();
        machine
            .sandbox
            .finish(second)
            .refused(5, &["--lock-clocks", "another run"]);
        assert_eq!(machine.calls(), LOCKED);
        kill_process(pid, Signal::TERM).unwrap();
    });
    assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
}

#[test]
fn a_run_whose_clocks_got_free_says_so_and_restores_them() {
    let machine = Machine::new();
    let slow = json!({"tiny-llama": {"step_ms": [300.0]}});
    let mut command = machine.command("", slow, &["--device", "cuda", "--lock-clocks"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    until("the note", || {
        (machine.notes().len() == 1 && machine.calls() == LOCKED).then_some(())
    });
    kill_process(machine.keeper(), Signal::KILL).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(
        said.contains("ended before the run did") && said.contains("are restored"),
        "{said}"
    );
    assert_eq!(machine.calls(), [LOCKED, RESTORED].concat());
}
