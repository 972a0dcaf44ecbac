//! A room of `src/` (a folder or a file) may import only rooms of earlier ranks, so that the picture in `src/lib.rs` stays true.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by rank. One may import those of the ranks above it here and itself, none of its own rank.
const RANKS: &[&[&str]] = &[
    &[
        "error", "units", "cachedir", "carried", "elf", "npy", "shelf",
    ],
    &["trial"],
    &["protocol"],
    &[
        "model", "device", "payload", "engine", "stats", "text", "failures",
    ],
    &[
        "plan",
        "import",
        "ceiling",
        "tuning",
        "worker",
        "supervisor",
    ],
    &["report", "doctor"],
    &["baseline"],
    &["export", "progress"],
    &["cli"],
    &["app"],
    &["lib"],
    &["main", "worker_main"],
];

fn rank(room: &str) -> Option<usize> {
    RANKS.iter().position(|rooms| rooms.contains(&room))
}

/// A path below `src/` as a list of modules: `model/emit/mod.rs` is `[model, emit]`.
fn modules(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// All sources below a folder, relative to `root`.
fn sources(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}

/// The source without comments and without what is compiled for tests only, and the files of modules for tests only.
fn product(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut test_files) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let words = line.trim_start();
        if words.starts_with("//") {
            continue;
        }
        if words != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // The item that follows, to its end: rustfmt closes a block in the column it began in.
        let indent = &line[..line.len() - words.len()];
        let mut item = lines
            .by_ref()
            .skip_while(|line| line.trim_start().starts_with("#["));
        let first = item.next().unwrap_or_default().trim();
        match first
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            Some(name) => test_files.push(name.to_owned()),
            None if first.ends_with('{') => {
                let end = format!("{indent}}}");
                lines.by_ref().find(|line| *line == end);
            }
            None if first.ends_with(';') => {}
            None => {
                lines.by_ref().find(|line| line.trim_end().ends_with(';'));
            }
        }
    }
    (kept, test_files)
}

/// The first name of a path, or of each path in braces.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start();
        text.chars()
            .take_while(|char| char.is_alphanumeric() || *char == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut depth, mut begin, mut found) = (1, 0, Vec::new());
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && char == ',') {
            found.push(name(&group[begin..at]));
            begin = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Rooms that a source names, by `crate::` or by leaving its own room with `super::`. `depth` is its number of modules.
fn named(text: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let begins = |at: usize| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || char == '_' || char == ':')
    };
    for (at, word) in text.match_indices("crate::") {
        if begins(at) {
            found.extend(heads(&text[at + word.len()..]));
        }
    }
    for (at, _) in text.match_indices("super::") {
        if !begins(at) {
            continue;
        }
        let (mut rest, mut steps) = (&text[at..], 0);
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, steps) = (next, steps + 1);
        }
        if steps >= depth {
            found.extend(heads(rest));
        }
    }
    found
}

/// Every edge between rooms of `src/`, with the file it is in.
fn edges() -> Vec<(String, String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    let texts: Vec<(PathBuf, String, Vec<String>)> = files
        .into_iter()
        .map(|file| {
            let (text, tests) = product(&fs::read_to_string(root.join(&file)).unwrap());
            (file, text, tests)
        })
        .collect();
    let for_tests: Vec<Vec<String>> = texts
        .iter()
        .flat_map(|(file, _, tests)| {
            let home = modules(file);
            tests
                .iter()
                .map(move |name| [&home[..], std::slice::from_ref(name)].concat())
        })
        .collect();
    let mut edges = Vec::new();
    for (file, text, _) in &texts {
        let path = modules(file);
        if for_tests.iter().any(|module| path.starts_with(module)) {
            continue;
        }
        for target in named(text, path.len()) {
            if target != path[0] {
                edges.push((path[0].clone(), target, file.clone()));
            }
        }
    }
    edges
}

#[test]
fn every_import_goes_to_an_earlier_rank() {
    let edges = edges();
    // The scan sees what is known to be there.
    for known in [
        ("supervisor", "protocol"),
        ("worker", "engine"),
        ("app", "cli"),
        ("export", "report"),
    ] {
        assert!(
            edges
                .iter()
                .any(|(from, to, _)| (from.as_str(), to.as_str()) == known),
            "{known:?}"
        );
    }
    let wrong: Vec<String> = edges
        .iter()
        .filter(|(from, to, _)| rank(from) <= rank(to) || rank(to).is_none())
        .map(|(from, to, file)| format!("{from} imports {to} in src/{}", file.display()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_has_a_rank_and_every_rank_its_rooms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeSet<String> = fs::read_dir(root)
        .unwrap()
        .map(|entry| modules(Path::new(&entry.unwrap().file_name()))[0].clone())
        .collect();
    let ranked: BTreeSet<String> = RANKS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(rooms, ranked);
}

#[test]
fn the_scan_finds_each_way_to_name_a_room_and_ignores_tests_and_comments() {
    let source = "\
//! See [`crate::lib`].
use crate::units::Bytes;
use crate::{cli, plan::{self, Plan}, report};
fn f() -> crate::error::Result<()> { super::super::engine::open() }
use super::sibling;
#[cfg(test)]
pub use crate::fixture;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests {
    use crate::export;
}
fn g() { crate::text::rows(); other_crate::app::run(); }
";
    let (text, tests) = product(source);
    assert_eq!(tests, ["samples"]);
    let names: Vec<String> = named(&text, 2).into_iter().collect();
    assert_eq!(
        names,
        ["cli", "engine", "error", "plan", "report", "text", "units"]
    );
    assert_eq!(modules(Path::new("model/emit/mod.rs")), ["model", "emit"]);
}
