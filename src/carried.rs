//! Files that the build packs into the program as one compressed block (`build.rs`): each as a line with its name and its length in
//! bytes, and its content.

use std::io::Read;

/// What a block holds. One that the build has just packed cannot be broken: tests look each file up.
pub fn unpack(packed: &[u8]) -> String {
    let mut text = String::new();
    let read = zstd::Decoder::new(packed).and_then(|mut decoder| decoder.read_to_string(&mut text));
    read.map_or_else(|_| String::new(), |_| text)
}

/// The content of a file in an unpacked block.
pub fn find<'a>(block: &'a str, file: &str) -> Option<&'a str> {
    let mut rest = block;
    while let Some((head, behind)) = rest.split_once('\n') {
        let (name, length) = head.rsplit_once(' ')?;
        let (content, next) = behind.split_at_checked(length.parse().ok()?)?;
        if name == file {
            return Some(content);
        }
        rest = next;
    }
    None
}
