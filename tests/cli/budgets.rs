//! Several memory budgets in one run: a row for each, a table for each, what each buys, and results that are matched by them.

use crate::sandbox::{Sandbox, report, statuses};
use serde_json::{Value, json};

/// A run of two models in three budgets, the smallest of which is too small for one of them.
const SWEEP: [&str; 6] = [
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
fn what_is_predicted_is_predicted_for_each_budget() {
    let sandbox = Sandbox::new();
    let args = [
        "--model",
        "dense-120m",
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
