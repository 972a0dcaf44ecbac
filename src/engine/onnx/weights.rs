//! Weights in one block of GPU memory of our own, handed to ONNX Runtime in place.
//!
//! Left to itself the runtime copies each tensor into chunks of its arena, whose slack it never gives back; here the block is
//! as long as the file (or the part of it that is kept as it is), and a tensor is an address in it.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::packing::Packing;
use super::tensors::{Buffer, Place, Space, Tensor, check, element, terminated};
use crate::protocol::WeightTensor;
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is read and copied at a time.
const BLOCK: usize = 16 << 20;

/// What addresses in a block of weights are multiples of.
const ALIGN: usize = 256;

/// A model's weights on the GPU. Must outlive the session that they were handed to.
pub struct Weights {
    // Dropped before the blocks they lie in.
    tensors: Vec<(String, Tensor)>,
    block: Buffer,
    mapped: Option<Buffer>,
    repacked: u64,
}

/// The file of weights, and what is said where it cannot be read.
struct Source<'a> {
    file: File,
    path: &'a Path,
}

impl Source<'_> {
    fn open(path: &Path) -> Result<Source<'_>, EngineError> {
        let file = File::open(path).map_err(|cause| unreadable(path, &cause))?;
        Ok(Source { file, path })
    }

    fn length(&self) -> Result<usize, EngineError> {
        let facts = self.file.metadata();
        Ok(facts.map_err(|cause| unreadable(self.path, &cause))?.len() as usize)
    }

    /// Copies bytes of the file into a buffer, a piece at a time, packed where that is asked for.
    fn copy(
        &self,
        from: usize,
        length: usize,
        (buffer, to): (&mut Buffer, usize),
        packing: Option<Packing>,
    ) -> Result<(), EngineError> {
        let together = packing.map_or(1, Packing::turn);
        let block = (BLOCK / together).max(1) * together;
        let mut piece = vec![0; block.min(length)];
        let mut packed = vec![0; packing.map_or(0, |_| piece.len())];
        let mut done = 0;
        while done < length {
            let part = &mut piece[..block.min(length - done)];
            self.file
                .read_exact_at(part, (from + done) as u64)
                .map_err(|cause| unreadable(self.path, &cause))?;
            let written = match packing {
                Some(packing) => {
                    let packed = &mut packed[..part.len()];
                    packing.pack(part, packed);
                    &*packed
                }
                None => &*part,
            };
            buffer.write_bytes(to + done, written)?;
            done += part.len();
        }
        Ok(())
    }
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> EngineError {
    EngineError::Model(format!(
        "could not read the weights {}: {cause}; remove them with `edgebench cache clear` and run again",
        path.display()
    ))
}

/// Bytes of the file, and where they go.
struct Piece {
    start: usize,
    end: usize,
    at: usize,
    mapped: bool,
    packing: Option<Packing>,
}

/// Length of a tensor in bytes; `None` where it cannot be.
fn length(tensor: &WeightTensor) -> Option<usize> {
    let elements = tensor.dims.iter().try_fold(1usize, |product, size| {
        product.checked_mul(usize::try_from(*size).ok()?)
    })?;
    elements.checked_mul(tensor.element.bytes() as usize)
}

/// How a tensor's bytes are packed, if at all.
fn packing(tensor: &WeightTensor, path: &Path) -> Result<Option<Packing>, EngineError> {
    let Some(bits) = tensor.packed else {
        return Ok(None);
    };
    let row = tensor
        .dims
        .last()
        .and_then(|row| usize::try_from(*row).ok());
    let packing = row.and_then(|row| Packing::new(bits, row));
    let whole = |packing: &Packing| {
        length(tensor).is_some_and(|length| length.is_multiple_of(packing.turn()))
    };
    packing.filter(whole).map(Some).ok_or_else(|| {
        unreadable(
            path,
            &format!(
                "{} of {:?} bytes has no packed form for CUDA",
                tensor.name, tensor.dims
            ),
        )
    })
}

impl Weights {
    /// Copies the file into a block of `space` and lays the tensors over it, up to those that the runtime packs anew: of them
    /// it would make a copy beside ours. What is to stay in main memory goes there.
    pub fn load(
        file: &Path,
        tensors: &[WeightTensor],
        space: &Space,
    ) -> Result<Weights, EngineError> {
        let source = Source::open(file)?;
        let apart = |tensor: &WeightTensor| tensor.mapped || tensor.packed.is_some();
        if tensors.iter().any(apart) {
            return Weights::apart(&source, tensors, space);
        }
        let whole = source.length()?;
        let repacked = tensors.iter().filter(|tensor| tensor.repacked);
        let length = repacked
            .map(|tensor| tensor.offset as usize)
            .fold(whole, usize::min);
        let mut block = Buffer::new(space, length)?;
        source.copy(0, length, (&mut block, 0), None)?;
        let place = Place::of(space)?;
        let over = |tensor: &WeightTensor| {
            let at = tensor.offset as usize;
            Ok((tensor.name.clone(), lay(tensor, &block, at, &place, file)?))
        };
        let tensors = tensors
            .iter()
            .filter(|tensor| !tensor.repacked)
            .map(over)
            .collect::<Result<_, EngineError>>()?;
        Ok(Weights {
            tensors,
            block,
            mapped: None,
            repacked: (whole - length) as u64,
        })
    }

    /// Tensors on the GPU and tensors in main memory, each kind one after the other in a block of its own.
    fn apart(
        source: &Source<'_>,
        tensors: &[WeightTensor],
        space: &Space,
    ) -> Result<Weights, EngineError> {
        let mut kept: Vec<&WeightTensor> =
            tensors.iter().filter(|tensor| !tensor.repacked).collect();
        // Views of a tensor, and slices of it, lie in its bytes.
        kept.sort_by_key(|tensor| (tensor.offset, std::cmp::Reverse(length(tensor))));
        let whole = source.length()?;
        let mut sizes = [0usize; 2];
        let mut pieces: Vec<Piece> = Vec::new();
        let mut places = Vec::new();
        for tensor in &kept {
            let start = tensor.offset as usize;
            let end = length(tensor).and_then(|bytes| start.checked_add(bytes));
            let end = end.filter(|end| *end <= whole);
            let end = end.ok_or_else(|| outside(source.path, tensor))?;
            match pieces.last() {
                Some(piece) if end <= piece.end => {
                    places.push((piece.mapped, piece.at + (start - piece.start)));
                }
                Some(piece) if start < piece.end => {
                    return Err(unreadable(
                        source.path,
                        &format!("{} overlaps another tensor", tensor.name),
                    ));
                }
                _ => {
                    let size = &mut sizes[usize::from(tensor.mapped)];
                    places.push((tensor.mapped, *size));
                    pieces.push(Piece {
                        start,
                        end,
                        at: *size,
                        mapped: tensor.mapped,
                        packing: packing(tensor, source.path)?,
                    });
                    *size += (end - start).next_multiple_of(ALIGN);
                }
            }
        }
        let mut block = Buffer::new(space, sizes[0])?;
        let mut mapped = Buffer::mapped(space, sizes[1])?;
        for piece in &pieces {
            let buffer = match piece.mapped {
                true => &mut mapped,
                false => &mut block,
            };
            let length = piece.end - piece.start;
            source.copy(piece.start, length, (buffer, piece.at), piece.packing)?;
        }
        let place = Place::of(space)?;
        let lay_down = |(tensor, (in_main, at)): (&WeightTensor, (bool, usize))| {
            let buffer = if in_main { &mapped } else { &block };
            let value = lay(tensor, buffer, at, &place, source.path)?;
            Ok((tensor.name.clone(), value))
        };
        let laid = kept.into_iter().zip(places).map(lay_down);
        let laid = laid.collect::<Result<_, EngineError>>()?;
        let repacked = tensors.iter().filter(|tensor| tensor.repacked);
        let repacked = repacked.filter_map(length).sum::<usize>() as u64;
        Ok(Weights {
            tensors: laid,
            block,
            mapped: Some(mapped),
            repacked,
        })
    }

    /// Bytes on the GPU and in main memory.
    pub fn bytes(&self) -> (usize, usize) {
        let mapped = self.mapped.as_ref().map_or(0, |block| block.bytes);
        (self.block.bytes, mapped)
    }

    /// Bytes of the file that the runtime loads itself, to pack them anew.
    pub fn repacked(&self) -> u64 {
        self.repacked
    }

    /// Hands the tensors that are `wanted` by their names to a session that is about to be made.
    pub fn hand_over(
        &self,
        builder: &SessionBuilder,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), EngineError> {
        for (name, tensor) in self.tensors.iter().filter(|(name, _)| wanted(name)) {
            let name = terminated(name)?;
            // SAFETY: options and value are alive; the session reads the value where it lies, and `self` outlives it.
            check(unsafe {
                (ort::api().AddInitializer)(
                    builder.ptr().cast_mut(),
                    name.as_ptr(),
                    tensor.as_ptr(),
                )
            })?;
        }
        Ok(())
    }
}

/// A tensor over bytes of a buffer.
fn lay(
    tensor: &WeightTensor,
    buffer: &Buffer,
    at: usize,
    place: &Place,
    file: &Path,
) -> Result<Tensor, EngineError> {
    let kind = element(tensor.element);
    Tensor::within(buffer, at, place, kind, &tensor.dims).ok_or_else(|| outside(file, tensor))?
}

fn outside(file: &Path, tensor: &WeightTensor) -> EngineError {
    unreadable(file, &format!("{} lies outside of it", tensor.name))
}

#[cfg(test)]
mod tests {
    use super::super::library;
    use super::*;
    use crate::protocol::Element;

    fn tensor(name: &str, element: Element, offset: u64, repacked: bool) -> WeightTensor {
        WeightTensor {
            name: name.into(),
            dims: vec![2, 3],
            element,
            offset,
            repacked,
            mapped: false,
            packed: None,
        }
    }

    #[test]
    fn what_the_runtime_packs_anew_is_left_to_it() {
        let library = env!("EDGEBENCH_BUILD_ORT");
        let _environment = library::load(Path::new(library)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.bin");
        std::fs::write(&file, [7; 100]).unwrap();
        let load = |tensors: &[WeightTensor]| {
            let weights = Weights::load(&file, tensors, &Space::Host)?;
            let names = weights.tensors.iter().map(|(name, _)| name.clone());
            Ok::<_, EngineError>((names.collect::<Vec<_>>(), weights.bytes().0))
        };
        let kept = [
            tensor("a", Element::Uint8, 0, false),
            tensor("b", Element::Fp16, 16, false),
        ];
        assert_eq!(load(&kept).unwrap(), (vec!["a".into(), "b".into()], 100));
        let repacked = [
            tensor("d", Element::Uint8, 80, true),
            tensor("c", Element::Fp32, 48, true),
        ];
        let all = [&kept[..], &repacked].concat();
        assert_eq!(load(&all).unwrap(), (vec!["a".into(), "b".into()], 48));
        // 2 x 3 halves from byte 40 on would end at 52, behind what is kept.
        let beyond = tensor("e", Element::Fp16, 40, false);
        assert!(load(&[&all[..], &[beyond]].concat()).is_err());
    }

    #[test]
    fn what_stays_in_main_memory_lies_apart() {
        let library = env!("EDGEBENCH_BUILD_ORT");
        let _environment = library::load(Path::new(library)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.bin");
        let bytes: Vec<u8> = (0..100).collect();
        std::fs::write(&file, &bytes).unwrap();
        let mapped = |tensor| WeightTensor {
            mapped: true,
            ..tensor
        };
        let tensors = [
            tensor("a", Element::Uint8, 0, false),
            mapped(tensor("b", Element::Fp16, 16, false)),
            tensor("c", Element::Uint8, 40, false),
            // A view of the end of c's bytes.
            WeightTensor {
                dims: vec![2],
                ..tensor("c.rows", Element::Uint8, 44, false)
            },
            tensor("d", Element::Uint8, 80, true),
        ];
        let weights = Weights::load(&file, &tensors, &Space::Host).unwrap();
        assert_eq!(weights.bytes(), (2 * ALIGN, ALIGN));
        assert_eq!(weights.repacked(), 6);
        let mut found = [0u8; 2 * ALIGN];
        weights.block.read_bytes(&mut found).unwrap();
        assert_eq!(
            (&found[..6], &found[ALIGN..][..6]),
            (&bytes[..6], &bytes[40..46])
        );
        let mut found = [0u8; 12];
        weights
            .mapped
            .as_ref()
            .unwrap()
            .read_bytes(&mut found)
            .unwrap();
        assert_eq!(found, bytes[16..28]);
        let beyond = mapped(tensor("e", Element::Fp16, 90, false));
        assert!(Weights::load(&file, &[beyond], &Space::Host).is_err());
    }

    #[test]
    fn codes_of_experts_are_packed_wherever_they_go() {
        let library = env!("EDGEBENCH_BUILD_ORT");
        let _environment = library::load(Path::new(library)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.bin");
        let bytes: Vec<u8> = (0..1024u32).map(|at| ((at * at) >> 3) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        // Two experts of four outputs of 64 inputs, 4 bits each.
        let codes = |name: &str, offset, mapped, row| WeightTensor {
            dims: vec![2, 4, row],
            packed: Some(4),
            mapped,
            ..tensor(name, Element::Uint8, offset, false)
        };
        let tensors = [
            codes("a", 256, false, 32),
            codes("b", 512, true, 32),
            tensor("c", Element::Uint8, 0, false),
        ];
        let weights = Weights::load(&file, &tensors, &Space::Host).unwrap();
        assert_eq!(weights.bytes(), (2 * ALIGN, ALIGN));
        let packed = |from: usize| {
            let mut packed = vec![0; 256];
            let packing = Packing::new(4, 32).unwrap();
            packing.pack(&bytes[from..][..256], &mut packed);
            packed
        };
        let mut found = [0u8; 2 * ALIGN];
        weights.block.read_bytes(&mut found).unwrap();
        assert_eq!(
            (&found[..6], &found[ALIGN..]),
            (&bytes[..6], &packed(256)[..])
        );
        let mut found = [0u8; ALIGN];
        let mapped = weights.mapped.as_ref().unwrap();
        mapped.read_bytes(&mut found).unwrap();
        assert_eq!(found[..], packed(512));
        // Not of whole tiles.
        let error = Weights::load(&file, &[codes("d", 0, true, 16)], &Space::Host);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("no packed form"), "{error}");
    }
}
