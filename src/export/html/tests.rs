//! The page as text: everything escaped, nothing fetched, every value that of the result. How it looks is checked in a browser
//! (`scripts/report_check.py`).

use super::{Shown, render};
use crate::report::compare::{self, Quantity, Run};
use crate::report::{
    RepeatedTrial, Report, fixture, repeated_report, several_budgets, studied, to_json,
};
use serde_json::Value;

fn shown(label: &str, report: Report) -> Shown {
    Shown {
        label: label.to_owned(),
        file: format!("{label}.json"),
        report,
    }
}

/// The page of one report.
fn page(report: Report) -> String {
    render(&[shown("A", report)], None)
}

/// What stands between two texts, for each time that they do.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let rest = text.split(open).skip(1);
    rest.filter_map(|rest| Some(rest.split_once(close)?.0))
        .collect()
}

/// A row's id and its cells by column; `None` where a cell says that it was not measured.
type ShownRow = (String, Vec<(String, Option<String>)>);

/// The values of a table by row and column; `None` where a cell says that it was not measured.
fn values(page: &str, table: &str) -> Vec<ShownRow> {
    let open = format!("data-table=\"{table}\">");
    let table = between(page, &open, "</table>")[0];
    let keys = between(table, "data-key=\"", "\"");
    let rows = table.split("<tr data-row=\"").skip(1);
    let row = |row: &str| {
        let (id, rest) = row.split_once('"').unwrap();
        let cells = rest.split("<td").skip(1);
        let value = |cell: &str| {
            let tag = cell.split_once('>').unwrap().0;
            between(tag, "data-value=\"", "\"")
                .first()
                .map(|text| (*text).to_owned())
        };
        // The first column is the row's header.
        let named = keys[1..]
            .iter()
            .map(|key| (*key).to_owned())
            .zip(cells.map(value));
        (id.to_owned(), named.collect())
    };
    rows.map(row).collect()
}

#[test]
fn every_value_of_a_table_is_that_of_the_json() {
    let report = several_budgets();
    let json: Value = serde_json::from_str(&to_json(&report).unwrap()).unwrap();
    let paths = [
        ("ttft_ms_mean", "/ttft_ms/mean"),
        ("prefill_tok_s_mean", "/prefill_tok_s/mean"),
        ("decode_tok_s_mean", "/decode_tok_s/mean"),
        ("itl_ms_p90", "/itl_ms/quantiles/p90"),
        ("peak_bytes", "/memory/peak_bytes"),
        ("unaccounted_bytes", "/memory/unaccounted_bytes"),
        ("budget_bytes", "/memory/budget_bytes"),
        ("energy_j_per_token", "/energy/per_token_j"),
    ];
    let text = page(report);
    let mut compared = 0;
    for table in ["trials", "memory", "itl"] {
        for (id, cells) in values(&text, table) {
            let row = json["trials"]
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["id"] == *id)
                .unwrap();
            for (key, shown) in cells {
                let Some((_, path)) = paths.iter().find(|(known, _)| *known == key) else {
                    continue;
                };
                let known = row.pointer(path).and_then(Value::as_f64);
                assert_eq!(
                    shown.map(|text| text.parse::<f64>().unwrap()),
                    known,
                    "{table} {id} {key}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
}

#[test]
fn whatever_a_result_says_is_text() {
    let evil = "<img src=x onerror=\"alert(1)\"></script><script>alert(2)</script>";
    let mut report = fixture();
    report.command_line = vec![evil.to_owned()];
    report.environment.host = Some(evil.to_owned());
    report.environment.cpu_info = Some(evil.to_owned());
    report
        .environment
        .not_measured
        .insert("power_mode".to_owned(), evil.to_owned());
    report.verdict = Some(evil.to_owned());
    for row in &mut report.trials {
        row.model = evil.to_owned();
        row.id.push_str(evil);
        row.warnings.push(evil.to_owned());
        row.reason = Some(evil.to_owned());
        row.memory.method = evil.to_owned();
        row.not_measured
            .insert("energy".to_owned(), evil.to_owned());
    }
    report.trials[1].status = evil.to_owned();
    let text = page(report);
    assert!(
        !text.contains("<img") && text.contains("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;")
    );
    assert_eq!(text.matches("<script").count(), 1);
    assert_eq!(text.matches("</script>").count(), 1);
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let text = page(fixture());
    for part in [
        "http://", "https://", "src=", "url(", "@import", "<link", "//cdn",
    ] {
        assert!(!text.contains(part), "{part}");
    }
    let links = between(&text, "href=\"", "\"");
    assert!(!links.is_empty() && links.iter().all(|link| link.starts_with('#')));
    // Each link and each question mark leads somewhere.
    for target in
        links
            .iter()
            .map(|link| &link[1..])
            .chain(between(&text, "popovertarget=\"", "\""))
    {
        assert!(text.contains(&format!("id=\"{target}\"")), "{target}");
    }
}

#[test]
fn what_did_not_end_well_is_there_with_its_reason() {
    let text = page(fixture());
    let table = between(&text, "data-table=\"failures\">", "</table>")[0];
    for part in [
        "does not fit",
        "needs 4.71 GiB (predicted)",
        "crashed",
        "killed by signal 11",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(text.contains("not measured: the trial ended as crashed before the model was loaded"));
}

#[test]
fn a_result_without_rows_is_a_page_that_says_so() {
    let mut report = fixture();
    report.trials.clear();
    report.verdict = None;
    report.study = None;
    let text = page(report);
    assert!(text.matches("class=\"empty\"").count() >= 6, "{text}");
    assert!(!text.contains("data-value") && text.contains("not measured: the result has no trial"));
}

#[test]
fn a_stopped_run_is_told_above_its_figures() {
    let mut report = fixture();
    report.finished = false;
    report.trials[3].status = "pending".to_owned();
    let text = page(report);
    assert!(text.contains("Unfinished: 1 of 4 trials have not run."));
}

#[test]
fn a_budget_far_beyond_the_bars_is_told_in_words_and_a_near_one_is_a_line() {
    let mut report = fixture();
    for row in &mut report.trials {
        row.memory.budget_bytes = 79 << 30;
    }
    let memory = |page: String| between(&page, "id=\"memory\"", "</section>")[0].to_owned();
    let far = memory(page(report.clone()));
    assert!(
        !far.contains("class=\"mark\"") && far.contains("and so not on the scale: budget 79.0 GiB")
    );
    for row in &mut report.trials {
        row.memory.budget_bytes = 1 << 30;
    }
    let near = memory(page(report));
    assert!(near.contains("class=\"mark\"") && !near.contains("not on the scale"));
}

#[test]
fn parts_of_a_peak_that_are_below_nought_are_drawn_as_nothing_and_told() {
    let mut report = fixture();
    report.trials[0].memory.unaccounted_bytes = Some(-(5 << 20));
    let text = page(report);
    assert!(text.contains("data-key=\"unaccounted_bytes\" data-value=\"-5242880\""));
    assert!(text.contains("unaccounted −5.00 MiB"));
}

#[test]
fn several_results_are_compared_with_the_first() {
    let (first, mut second) = (fixture(), fixture());
    for row in &mut second.trials {
        for metric in [&mut row.decode_tok_s].into_iter().flatten() {
            metric.mean *= 0.5;
            metric.samples = metric
                .samples
                .as_ref()
                .map(|all| all.iter().map(|one| one * 0.5).collect());
        }
    }
    let read = |file: &str, report: &Report| Run::read(file, &to_json(report).unwrap()).unwrap();
    let (a, b) = (read("a.json", &first), read("b.json", &second));
    let comparison = compare::compare(vec![a], vec![b], &[], &[]).unwrap();
    let text = render(&[shown("A", first), shown("B", second)], Some(&comparison));
    let ratios: Vec<f64> = values(&text, "compare")
        .into_iter()
        .filter(|(id, _)| id.ends_with(":decode_tok_s"))
        .filter_map(|(_, cells)| cells.into_iter().find(|(key, _)| key == "ratio")?.1)
        .map(|ratio| ratio.parse().unwrap())
        .collect();
    assert_eq!(ratios, [0.5, 0.5]);
    assert!(text.contains("B against A, decoding: 2 slower of 2 rows at 0.500 times the speed."));
}

#[test]
fn a_thousand_rows_make_charts_of_forty_and_a_table_of_all() {
    let mut report = fixture();
    let row = report.trials[0].clone();
    report.trials = (0..1000)
        .map(|nth| {
            let mut row = row.clone();
            row.id = format!("row-{nth}");
            row.gen_tokens = 100 + nth;
            row
        })
        .collect();
    let text = page(report);
    assert!(text.len() < 6 << 20, "{}", text.len());
    let chart = between(&text, "data-chart=\"memory\"", "</figure>")[0];
    assert_eq!(chart.matches("<rect class=\"part p1\"").count(), 40);
    assert!(text.contains("The 40 rows with the largest peaks of 1000 are drawn"));
    assert_eq!(values(&text, "trials").len(), 1000);
}

#[test]
fn huge_values_stay_inside_the_drawing() {
    let mut report = fixture();
    for row in &mut report.trials {
        row.memory.weights_bytes = Some(u64::MAX);
        row.memory.unaccounted_bytes = Some(i64::MIN);
        row.memory.peak_bytes = Some(u64::MAX);
        for metric in [&mut row.decode_tok_s, &mut row.itl_ms]
            .into_iter()
            .flatten()
        {
            metric.mean = f64::MAX;
        }
    }
    let text = page(report);
    assert!(
        !text.contains("NaN") && !text.contains("inf"),
        "a place is no number"
    );
    let places = between(&text, "width=\"", "%\"");
    assert!(places.len() > 4);
    for place in places {
        assert!(
            (0.0..=100.0).contains(&place.parse::<f64>().unwrap()),
            "{place}"
        );
    }
}

/// The values that a chart draws.
fn drawn(page: &str, chart: &str, key: &str) -> Vec<f64> {
    let open = format!("data-chart=\"{chart}\"");
    let charts = between(page, &open, "</figure>");
    let marks = charts
        .iter()
        .flat_map(|chart| between(chart, &format!("data-key=\"{key}\""), ">"));
    marks
        .map(|mark| between(mark, "data-value=\"", "\"")[0].parse().unwrap())
        .collect()
}

#[test]
fn latency_over_the_position_is_drawn_as_it_stands_in_the_result() {
    let report = fixture();
    let known: Vec<f64> = report
        .trials
        .iter()
        .flat_map(|row| row.itl_by_position.iter().map(|one| one.median_ms))
        .collect();
    let text = page(report.clone());
    let found = drawn(&text, "positions", "itl_by_position_median_ms");
    assert!(!known.is_empty());
    assert_eq!(found, known);
    let mut older = report;
    for row in &mut older.trials {
        row.itl_by_position.clear();
    }
    let text = page(older);
    assert!(!text.contains("data-chart=\"positions\""));
    assert!(text.contains("made before latencies were kept by position"));
}

#[test]
fn a_study_is_drawn_pair_by_pair_and_what_it_says_is_text() {
    let mut report = studied();
    let evil = "<img src=x>";
    let study = report.study.as_mut().unwrap();
    study.pairs[0].verdict = evil.to_owned();
    let speeds: Vec<f64> = study
        .pairs
        .iter()
        .filter_map(|pair| pair.ratio(Quantity::DecodeTokS)?.ratio)
        .collect();
    let text = page(report);
    let mut found = drawn(&text, "pairs_decode_tok_s", "ratio");
    let mut known = speeds;
    known.sort_by(f64::total_cmp);
    found.sort_by(f64::total_cmp);
    assert!(!known.is_empty());
    assert_eq!(found, known);
    assert!(!text.contains("<img") && text.contains("href=\"#study\""));
    let plain = page(several_budgets());
    assert!(plain.contains("data-chart=\"budgets\"") && !plain.contains("id=\"repeat\""));
}

#[test]
fn every_run_of_every_trial_is_a_dot() {
    let report = repeated_report();
    let repeated = report.repeatability.clone().unwrap();
    let spread = |trial: &&RepeatedTrial| {
        let mut all = trial.spread.iter();
        all.any(|spread| spread.metric == Quantity::DecodeTokS)
    };
    let runs = repeated.trials.iter().filter(spread);
    let known: Vec<f64> = runs
        .flat_map(|trial| trial.runs.iter().filter(|run| run.status == "ok"))
        .filter_map(|run| run.decode_tok_s)
        .collect();
    assert!(!known.is_empty());
    assert_eq!(drawn(&page(report), "runs_decode_tok_s", "run"), known);
}
