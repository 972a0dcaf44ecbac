//! Weights in one block of GPU memory of our own, handed to ONNX Runtime in place.
//!
//! Left to itself the runtime copies each tensor into chunks of its arena, whose slack it never gives back; here the block is
//! as long as the file (or the part of it that is kept as it is), and a tensor is an address in it.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::tensors::{Buffer, Place, Space, Tensor, check, element, terminated};
use crate::protocol::WeightTensor;
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is read and copied at a time.
const BLOCK: usize = 16 << 20;

/// A model's weights on the GPU. Must outlive the session that they were handed to.
pub struct Weights {
    // Dropped before the block they lie in.
    tensors: Vec<(String, Tensor)>,
    _block: Buffer,
    repacked: u64,
}

impl Weights {
    /// Copies the file into a block of `space` and lays the tensors over it, up to those that the runtime packs anew: of them
    /// it would make a copy beside ours.
    pub fn load(
        file: &Path,
        tensors: &[WeightTensor],
        space: &Space,
    ) -> Result<Weights, EngineError> {
        let unreadable = |cause: &dyn std::fmt::Display| {
            EngineError::Model(format!(
                "could not read the weights {}: {cause}; remove them with `edgebench cache clear` and run again",
                file.display()
            ))
        };
        let source = File::open(file).map_err(|cause| unreadable(&cause))?;
        let whole = source.metadata().map_err(|cause| unreadable(&cause))?.len() as usize;
        let repacked = tensors.iter().filter(|tensor| tensor.repacked);
        let length = repacked
            .map(|tensor| tensor.offset as usize)
            .fold(whole, usize::min);
        let mut block = Buffer::new(space, length)?;
        let mut bytes = vec![0; BLOCK.min(length)];
        let mut at = 0;
        while at < length {
            let part = &mut bytes[..BLOCK.min(length - at)];
            source
                .read_exact_at(part, at as u64)
                .map_err(|cause| unreadable(&cause))?;
            block.write_bytes(at, part)?;
            at += part.len();
        }
        let place = Place::of(space)?;
        let over = |tensor: &WeightTensor| {
            let value = Tensor::within(
                &block,
                tensor.offset as usize,
                &place,
                element(tensor.element),
                &tensor.dims,
            )
            .ok_or_else(|| unreadable(&format!("{} lies outside of it", tensor.name)))??;
            Ok((tensor.name.clone(), value))
        };
        let tensors = tensors
            .iter()
            .filter(|tensor| !tensor.repacked)
            .map(over)
            .collect::<Result<_, EngineError>>()?;
        Ok(Weights {
            tensors,
            _block: block,
            repacked: (whole - length) as u64,
        })
    }

    /// Bytes of the file that the runtime loads itself, to pack them anew.
    pub fn repacked(&self) -> u64 {
        self.repacked
    }

    /// Hands the tensors to a session that is about to be made.
    pub fn hand_over(&self, builder: &SessionBuilder) -> Result<(), EngineError> {
        for (name, tensor) in &self.tensors {
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
            Ok::<_, EngineError>((names.collect::<Vec<_>>(), weights._block.bytes))
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
}
