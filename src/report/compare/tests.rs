//! Tests of the whole comparison: what is matched, refused, noted and failed.

use super::fixture::{compared, faster, other, run, with_first};
use super::*;
use crate::report::fixture;
use serde_json::{Value, json};

/// The pair of a model in the first file against the baseline.
fn pair_of<'a>(comparison: &'a Comparison, model: &str) -> &'a Pair {
    let mut pairs = comparison.against[0].pairs.iter();
    pairs.find(|pair| pair.model == model).unwrap()
}

/// A judgement of a pair.
fn found(pair: &Pair, quantity: Quantity) -> &Judgement {
    let mut metrics = pair.metrics.iter();
    metrics.find(|found| found.metric == quantity).unwrap()
}

/// The words of a pair, in the order of the quantities.
fn words(pair: &Pair) -> Vec<&str> {
    pair.metrics.iter().map(|found| found.word).collect()
}

/// The fixture with its first row changed.
fn changed(change: impl FnOnce(&mut crate::report::schema::Row)) -> Report {
    let mut report = fixture();
    change(&mut report.trials[0]);
    report
}

/// `quantity operator limit`.
fn condition(quantity: Quantity, operator: Operator, limit: f64) -> Condition {
    Condition {
        quantity,
        operator,
        limit,
    }
}

#[test]
fn a_result_against_itself_is_no_difference_in_anything_that_was_measured() {
    let comparison = compared(&[&fixture(), &fixture()], &[]);
    assert!(comparison.differences.is_empty());
    for model in ["dense-120m", "moe-120m-total"] {
        let pair = pair_of(&comparison, model);
        assert_eq!(words(pair), ["no_difference"; 7]);
        assert!(pair.notes.is_empty() && pair.not_comparable.is_none());
    }
    for model in ["llama-1b", "granite-1b-a400m"] {
        assert_eq!(words(pair_of(&comparison, model)), ["not_comparable"; 7]);
    }
}

#[test]
fn where_a_file_has_several_budgets_they_tell_its_rows_apart() {
    let several = crate::report::several_budgets();
    let comparison = compared(&[&several, &several], &[]);
    let against = &comparison.against[0];
    let told = |pair: &Pair| (pair.row == pair.other_row, pair.budget_bytes.is_some());
    assert_eq!(
        against.pairs.iter().map(told).collect::<Vec<_>>(),
        [(true, true); 12]
    );

    // One budget against several: the rows of that budget, whichever comes first.
    for reports in [[&fixture(), &several], [&several, &fixture()]] {
        let comparison = compared(&reports, &[]);
        let against = &comparison.against[0];
        assert_eq!(against.pairs.len(), 4);
        for pair in &against.pairs {
            assert_eq!(pair.budget_bytes, Some(4 << 30), "{}", pair.row);
        }
        assert_eq!(
            against.only_in_baseline.len() + against.only_in_other.len(),
            8
        );
        assert_eq!(comparison.differences[0].name, "budget_bytes");
    }
    let mut third = fixture();
    (third.budget_bytes, third.budgets_bytes) = (3 << 30, vec![3 << 30]);
    for row in &mut third.trials {
        row.memory.budget_bytes = 3 << 30;
    }
    assert!(
        compared(&[&several, &third], &[]).against[0]
            .pairs
            .is_empty()
    );
    // One budget each: the work alone counts.
    let pairs = &compared(&[&fixture(), &third], &[]).against[0].pairs;
    assert_eq!((pairs.len(), pairs[0].budget_bytes), (4, None));
}

#[test]
fn a_machine_twice_as_fast_is_faster_in_every_time_and_speed() {
    let comparison = compared(&[&fixture(), &changed(|row| faster(row, 2.0))], &[]);
    let pair = pair_of(&comparison, "dense-120m");
    assert_eq!(
        words(pair),
        [
            "faster",
            "faster",
            "faster",
            "faster",
            "faster",
            "no_difference",
            "cheaper"
        ]
    );
    let decode = found(pair, Quantity::DecodeTokS);
    let [low, high] = decode.ci95.unwrap();
    assert!(low < 2.0 && 2.0 < high, "{decode:?}");
    assert_eq!(
        words(pair_of(&comparison, "moe-120m-total")),
        ["no_difference"; 7]
    );
}

#[test]
fn rows_are_matched_by_what_was_run_and_never_by_machine_or_order() {
    let mut report = fixture();
    report.trials.reverse();
    report.environment.host = Some("elsewhere".to_owned());
    for row in &mut report.trials {
        row.device = "cuda:0".to_owned();
        row.id = format!("id of another version {}", row.model);
    }
    let comparison = compared(&[&fixture(), &report], &[]);
    assert_eq!(comparison.against[0].pairs.len(), 4);
    assert_eq!(
        words(pair_of(&comparison, "dense-120m")),
        ["no_difference"; 7]
    );
    let names: Vec<&str> = comparison
        .differences
        .iter()
        .map(|fact| fact.name)
        .collect();
    assert_eq!(names, ["device"]);
}

#[test]
fn other_lengths_and_batches_are_other_rows() {
    for change in [
        (|row| row.batch = 2) as fn(&mut crate::report::schema::Row),
        |row| row.prompt_tokens = 128,
        |row| row.gen_tokens = 64,
        |row| row.model = "dense-350m".to_owned(),
    ] {
        let comparison = compared(&[&fixture(), &changed(change)], &[]);
        let against = &comparison.against[0];
        assert_eq!(against.pairs.len(), 3);
        assert_eq!(
            against.only_in_baseline,
            ["dense-120m/fused/fp32/b1/pp256/tg128"]
        );
        assert_eq!(against.only_in_other.len(), 1);
    }
}

#[test]
fn what_makes_a_row_not_comparable_is_told() {
    type Change = fn(&mut crate::report::schema::Row);
    let cases: [(Change, &str); 7] = [
        (
            |row| row.precision = "fp16".to_owned(),
            "other precision (A fp32, B fp16)",
        ),
        (
            |row| row.form = "plain".to_owned(),
            "other graph form (A fused, B plain)",
        ),
        (|row| row.params.total += 1, "other number of parameters"),
        (|row| row.status = "pending".to_owned(), "B: pending"),
        (
            |row| {
                row.status = "out_of_memory".to_owned();
                row.reason = Some("4 GiB were not enough".to_owned());
            },
            "B: out of memory (4 GiB were not enough)",
        ),
        (
            |row| {
                row.warnings
                    .push("the GPU was throttled (power)".to_owned())
            },
            "B: throttled",
        ),
        (
            |row| {
                row.check = Some(crate::report::schema::Check {
                    passed: false,
                    tolerance: 1e-4,
                    worst_error: 1.0,
                    ids_equal: false,
                    quantization: None,
                });
            },
            "B: its logits differ",
        ),
    ];
    for (change, reason) in cases {
        let comparison = compared(&[&fixture(), &changed(change)], &[]);
        let pair = pair_of(&comparison, "dense-120m");
        assert_eq!(words(pair), ["not_comparable"; 7], "{reason}");
        let told = pair.not_comparable.as_ref().unwrap();
        assert!(told.contains(reason), "{told}");
        let decode = found(pair, Quantity::DecodeTokS);
        assert!(decode.baseline.is_some() && decode.other.is_some() && decode.ratio.is_none());
        assert!(decode.not_measured["ratio"].contains(reason));
    }
}

#[test]
fn another_budget_way_of_measuring_or_currency_refuses_only_what_depends_on_it() {
    type Change = fn(&mut crate::report::schema::Row);
    let cases: [(Change, Quantity, &str); 3] = [
        (
            |row| row.memory.budget_bytes = 1 << 30,
            Quantity::PeakBytes,
            "other budget",
        ),
        (
            |row| row.memory.method = "peak: something else; and so on".to_owned(),
            Quantity::PeakBytes,
            "other method of measuring",
        ),
        (
            |row| row.cost.as_mut().unwrap().currency = "EUR".to_owned(),
            Quantity::CostPerMillionTokens,
            "other currency (A USD, B EUR)",
        ),
    ];
    for (change, quantity, reason) in cases {
        let comparison = compared(&[&fixture(), &changed(change)], &[]);
        let pair = pair_of(&comparison, "dense-120m");
        for judged in &pair.metrics {
            let refused = judged.metric == quantity;
            assert_eq!(judged.word == "not_comparable", refused, "{judged:?}");
        }
        assert_eq!(found(pair, quantity).reason.as_deref(), Some(reason));
    }
}

#[test]
fn another_runtime_is_compared_listed_and_noted_on_the_row() {
    let comparison = compared(&[&fixture(), &other()], &[]);
    let pair = pair_of(&comparison, "dense-120m");
    assert_eq!(pair.notes, ["other ONNX Runtime (A 1.31.1, B 1.20.1)"]);
    assert_eq!(found(pair, Quantity::DecodeTokS).word, "faster");
    let engine = comparison
        .differences
        .iter()
        .find(|fact| fact.name == "engine");
    assert_eq!(
        engine.unwrap().values[1],
        Some(Fact::Text("ONNX Runtime 1.20.1".to_owned()))
    );
}

#[test]
fn a_cuda_graph_is_a_choice_on_a_gpu_and_none_on_a_cpu() {
    let with = |device: &'static str, graph| {
        changed(move |row| {
            row.device = device.to_owned();
            row.cuda_graph = Some(graph);
        })
    };
    let notes =
        |a: &Report, b: &Report| pair_of(&compared(&[a, b], &[]), "dense-120m").notes.clone();
    assert_eq!(
        notes(&with("cuda:0", true), &with("cuda:0", false)),
        ["other CUDA graph (A on, B off)"]
    );
    assert!(notes(&with("cpu", false), &with("cuda:0", true)).is_empty());
}

#[test]
fn of_two_rows_that_differ_in_a_setting_the_like_one_is_taken() {
    let both = |first: bool| {
        let mut report = changed(|row| row.device = "cuda:0".to_owned());
        report.trials[0].cuda_graph = Some(first);
        let mut twin = report.trials[0].clone();
        twin.cuda_graph = Some(!first);
        report.trials.insert(0, twin);
        report
    };
    let comparison = compared(&[&both(true), &both(false)], &[]);
    let pairs = comparison.against[0].pairs.iter();
    let graphs: Vec<_> = pairs.filter(|pair| pair.model == "dense-120m").collect();
    assert_eq!(graphs.len(), 2);
    assert!(graphs.iter().all(|pair| pair.notes.is_empty()));
}

#[test]
fn a_condition_passes_fails_or_says_that_it_could_not_judge() {
    let slower = changed(|row| faster(row, 0.9));
    let checked = |report: &Report, condition| {
        let comparison = compared(&[&fixture(), report], &[condition]);
        (comparison.conditions[0].clone(), comparison.complaint())
    };
    let below = |limit| condition(Quantity::DecodeTokS, Operator::Below, limit);

    let (passed, complaint) = checked(&slower, below(0.85));
    assert_eq!(
        (passed.outcome, passed.judged, complaint),
        ("passed", 2, None)
    );

    let (failed, complaint) = checked(&slower, below(0.95));
    assert_eq!((failed.outcome, failed.failed.len()), ("failed", 1));
    assert!((failed.failed[0].ratio - 0.9).abs() < 1e-9);
    let complaint = complaint.unwrap();
    assert!(
        complaint.starts_with("regression found: decode_tok_s<0.95 is true for dense-120m/"),
        "{complaint}"
    );
    assert!(
        complaint.contains("in B (ratio 0.900, 95 % interval 0."),
        "{complaint}"
    );

    let gone = |report: &mut Report| {
        report.trials.remove(0);
    };
    let mut shorter = fixture();
    gone(&mut shorter);
    let (lost, complaint) = checked(&shorter, below(0.95));
    assert_eq!(
        (lost.outcome, lost.judged, lost.not_judged.len()),
        ("not_judged", 1, 1)
    );
    assert!(
        complaint
            .unwrap()
            .contains("could not be judged for dense-120m/")
    );

    let (refused, complaint) = checked(
        &changed(|row| row.precision = "fp16".to_owned()),
        below(0.95),
    );
    assert_eq!(refused.outcome, "not_judged");
    assert!(
        complaint
            .unwrap()
            .contains("other precision (A fp32, B fp16)")
    );

    let mut nothing = fixture();
    nothing.trials.clear();
    let comparison = compared(&[&nothing, &fixture()], &[below(0.95)]);
    assert_eq!(comparison.conditions[0].outcome, "not_judged");
    let complaint = comparison.complaint().unwrap();
    assert!(
        complaint.ends_with("decode_tok_s<0.95 could not be judged for any row"),
        "{complaint}"
    );
}

#[test]
fn a_complaint_names_a_few_rows_and_counts_the_others() {
    let many = |factor: f64| {
        let mut report = fixture();
        let row = report.trials[0].clone();
        report.trials = (0..1000)
            .map(|batch| {
                let mut row = row.clone();
                row.batch = batch + 1;
                row.id = format!("row {batch}\u{1b}[31m");
                faster(&mut row, factor);
                row
            })
            .collect();
        report
    };
    let fails = condition(Quantity::PeakBytes, Operator::AtLeast, 1.5);
    let mut larger = many(1.0);
    for row in &mut larger.trials {
        row.memory.peak_bytes = row.memory.peak_bytes.map(|peak| peak * 2);
    }
    let comparison = compared(&[&many(1.0), &larger], &[fails]);
    assert_eq!(comparison.against[0].pairs.len(), 1000);
    let complaint = comparison.complaint().unwrap();
    assert!(
        complaint.contains("and 994 more") && !complaint.contains('\u{1b}'),
        "{complaint}"
    );
}

#[test]
fn older_rows_without_later_fields_are_read() {
    let mut value = serde_json::to_value(fixture()).unwrap();
    for row in value["trials"].as_array_mut().unwrap() {
        for field in [
            "warmup",
            "cuda_graph",
            "kv_mode",
            "warnings",
            "first_ids",
            "not_measured",
        ] {
            row.as_object_mut().unwrap().remove(field);
        }
    }
    value["environment"]
        .as_object_mut()
        .unwrap()
        .remove("not_measured");
    let older = Run::read("old.json", &value.to_string()).unwrap();
    let comparison = with_first(vec![older, run("new.json", &fixture())], &[], &[]).unwrap();
    assert_eq!(
        words(pair_of(&comparison, "dense-120m")),
        ["no_difference"; 7]
    );
    let crashed = pair_of(&comparison, "granite-1b-a400m");
    let decode = found(crashed, Quantity::DecodeTokS);
    assert_eq!(
        decode.not_measured["baseline"],
        "this file does not tell it"
    );
}

/// Every null has its reason, in all of the JSON.
fn without_reason(value: &Value, path: &str, missing: &mut Vec<String>) {
    // Absent where there is nothing to say.
    let words = [
        "reason",
        "not_comparable",
        "hint",
        "currency",
        "started_utc",
    ];
    match value {
        Value::Object(fields) => {
            let reasons = value.get("not_measured").or_else(|| value.get("not_known"));
            for (name, field) in fields {
                let told = reasons.is_some_and(|reasons| reasons.get(name).is_some());
                if field.is_null() && !told && !words.contains(&name.as_str()) {
                    missing.push(format!("{path}.{name}"));
                }
                without_reason(field, &format!("{path}.{name}"), missing);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                without_reason(item, &format!("{path}[{place}]"), missing);
            }
        }
        _ => {}
    }
}

#[test]
fn every_null_in_the_json_has_its_reason() {
    let text = comparison_to_json(&example()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let mut missing = Vec::new();
    without_reason(&value, "", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    let differences = value["differences"].as_array().unwrap();
    for fact in differences {
        let nulls = fact["values"].as_array().unwrap().iter();
        let nulls = nulls.filter(|value| value.is_null()).count();
        assert_eq!(
            fact["not_known"].as_object().unwrap().len(),
            nulls,
            "{fact}"
        );
    }
}

/// A test of llama-bench.
fn test(model: &str, prompt: u32, generated: u32, depth: u32, speeds: &[f64]) -> Value {
    json!({
        "build_commit": "abc", "build_number": 7, "cpu_info": "Example CPU", "gpu_info": "", "backends": "CPU",
        "model_filename": "x.gguf", "model_type": model, "model_size": 1, "model_n_params": 124_439_808,
        "n_batch": 2048, "n_threads": 2, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 0,
        "n_prompt": prompt, "n_gen": generated, "n_depth": depth, "test_time": "2026-01-01T00:00:00Z",
        "avg_ns": 1, "stddev_ns": 0, "avg_ts": speeds.iter().sum::<f64>() / speeds.len() as f64,
        "stddev_ts": 0.0, "samples_ns": [1], "samples_ts": speeds,
    })
}

/// Compares the fixture with llama-bench's tests, their model being dense-120m where it is named.
fn with_llama_bench(tests: &[Value], named: bool) -> Comparison {
    let text = Value::Array(tests.to_vec()).to_string();
    let runs = vec![
        run("a.json", &fixture()),
        Run::read("b.json", &text).unwrap(),
    ];
    let rename = Rename {
        from: "gpt2 0.1B F32".to_owned(),
        to: "dense-120m".to_owned(),
    };
    let renames = if named { vec![rename] } else { Vec::new() };
    with_first(runs, &renames, &[]).unwrap()
}

const GPT2: &str = "gpt2 0.1B F32";

#[test]
fn llama_bench_is_matched_by_name_only_and_says_how() {
    let comparison = with_llama_bench(&[test(GPT2, 256, 0, 0, &[1.0, 2.0])], false);
    let against = &comparison.against[0];
    assert!(against.pairs.is_empty() && against.only_in_baseline.len() == 4);
    assert_eq!(against.only_in_other, ["gpt2 0.1B F32/pp256"]);
    assert!(
        against
            .hint
            .as_ref()
            .unwrap()
            .contains("--match 'gpt2 0.1B F32=dense-120m'")
    );
}

#[test]
fn a_cache_in_int8_is_other_work() {
    let float = fixture();
    let mut int8 = fixture();
    for row in &mut int8.trials {
        row.kv_cache_type = "int8".to_owned();
        (row.llama_bench.type_k, row.llama_bench.type_v) = ("i8".to_owned(), "i8".to_owned());
    }
    let against = compared(&[&float, &int8], &[]).against.remove(0);
    assert!(against.pairs.is_empty());
    assert_eq!(against.only_in_other.len(), int8.trials.len());
    let against = compared(&[&int8, &int8], &[]).against.remove(0);
    assert_eq!(against.pairs.len(), int8.trials.len());
    assert_eq!(against.pairs[0].variant, ["fused", "fp32", "KV cache int8"]);
}

#[test]
fn llama_benchs_cache_is_told_by_its_kind() {
    let mut wide = test(GPT2, 256, 0, 0, &[1.0, 2.0]);
    let pairs = |test: &Value| {
        let tests = std::slice::from_ref(test);
        with_llama_bench(tests, true).against.remove(0).pairs.len()
    };
    assert_eq!(pairs(&wide), 1);
    // Our rows have floating point caches.
    (wide["type_k"], wide["type_v"]) = (json!("q8_0"), json!("q8_0"));
    assert_eq!(pairs(&wide), 0);
    wide["type_v"] = json!("f16");
    assert_eq!(pairs(&wide), 0);
}

#[test]
fn llama_benchs_prompt_test_is_prefill_and_its_generation_test_is_decoding() {
    let tests = [
        test(GPT2, 256, 0, 0, &[400.0, 401.0, 402.0]),
        test(GPT2, 512, 0, 0, &[9.0]),
        test(GPT2, 0, 128, 0, &[30.0, 31.0]),
        test(GPT2, 0, 128, 256, &[20.0, 20.1, 20.2]),
        test(GPT2, 256, 128, 0, &[7.0]),
    ];
    let comparison = with_llama_bench(&tests, true);
    let pair = pair_of(&comparison, "dense-120m");
    let value = |quantity| found(pair, quantity).other;
    assert_eq!(value(Quantity::PrefillTokS), Some(401.0));
    assert!((value(Quantity::DecodeTokS).unwrap() - 20.1).abs() < 1e-9);
    for quantity in [Quantity::TtftMs, Quantity::PeakBytes, Quantity::ItlMsP50] {
        let judged = found(pair, quantity);
        assert_eq!((judged.other, judged.word), (None, "not_comparable"));
        assert_eq!(
            judged.not_measured["other"],
            "llama-bench does not measure it"
        );
    }
    assert_eq!(pair.notes, ["other engine (A ONNX Runtime, B llama.cpp)"]);
    assert_eq!(found(pair, Quantity::DecodeTokS).word, "slower");
    assert_eq!(
        comparison.against[0].only_in_other,
        [
            "gpt2 0.1B F32/pp512",
            "gpt2 0.1B F32/tg128",
            "gpt2 0.1B F32/pp256+tg128"
        ]
    );
}

#[test]
fn llama_bench_at_another_depth_is_compared_with_a_note() {
    let comparison = with_llama_bench(&[test(GPT2, 0, 128, 0, &[30.0, 31.0])], true);
    let pair = pair_of(&comparison, "dense-120m");
    assert!(
        pair.notes
            .contains(&"other depth of decoding (A 256, B 0)".to_owned())
    );
    let prefill = found(pair, Quantity::PrefillTokS);
    assert_eq!(
        prefill.not_measured["other"],
        "llama-bench has not run pp256"
    );
}

#[test]
fn two_tests_of_llama_bench_for_one_row_are_not_chosen_from() {
    let tests = [
        test(GPT2, 0, 128, 0, &[30.0]),
        test(GPT2, 0, 128, 0, &[40.0]),
    ];
    let comparison = with_llama_bench(&tests, true);
    let decode = found(pair_of(&comparison, "dense-120m"), Quantity::DecodeTokS);
    assert_eq!(decode.other, None);
    assert!(decode.not_measured["other"].starts_with("2 tests of llama-bench are tg128"));
}

#[test]
fn another_quantisation_that_the_user_names_is_a_note() {
    let text = json!([test("gpt2 0.1B Q4_0", 0, 128, 256, &[30.0, 31.0])]).to_string();
    let runs = vec![
        Run::read("b.json", &text).unwrap(),
        run("a.json", &fixture()),
    ];
    let rename = Rename {
        from: "gpt2 0.1B Q4_0".to_owned(),
        to: "dense-120m".to_owned(),
    };
    let comparison = with_first(runs, &[rename], &[]).unwrap();
    let pair = pair_of(&comparison, "dense-120m");
    assert!(
        pair.notes
            .contains(&"other precision (A gpt2 0.1B Q4_0, B fp32)".to_owned()),
        "{:?}",
        pair.notes
    );
    assert!(found(pair, Quantity::DecodeTokS).ratio.is_some());
}

#[test]
fn a_file_that_is_none_is_refused_with_a_sentence() {
    for (text, part) in [
        ("[]", "it is empty"),
        ("[1]", "not one of llama-bench"),
        ("[{\"model_type\": \"x\"}]", "missing field"),
        ("[{", "not one of llama-bench"),
        ("", "not JSON"),
        ("{}", "schema_version"),
    ] {
        let error = Run::read("x", text).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::exit::USAGE);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn a_name_that_no_file_has_is_refused() {
    let rename = Rename {
        from: "gpt".to_owned(),
        to: "dense-120m".to_owned(),
    };
    let runs = vec![run("a", &fixture()), run("b", &fixture())];
    let error = with_first(runs, &[rename], &[]).unwrap_err().to_string();
    assert!(
        error.contains("'gpt'") && error.contains("dense-120m, moe-120m-total"),
        "{error}"
    );
}

#[test]
fn files_are_labelled_by_letters() {
    assert_eq!([label(0), label(25), label(26)], ["A", "Z", "file 27"]);
}

/// `decode_tok_s<LIMIT`.
fn slower_than(limit: f64) -> Condition {
    Condition {
        quantity: Quantity::DecodeTokS,
        operator: Operator::Below,
        limit,
    }
}

/// The study's published figures.
fn published() -> Run {
    let text = include_str!("../../../benchmarks/published/study-4070ti.json");
    Run::read("study.json", text).unwrap()
}

#[test]
fn published_figures_stand_beside_the_rows_most_like_them_and_are_compared_with_none() {
    let mut report = fixture();
    let mut rows = Vec::new();
    for (batch, precision) in [(4, "fp16"), (1, "fp32"), (1, "fp16")] {
        let mut row = report.trials[0].clone();
        row.model = "dense-120m".to_owned();
        (row.batch, row.precision) = (batch, precision.to_owned());
        row.id = format!("dense-120m/{precision}/b{batch}");
        rows.push(row);
    }
    report.trials = rows;
    let comparison = with_first(vec![published(), run("a.json", &report)], &[], &[]).unwrap();
    let against = &comparison.against[0];
    assert!(!against.pairs.is_empty());
    for pair in &against.pairs {
        assert_eq!(pair.other_row, "dense-120m/fp16/b1");
        assert_eq!(pair.published, Some(Side::Baseline));
        assert!(
            pair.not_comparable
                .as_ref()
                .unwrap()
                .contains("other method")
        );
        assert!(
            pair.metrics
                .iter()
                .all(|one| one.word == "not_comparable" && one.ratio.is_none())
        );
    }
    let readme = &against.pairs[0];
    assert_eq!(found(readme, Quantity::DecodeTokS).baseline, Some(170.6));
    let peak = found(readme, Quantity::PeakBytes).baseline.unwrap();
    assert!((peak / (1u64 << 30) as f64 - 0.55).abs() < 1e-9);
    assert!(against.only_in_other.is_empty());
    assert!(
        against
            .only_in_baseline
            .contains(&"Dense-300M (tech note)".to_owned())
    );
    // The other way round it is the same, and nothing of it is missed by a condition.
    let condition = slower_than(0.95);
    let turned = with_first(vec![run("a.json", &report), published()], &[], &[condition]).unwrap();
    assert_eq!(turned.against[0].pairs.len(), against.pairs.len());
    assert_eq!(turned.against[0].pairs[0].published, Some(Side::Other));
    assert_eq!(turned.conditions[0].judged, 0);
}

#[test]
fn a_table_of_published_figures_with_a_misspelt_name_is_refused() {
    let text = r#"{"published": {"title": "t", "source": "s", "method": "m"}, "rows": [
        {"row": "r", "model": "m", "precision": "fp16", "params": 1, "prompt_tokens": 1, "gen_tokens": 1, "figures": {"decode": 1.0}}]}"#;
    let error = Run::read("x.json", text).unwrap_err();
    assert!(
        error.to_string().contains("unknown field `decode`"),
        "{error}"
    );
    let right = Run::read("x.json", &text.replace("decode", "decode_tok_s")).unwrap();
    assert!(right.has_figures() && right.machine().is_none());
}

#[test]
fn each_file_is_compared_with_each_of_several_baselines() {
    let runs = |names: &[&str]| names.iter().map(|name| run(name, &fixture())).collect();
    let mut twice = fixture();
    twice.trials.iter_mut().for_each(|row| faster(row, 2.0));
    let baselines = vec![run("a", &fixture()), run("b", &twice)];
    let conditions = [slower_than(0.95)];
    let comparison = compare(baselines.clone(), runs(&["c", "d"]), &[], &conditions).unwrap();
    let roles: Vec<bool> = comparison
        .files
        .iter()
        .map(|file| file.is_baseline)
        .collect();
    assert_eq!(roles, [true, true, false, false]);
    let labels: Vec<(&str, &str)> = comparison
        .against
        .iter()
        .map(|against| (against.file.as_str(), against.baseline.as_str()))
        .collect();
    assert_eq!(labels, [("C", "A"), ("C", "B"), ("D", "A"), ("D", "B")]);
    // Conditions look at the first alone: half the speed of the second is nothing to them.
    let failed = |comparison: &Comparison| comparison.conditions[0].failed.len();
    assert_eq!(failed(&comparison), 0);
    let turned = baselines.into_iter().rev().collect();
    let turned = compare(turned, runs(&["c", "d"]), &[], &conditions).unwrap();
    assert!(failed(&turned) >= 2);
    assert!(compare(Vec::new(), runs(&["a"]), &[], &[]).is_err());
    assert!(compare(runs(&["a"]), Vec::new(), &[], &[]).is_err());
}
