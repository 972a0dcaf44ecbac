//! The committed reference logits, which the build packs into one compressed block (`build.rs`): as text they would be a twentieth of
//! the program.

use crate::carried;
use std::sync::LazyLock;

/// Files of `models/` by their paths there.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/references.zst"));

static BLOCK: LazyLock<String> = LazyLock::new(|| carried::unpack(PACKED));

/// The file at this path below `models/`, such as `golden/tiny-gpt2.json`.
pub fn file(path: &str) -> Option<&'static str> {
    carried::find(&BLOCK, path)
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
