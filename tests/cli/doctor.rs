//! `doctor`: the machine it runs on, machines whose files are in `tests/trees`, and workers that say or do anything.

use crate::sandbox::{Ran, Sandbox};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Plants a tree of `tests/trees`; the folder for `--root`.
fn plant(sandbox: &Sandbox, name: &str) -> String {
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let text = fs::read_to_string(trees.join(format!("{name}.txt"))).unwrap();
    let root = sandbox.path().join(name);
    fs::create_dir(&root).unwrap();
    for file in text.replace("\\0", "\0").split("--- ").skip(1) {
        let (path, content) = file.split_once('\n').unwrap();
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root.to_str().unwrap().to_owned()
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

fn finding<'a>(report: &'a Value, code: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings
        .find(|finding| finding["code"] == code)
        .unwrap_or_else(|| panic!("no {code} in {:?}", codes(report)))
}

/// 80 columns, but for a path, which is never broken.
#[track_caller]
fn fits(ran: &Ran) {
    for line in ran.stdout.lines() {
        let words = line.split_whitespace().count();
        assert!(line.chars().count() <= 80 || words <= 2, "{line}");
    }
}

/// Every null has its reason, and every reason its null.
#[track_caller]
fn every_null_has_a_reason(report: &Value) {
    fn nulls(value: &Value, path: String, found: &mut Vec<String>) {
        let below = |key: &str| match path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        match value {
            Value::Null => found.push(path),
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| nulls(value, below(key), found)),
            Value::Array(list) => {
                let numbered = list.iter().enumerate();
                numbered.for_each(|(index, value)| nulls(value, below(&index.to_string()), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    nulls(report, String::new(), &mut found);
    found.retain(|path| !path.starts_with("verdict."));
    found.sort();
    let mut reasons: Vec<String> = report["not_known"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    reasons.sort();
    assert_eq!(found, reasons);
}

#[test]
fn this_machine_is_told_in_words_and_as_json() {
    let sandbox = Sandbox::new();
    let text = sandbox.run(&["doctor"]).left_with(0);
    fits(&text);
    assert_eq!(text.stderr, "");
    let report = sandbox.run(&["doctor", "--json"]).left_with(0).json();
    every_null_has_a_reason(&report);
    assert_eq!(report["program"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["verdict"]["cpu"], true);
    assert!(report["memory"]["main_available_bytes"].as_u64().unwrap() > 0);
    assert!(
        report["runtime"]["version"]
            .as_str()
            .unwrap()
            .starts_with("1.")
    );
    assert!(
        text.stdout
            .contains(report["runtime"]["version"].as_str().unwrap())
    );
    if Path::new("/proc/driver/nvidia/version").exists() {
        assert!(report["gpu"]["driver"].is_string());
        return;
    }
    let missing = finding(&report, "no_driver");
    assert!(
        missing["what"]
            .as_str()
            .unwrap()
            .starts_with("no NVIDIA driver")
    );
    assert!(
        missing["remedy"]
            .as_str()
            .unwrap()
            .contains("install NVIDIA's driver")
    );
    assert!(text.stdout.contains("no NVIDIA driver"), "{text}");
    assert!(
        report["not_known"]["nvml.version"]
            .as_str()
            .unwrap()
            .contains("libnvidia-ml")
    );
    assert!(sandbox.written().is_empty());
}

#[test]
fn a_device_that_is_not_there_is_a_problem_and_still_an_answer() {
    let sandbox = Sandbox::new();
    let report = sandbox
        .run(&["doctor", "--json", "--device", "cuda:9"])
        .left_with(0)
        .json();
    assert_eq!(report["verdict"]["cuda"], false);
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["severity"] == "problem")
    );
    let cpu = sandbox
        .run(&["doctor", "--json", "--device", "cpu"])
        .left_with(0)
        .json();
    assert_eq!(cpu["verdict"]["cpu"], true);
    assert!(
        cpu["not_known"]["cuda.usable"]
            .as_str()
            .unwrap()
            .contains("the CPU was asked for")
    );
}

#[test]
fn a_bad_runtime_is_a_finding_and_still_an_answer() {
    let sandbox = Sandbox::new();
    let no_library = sandbox.file("libonnxruntime.so", "not a library");
    for ort in ["/absent/libonnxruntime.so", &no_library] {
        let report = sandbox
            .run(&["doctor", "--json", "--ort", ort])
            .left_with(0)
            .json();
        every_null_has_a_reason(&report);
        assert_eq!(report["verdict"]["cpu"], false);
        let what = report["findings"][0]["what"].as_str().unwrap();
        assert!(what.contains(ort), "{what}");
        assert_eq!(report["findings"][0]["severity"], "problem");
    }
}

#[test]
fn recorded_machines_are_told_apart() {
    let sandbox = Sandbox::new();
    let expected = [
        ("orin", json!("Orin (tegra234)"), "power_mode"),
        (
            "thor",
            json!("Thor (tegra264)"),
            "usual_package_lacks_kernels",
        ),
        ("laptop", json!("NVIDIA GeForce GTX 1650"), "on_battery"),
        ("no_gpu", json!(null), "no_driver"),
        ("container", json!(null), "no_device_files"),
    ];
    for (name, gpu, code) in expected {
        let root = plant(&sandbox, name);
        fits(&sandbox.run(&["doctor", "--root", &root]).left_with(0));
        let report = sandbox
            .run(&["doctor", "--json", "--root", &root])
            .left_with(0)
            .json();
        every_null_has_a_reason(&report);
        assert_eq!(report["gpu"]["name"], gpu, "{name}");
        assert!(
            codes(&report).contains(&code),
            "{name}: {:?}",
            codes(&report)
        );
        // Nothing of this machine is passed off as that one's.
        assert_eq!(report["verdict"]["cuda"], json!(null), "{name}");
    }
}

#[test]
fn an_empty_root_is_told_without_failing() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().join("empty");
    fs::create_dir(&root).unwrap();
    let root = root.to_str().unwrap();
    let report = sandbox
        .run(&["doctor", "--json", "--root", root])
        .left_with(0)
        .json();
    every_null_has_a_reason(&report);
    assert_eq!(codes(&report), ["no_system_files", "no_driver"]);
}

#[test]
fn what_a_driver_says_reaches_the_reader() {
    let sandbox = Sandbox::new();
    let root = plant(&sandbox, "laptop");
    let engine = sandbox.script(&json!({
        "driver": {
            "driver_version": {"Ok": "535.183.01"}, "cuda_version": {"Ok": "12.2"}, "nvml_version": {"Ok": "12.535"},
            "gpus": [{
                "name": {"Ok": "NVIDIA GeForce GTX 1650"}, "compute_capability": {"Ok": "7.5"},
                "memory": {"Ok": {"total": 4_294_967_296_u64, "free": 4_000_000_000_u64}},
                "energy_mj": {"Err": "not supported on this GPU"},
                "throttle_reasons": {"Ok": ["hw_thermal_slowdown"]},
                "processes": {"Ok": [{"pid": 4711, "bytes": null}]},
            }],
        },
        "probe": {
            "runtime_version": "1.31.1", "runtime_build": null, "gpu": null,
            "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
            "cuda_unavailable": "libcublas.so.13, which the CUDA provider needs, was found neither by the system's loader nor in /a, /b; install it (pip package nvidia-cublas)",
        },
    }));
    let args = ["doctor", "--root", &root, "--engine", &engine];
    let text = sandbox.run(&args).left_with(0);
    fits(&text);
    assert!(
        text.stdout
            .contains("energy_counter: not supported on this GPU"),
        "{text}"
    );
    let report = sandbox
        .run(&[&args[..], &["--json"]].concat())
        .left_with(0)
        .json();
    every_null_has_a_reason(&report);
    assert_eq!(report["gpu"]["driver"], "535.183.01");
    assert_eq!(report["memory"]["gpu_free_bytes"], 4_000_000_000_u64);
    assert_eq!(report["gpu"]["processes"][0]["pid"], 4711);
    assert_eq!(
        report["not_known"]["nvml.energy_mj"],
        "not supported on this GPU"
    );
    let refused = report["nvml"]["not_supported"].as_array().unwrap();
    let energy = json!({"query": "energy_counter", "reason": "not supported on this GPU"});
    assert!(refused.contains(&energy), "{refused:?}");
    let missing = finding(&report, "cuda_library_missing");
    assert!(
        missing["what"]
            .as_str()
            .unwrap()
            .starts_with("libcublas.so.13, which the CUDA provider needs, was found neither")
    );
    assert_eq!(missing["remedy"], "install it (pip package nvidia-cublas)");
    assert!(codes(&report).contains(&"throttled") && codes(&report).contains(&"gpu_shared"));
}

#[test]
fn a_worker_that_dies_leaves_what_it_said() {
    let sandbox = Sandbox::new();
    let engine = sandbox.script(&json!({
        "driver": { "driver_version": {"Ok": "580.1"} },
        "probe_fault": "crash",
    }));
    let report = sandbox
        .run(&["doctor", "--json", "--engine", &engine])
        .left_with(0)
        .json();
    every_null_has_a_reason(&report);
    assert_eq!(report["gpu"]["driver"], "580.1");
    let failed = finding(&report, "worker_failed");
    assert!(
        failed["what"].as_str().unwrap().contains("SIGABRT"),
        "{failed}"
    );
    assert_eq!(failed["severity"], "problem");
    let garbage = sandbox.script(&json!({"probe_fault": {"garbage": "Segmentation fault"}}));
    let report = sandbox
        .run(&["doctor", "--json", "--engine", &garbage])
        .left_with(0)
        .json();
    assert!(
        finding(&report, "worker_failed")["what"]
            .as_str()
            .unwrap()
            .contains("Segmentation")
    );
}
