//! Tests of the exporters of a comparison.

use super::*;
use crate::report::compare::example;

/// Every format.
const FORMATS: [ComparisonFormat; 4] = [
    ComparisonFormat::Table,
    ComparisonFormat::Json,
    ComparisonFormat::Csv,
    ComparisonFormat::Markdown,
];

fn shown(format: ComparisonFormat) -> String {
    render(&example(), format, None, false).unwrap()
}

#[test]
fn every_format_ends_with_one_newline() {
    for format in FORMATS {
        let text = shown(format);
        assert!(
            text.ends_with('\n') && !text.ends_with("\n\n"),
            "{format:?}"
        );
    }
}

#[test]
fn no_line_of_the_table_is_wider_than_the_terminal() {
    for width in [60, 80, 100, 160] {
        let text = render(&example(), ComparisonFormat::Table, Some(width), false).unwrap();
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} > {width}\n{text}");
    }
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let plain = render(&example(), ComparisonFormat::Table, None, false).unwrap();
    let mut painted = render(&example(), ComparisonFormat::Table, None, true).unwrap();
    assert!(!plain.contains('\u{1b}'));
    for code in [
        "\u{1b}[32m",
        "\u{1b}[31m",
        "\u{1b}[2m",
        "\u{1b}[33m",
        "\u{1b}[0m",
    ] {
        assert!(painted.contains(code), "{code:?}");
        painted = painted.replace(code, "");
    }
    assert_eq!(painted, plain);
}

#[test]
fn more_than_three_files_are_told_one_below_the_other() {
    let mut comparison = example();
    let file = comparison.files[0].clone();
    comparison.files.push(file);
    let text = render(&comparison, ComparisonFormat::Table, None, false).unwrap();
    assert!(text.contains("CPU: A Example CPU; B Faster CPU"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

#[test]
fn a_name_from_a_file_ends_no_cell_and_opens_no_tag() {
    let mut comparison = example();
    comparison.against[0].pairs[0].model = "a|b\n<i>".to_owned();
    let text = render(&comparison, ComparisonFormat::Markdown, None, false).unwrap();
    assert!(text.contains("| a\\|b &lt;i>, fused"), "{text}");
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let mut counts: Vec<usize> = rows.map(bars).collect();
    counts.sort_unstable();
    counts.dedup();
    // The facts of three files, the figures; the ceilings are as wide as those.
    assert_eq!(counts, [5, 8], "{text}");
}

#[test]
fn csv_has_an_empty_cell_and_a_reason_for_what_is_not_known() {
    let text = shown(ComparisonFormat::Csv);
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|key| key == name).unwrap();
    let (ratio, verdict, reason) = (at("ratio"), at("verdict"), at("reason"));
    let mut refused = 0;
    for record in reader.records() {
        let record = record.unwrap();
        if &record[verdict] == "not_comparable" {
            assert!(
                record[ratio].is_empty() && record[reason].len() > 10,
                "{record:?}"
            );
            refused += 1;
        } else if !record[verdict].is_empty() {
            assert!(record[ratio].parse::<f64>().unwrap() > 0.0, "{record:?}");
        }
    }
    assert!(refused > 14, "{text}");
}

#[test]
fn table() {
    insta::assert_snapshot!(shown(ComparisonFormat::Table));
}

#[test]
fn json() {
    insta::assert_snapshot!(shown(ComparisonFormat::Json));
}

#[test]
fn csv() {
    insta::assert_snapshot!(shown(ComparisonFormat::Csv));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(shown(ComparisonFormat::Markdown));
}
