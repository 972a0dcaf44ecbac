//! Refused allocations in words of runtimes and allocators: whether a text tells of one, and of what size. Pure.

use crate::units::Bytes;

/// What stands before the size that was asked for: ONNX Runtime's allocators, its arena, its aligned allocation, edgebench's own
/// buffers, Rust's allocator.
const BEFORE_A_SIZE: [&str; 5] = [
    "requested buffer of size ",
    "smaller than requested bytes of ",
    "memory allocation failed. size=",
    "could not allocate ",
    "memory allocation of ",
];

/// What a program says that ends because it gets no memory.
const LAST_WORDS: [&str; 5] = [
    "bad_alloc",
    "memory allocation of ",
    "cannot allocate memory",
    "failed to allocate memory",
    "out of memory",
];

/// The size that was refused, where the text names it.
pub fn size(text: &str) -> Option<Bytes> {
    let text = text.to_ascii_lowercase();
    BEFORE_A_SIZE.iter().find_map(|before| {
        let (_, rest) = text.split_once(before)?;
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok().map(Bytes)
    })
}

/// The last line of a dead program's stderr that tells of a refused allocation.
pub fn line(stderr: &str) -> Option<&str> {
    let tells = |line: &&str| {
        let line = line.to_ascii_lowercase();
        LAST_WORDS.iter().any(|words| line.contains(words))
    };
    stderr.lines().rev().find(tells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_where_one_is_named() {
        let table = [
            (
                "ONNX Runtime was refused memory: Non-zero status code returned while running MatMul node. Status Message: Failed to allocate memory for requested buffer of size 1073741824",
                Some(1 << 30),
            ),
            (
                "bfc_arena.cc:388 Available memory of 2097152 is smaller than requested bytes of 154389504",
                Some(154_389_504),
            ),
            ("could not allocate 4096 bytes of memory", Some(4096)),
            (
                "could not allocate 27262976 bytes of GPU memory: out of memory (CUDA error 2)",
                Some(27_262_976),
            ),
            ("memory allocation of 18 bytes failed", Some(18)),
            ("Memory allocation failed. Size=77", Some(77)),
            ("std::bad_alloc", None),
            ("could not allocate a thing", None),
            ("requested buffer of size 99999999999999999999999", None),
            ("the load phase took 101.0 MiB", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(size(text), expected.map(Bytes), "{text}");
        }
    }

    #[test]
    fn the_last_words_of_a_program_without_memory_are_found() {
        let table = [
            (
                "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
                Some("  what():  std::bad_alloc"),
            ),
            (
                "note\nmemory allocation of 8388608 bytes failed\nlast",
                Some("memory allocation of 8388608 bytes failed"),
            ),
            (
                "failed to spawn thread: Cannot allocate memory (os error 12)",
                Some("failed to spawn thread: Cannot allocate memory (os error 12)"),
            ),
            ("Segmentation fault", None),
            ("memory is fine", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(line(text), expected, "{text}");
        }
    }
}
