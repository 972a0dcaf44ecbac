//! Brings numbers to a decoder's buffers and its ids back. On a GPU everything is asked of the stream that the session runs on, and
//! waited for once, at the end of a run: a decode step is a copy of a few bytes, a launch, a copy back and one wait.
#![allow(
    unsafe_code,
    reason = "copies asked of a stream; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::super::cuda::{Pinned, Stream};
use super::tensors::{Buffer, Number, Space, bytes_of, bytes_of_mut};
use std::rc::Rc;

/// What copies of pinned memory start at a multiple of: whole cache lines.
const ALIGN: usize = 64;

/// Carries numbers between main memory and buffers.
pub(super) struct Courier {
    /// `None` where the buffers are main memory.
    line: Option<Line>,
}

struct Line {
    stream: Rc<Stream>,
    pinned: Pinned,
    /// Bytes on their way, until the next wait.
    used: usize,
}

impl Line {
    /// Waits, if there is no room left: runs that failed leave what was on its way.
    fn make_room(&mut self, bytes: usize) -> Result<(), EngineError> {
        if self.used + Courier::room(bytes) > self.pinned.bytes() {
            self.stream.wait()?;
            self.used = 0;
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // What a failed run asked for may still be under way in memory that is about to be freed. There is nobody to tell of more errors.
        let _ = self.stream.wait();
    }
}

impl Courier {
    /// A courier to the buffers of `space`, for numbers of at most so many bytes in each run. `stream` is the session's.
    pub(super) fn new(
        space: &Space,
        stream: Option<&Rc<Stream>>,
        bytes: usize,
    ) -> Result<Courier, EngineError> {
        let line = match (space, stream) {
            (Space::Gpu(cuda, _), Some(stream)) => Some(Line {
                stream: Rc::clone(stream),
                pinned: Pinned::new(cuda, bytes)?,
                used: 0,
            }),
            _ => None,
        };
        Ok(Courier { line })
    }

    /// Room that a copy of so many bytes takes.
    pub(super) fn room(bytes: usize) -> usize {
        bytes.next_multiple_of(ALIGN)
    }

    /// Writes numbers to the start of a buffer, before whatever is asked of the stream next.
    pub(super) fn write<T: Number>(
        &mut self,
        buffer: &mut Buffer,
        values: &[T],
    ) -> Result<(), EngineError> {
        self.write_bytes(buffer, 0, bytes_of(values))
    }

    /// Writes bytes of a buffer from this one on, before whatever is asked of the stream next.
    pub(super) fn write_bytes(
        &mut self,
        buffer: &mut Buffer,
        from: usize,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let Some(line) = &mut self.line else {
            return buffer.write_bytes(from, bytes);
        };
        assert!(
            bytes.len() <= buffer.bytes.saturating_sub(from),
            "a write stays inside its buffer"
        );
        line.make_room(bytes.len())?;
        let at = line.used;
        line.used += Courier::room(bytes.len());
        line.pinned.put(at, bytes);
        // SAFETY: inside the buffer (asserted).
        let to = unsafe { buffer.address().byte_add(from) };
        // SAFETY: the buffer is long enough from there on (asserted); what was put is not touched before the next wait.
        unsafe { line.stream.upload(to, &line.pinned, at, bytes.len()) }
    }

    /// Waits for everything that was asked of the stream.
    pub(super) fn wait(&mut self) -> Result<(), EngineError> {
        if let Some(line) = &mut self.line {
            line.stream.wait()?;
            line.used = 0;
        }
        Ok(())
    }

    /// Waits for the run, and reads numbers from the start of a buffer.
    pub(super) fn fetch<T: Number>(
        &mut self,
        buffer: &Buffer,
        values: &mut [T],
    ) -> Result<(), EngineError> {
        self.fetch_parts(buffer, std::iter::once(0), bytes_of_mut(values))
    }

    /// Waits for the run, and reads parts of a buffer that start at these bytes, all of one length, one behind the other.
    pub(super) fn fetch_parts(
        &mut self,
        buffer: &Buffer,
        starts: impl ExactSizeIterator<Item = usize>,
        bytes: &mut [u8],
    ) -> Result<(), EngineError> {
        let length = bytes.len() / starts.len().max(1);
        let parts = starts.enumerate();
        let Some(line) = &mut self.line else {
            for (part, start) in parts {
                buffer.read_bytes_from(start, &mut bytes[part * length..][..length])?;
            }
            return Ok(());
        };
        line.make_room(bytes.len())?;
        let at = line.used;
        for (part, start) in parts {
            assert!(
                length <= buffer.bytes.saturating_sub(start),
                "a read stays inside its buffer"
            );
            // SAFETY: inside the buffer (asserted), and long enough from there on.
            unsafe {
                let from = buffer.address().byte_add(start);
                line.stream
                    .download(&mut line.pinned, at + part * length, from, length)
            }?;
        }
        line.stream.wait()?;
        line.pinned.take(at, bytes);
        line.used = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_memory_is_written_and_read_where_it_is() {
        let mut buffer = Buffer::new(&Space::Host, 16).unwrap();
        let mut courier = Courier::new(&Space::Host, None, 0).unwrap();
        courier.write(&mut buffer, &[7i64, -9]).unwrap();
        let mut back = [0i64; 2];
        courier.fetch(&buffer, &mut back).unwrap();
        assert_eq!(back, [7, -9]);
        courier
            .write_bytes(&mut buffer, 8, &5i64.to_ne_bytes())
            .unwrap();
        let mut parts = [0; 16];
        let starts = [8usize, 0].into_iter();
        courier.fetch_parts(&buffer, starts, &mut parts).unwrap();
        assert_eq!(parts[..8], 5i64.to_ne_bytes());
        assert_eq!(parts[8..], 7i64.to_ne_bytes());
    }
}
