//! A file of weights as memory: read where it is used, and let go of. The only file of this room with `unsafe`.
#![expect(
    unsafe_code,
    reason = "a mapped file is memory that another program could change"
)]

use memmap2::{Mmap, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A whole file, mapped for reading.
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps a regular file.
    pub fn open(path: &Path) -> io::Result<Mapped> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        // SAFETY: the bytes are only ever read as numbers, of which every pattern is one: a program that writes to the file
        // meanwhile can make them wrong and no more. One that cuts it off ends this process with SIGBUS.
        unsafe { Mmap::map(&file) }.map(Mapped)
    }

    /// Gives the memory back to the system. What is read afterwards is read from the file again.
    pub fn let_go(&self) {
        // SAFETY: the mapping is of a file and nothing writes to it, so dropping its pages loses nothing.
        let told = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
        // Where the system does not take the advice it takes the memory when it needs it.
        let _ = told;
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
