//! The memory table on a GPU, on the CPU and with several budgets.

use super::super::{Format, render};
use super::*;
use crate::report::{fixture, several_budgets};

/// The fixture as a GPU would have it: parts read off the device, an arena, one row held softly, one that needed more for its
/// context than for its model.
fn on_a_gpu() -> Report {
    let mut report = fixture();
    let mib = |n: u64| Some(n << 20);
    for row in &mut report.trials {
        row.device = "cuda:0".to_owned();
        row.precision = "fp16".to_owned();
    }
    let parts = |memory: &mut MemoryRow,
                 [weights, kv, activations, context, libraries]: [u64; 5]| {
        memory.weights_bytes = mib(weights);
        memory.kv_bytes = mib(kv);
        memory.activations_bytes = mib(activations);
        memory.runtime_bytes = mib(context + libraries);
        memory.runtime_context_bytes = mib(context);
        memory.runtime_libraries_bytes = mib(libraries);
        memory.unaccounted_bytes = Some(2 << 20);
        let sum = weights + kv + activations + context + libraries + 2;
        memory.loaded_peak_bytes = mib(sum);
        memory.steady_bytes = mib(sum - 1);
        memory.prefill_peak_bytes = mib(sum);
        memory.decode_peak_bytes = mib(sum);
        memory.peak_bytes = mib(sum.max(518));
        memory.arena_reserved_bytes = mib(activations);
        memory.arena_live_peak_bytes = mib(activations / 2);
        memory.enforced = Some("hard".to_owned());
        memory.enforced_how = Some("another process took the rest".to_owned());
    };
    parts(&mut report.trials[0].memory, [238, 27, 64, 320, 94]);
    report.trials[0].memory.predicted_peak_bytes = mib(760);
    parts(&mut report.trials[1].memory, [30, 7, 16, 320, 94]);
    report.trials[1].memory.predicted_peak_bytes = mib(500);
    // It broke off, but it had taken something.
    parts(&mut report.trials[3].memory, [2460, 27, 9, 320, 44]);
    report.trials[3].memory.predicted_peak_bytes = mib(3000);
    report.trials[3].memory.enforced = Some("soft".to_owned());
    report.trials[3].memory.enforced_how =
        Some("the arena is limited and the process is watched, as asked for".to_owned());
    report
}

/// The block of the table, from its title to the blank line.
fn block(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with("Memory"));
    let block: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    block.join("\n")
}

fn table(report: &Report, width: usize) -> String {
    render(report, Format::Table, Some(width), false).unwrap()
}

#[test]
fn on_a_gpu_at_80_columns() {
    insta::assert_snapshot!(table(&on_a_gpu(), 80));
}

#[test]
fn on_a_gpu_at_120_columns() {
    insta::assert_snapshot!(block(&table(&on_a_gpu(), 120)));
}

#[test]
fn on_a_gpu_in_markdown() {
    insta::assert_snapshot!(render(&on_a_gpu(), Format::Markdown, None, false).unwrap());
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut mixed = on_a_gpu();
    mixed.trials[0].precision = "fp32".to_owned();
    mixed.trials[1].batch = 8;
    for report in [on_a_gpu(), mixed, several_budgets()] {
        for width in [60, 80, 100, 160] {
            let text = table(&report, width);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{text}");
        }
    }
}

#[test]
fn the_terms_shown_add_up_to_the_peak_shown() {
    let report = on_a_gpu();
    let columns = columns(&report);
    let rows = columns[0].cells.texts.len();
    let cell = |title: &str, row: usize| -> i64 {
        let column = columns.iter().find(|column| column.title == title).unwrap();
        column.cells.texts[row].parse().unwrap()
    };
    for row in 0..rows {
        let terms = ["weights", "KV", "activ.", "runtime", "unacc."];
        let sum: i64 = terms.iter().map(|title| cell(title, row)).sum();
        assert_eq!(sum, cell("= peak", row));
    }
    assert_eq!(rows, 3, "a row without readings is not there");
}

#[test]
fn a_setting_that_differs_names_the_row() {
    let mut report = on_a_gpu();
    report.trials[1].precision = "int4".to_owned();
    let text = block(&table(&report, 100));
    assert!(text.contains("prec ") && text.contains("int4"), "{text}");
}

#[test]
fn what_no_row_has_is_no_column_and_without_readings_there_is_no_table() {
    let mut report = fixture();
    let titles: Vec<&str> = columns(&report).iter().map(|column| column.title).collect();
    for absent in ["arena", "arena live", "held"] {
        assert!(!titles.contains(&absent), "{titles:?}");
    }
    // 103 MiB of anonymous memory in prefill, 99 in decode.
    assert!(titles.contains(&"in prefill"), "{titles:?}");
    for row in &mut report.trials {
        row.memory = MemoryRow::default();
    }
    assert!(columns(&report).is_empty() && remarks(&report).is_empty());
    for format in [Format::Table, Format::Markdown] {
        let text = render(&report, format, None, false).unwrap();
        assert!(!text.contains("Memory"), "{text}");
    }
}

#[test]
fn with_several_budgets_a_model_is_shown_in_the_smallest_that_it_ran_in() {
    let mut report = several_budgets();
    let text = block(&table(&report, 100));
    assert_eq!(text.matches("dense-120m").count(), 1, "{text}");
    assert!(
        text.contains("600 MiB") && text.contains("4.00 GiB"),
        "{text}"
    );
    // It took too much in the small one: the larger one is where it ran.
    let first = report
        .trials
        .iter_mut()
        .find(|row| row.status == "ok")
        .unwrap();
    first.status = "out_of_memory".to_owned();
    let text = block(&table(&report, 100));
    assert!(!text.contains("600 MiB"), "{text}");
}

#[test]
fn a_deviation_is_told_of_rows_that_ran_to_the_end() {
    let report = on_a_gpu();
    let errors: Vec<Option<String>> = report
        .trials
        .iter()
        .map(|row| error(row).map(human::off))
        .collect();
    let told = |text: &str| Some(text.to_owned());
    assert_eq!(errors, [told("+2.0"), told("+6.6"), None, None]);
}
