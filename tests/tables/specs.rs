//! What a table is made of: `benchmarks/tables.json` names for each a way and its files, below `benchmarks/`.

use crate::{benchmarks, results};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// A table.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Spec {
    /// Blocks of what `edgebench show` prints.
    Show {
        /// The result.
        file: String,
        /// The blocks, in the order in which they are printed.
        blocks: Vec<Block>,
    },
    /// Blocks of what `edgebench compare` prints.
    Compare {
        /// The results, the baseline first.
        files: Vec<String>,
        /// The blocks, in the order in which they are printed.
        blocks: Vec<Block>,
    },
    /// Lines of a text file as a Markdown table.
    Lines {
        /// The file.
        file: String,
        /// What the line above them begins with.
        after: String,
        /// How many.
        count: usize,
        /// The columns.
        columns: Vec<Cut>,
    },
    /// The ratios of a study's pairs as a Markdown table, each with its 95 % interval where it has one.
    Pairs {
        /// The results.
        files: Vec<String>,
        /// The bases to take, as results name them.
        basis: Vec<String>,
        /// Titles, and the quantities that stand below them.
        metrics: Vec<(String, String)>,
    },
    /// Trials as a Markdown table.
    Trials {
        /// The results.
        files: Vec<String>,
        /// Columns of `results.csv` and what stands in them in the trials that are taken; all where it is left out.
        #[serde(default)]
        only: BTreeMap<String, Vec<String>>,
        /// The columns.
        columns: Vec<Column>,
    },
}

/// A block of printed text, up to an empty line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// What its first line begins with.
    begins: String,
    /// What its lines must have to be kept; title and rule are kept always.
    #[serde(default)]
    with: String,
    /// What they must not have.
    #[serde(default)]
    without: Vec<String>,
}

/// A column cut out of text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Its title.
    title: String,
    /// The first character and the one behind the last.
    at: [usize; 2],
    /// Digits behind the point; as it stands where it is left out.
    digits: Option<usize>,
    /// Other words for some.
    #[serde(default)]
    names: BTreeMap<String, String>,
}

/// A column of `results.csv`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its title here.
    title: String,
    /// Its title there.
    key: String,
    /// Digits behind the point; as it stands where it is left out.
    digits: Option<usize>,
    /// What numbers are multiplied by.
    factor: Option<f64>,
}

impl Spec {
    /// The table.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Spec::Show { file, blocks } => chosen(&run("show", std::slice::from_ref(file)), blocks),
            Spec::Compare { files, blocks } => chosen(&run("compare", files), blocks),
            Spec::Lines {
                file,
                after,
                count,
                columns,
            } => cut(file, after, *count, columns),
            Spec::Pairs {
                files,
                basis,
                metrics,
            } => pairs(files, basis, metrics),
            Spec::Trials {
                files,
                only,
                columns,
            } => trials(files, only, columns),
        }
    }
}

/// What the program prints of files.
fn run(command: &str, files: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_edgebench"))
        .arg(command)
        .args(files)
        .current_dir(benchmarks())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command} {files:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Blocks of a text, an empty line between them.
fn chosen(text: &str, blocks: &[Block]) -> Vec<String> {
    let mut wanted = blocks.iter().peekable();
    let mut lines = Vec::new();
    for found in text.trim_end().split("\n\n") {
        let Some(block) = wanted.next_if(|block| found.starts_with(&block.begins)) else {
            continue;
        };
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let head = found.lines().take_while(|line| !line.starts_with('─'));
        let head = match found.contains('─') {
            true => head.count() + 1,
            false => 0,
        };
        let kept = |(place, line): &(usize, &str)| {
            let named = block.without.iter().any(|word| line.contains(word));
            *place < head || (line.contains(&block.with) && !named)
        };
        let kept = found.lines().enumerate().filter(kept);
        lines.extend(kept.map(|(_, line)| line.to_owned()));
    }
    let missing = wanted.next();
    assert!(missing.is_none(), "no such block: {missing:?}");
    lines
}

/// A line of a Markdown table.
fn row(cells: impl IntoIterator<Item = String>) -> String {
    let mut line = "|".to_owned();
    for cell in cells {
        line.push_str(&match cell.is_empty() {
            true => " |".to_owned(),
            false => format!(" {} |", cell.replace('|', "\\|")),
        });
    }
    line
}

/// A Markdown table.
fn markdown(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let rule = format!("|{}", "---|".repeat(titles.len()));
    let head = row(titles.iter().map(|title| (*title).to_owned()));
    let rows: Vec<String> = rows.into_iter().map(row).collect();
    assert!(!rows.is_empty(), "a table of {titles:?} with no row");
    [vec![head, rule], rows].concat()
}

/// A cell with so many digits behind the point.
fn rounded(text: &str, digits: Option<usize>, factor: f64) -> String {
    match (digits, text) {
        (_, "") | (None, _) => text.to_owned(),
        (Some(digits), number) => {
            let number: f64 = number.parse().unwrap();
            format!("{:.digits$}", number * factor)
        }
    }
}

/// Columns cut out of lines of a file.
fn cut(file: &str, after: &str, count: usize, columns: &[Cut]) -> Vec<String> {
    let text = fs::read_to_string(benchmarks().join(file)).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with(after))
        .skip(1)
        .take(count)
        .collect();
    assert_eq!(lines.len(), count, "{file}: after '{after}'");
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let cells = |line: &&str| -> Vec<String> {
        let cell = |column: &Cut| {
            let [from, to] = column.at;
            let text: String = line.chars().skip(from).take(to - from).collect();
            let text = rounded(text.trim(), column.digits, 1.0);
            column.names.get(&text).cloned().unwrap_or(text)
        };
        columns.iter().map(cell).collect()
    };
    markdown(&titles, lines.iter().map(cells))
}

/// Columns of the trials of some results.
fn trials(
    files: &[String],
    only: &BTreeMap<String, Vec<String>>,
    columns: &[Column],
) -> Vec<String> {
    let known = results::titles();
    let place = |key: &str| {
        let found = known.iter().position(|title| *title == key);
        found.unwrap_or_else(|| panic!("results.csv has no column '{key}'"))
    };
    let all = results::files();
    let named = |file: &String| {
        let found = all
            .iter()
            .find(|(name, _)| format!("results/{name}") == *file);
        found
            .unwrap_or_else(|| panic!("no such result: {file}"))
            .clone()
    };
    let files: Vec<_> = files.iter().map(named).collect();
    let taken = |row: &Vec<String>| {
        let mut only = only.iter();
        only.all(|(key, values)| values.contains(&row[place(key)]))
    };
    let cells = |row: Vec<String>| -> Vec<String> {
        let cell = |column: &Column| {
            let text = &row[place(&column.key)];
            rounded(text, column.digits, column.factor.unwrap_or(1.0))
        };
        columns.iter().map(cell).collect()
    };
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let rows = results::rows(&files).into_iter().filter(taken);
    markdown(&titles, rows.map(cells))
}

/// The ratios of pairs, a line for each.
fn pairs(files: &[String], basis: &[String], metrics: &[(String, String)]) -> Vec<String> {
    let all = results::files();
    let mut rows = Vec::new();
    for file in files {
        let found = all
            .iter()
            .find(|(name, _)| format!("results/{name}") == *file);
        let (_, report) = found.unwrap_or_else(|| panic!("no such result: {file}"));
        let wanted = |pair: &&serde_json::Value| {
            let own = pair["basis"].as_str().unwrap();
            basis.iter().any(|basis| basis == own)
        };
        let pairs = report["study"]["pairs"].as_array().unwrap();
        rows.extend(pairs.iter().filter(wanted).map(|pair| {
            let name = |side: &str| pair[side]["model"].as_str().unwrap().to_owned();
            let mut cells = vec![name("moe"), name("dense"), pair["batch"].to_string()];
            cells.extend(metrics.iter().map(|(_, metric)| ratio(pair, metric)));
            cells
        }));
    }
    let mut titles = vec!["MoE", "dense", "batch"];
    titles.extend(metrics.iter().map(|(title, _)| title.as_str()));
    markdown(&titles, rows)
}

/// A ratio of a pair with its interval; a dash where there is none.
fn ratio(pair: &serde_json::Value, metric: &str) -> String {
    let mut ratios = pair["ratios"].as_array().unwrap().iter();
    let found = ratios.find(|ratio| ratio["metric"] == metric);
    let found = found.unwrap_or_else(|| panic!("no pair has a ratio of '{metric}'"));
    let ends: Option<Vec<f64>> = found["ci95"]
        .as_array()
        .map(|ends| ends.iter().filter_map(serde_json::Value::as_f64).collect());
    match (found["ratio"].as_f64(), ends.as_deref()) {
        (Some(ratio), Some([low, high])) if format!("{low:.2}") != format!("{high:.2}") => {
            format!("{ratio:.2} ({low:.2} to {high:.2})")
        }
        (Some(ratio), _) => format!("{ratio:.2}"),
        (None, _) => "-".to_owned(),
    }
}

#[test]
fn trials_are_chosen_and_rounded() {
    let spec = r#"{"kind": "trials", "files": ["results/h100-quick-4g.json"], "only": {"model": ["dense-120m"]}, "columns": [
        {"title": "model", "key": "model"}, {"title": "peak GiB", "key": "peak_mib", "digits": 3, "factor": 0.0009765625}]}"#;
    let spec: Spec = serde_json::from_str(spec).unwrap();
    let expected = [
        "| model | peak GiB |",
        "|---|---|",
        "| dense-120m | 0.625 |",
    ];
    assert_eq!(spec.lines(), expected);
}

#[test]
fn a_comparison_is_cut_to_its_blocks() {
    let spec = r#"{"kind": "compare", "files": ["results/h100-quick-4g.json", "results/h100-quick-4g-no-graph.json"],
        "blocks": [{"begins": "B against A, decoding"}]}"#;
    let spec: Spec = serde_json::from_str(spec).unwrap();
    let lines = spec.lines();
    assert!(lines[0].starts_with("B against A, decoding: 4 slower of 4 rows"));
}
