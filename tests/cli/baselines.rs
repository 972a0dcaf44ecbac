//! `edgebench baseline`, and comparing with a baseline by its name: saved results, and a run at hand.

use crate::sandbox::{Sandbox, names, report};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A result kept for tests, or committed as a benchmark.
fn committed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.to_str().unwrap().to_owned()
}

const H100: &str = "tests/results/h100-quick-4g.json";

/// All judgements of the pairs of one file against one baseline.
fn judgements(against: &Value) -> impl Iterator<Item = &Value> {
    let pairs = against["pairs"].as_array().unwrap().iter();
    pairs.flat_map(|pair| pair["metrics"].as_array().unwrap())
}

#[test]
fn the_list_says_of_each_its_machine_date_command_and_origin() {
    let sandbox = Sandbox::new();
    let file = committed(H100);
    let added = sandbox
        .run(&["baseline", "add", "mine", &file])
        .left_with(0);
    let path = sandbox.path().join("data/edgebench/baselines/mine.json");
    assert!(added.stdout.contains(path.to_str().unwrap()), "{added}");
    assert_eq!(fs::read(&path).unwrap(), fs::read(&file).unwrap());
    let text = sandbox.run(&["baseline"]).left_with(0).stdout;
    for part in [
        "desktop (built in)",
        "study-4070ti (built in)",
        "mine (added, ",
        "NVIDIA H100 80GB HBM3, 20",
        "RTX 4070 Ti SUPER, 2025-08-03, 9 rows: published, other method",
        "--device cuda",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let list = sandbox.run(&["baseline", "list", "--format", "json"]);
    let list = list.left_with(0).json();
    let mine = list.as_array().unwrap().last().unwrap();
    let expected = report(Path::new(&file));
    assert_eq!(
        (&mine["origin"], &mine["path"]),
        (&json!("added"), &json!(path))
    );
    let words = expected["command_line"].as_array().unwrap().iter();
    let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
    let part = &mine["parts"][0];
    assert_eq!(part["started_utc"], expected["started_utc"]);
    assert_eq!(part["command"], words.join(" "));
    assert_eq!(part["machine"], expected["environment"]["gpu_info"]);
    assert_eq!(part["rows"], 4);
}

#[test]
fn show_prints_the_tables_and_as_json_the_files_whole() {
    let sandbox = Sandbox::new();
    let desktop = sandbox.run(&["baseline", "show", "desktop"]).left_with(0);
    for part in [
        "desktop (built in): ",
        "desktop (results/",
        "Within the budget of",
        "Dense-120M (README)",
        "not comparable: other method: no KV cache",
    ] {
        assert!(desktop.stdout.contains(part), "{part}: {desktop}");
    }
    let json = sandbox.run(&["baseline", "show", "study-4070ti", "--format", "json"]);
    let json = json.left_with(0).json();
    let committed = report(Path::new(&committed(
        "benchmarks/published/study-4070ti.json",
    )));
    assert_eq!(json["parts"][0]["content"], committed);
    assert_eq!(json["origin"], "built_in");
}

#[test]
fn a_result_is_compared_with_the_desktop_and_published_rows_only_stand_beside() {
    let sandbox = Sandbox::new();
    let file = committed(H100);
    let json = sandbox.run(&[
        "compare",
        "--baseline",
        "desktop",
        &file,
        "--format",
        "json",
    ]);
    let json = json.left_with(0).json();
    let files = json["files"].as_array().unwrap();
    let baselines: Vec<&Value> = files
        .iter()
        .filter(|file| file["is_baseline"] == true)
        .collect();
    assert_eq!(files.len(), baselines.len() + 1);
    let against = json["against"].as_array().unwrap();
    assert_eq!(against.len(), baselines.len());
    for (against, baseline) in against.iter().zip(baselines) {
        assert_eq!(against["baseline"], baseline["label"]);
        let found: Vec<&Value> = judgements(against).collect();
        assert!(!found.is_empty());
        let of_published = baseline["source"] == "published";
        let decode = found.iter().filter(|one| one["metric"] == "decode_tok_s");
        for one in decode {
            assert_eq!(one["verdict"] == "not_comparable", of_published, "{one}");
        }
        if of_published {
            for one in found {
                assert_eq!(one["verdict"], "not_comparable");
                assert!(one["ratio"].is_null() && one["ci95"].is_null());
                let reason = one["reason"].as_str().unwrap();
                assert!(reason.contains("other method"), "{reason}");
            }
        }
    }
    let study = against.last().unwrap()["pairs"].as_array().unwrap();
    let beside: Vec<[&str; 2]> = study
        .iter()
        .map(|pair| ["row", "other_row"].map(|key| pair[key].as_str().unwrap()))
        .collect();
    let dense = "dense-120m/fused/fp16/b1/pp256/tg128";
    assert!(beside.contains(&["Dense-120M (README)", dense]));
    assert!(beside.contains(&["Dense-120M (raw generation)", dense]));
    let table = sandbox
        .run(&["compare", "--baseline", "desktop", &file])
        .left_with(0);
    assert!(
        table.stdout.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    let one_line: Vec<&str> = table.stdout.split_whitespace().collect();
    let one_line = one_line.join(" ");
    for part in [
        "C = desktop (published/study-4070ti.json) (a baseline, published, other method, 2025-08-03)",
        "other method: no KV cache",
        "that of all ten tokens",
        "live tensors only",
        "Only in C: Dense-300M (tech note).",
    ] {
        assert!(one_line.contains(part), "{part}: {table}");
    }
}

#[test]
fn conditions_are_held_against_the_first_file_of_a_baseline_and_against_nothing_published() {
    let sandbox = Sandbox::new();
    let file = committed("benchmarks/results/h100-core-8g.json");
    let run = |name: &str, condition: &str| {
        let args = ["compare", "--baseline", name, &file, "--fail-if", condition];
        sandbox.run(&args)
    };
    run("desktop", "decode_tok_s<0.1").left_with(0);
    let slower = run("desktop", "decode_tok_s<0.99").left_with(7);
    assert!(
        slower.stderr.starts_with("error: regression found: ") && !slower.stderr.contains(" in C"),
        "{slower}"
    );
    let unjudged = run("study-4070ti", "decode_tok_s<0.95").left_with(7);
    assert!(
        unjudged.stderr.contains("could not be judged for any row"),
        "{unjudged}"
    );
}

#[test]
fn a_run_is_compared_with_a_baseline_below_its_tables() {
    let sandbox = Sandbox::new();
    let script = json!({});
    sandbox
        .scripted(&script, &["--model", "tiny-gpt2", "-o", "first.json"])
        .left_with(0);
    sandbox
        .run(&["baseline", "add", "first", "first.json"])
        .left_with(0);
    let more = [
        "--model",
        "tiny-gpt2",
        "-o",
        "second.json",
        "--baseline",
        "first",
    ];
    let table = sandbox.scripted(&script, &more).left_with(0);
    let alone = sandbox.run(&["show", "second.json"]).left_with(0);
    let rest = table.stdout.strip_prefix(&alone.stdout).unwrap();
    for part in [
        "\nA = first (the baseline, ",
        "B = second.json, this run (",
        "tiny-gpt2, fused",
        "verdict",
        "B against A, decoding: ",
    ] {
        assert!(rest.contains(part), "{part}: {table}");
    }
    let more = [&more[..], &["--format", "markdown"]].concat();
    let markdown = sandbox.scripted(&script, &more).left_with(0);
    assert!(
        markdown.stdout.contains("- A = first (the baseline, ")
            && markdown.stdout.contains("| row | metric | A | B |"),
        "{markdown}"
    );
}

#[test]
fn a_baseline_that_cannot_be_used_stops_a_run_before_it_begins() {
    let sandbox = Sandbox::new();
    let script = json!({});
    let refused = |more: &[&str], parts: &[&str]| {
        let more = [&["--model", "tiny-gpt2", "-o", "result.json"], more].concat();
        sandbox.scripted(&script, &more).refused(2, parts);
        assert!(sandbox.written().is_empty());
    };
    refused(
        &["--baseline", "desktp"],
        &["'desktp'", "desktop, study-4070ti", "baseline add"],
    );
    refused(
        &["--baseline", "a/b.json"],
        &["'a/b.json'", "edgebench compare"],
    );
    for format in ["json", "jsonl", "csv"] {
        let parts = [
            "--baseline",
            "--format table or markdown",
            "edgebench compare",
        ];
        refused(&["--baseline", "desktop", "--format", format], &parts);
    }
    let folder = sandbox.path().join("data/edgebench/baselines");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("cut.json"), "{\"schema_version\": \"1.0\"").unwrap();
    refused(
        &["--baseline", "cut"],
        &["'cut'", "cut.json", "not JSON", "--replace"],
    );
    let newer = "{\"schema_version\": \"2.0\"}";
    fs::write(folder.join("newer.json"), newer).unwrap();
    refused(
        &["--baseline", "newer"],
        &["newer.json", "schema version \"2.0\""],
    );
    let list = sandbox.run(&["baseline", "list"]).left_with(0);
    assert!(
        list.stdout.contains("cut: unusable: ") && list.stdout.contains("desktop (built in)"),
        "{list}"
    );
}

#[test]
fn adding_and_removing_refuse_in_one_sentence() {
    let sandbox = Sandbox::new();
    let file = committed(H100);
    let folder = sandbox.path().join("data/edgebench/baselines");
    let add = |name: &str, file: &str| sandbox.run(&["baseline", "add", name, file]);
    add("desktop", &file).refused(2, &["'desktop'", "built in"]);
    add("../up", &file).refused(2, &["'../up'", "a-z"]);
    add("-x", &file).refused(2, &["'-x'", "a-z"]);
    add("x", "/nonexistent").refused(2, &["/nonexistent"]);
    let text = sandbox.file("text.json", "not a result");
    add("x", &text).refused(2, &["text.json", "not JSON"]);
    assert!(names(&folder).is_empty());
    add("x", &file).left_with(0);
    add("x", &file).refused(2, &["'x'", "already", "--replace"]);
    sandbox
        .run(&["baseline", "add", "x", &file, "--replace"])
        .left_with(0);
    assert_eq!(names(&folder), ["x.json"]);
    sandbox.run(&["baseline", "remove", "x"]).left_with(0);
    assert!(names(&folder).is_empty());
    let remove = |name: &str| sandbox.run(&["baseline", "remove", name]);
    remove("x").refused(2, &["there is no baseline 'x'"]);
    remove("desktop").refused(2, &["'desktop'", "built in"]);
    sandbox
        .run(&["baseline", "show", "x"])
        .refused(2, &["there is no baseline 'x'"]);
    // A file where the folder should be: the reason and what moves it.
    fs::remove_dir_all(sandbox.path().join("data")).unwrap();
    fs::write(sandbox.path().join("data"), "").unwrap();
    add("x", &file).refused(8, &["x.json", "XDG_DATA_HOME"]);
}
