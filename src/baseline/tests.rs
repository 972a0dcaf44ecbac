//! Tests of the baselines: those that the program carries, names, and a folder with good and bad ones.

use super::*;
use crate::report::compare::Source;
use crate::report::{fixture, to_json};
use std::fs;
use std::path::Path;

fn library(folder: &Path) -> Library {
    Library {
        folder: Ok(Folder::at(folder)),
    }
}

fn sentence<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error:?}");
    let sentence = error.to_string();
    assert!(
        !sentence.contains(". ") && !sentence.contains('\n'),
        "{sentence}"
    );
    sentence
}

#[test]
fn every_built_in_baseline_is_carried_whole_and_can_be_compared() {
    let benchmarks = Path::new(env!("CARGO_MANIFEST_DIR")).join("benchmarks");
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let entries = builtin::entries();
    assert!(entries.len() >= 2);
    for entry in entries {
        check_name(&entry.name).unwrap();
        let found = library.find(&entry.name).unwrap();
        assert_eq!(found.origin, Origin::BuiltIn);
        assert_eq!(found.parts.len(), entry.files.len());
        for (part, file) in found.parts.iter().zip(&entry.files) {
            let committed = fs::read_to_string(benchmarks.join(file)).unwrap();
            assert_eq!(part.text, committed, "{file}");
            assert!(part.run.has_figures() && part.run.finished, "{file}");
            assert!(part.run.machine().is_some(), "{file}");
            assert!(part.run.started_utc.is_some(), "{file}");
            // Of what was measured here the command is told; of what others published it is not known.
            let measured = part.run.source == Source::Edgebench;
            assert_eq!(part.run.command.is_some(), measured, "{file}");
        }
    }
}

#[test]
fn conditions_are_held_against_a_measured_file_of_the_desktop() {
    let desktop = Library::open().find("desktop").unwrap();
    assert_eq!(desktop.parts[0].run.source, Source::Edgebench);
    let published = desktop.parts.iter();
    let mut published = published.filter(|part| part.run.source == Source::Published);
    assert!(published.next().is_some() && published.next().is_none());
}

#[test]
fn all_baselines_together_stay_small() {
    assert!(builtin::PACKED.len() < 60_000, "{}", builtin::PACKED.len());
}

#[test]
fn what_is_added_is_found_listed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(&folder.path().join("not/yet"));
    let text = to_json(&fixture()).unwrap();
    let path = library.add("my-box.2", "a.json", &text, false).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let found = library.find("my-box.2").unwrap();
    assert_eq!(
        (found.origin, found.parts[0].text.as_ref()),
        (Origin::Added(path.clone()), text.as_str())
    );
    let again = sentence(library.add("my-box.2", "a.json", &text, false));
    assert!(
        again.contains("already") && again.contains("--replace"),
        "{again}"
    );
    library.add("my-box.2", "a.json", &text, true).unwrap();
    let names = |library: &Library| -> Vec<String> {
        let list = library.list().unwrap();
        list.into_iter().map(|one| one.unwrap().name).collect()
    };
    assert_eq!(names(&library).last().unwrap(), "my-box.2");
    assert_eq!(library.remove("my-box.2").unwrap(), path);
    assert!(!names(&library).contains(&"my-box.2".to_owned()));
    let gone = sentence(library.remove("my-box.2"));
    assert!(gone.contains("there is no baseline 'my-box.2'"), "{gone}");
}

#[test]
fn what_is_no_result_is_not_added() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let mut nothing = fixture();
    nothing.trials.clear();
    let nothing = to_json(&nothing).unwrap();
    for (text, part) in [
        ("", "not JSON"),
        ("{}", "schema_version"),
        ("[]", "it is empty"),
        (r#"{"published": {}}"#, "damaged"),
        (&nothing, "no figure"),
    ] {
        let refused = sentence(library.add("x", "some.json", text, false));
        assert!(
            refused.starts_with("some.json: ") && refused.contains(part),
            "{refused}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn names_are_checked_and_those_of_the_program_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let text = to_json(&fixture()).unwrap();
    let long = "x".repeat(65);
    for name in [
        "", "-x", ".x", "a/b", "../x", "A", "a b", "ü", "a\nb", &long,
    ] {
        let refused = sentence(library.add(name, "a.json", &text, true));
        assert!(refused.contains("is no name of a baseline"), "{refused}");
        assert!(library.find(name).is_err() && library.remove(name).is_err());
    }
    for name in builtin::names() {
        for refused in [
            sentence(library.add(&name, "a.json", &text, true)),
            sentence(library.remove(&name)),
        ] {
            assert!(refused.contains("is built in"), "{refused}");
        }
    }
    let unknown = sentence(library.find("desktp"));
    assert!(
        unknown.contains("'desktp'") && unknown.contains("desktop, study-4070ti"),
        "{unknown}"
    );
}

#[test]
fn a_file_that_was_spoiled_later_is_named_in_one_sentence_and_the_others_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let text = to_json(&fixture()).unwrap();
    library.add("good", "a.json", &text, false).unwrap();
    let bad = library.add("bad", "a.json", &text, false).unwrap();
    fs::write(&bad, &text[..text.len() / 2]).unwrap();
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    fs::create_dir(folder.path().join("folder.json")).unwrap();
    let refused = sentence(library.find("bad"));
    for part in ["'bad'", "bad.json", "not JSON", "--replace"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let list = library.list().unwrap();
    let broken: Vec<&str> = list
        .iter()
        .filter_map(|one| Some(one.as_ref().err()?.0.as_str()))
        .collect();
    assert_eq!(broken, ["bad", "folder"]);
    assert!(
        list.iter()
            .any(|one| one.as_ref().is_ok_and(|one| one.name == "good"))
    );
}

#[test]
fn without_a_place_for_files_the_built_in_ones_are_there() {
    let library = Library {
        folder: Err("there is no place for baselines".to_owned()),
    };
    assert!(library.find("desktop").is_ok());
    assert_eq!(library.list().unwrap().len(), builtin::names().len());
    let text = to_json(&fixture()).unwrap();
    assert!(sentence(library.add("x", "a", &text, false)).contains("no place"));
    assert!(sentence(library.find("x")).contains("there is no baseline 'x'"));
}
