//! Reads small files of the system below a root folder, so that a test can hand in a tree of its own. Nothing is written.

use crate::protocol::Told;
use std::io::Read;
use std::path::{Path, PathBuf};

/// More than any file of the kernel that is read here; what lies behind it is not looked at.
const LONGEST: u64 = 1 << 20;

/// A root folder: `/`, or one that looks like it.
#[derive(Debug, Clone)]
pub struct Tree(PathBuf);

impl Tree {
    /// The tree at `root`.
    pub fn new(root: &Path) -> Tree {
        Tree(root.to_owned())
    }

    fn below(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Whether there is something at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.below(path).exists()
    }

    /// The file's text without white space and zero bytes at its ends. An empty file tells nothing.
    pub fn text(&self, path: &str) -> Told<String> {
        let file = std::fs::File::open(self.below(path));
        let mut bytes = Vec::new();
        file.and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => format!("{path} is not there"),
                std::io::ErrorKind::PermissionDenied => format!("{path} may not be read"),
                _ => format!("{path} could not be read ({error})"),
            })?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|char: char| char == '\0' || char.is_whitespace());
        if text.is_empty() {
            return Err(format!("{path} is empty"));
        }
        Ok(text.to_owned())
    }

    /// The file's one whole number.
    pub fn number(&self, path: &str) -> Told<i64> {
        let text = self.text(path)?;
        text.parse().map_err(|_| format!("{path} holds no number"))
    }

    /// The file's one whole number, where it cannot be negative.
    pub fn count(&self, path: &str) -> Told<u64> {
        u64::try_from(self.number(path)?).map_err(|_| format!("{path} is negative"))
    }

    /// Names in a folder, sorted by their numbers; none where the folder is not there.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.below(folder)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        // zone2 before zone10.
        names.sort_by_key(|name| (digits(name).unwrap_or(0), name.clone()));
        names
    }
}

/// The first run of digits in a name.
fn digits(name: &str) -> Option<u64> {
    let from = name.find(|char: char| char.is_ascii_digit())?;
    let rest = &name[from..];
    let to = rest
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..to].parse().ok()
}

/// A tree of files for tests.
#[cfg(test)]
pub fn planted(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tree = Tree::new(root.path());
    (root, tree)
}

/// One of the trees in `tests/trees`, which the tests of the whole program plant too.
#[cfg(test)]
pub fn recorded(name: &str) -> (tempfile::TempDir, Tree) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    let text = text.replace("\\0", "\0");
    let files: Vec<(&str, &str)> = text
        .split("--- ")
        .skip(1)
        .map(|file| file.split_once('\n').unwrap())
        .collect();
    planted(&files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_its_text_or_why_not() {
        let (_root, tree) = planted(&[
            ("model", "NVIDIA Jetson\0"),
            ("empty", "\n"),
            ("number", " -17\n"),
            ("word", "seven"),
        ]);
        assert_eq!(tree.text("/model"), Ok("NVIDIA Jetson".into()));
        assert_eq!(tree.text("/empty"), Err("/empty is empty".into()));
        assert_eq!(tree.text("/gone"), Err("/gone is not there".into()));
        assert_eq!(tree.number("/number"), Ok(-17));
        assert_eq!(tree.count("/number"), Err("/number is negative".into()));
        assert_eq!(tree.number("/word"), Err("/word holds no number".into()));
        assert!(tree.text("/").is_err());
    }

    #[test]
    fn names_are_sorted_by_their_numbers() {
        let (_root, tree) = planted(&[("f/zone10", "1"), ("f/zone2", "1"), ("f/a", "1")]);
        assert_eq!(tree.names("/f"), ["a", "zone2", "zone10"]);
        assert!(tree.names("/gone").is_empty());
    }
}
