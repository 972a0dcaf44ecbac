//! Energy, power and the device's state, from a script's readings to every format.

use crate::sandbox::{Ran, Sandbox};
use serde_json::{Value, json};

/// Runs one model twice over by a script: two decode steps of 110 ms each, prefill of 5 ms.
fn run(power: &Value, more: &[&str]) -> Ran {
    let behaviour = json!({"prefill_ms": 5.0, "step_ms": [110.0], "power": power});
    let sandbox = Sandbox::new();
    let mut args = vec!["--model", "tiny-gpt2"];
    args.extend(more);
    sandbox
        .scripted(&json!({"default": behaviour}), &args)
        .left_with(0)
}

fn row(power: &Value, more: &[&str]) -> Value {
    let args: Vec<&str> = more.iter().copied().chain(["--format", "json"]).collect();
    run(power, &args).json()["trials"][0].clone()
}

#[track_caller]
fn near(value: &Value, expected: f64, part: f64) {
    let value = value.as_f64().unwrap();
    assert!(
        (value / expected - 1.0).abs() < part,
        "{value} and not {expected}"
    );
}

#[test]
fn a_counter_gives_watts_and_joules_for_each_token() {
    let power = json!({"source": {"Ok": "nvml_counter"}, "milliwatts": 25_000});
    let row = row(&power, &[]);
    let energy = &row["energy"];
    near(&energy["mean_watts"], 25.0, 0.01);
    let window = energy["window_s"].as_f64().unwrap();
    assert!(window >= 0.45, "{energy}");
    near(&energy["energy_j"], 25.0 * window, 0.01);
    // Two repetitions of three tokens.
    near(&energy["per_token_j"], 25.0 * window / 6.0, 0.01);
    let decode = &energy["decode"];
    let steps = decode["window_s"].as_f64().unwrap();
    assert!(steps >= 0.44 && steps < window, "{energy}");
    near(&decode["per_token_j"], 25.0 * steps / 4.0, 0.01);
    // 5 ms are less than the counter can see.
    assert!(energy["prefill"].is_null());
    let reason = row["not_measured"]["energy.prefill"].as_str().unwrap();
    assert!(
        reason.contains("too short") && reason.contains("-p"),
        "{reason}"
    );
    assert_eq!(energy["measures"], "gpu");
    assert!(
        energy["method"]
            .as_str()
            .unwrap()
            .contains("energy counter")
    );
    // The cost counts what was measured.
    near(&row["cost"]["watts"], 25.0, 0.01);
    let source = row["cost"]["watts_source"].as_str().unwrap();
    assert!(source.starts_with("measured: the GPU alone"), "{source}");
}

#[test]
fn the_users_watts_count_in_the_cost_instead_of_measured_ones() {
    let power = json!({"source": {"Ok": {"rapl": 1}}, "milliwatts": 25_000});
    let row = row(&power, &["--watts", "7"]);
    assert_eq!(row["cost"]["watts"], 7.0);
    assert_eq!(row["cost"]["watts_source"], "given with --watts");
    assert_eq!(row["energy"]["measures"], "cpu");
}

#[test]
fn samples_of_a_board_are_integrated() {
    let power = json!({"source": {"Ok": {"board_rail": "VDD_IN"}}, "milliwatts": 9250});
    let energy = row(&power, &[])["energy"].clone();
    near(&energy["mean_watts"], 9.25, 1e-9);
    assert_eq!(energy["measures"], "board");
    assert!(energy["method"].as_str().unwrap().contains("VDD_IN"));
}

#[test]
fn what_no_source_tells_is_null_with_its_reason_and_never_zero() {
    let stuck = json!({"source": {"Ok": "nvml_counter"}, "counter_uj": [{"Ok": 5}]});
    let lost = json!({"source": {"Ok": "nvml_counter"}, "counter_uj": [{"Ok": 5}, {"Err": "GPU is lost"}]});
    let none = json!({"source": {"Err": "/sys/class/powercap shows no counter"}});
    for (power, part) in [
        (stuck, "did not move"),
        (lost, "GPU is lost"),
        (none, "/sys/class/powercap"),
        (json!({}), "the script tells no power"),
    ] {
        let row = row(&power, &[]);
        assert!(row["energy"].is_null(), "{row}");
        let reason = row["not_measured"]["energy"].as_str().unwrap();
        assert!(reason.contains(part), "{reason}");
        assert!(row["cost"]["watts"].is_null() && row["not_measured"]["cost.watts"].is_string());
        for (format, mark) in [("csv", "energy_j_per_token"), ("table", "J/tok")] {
            let ran = run(&power, &["--format", format]);
            assert_eq!(ran.stdout.contains(mark), format == "csv", "{ran}");
        }
    }
}

#[test]
fn a_throttled_trial_is_told_and_not_compared() {
    let state = |celsius: f64| {
        json!({"temperature_c": {"Ok": celsius}, "sm_clock_mhz": {"Ok": 1980},
        "power_limit_mw": {"Ok": 15_000}, "throttle_reasons": {"Ok": []}})
    };
    let power = json!({
        "states": [state(44.0), state(83.0)],
        "throttle_reasons": [["gpu_idle"], [], [], ["sw_thermal_slowdown"]],
    });
    let row = row(&power, &[]);
    let seen = &row["device_state"];
    assert_eq!(seen["start"]["temperature_c"], 44.0);
    assert_eq!(seen["end"]["temperature_c"], 83.0);
    assert_eq!(seen["end"]["sm_clock_mhz"], 1980);
    assert_eq!(seen["end"]["power_limit_w"], 15.0);
    assert_eq!(
        seen["throttle_reasons"],
        json!(["gpu_idle", "sw_thermal_slowdown"])
    );
    let reason = &row["not_measured"]["device_state.start.memory_clock_mhz"];
    assert!(reason.is_string(), "{row}");
    let warnings = row["warnings"].as_array().unwrap().iter();
    let mut warnings = warnings.map(|warning| warning.as_str().unwrap());
    let told = warnings
        .any(|warning| warning.contains("throttled") && warning.contains("sw_thermal_slowdown"));
    assert!(told, "{row}");

    let sandbox = Sandbox::new();
    for (file, power) in [("a.json", json!({})), ("b.json", power)] {
        let script = json!({"default": {"power": power}});
        let args = ["--model", "tiny-gpt2", "-o", file];
        sandbox.scripted(&script, &args).left_with(0);
    }
    let compared = sandbox.run(&["compare", "a.json", "b.json"]).left_with(0);
    assert!(compared.stdout.contains("B: throttled"), "{compared}");
}

#[test]
fn table_csv_and_markdown_show_joules_and_watts() {
    let power = json!({"source": {"Ok": "nvml_counter"}, "milliwatts": 25_000});
    let csv = run(&power, &["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.stdout.as_bytes());
    let header = reader.headers().unwrap().clone();
    let record = reader.records().next().unwrap().unwrap();
    let cell = |name: &str| {
        let at = header.iter().position(|key| key == name).unwrap();
        record[at].to_owned()
    };
    for name in ["mean_watts", "decode_mean_watts", "cost_watts"] {
        let watts: f64 = cell(name).parse().unwrap();
        assert!((watts - 25.0).abs() < 0.25, "{name}: {watts}");
    }
    assert!(cell("energy_j_per_token").parse::<f64>().unwrap() > 1.8);
    assert_eq!(cell("prefill_mean_watts"), "");
    let markdown = run(&power, &["--format", "markdown"]);
    for part in ["energy J/tok", "power W", "Energy: of the GPU alone"] {
        assert!(markdown.stdout.contains(part), "{markdown}");
    }
}
