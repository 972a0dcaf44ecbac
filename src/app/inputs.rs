//! What decides a run besides its command line: contents of the files it names, and variables of the environment.

use crate::cli::RunCommand;
use crate::error::{Error, Result};
use crate::report::Inputs;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Variables that change what is measured, by how they begin: edgebench's own, the runtime's, those of the libraries below it.
const PREFIXES: [&str; 4] = [
    "EDGEBENCH_",
    "ORT_",
    "CUBLAS_WORKSPACE_CONFIG",
    "GLIBC_TUNABLES",
];
/// Variables that begin so and change no figure.
const HARMLESS: [&str; 2] = ["EDGEBENCH_CACHE_LIMIT", "ORT_DISABLE_TELEMETRY"];

/// The inputs as they are now.
pub fn now(command: &RunCommand) -> Result<Inputs> {
    let digest = |flag: &str, path: &Option<std::path::PathBuf>| {
        path.as_deref().map(|path| sha256(flag, path)).transpose()
    };
    Ok(Inputs {
        prompt_sha256: digest("--prompt-file", &command.prompt_file)?,
        tokenizer_sha256: digest("--tokenizer", &command.tokenizer)?,
        variables: variables(std::env::vars_os().map(|(name, value)| {
            let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
            (text(name), text(value))
        })),
    })
}

fn sha256(flag: &str, path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|cause| {
        Error::Usage(format!(
            "{flag} {}: could not read it ({cause}); give the path of a file that can be read",
            path.display()
        ))
    })?;
    let digest = Sha256::digest(&bytes);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn variables(all: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let matters = |name: &str| {
        PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !HARMLESS.contains(&name)
    };
    all.filter(|(name, value)| matters(name) && !value.is_empty())
        .collect()
}

/// In what they differ, a clause for each.
pub fn differences(then: &Inputs, now: &Inputs) -> Vec<String> {
    let files = [
        ("--prompt-file", &then.prompt_sha256, &now.prompt_sha256),
        ("--tokenizer", &then.tokenizer_sha256, &now.tokenizer_sha256),
    ];
    let changed = files
        .into_iter()
        .filter(|(_, then, now)| then != now)
        .map(|(flag, ..)| format!("the file of {flag} has other contents now"));
    let names: std::collections::BTreeSet<&String> =
        then.variables.keys().chain(now.variables.keys()).collect();
    let said = |value: Option<&String>| value.map_or_else(|| "not set".to_owned(), String::clone);
    let variables = names.into_iter().filter_map(|name| {
        let (then, now) = (then.variables.get(name), now.variables.get(name));
        (then != now).then(|| format!("{name} was {} and is {}", said(then), said(now)))
    });
    changed.chain(variables).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        variables(all.iter().map(owned))
    }

    #[test]
    fn only_variables_that_change_a_figure_count() {
        let found = of(&[
            ("PATH", "/bin"),
            ("EDGEBENCH_ORT", "/a"),
            ("EDGEBENCH_CACHE_LIMIT", "1G"),
            ("EDGEBENCH_RUNTIME_DIR", ""),
            ("ORT_ENABLE_XQA", "0"),
            ("ORT_DISABLE_TELEMETRY", "1"),
        ]);
        let names: Vec<&String> = found.keys().collect();
        assert_eq!(names, ["EDGEBENCH_ORT", "ORT_ENABLE_XQA"]);
    }

    #[test]
    fn what_differs_is_named() {
        let then = Inputs {
            prompt_sha256: Some("aa".into()),
            tokenizer_sha256: None,
            variables: of(&[("EDGEBENCH_ORT", "/a"), ("ORT_ENABLE_XQA", "0")]),
        };
        assert!(differences(&then, &then).is_empty());
        let now = Inputs {
            prompt_sha256: Some("ab".into()),
            variables: of(&[("EDGEBENCH_ORT", "/b")]),
            ..then.clone()
        };
        assert_eq!(
            differences(&then, &now),
            [
                "the file of --prompt-file has other contents now",
                "EDGEBENCH_ORT was /a and is /b",
                "ORT_ENABLE_XQA was 0 and is not set",
            ]
        );
    }
}
