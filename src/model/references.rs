//! The committed reference logits, which the build packs into one compressed block (`build.rs`): as text they would be a twentieth of
//! the program.

use std::io::Read;
use std::sync::LazyLock;

/// Files of `models/`, each as a line with its path there and its length in bytes, and its content.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/references.zst"));

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::new();
    // A block that the build has just packed cannot be broken: `every_test_size_model_has_a_reference` is a test.
    let read = zstd::Decoder::new(PACKED).and_then(|mut decoder| decoder.read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text)
});

/// The file at this path below `models/`, such as `golden/tiny-gpt2.json`.
pub fn file(path: &str) -> Option<&'static str> {
    let mut rest = TEXT.as_str();
    while let Some((head, behind)) = rest.split_once('\n') {
        let (name, length) = head.split_once(' ')?;
        let (content, next) = behind.split_at_checked(length.parse().ok()?)?;
        if name == path {
            return Some(content);
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_paths_and_are_what_is_committed() {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut count = 0;
        for folder in ["golden", "logits"] {
            for entry in std::fs::read_dir(models.join(folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let path = format!("{folder}/{name}");
                let committed = std::fs::read_to_string(models.join(&path)).unwrap();
                assert_eq!(file(&path), Some(committed.as_str()), "{path}");
                count += 1;
            }
        }
        assert!(count > 40);
        assert_eq!(file("golden/tiny-gpt2"), None);
        assert_eq!(file(""), None);
    }
}
