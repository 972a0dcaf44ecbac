//! Writes a weight file: pieces are generated on all cores and written in their order, so that the bytes do not depend on how
//! many cores there are.

use super::piece::Buffer;
use super::{Content, Layout, Source};
use crate::units::Bytes;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{self, Builder, Scope};

/// More threads than this wait for the one that writes.
const MOST_THREADS: usize = 16;

/// Pieces that a thread may be ahead of what is written, so that one that is held up for a moment holds up nothing.
const AHEAD: usize = 2;

/// One piece: the place of its tensor, and the part of it.
type Piece = (usize, Range<u64>);

/// A thread that generates every so manieth piece.
struct Generator {
    filled: Receiver<Buffer>,
    used: Sender<Buffer>,
}

/// Writes the file of `layout`. `progress` is told the bytes done after each piece.
pub fn write(
    layout: &Layout,
    source: &dyn Source,
    out: &mut impl Write,
    progress: impl FnMut(Bytes),
) -> io::Result<()> {
    let tensors = layout.tensors.iter().enumerate();
    let pieces: Vec<Piece> = tensors
        .flat_map(|(place, tensor)| tensor.pieces().map(move |part| (place, part)))
        .collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS).min(pieces.len().max(1));
    thread::scope(|scope| {
        let generators: io::Result<Vec<Generator>> = (0..threads)
            .map(|first| generator(scope, layout, source, &pieces, (first, threads)))
            .collect();
        in_order(layout, &pieces, &generators?, out, progress)
    })
}

/// Starts a thread that generates the pieces at `first`, `first + step`, and so on. It ends when nobody takes them any more.
fn generator<'scope>(
    scope: &'scope Scope<'scope, '_>,
    layout: &'scope Layout,
    source: &'scope dyn Source,
    pieces: &'scope [Piece],
    (first, step): (usize, usize),
) -> io::Result<Generator> {
    let (filled, to_write) = sync_channel(AHEAD);
    let (used, to_fill) = channel::<Buffer>();
    Builder::new().spawn_scoped(scope, move || {
        for (place, part) in pieces.iter().skip(first).step_by(step) {
            let tensor = &layout.tensors[*place];
            let values = source.values(&tensor.weight);
            let mut buffer = to_fill.try_recv().unwrap_or_default();
            tensor.fill(
                &values,
                part.clone(),
                layout.numerics.compute(),
                &mut buffer,
            );
            if filled.send(buffer).is_err() {
                return;
            }
        }
    })?;
    Ok(Generator {
        filled: to_write,
        used,
    })
}

/// Writes what the generators fill, each tensor in its place.
fn in_order(
    layout: &Layout,
    pieces: &[Piece],
    generators: &[Generator],
    out: &mut impl Write,
    mut progress: impl FnMut(Bytes),
) -> io::Result<()> {
    let mut pieces = pieces.iter().zip(generators.iter().cycle()).peekable();
    let (mut at, mut scales) = (0, Vec::new());
    for (place, tensor) in layout.tensors.iter().enumerate() {
        let padding = tensor.offset - at;
        io::copy(&mut io::Read::take(io::repeat(0), padding), out)?;
        at = tensor.offset;
        if matches!(tensor.content, Content::Scales { .. }) {
            out.write_all(&scales)?;
            at += scales.len() as u64;
            scales.clear();
        }
        while let Some((_, generator)) = pieces.next_if(|((of, _), _)| *of == place) {
            let gone = |_| io::Error::other("a thread that generates weights has ended");
            let buffer = generator.filled.recv().map_err(gone)?;
            out.write_all(&buffer.bytes)?;
            at += buffer.bytes.len() as u64;
            scales.extend_from_slice(&buffer.scales);
            // The last pieces are generated: then nobody fills it again.
            let _ = generator.used.send(buffer);
            progress(Bytes(at));
        }
        debug_assert_eq!(at, tensor.offset + tensor.bytes, "{}", tensor.name);
    }
    Ok(())
}
