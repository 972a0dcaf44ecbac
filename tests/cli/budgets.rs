//! Several memory budgets in one run: a row for each, a table for each, what each buys, and results that are matched by them.

use crate::sandbox::{Sandbox, report, statuses};
use serde_json::{Value, json};

/// A run of two models in three budgets, the smallest of which is too small for one of them.
const SWEEP: [&str; 8] = [
    "--precision",
    "fp32",
    "--model",
    "dense-120m,tiny-gpt2",
    "--vram-budget",
    "2G,200M..1G*5,2G",
    "-o",
    "result.json",
];

/// A sandbox in which that has run.
fn swept() -> (Sandbox, Value) {
    let sandbox = Sandbox::new();
    sandbox.scripted(&json!({}), &SWEEP).left_with(0);
    let report = report(&sandbox.work().join("result.json"));
    (sandbox, report)
}

#[test]
fn every_budget_has_its_rows_in_ascending_order() {
    let (_sandbox, report) = swept();
    assert_eq!(
        statuses(&report),
        ["does_not_fit", "ok", "ok", "ok", "ok", "ok"]
    );
    let sizes = [200_u64 << 20, 1000 << 20, 2 << 30];
    assert_eq!(report["budgets_bytes"], json!(sizes));
    assert_eq!(report["budget_bytes"], 2_u64 << 30);
    let rows = report["trials"].as_array().unwrap();
    let budgets: Vec<&Value> = rows
        .iter()
        .map(|row| &row["memory"]["budget_bytes"])
        .collect();
    let expected: Vec<u64> = sizes.iter().flat_map(|size| [*size; 2]).collect();
    assert_eq!(json!(budgets), json!(expected));
    assert_eq!(rows[1]["id"], "tiny-gpt2/fused/fp32/b1/pp4/tg3/vram200M");
    assert_eq!(rows[5]["id"], "tiny-gpt2/fused/fp32/b1/pp4/tg3/vram2G");
}

#[test]
fn one_budget_leaves_the_ids_alone_however_it_is_written() {
    for budget in ["1G", "1G..1G", "1G,1024M"] {
        let sandbox = Sandbox::new();
        let args = [
            "--model",
            "tiny-gpt2",
            "--vram-budget",
            budget,
            "--format",
            "json",
        ];
        let report = sandbox.scripted(&json!({}), &args).left_with(0).json();
        assert_eq!(report["trials"][0]["id"], "tiny-gpt2/fused/fp32/b1/pp4/tg3");
        assert_eq!(report["budgets_bytes"], json!([1 << 30]));
    }
}

#[test]
fn a_saved_result_is_shown_as_it_was_with_a_table_for_each_budget_and_a_curve() {
    let (sandbox, _) = swept();
    let shown = |format: &str| {
        let ran = sandbox.run(&["show", "result.json", "--format", format]);
        ran.left_with(0).stdout
    };
    for (format, heading) in [("table", ""), ("markdown", "### ")] {
        let text = shown(format);
        let titles = [
            "Budget 200 MiB",
            "Budget 1000 MiB",
            "Budget 2.00 GiB",
            "What each budget buys",
        ];
        for title in titles {
            let line = format!("{heading}{title}");
            assert_eq!(
                text.lines().filter(|one| *one == line).count(),
                1,
                "{line}: {text}"
            );
        }
        assert!(
            text.contains("1 of 2") && text.contains("2 of 2") && text.contains('█'),
            "{text}"
        );
        assert!(
            text.contains("Within the budget of 2.00 GiB: dense-120m, tiny-gpt2."),
            "{text}"
        );
    }
    assert_eq!(shown("jsonl").lines().count(), 6);
    assert_eq!(shown("csv").lines().count(), 7);
    assert!(
        shown("table")
            .lines()
            .all(|line| line.chars().count() <= 80)
    );
}

#[test]
fn results_of_several_budgets_are_compared_row_by_row() {
    let (sandbox, _) = swept();
    let compare = |other: &str| {
        let args = ["compare", "result.json", other, "--format", "json"];
        sandbox.run(&args).left_with(0).json()["against"][0].clone()
    };
    let same = compare("result.json");
    let pairs = same["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 6);
    assert!(
        pairs.iter().all(|pair| pair["row"] == pair["other_row"]),
        "{same}"
    );

    let one = [
        "--model",
        "tiny-gpt2",
        "--vram-budget",
        "2G",
        "-o",
        "one.json",
    ];
    sandbox.scripted(&json!({}), &one).left_with(0);
    let single = compare("one.json");
    let pairs = single["pairs"].as_array().unwrap();
    assert_eq!(
        (pairs.len(), &pairs[0]["budget_bytes"]),
        (1, &json!(2_u64 << 30))
    );
    assert_eq!(single["only_in_baseline"].as_array().unwrap().len(), 5);
}

#[test]
fn auto_is_the_widest_precision_that_fits_each_budget() {
    let sandbox = Sandbox::new();
    let args = |output: &'static str| {
        [
            "--model",
            "dense-120m,tiny-gpt2",
            "--vram-budget",
            "60M,200M,300M,2G",
            "-o",
            output,
        ]
    };
    sandbox
        .scripted(&json!({}), &args("auto.json"))
        .left_with(0);
    let auto = report(&sandbox.work().join("auto.json"));
    let rows = auto["trials"].as_array().unwrap().iter();
    let rows: Vec<&Value> = rows.filter(|row| row["model"] == "dense-120m").collect();
    let told =
        |name: &str| -> Vec<&str> { rows.iter().map(|row| row[name].as_str().unwrap()).collect() };
    assert_eq!(told("precision"), ["int4", "int4", "int8", "fp32"]);
    assert_eq!(told("status"), ["does_not_fit", "ok", "ok", "ok"]);
    assert_eq!(rows[2]["id"], "dense-120m/fused/int8/b1/pp4/tg3/vram300M");
    let reason = rows[0]["reason"].as_str().unwrap();
    assert!(
        reason
            .starts_with("dense-120m in int4, the narrowest of fp32, int8 and int4, is predicted"),
        "{reason}"
    );

    // The curve tells which it was, and each row is compared with its own.
    let shown = sandbox.run(&["show", "auto.json"]).left_with(0).stdout;
    for part in ["dense-120m int4", "dense-120m int8", "dense-120m fp32"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let compare = |other: &str| {
        let args = ["compare", "auto.json", other, "--format", "json"];
        sandbox.run(&args).left_with(0).json()["against"][0].clone()
    };
    let pairs = compare("auto.json")["pairs"].as_array().unwrap().clone();
    assert_eq!(pairs.len(), 8);
    assert!(pairs.iter().all(|pair| pair["row"] == pair["other_row"]));

    // A run with the precision of one budget alone: the others are the same work in another precision, and refused.
    let int8 = [&args("int8.json")[..], &["--precision", "int8"]].concat();
    sandbox.scripted(&json!({}), &int8).left_with(0);
    let against = compare("int8.json");
    let pairs = against["pairs"].as_array().unwrap();
    let named = |budget: &str| {
        let end = format!("/vram{budget}");
        let mut found = pairs.iter().filter(|pair| {
            let row = pair["row"].as_str().unwrap();
            row.starts_with("dense-120m/") && row.ends_with(&end)
        });
        found.next().unwrap()
    };
    for pair in [named("200M"), named("300M"), named("2G")] {
        assert!(
            pair["other_row"].as_str().unwrap().contains("/int8/"),
            "{pair}"
        );
    }
    assert!(
        named("2G").to_string().contains("other precision"),
        "{against}"
    );
    assert!(
        !named("300M").to_string().contains("other precision"),
        "{against}"
    );
}

#[test]
fn the_plan_says_why_auto_is_not_wider() {
    let sandbox = Sandbox::new();
    let args = [
        "plan",
        "--model",
        "llama-1b",
        "--device",
        "cpu",
        "--vram-budget",
        "2G,8G",
    ];
    let text = sandbox.run(&args).left_with(0).stdout;
    let line = "/int8/b1/pp256/tg128/vram2G: int8, because the budget is less than what is predicted for fp32 (";
    assert!(
        text.contains(line) && text.contains("/fp32/b1/pp256/tg128/vram8G"),
        "{text}"
    );
    let plan = sandbox
        .run(&[&args[..], &["--format", "json"]].concat())
        .left_with(0)
        .json();
    let passed_over = plan["trials"][0]["passed_over"].as_array().unwrap();
    let names: Vec<&str> = passed_over
        .iter()
        .map(|one| one["precision"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["fp32"]);
    let peaks = passed_over
        .iter()
        .map(|one| one["predicted_peak"].as_u64().unwrap());
    assert!(peaks.into_iter().all(|peak| peak > 2 << 30));
    assert!(plan["trials"][1]["passed_over"].is_null());
}

#[test]
fn quantised_experts_that_a_gpu_cannot_run_are_rows_that_say_so() {
    let sandbox = Sandbox::new();
    let args = [
        "plan",
        "--suite",
        "sanity",
        "--precision",
        "fp16,int8,int4",
        "--device",
        "cuda:0",
        "--vram-budget",
        "2G",
        "--format",
        "json",
    ];
    let plan = sandbox.run(&args).left_with(0).json();
    let trials = plan["trials"].as_array().unwrap();
    let refused: Vec<&str> = trials
        .iter()
        .filter(|one| !one["does_not_fit"].is_null())
        .map(|one| {
            let reason = one["does_not_fit"].as_str().unwrap();
            assert!(
                reason.contains("multiples of 64") || reason.contains("mixture of specialists"),
                "{reason}"
            );
            one["trial"]["id"].as_str().unwrap()
        })
        .collect();
    let of = |model: &str| {
        ["int8", "int4"].map(|precision| format!("{model}/fused/{precision}/b1/pp64/tg32"))
    };
    assert_eq!(
        refused,
        [
            of("tiny-moe-gpt2").to_vec(),
            of("tiny-moe-llama").to_vec(),
            vec!["tiny-specialists/fused/int4/b1/pp64/tg32".into()],
        ]
        .concat()
    );
    assert!(
        trials
            .iter()
            .any(|one| one["trial"]["id"] == "tiny-moe-q/fused/int4/b1/pp64/tg32")
    );
}

#[test]
fn what_is_predicted_is_predicted_for_each_budget() {
    let sandbox = Sandbox::new();
    let args = [
        "--model",
        "dense-120m",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--vram-budget",
        "200M,2G",
    ];
    for command in [&["plan"][..], &["--dry-run"]] {
        let mut words = command.to_vec();
        words.extend(args);
        let text = sandbox.run(&words).left_with(0).stdout;
        for part in ["Budget 200 MiB", "Budget 2.00 GiB", "0 of 1", "1 of 1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        words.extend(["--format", "json"]);
        let plan = sandbox.run(&words).left_with(0).json();
        assert_eq!(plan["budgets"], json!([200 << 20, 2_u64 << 30]));
        let fits: Vec<bool> = plan["trials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|trial| trial["does_not_fit"].is_null())
            .collect();
        assert_eq!(fits, [false, true]);
    }
    let inspected = sandbox.run(&[
        "inspect",
        "dense-120m",
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--vram-budget",
        "200M,2G",
    ]);
    let text = inspected.left_with(0).stdout;
    assert!(
        text.contains("200 MiB   no") && text.contains("2.00 GiB  yes"),
        "{text}"
    );
}

#[test]
fn a_list_with_one_budget_above_the_device_is_refused() {
    let sandbox = Sandbox::new();
    let args = ["plan", "--device", "cpu", "--vram-budget", "1G,100T"];
    sandbox
        .run(&args)
        .refused(2, &["--vram-budget", "this device has"]);
    let wrong = [
        ("8G..1G", "empty"),
        ("1G..8G+0G", "step"),
        ("1G..8G*1", "factor"),
        ("1G..1T", "more than 64"),
    ];
    for (budgets, part) in wrong {
        let args = ["--vram-budget", budgets];
        sandbox
            .run(&args)
            .refused(2, &["--vram-budget", budgets, part]);
    }
}
