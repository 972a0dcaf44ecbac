//! Whether this ONNX Runtime looks for packed experts where [`super::packing`] puts them: no version promises the places.

use super::super::EngineError;
use super::create::REPACKING;
use super::tensors::{Binding, Buffer, Number, Place, Space, Tensor};
use super::weights::Weights;
use super::{OnnxEngine, beside, library};
use crate::protocol::PackingCheck;
use half::f16;
use ort::environment::Environment;
use ort::session::{RunOptions, Session};

/// Numbers of tokens that are tried: kernels for a single one, and those for many.
const TOKENS: [usize; 2] = [1, 16];

/// How far results may be apart, by their squares and relative to them. Rounding in fp16 makes about 1e-3; codes elsewhere make all of it.
const SAME: f32 = 2e-2;

/// A logit whose expert is not chosen.
const NEVER: f32 = -30.0;

impl OnnxEngine {
    /// Refuses experts that the engine packed where those that the library packed itself have other results.
    pub(super) fn check_packing(&self, weights: Option<&Weights>) -> Result<(), EngineError> {
        match (&self.request.packing_check, weights) {
            (Some(check), Some(weights)) => Comparison {
                environment: &self.environment,
                space: &self.space,
                check,
            }
            .run(weights)
            .map_err(|error| self.starved(error)),
            _ => Ok(()),
        }
    }
}

/// A few experts, run both ways.
struct Comparison<'a> {
    environment: &'a Environment,
    space: &'a Space,
    check: &'a PackingCheck,
}

impl Comparison<'_> {
    fn run(&self, weights: &Weights) -> Result<(), EngineError> {
        let mut session = self.session(weights)?;
        for tokens in TOKENS {
            let [raw, packed] = self.both(&mut session, tokens)?;
            judge(&raw, &packed)?;
        }
        Ok(())
    }

    fn session(&self, weights: &Weights) -> Result<Session, EngineError> {
        let refused = |error: ort::Error| library::refused(&error);
        let mut builder = beside::builder(self.environment, self.space)?;
        if let Space::Gpu(..) = self.space {
            for (key, value) in REPACKING {
                builder = builder
                    .with_config_entry(key, value)
                    .map_err(|error| refused(error.into()))?;
            }
        }
        let packed = &self.check.packed;
        weights.hand_over(&builder, |name| packed.iter().any(|one| one == name))?;
        builder.commit_from_file(&self.check.graph).map_err(refused)
    }

    /// Results with codes that the library packed, and with those that the engine did.
    fn both(&self, session: &mut Session, tokens: usize) -> Result<[Vec<f32>; 2], EngineError> {
        let (place, check) = (Place::of(self.space)?, self.check);
        let (width, few) = (check.width as usize, check.few as usize);
        let all = check.experts as usize;
        let x: Vec<f32> = (0..tokens * width).map(value).collect();
        let chosen: Vec<f32> = (0..tokens * few).map(value).collect();
        let mut logits = vec![NEVER; tokens * all];
        for (row, chosen) in logits.chunks_exact_mut(all).zip(chosen.chunks_exact(few)) {
            row[..few].copy_from_slice(chosen);
        }
        let half = |values: &[f32], columns: usize| {
            let mut buffer = Buffer::new(self.space, values.len() * 2)?;
            let halves: Vec<f16> = values.iter().copied().map(f16::from_f32).collect();
            buffer.write(&halves)?;
            let shape = [tokens as i64, columns as i64];
            let tensor = Tensor::over(&buffer, &place, f16::ELEMENT, &shape)?;
            Ok::<(Buffer, Tensor), EngineError>((buffer, tensor))
        };
        let mut binding = Binding::new(session)?;
        let mut inputs = Vec::new();
        for (name, values, columns) in [
            ("x", &x, width),
            ("logits", &logits, all),
            ("few", &chosen, few),
        ] {
            let (buffer, tensor) = half(values, columns)?;
            binding.input(name, tensor)?;
            inputs.push(buffer);
        }
        let zeros = vec![0.0; tokens * width];
        let mut outputs = Vec::new();
        for name in ["raw", "packed"] {
            let (buffer, tensor) = half(&zeros, width)?;
            binding.output(name, tensor)?;
            outputs.push(buffer);
        }
        if let Space::Gpu(cuda, _) = self.space {
            // Written on the default stream, which the session's does not wait for.
            cuda.wait()?;
        }
        let options = RunOptions::new().map_err(|error| library::refused(&error))?;
        binding.run(session, &options)?;
        let mut results = [Vec::new(), Vec::new()];
        for (buffer, result) in outputs.iter().zip(&mut results) {
            let mut halves = vec![f16::ZERO; tokens * width];
            buffer.read(&mut halves)?;
            *result = halves.into_iter().map(f16::to_f32).collect();
        }
        Ok(results)
    }
}

/// Numbers from -1 to 1 without a pattern that a wrong order of weights would keep.
fn value(at: usize) -> f32 {
    let mixed = (at as u32).wrapping_add(1).wrapping_mul(2_654_435_761);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(2_246_822_519);
    (mixed >> 16) as f32 / 32_768.0 - 1.0
}

/// Holds results of the engine's packing to those of the library's.
fn judge(raw: &[f32], packed: &[f32]) -> Result<(), EngineError> {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|one| one * one).sum::<f32>();
    let all = squares(&mut raw.iter().copied());
    let wrong = squares(&mut raw.iter().zip(packed).map(|(a, b)| a - b));
    let difference = (wrong / all).sqrt();
    // All zero, or not a number, is no result either.
    match raw.len() == packed.len() && difference <= SAME {
        true => Ok(()),
        false => Err(EngineError::Model(format!(
            "this ONNX Runtime looks elsewhere for the codes of packed experts than 1.31.1 does: results of its own packing and of edgebench's differ by {difference:.1e} of themselves, where {SAME:.0e} is allowed; use --offload none, or --precision fp16 to keep experts in main memory"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Store, Variant, find};
    use crate::protocol::WeightTensor;
    use crate::trial::{Device, Form, KvCache, Precision};
    use crate::units::Bytes;
    use std::path::Path;

    /// The CPU provider takes codes as they are in the file whatever the graph says of them: to it those that are packed for CUDA
    /// are the ones that lie elsewhere.
    #[test]
    fn codes_that_lie_elsewhere_are_noticed() {
        let environment = library::load(Path::new(env!("EDGEBENCH_BUILD_ORT"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::new(folder.path(), Bytes(1 << 30));
        store.ensure().unwrap();
        let spec = find("tiny-moe-q").unwrap();
        for precision in [Precision::Int4, Precision::Int8] {
            let numerics = precision.on(Device::Cuda(0));
            let variant = Variant {
                packed_experts: true,
                ..Variant::portable(Form::Fused, KvCache::Float, 64)
            };
            let prepared = store
                .prepare(spec, variant, numerics, 1, &mut |_| {})
                .unwrap();
            let check = store.with_packing_check(&prepared, spec, numerics);
            let comparison = Comparison {
                environment: &environment,
                space: &Space::Host,
                check: &check.unwrap().unwrap(),
            };
            let run = |tensors: &[WeightTensor]| {
                let weights = Weights::load(&prepared.weight_file, tensors, &Space::Host);
                comparison.run(&weights.unwrap())
            };
            let mut tensors = prepared.tensors.clone();
            assert!(tensors.iter().any(|tensor| tensor.packed.is_some()));
            let error = run(&tensors).unwrap_err().to_string();
            assert!(error.contains("looks elsewhere"), "{precision}: {error}");
            for tensor in &mut tensors {
                tensor.packed = None;
                tensor.mapped = true;
            }
            run(&tensors).unwrap();
        }
    }

    #[test]
    fn other_results_and_none_are_refused() {
        assert!(judge(&[1.0, -2.0], &[1.0, -2.001]).is_ok());
        for (raw, packed) in [
            (vec![1.0, -2.0], vec![-2.0, 1.0]),
            (vec![0.0, 0.0], vec![0.0, 0.0]),
            (vec![1.0, 2.0], vec![f32::NAN, 2.0]),
            (vec![1.0, 2.0], vec![1.0]),
            (vec![], vec![]),
        ] {
            let error = judge(&raw, &packed).unwrap_err().to_string();
            assert!(error.contains("--offload none"), "{error}");
        }
    }

    #[test]
    fn inputs_are_of_all_sizes_and_no_two_alike() {
        let values: Vec<f32> = (0..512).map(value).collect();
        assert!(values.iter().all(|one| (-1.0..1.0).contains(one)));
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.dedup();
        assert!(sorted.len() > 500, "{}", sorted.len());
        assert!(values.iter().sum::<f32>().abs() < 32.0);
    }
}
