//! The committed results and what is told of them: `benchmarks/results.csv` and every marked table of README and of the tech note are
//! made of the files in `benchmarks/results/` again, and must be what stands there. `scripts/tables.sh` writes them anew.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod documents;
mod results;
mod specs;

use specs::Spec;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Documents whose tables are made, where they are there.
const DOCUMENTS: [&str; 2] = ["README.md", "benchmarks/TECH_NOTE.md"];

/// The variable by which a document or the list that is not up to date is written instead of refused.
const UPDATE: &str = "UPDATE_TABLES";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn benchmarks() -> PathBuf {
    root().join("benchmarks")
}

/// What each table is made of.
fn specs() -> BTreeMap<String, Spec> {
    let text = fs::read_to_string(benchmarks().join("tables.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Holds a committed file to what it must be.
fn hold(path: &Path, committed: &str, made: &str) {
    if committed == made {
        return;
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, made).unwrap();
        return;
    }
    let lines = committed.lines().zip(made.lines());
    let at = lines.take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(at).unwrap_or("(its end)").to_owned();
    panic!(
        "{} is not what the results say; scripts/tables.sh writes it anew\nline {}: {}\nresults: {}",
        path.display(),
        at + 1,
        line(committed),
        line(made)
    );
}

#[test]
fn every_marked_table_is_what_the_results_say() {
    let specs = specs();
    let mut used = BTreeSet::new();
    for document in DOCUMENTS {
        let path = root().join(document);
        // The tech note may not be there yet; a table is then made for nobody, which is told below.
        let Ok(committed) = fs::read_to_string(&path) else {
            assert_ne!(document, "README.md");
            continue;
        };
        let made = documents::remade(&committed, |name| {
            let spec = specs.get(name);
            let spec = spec.unwrap_or_else(|| panic!("benchmarks/tables.json has no '{name}'"));
            used.insert(name.to_owned());
            spec.lines()
        });
        hold(&path, &committed, &made);
    }
    let named: BTreeSet<String> = specs.into_keys().collect();
    assert_eq!(used, named, "tables that no document has");
}

#[test]
fn the_list_has_every_trial_of_every_result() {
    let path = benchmarks().join("results.csv");
    let made = results::csv();
    let committed = fs::read_to_string(&path).unwrap_or_default();
    hold(&path, &committed, &made);
    let trials: usize = results::files()
        .iter()
        .map(|(_, report)| report["trials"].as_array().unwrap().len())
        .sum();
    assert_eq!(made.lines().count(), trials + 1);
}

#[test]
fn a_figure_that_differs_is_noticed_and_put_right() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let specs = specs();
    let make = |name: &str| specs[name].lines();
    let right = documents::remade(&readme, make);
    let table = right.find("\n<!-- table: ").unwrap();
    let below = right[table..].find("-->\n").unwrap() + table;
    let digit = right[below..].find(|char: char| char.is_ascii_digit());
    let digit = below + digit.unwrap();
    let mut wrong = right.clone();
    let other = match &right[digit..=digit] {
        "7" => "8",
        _ => "7",
    };
    wrong.replace_range(digit..=digit, other);
    assert_ne!(wrong, right);
    assert_eq!(documents::remade(&wrong, make), right);
}
