//! Facts in, findings out: each machine and each thing that can be wrong with it.

use super::*;
use crate::device::{machine, recorded};
use crate::protocol::{
    CudaSeen, DeviceMemory, DriverFacts, DriverGpu, FOUND_NOWHERE, GpuFacts, GpuProcess, ProbeFacts,
};

const NO_NVML: &str = "NVML could not be loaded (libnvidia-ml.so.1: not found)";

/// A recorded machine whose worker found this.
fn facts(tree: &str, driver: Told<DriverFacts>, probe: Told<ProbeFacts>) -> Facts {
    Facts {
        program: Program {
            version: "1.0.0".into(),
            commit: None,
            arch: "x86_64".into(),
        },
        device: DeviceChoice::Auto,
        machine: machine(recorded(tree).0.path()),
        runtime: Ok(Runtime {
            path: "/ort/libonnxruntime.so".into(),
            origin: "--ort".into(),
        }),
        answers: Answers {
            driver,
            probe,
            own_process: Ok(Bytes(1)),
            asked: true,
            failure: None,
        },
        kernels: Err("not looked at".into()),
        payload: None,
    }
}

fn cuda_build() -> ProbeFacts {
    ProbeFacts {
        runtime_version: "1.31.1".into(),
        providers: vec![
            "CUDAExecutionProvider".into(),
            "CPUExecutionProvider".into(),
        ],
        ..ProbeFacts::default()
    }
}

/// A runtime with a CUDA provider that cannot be used, for this reason.
fn refused(reason: &str) -> Told<ProbeFacts> {
    Ok(ProbeFacts {
        cuda_unavailable: Some(reason.into()),
        ..cuda_build()
    })
}

/// A card that everything is well with.
fn works() -> Facts {
    let gpu = GpuFacts {
        compute_capability: "7.5".into(),
        memory_total: Bytes(4 << 30),
        memory_free: Bytes(3 << 30),
        libraries: vec!["/usr/local/cuda/lib64/libcudart.so.13".into()],
        ..GpuFacts::default()
    };
    let driver = DriverFacts {
        driver_version: Ok("580.1".into()),
        cuda_version: Ok("13.0".into()),
        gpus: vec![DriverGpu {
            name: Ok("NVIDIA GeForce GTX 1650".into()),
            throttle_reasons: Ok(vec!["gpu_idle".into()]),
            processes: Ok(Vec::new()),
            temperature_c: Ok(40),
            slowdown_temperature_c: Ok(90),
            ..DriverGpu::unknown(0, "not supported on this GPU")
        }],
        ..DriverFacts::default()
    };
    let probe = ProbeFacts {
        gpu: Some(gpu),
        ..cuda_build()
    };
    let mut facts = facts("laptop", Ok(driver), Ok(probe));
    facts.machine.on_battery = Ok(false);
    facts.machine.zones.clear();
    facts.machine.governor = Ok("performance".into());
    facts
}

fn gpu_of(facts: &mut Facts) -> &mut DriverGpu {
    &mut facts.answers.driver.as_mut().unwrap().gpus[0]
}

fn codes(facts: &Facts) -> Vec<(&'static str, &'static str)> {
    let findings = diagnose(facts).findings;
    let codes = findings.iter();
    codes
        .map(|finding| (finding.severity.word(), finding.code))
        .collect()
}

/// The one finding with this code.
fn finding(facts: &Facts, code: &str) -> Finding {
    let mut found = diagnose(facts).findings.into_iter();
    let first = found.find(|finding| finding.code == code);
    assert!(found.all(|finding| finding.code != code), "{code} twice");
    first.unwrap_or_else(|| panic!("no {code} in {:?}", codes(facts)))
}

#[test]
fn a_machine_that_is_well_has_no_findings() {
    let facts = works();
    assert_eq!(codes(&facts), []);
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.usable, Usable::Cuda(0));
    assert!(diagnosis.verdict.contains("GTX 1650 (cuda:0)"));
}

#[test]
fn without_a_gpu_only_notes_remain_unless_cuda_was_asked_for() {
    let probe = ProbeFacts {
        providers: vec!["CPUExecutionProvider".into()],
        cuda_unavailable: Some("no provider; name one".into()),
        ..cuda_build()
    };
    let mut facts = facts("no_gpu", Err(NO_NVML.into()), Ok(probe));
    let expected = [("note", "no_driver"), ("note", "no_cuda_provider")];
    assert_eq!(codes(&facts), expected);
    assert!(
        finding(&facts, "no_driver")
            .remedy
            .contains("install NVIDIA's driver")
    );
    assert_eq!(diagnose(&facts).usable, Usable::Cpu);
    facts.device = DeviceChoice::Cuda(0);
    let expected = [("problem", "no_driver"), ("problem", "no_cuda_provider")];
    assert_eq!(codes(&facts), expected);
}

#[test]
fn an_orin_with_the_usual_package_is_told_what_it_needs() {
    let probe = refused(
        "this build of ONNX Runtime's CUDA provider has no kernels for this GPU: no kernel image is available; use one built for its compute capability",
    );
    let mut facts = facts("orin", Err(NO_NVML.into()), probe);
    let expected = [
        ("problem", "no_kernels"),
        ("warning", "no_nvml"),
        ("warning", "over_current"),
        ("warning", "power_mode"),
        ("warning", "swap_in_use"),
        ("note", "clocks_move"),
        ("note", "unified_memory"),
    ];
    assert_eq!(codes(&facts), expected);
    let kernels = finding(&facts, "no_kernels");
    assert!(kernels.what.contains("sm_87") && kernels.what.contains("sm_89"));
    assert!(
        kernels
            .remedy
            .contains("edgebench bundle --ort WHEEL --cuda-arch 87")
    );
    let mode = finding(&facts, "power_mode");
    assert!(
        mode.what.contains("15W") && mode.what.contains("612 MHz"),
        "{}",
        mode.what
    );
    assert!(mode.remedy.contains("nvpmodel -m 2 (MAXN_SUPER)"));
    // The same from the provider's own code, before anything is run.
    facts.answers = Answers::none("not asked");
    facts.kernels = Ok(Kernels {
        cubins: vec![89, 90],
        ptx: Vec::new(),
    });
    let kernels = finding(&facts, "no_kernels");
    assert!(
        kernels.what.contains("it holds sm_89 and sm_90"),
        "{}",
        kernels.what
    );
    facts.kernels = Ok(Kernels {
        cubins: vec![87],
        ptx: Vec::new(),
    });
    let left = codes(&facts);
    assert!(
        left.iter().all(|(_, code)| !code.contains("kernels")),
        "{left:?}"
    );
}

#[test]
fn on_a_shared_memory_the_budget_is_what_main_memory_has_available() {
    let orin = facts("orin", Err(NO_NVML.into()), refused("x"));
    let value = |key: &str| {
        let sections = diagnose(&orin).sections;
        let mut facts = sections.into_iter().flat_map(|section| section.facts);
        facts.find(|fact| fact.key == key).unwrap().value
    };
    let available = Ok(Value::Bytes(Bytes(5_417_832 << 10)));
    assert_eq!(value("gpu_budget_bytes"), available);
    assert_eq!(value("compute_capability"), Ok(Value::Text("8.7".into())));
    assert_eq!(value("board_power_mw"), Ok(Value::MilliWatts(9250)));
    assert!(value("gpu_free_bytes").is_err());
}

#[test]
fn a_thor_that_was_not_tried_gets_a_hint_about_the_usual_package() {
    let mut facts = facts("thor", Err("x".into()), Err("x".into()));
    facts.answers = Answers::none("the files are of another machine");
    let expected = [
        ("note", "usual_package_lacks_kernels"),
        ("note", "unified_memory"),
    ];
    assert_eq!(codes(&facts), expected);
    assert!(finding(&facts, expected[0].1).what.contains("sm_110"));
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.usable, Usable::NotTried);
    assert!(diagnosis.verdict.contains("another machine"));
}

#[test]
fn a_container_without_device_files_or_nvml_is_told_how_to_start() {
    let mut facts = facts(
        "container",
        Err(NO_NVML.into()),
        refused("could not count the GPUs: no CUDA-capable device is detected (CUDA error 100)"),
    );
    let expected = [
        ("problem", "no_device_files"),
        ("warning", "no_nvml"),
        ("note", "memory_limit"),
    ];
    assert_eq!(codes(&facts), expected);
    assert!(
        finding(&facts, "no_device_files")
            .remedy
            .contains("--gpus all")
    );
    assert!(
        finding(&facts, "no_nvml")
            .remedy
            .contains("NVIDIA_DRIVER_CAPABILITIES")
    );
    facts.machine.device_files = vec!["/dev/nvidia0".into()];
    let expected = [
        ("problem", "cuda_unusable"),
        ("warning", "no_nvml"),
        ("note", "memory_limit"),
    ];
    assert_eq!(codes(&facts), expected);
}

#[test]
fn what_cuda_lacks_is_named_once() {
    let mut facts = works();
    let driver = facts.answers.driver.clone();
    let lacks = |reason: &str| {
        let mut facts = works();
        facts.answers.driver = driver.clone();
        facts.answers.probe = refused(reason);
        facts
    };
    for file in ["libcublas.so.13", "libcufft.so.11", "libcudnn.so.9"] {
        let facts = lacks(&format!(
            "{file}{FOUND_NOWHERE} by the system's loader nor in /a, /b; install it (pip package x)"
        ));
        assert_eq!(codes(&facts), [("problem", "cuda_library_missing")]);
        let found = finding(&facts, "cuda_library_missing");
        assert!(
            found.what.starts_with(file) && found.what.contains("/a, /b"),
            "{}",
            found.what
        );
        assert_eq!(found.remedy, "install it (pip package x)");
    }
    let other = lacks("GPU 0 computed 1.5 + 1.5 = 4; its driver does not fit");
    assert_eq!(codes(&other), [("problem", "cuda_unusable")]);
    // An old driver explains what CUDA says about it.
    let gpus = facts.answers.driver.as_mut().unwrap();
    gpus.cuda_version = Ok("12.2".into());
    let mut probe = refused("could not count the GPUs: the driver is insufficient").unwrap();
    probe.cuda_seen = Some(CudaSeen {
        version: Some("13.0".into()),
        ..CudaSeen::default()
    });
    facts.answers.probe = Ok(probe);
    assert_eq!(codes(&facts), [("problem", "driver_too_old")]);
    let old = finding(&facts, "driver_too_old");
    assert!(
        old.what.contains("12.2") && old.remedy.contains("580"),
        "{old:?}"
    );
}

#[test]
fn a_blackwell_card_of_the_data_centre_is_not_in_the_usual_package() {
    let mut facts = works();
    gpu_of(&mut facts).compute_capability = Ok("10.0".into());
    facts.answers.probe = refused("no kernel image is available for execution on the device");
    let found = finding(&facts, "no_kernels");
    assert!(
        found.what.contains("sm_100") && found.what.contains("sm_120"),
        "{}",
        found.what
    );
    gpu_of(&mut facts).compute_capability = Ok("12.0".into());
    let found = finding(&facts, "no_kernels");
    assert!(!found.what.contains("PyPI"), "{}", found.what);
}

#[test]
fn a_runtime_or_worker_that_fails_is_a_finding() {
    let mut lost = works();
    lost.runtime = Err("there is no ONNX Runtime; name one with --ort".into());
    lost.answers.probe = Err("there is no ONNX Runtime; name one with --ort".into());
    assert_eq!(codes(&lost), [("problem", "no_runtime")]);
    assert_eq!(finding(&lost, "no_runtime").remedy, "name one with --ort");
    assert_eq!(diagnose(&lost).usable, Usable::Nothing);
    let broken = facts(
        "no_gpu",
        Err(NO_NVML.into()),
        Err("too old; take another".into()),
    );
    let expected = [("problem", "runtime_unusable"), ("note", "no_driver")];
    assert_eq!(codes(&broken), expected);
    let damaged = "/e is cut short (1 of 2 bytes); copy it again";
    let mut cut = facts("no_gpu", Err(damaged.into()), Err(damaged.into()));
    cut.runtime = Err(damaged.into());
    cut.answers.failure = Some(damaged.into());
    let expected = [("problem", "no_runtime"), ("note", "no_driver")];
    assert_eq!(codes(&cut), expected, "the same is not told twice");
    let mut dead = facts("no_gpu", Err("killed".into()), Err("killed".into()));
    dead.answers.failure = Some("the worker was killed by SIGSEGV".into());
    let expected = [("problem", "worker_failed"), ("note", "no_driver")];
    assert_eq!(codes(&dead), expected);
}

#[test]
fn conditions_that_spoil_figures_are_warned_of() {
    type Change = fn(&mut Facts);
    let cases: [(Change, &str, &str, &str); 10] = [
        (
            |facts| gpu_of(facts).throttle_reasons = Ok(vec!["sw_power_cap".into()]),
            "warning",
            "throttled",
            "the power limit",
        ),
        (
            |facts| gpu_of(facts).temperature_c = Ok(86),
            "warning",
            "hot",
            "86 C",
        ),
        (
            |facts| {
                let process = GpuProcess {
                    pid: 77,
                    bytes: Some(Bytes(300 << 20)),
                    name: None,
                };
                gpu_of(facts).processes = Ok(vec![process]);
            },
            "warning",
            "gpu_shared",
            "(77) and hold 300 MiB",
        ),
        (
            |facts| gpu_of(facts).mig = Ok(true),
            "note",
            "mig",
            "instances",
        ),
        (
            |facts| gpu_of(facts).display_active = Ok(true),
            "note",
            "display_active",
            "display",
        ),
        (
            |facts| {
                gpu_of(facts).power_limit_mw = Ok(100_000);
                gpu_of(facts).default_power_limit_mw = Ok(250_000);
            },
            "note",
            "power_limit",
            "100 W, and 250 W",
        ),
        (
            |facts| facts.answers.own_process = Err("not listed".into()),
            "note",
            "own_memory_unknown",
            "not listed",
        ),
        (
            |facts| facts.machine.on_battery = Ok(true),
            "warning",
            "on_battery",
            "battery",
        ),
        (
            |facts| facts.machine.memory.swap_used = Ok(Bytes(64 << 20)),
            "warning",
            "swap_in_use",
            "64 MiB",
        ),
        (
            |facts| facts.machine.governor = Ok("powersave".into()),
            "note",
            "cpu_governor",
            "powersave",
        ),
    ];
    for (change, severity, code, part) in cases {
        let mut facts = works();
        change(&mut facts);
        assert_eq!(codes(&facts), [(severity, code)]);
        let found = finding(&facts, code);
        assert!(
            found.what.contains(part) && !found.remedy.is_empty(),
            "{found:?}"
        );
    }
}

#[test]
fn what_nvml_answers_is_told_apart_from_what_it_does_not() {
    let mut facts = works();
    gpu_of(&mut facts).memory = Ok(DeviceMemory {
        total: Bytes(4 << 30),
        free: Bytes(2 << 30),
    });
    let sections = diagnose(&facts).sections;
    let value = |key: &str| {
        let nvml = sections
            .iter()
            .find(|section| section.key == "nvml")
            .unwrap();
        nvml.facts
            .iter()
            .find(|fact| fact.key == key)
            .unwrap()
            .value
            .clone()
            .unwrap()
    };
    let Value::List(answered) = value("supported") else {
        panic!("no list")
    };
    assert!(answered.contains(&"memory".into()) && !answered.contains(&"mig_mode".into()));
    let Value::Rows(rows) = value("not_supported") else {
        panic!("no rows")
    };
    let mig = rows
        .iter()
        .find(|row| row[0].1 == Ok(Value::Text("mig_mode".into())));
    let reason = Ok(Value::Text("not supported on this GPU".into()));
    assert_eq!(mig.unwrap()[1], ("reason", reason));
    assert_eq!(answered.len() + rows.len(), 20);
}

#[test]
fn an_empty_root_says_what_to_mount() {
    let empty = tempfile::tempdir().unwrap();
    let mut facts = facts("no_gpu", Err(NO_NVML.into()), Ok(cuda_build()));
    facts.machine = machine(empty.path());
    let expected = [("warning", "no_system_files"), ("note", "no_driver")];
    assert_eq!(codes(&facts), expected);
    // Every fact has a value or a reason that says something.
    for section in diagnose(&facts).sections {
        for fact in section.facts {
            assert!(
                fact.value.err().is_none_or(|reason| reason.len() > 5),
                "{}",
                fact.key
            );
        }
    }
}
