//! How far decode may be from prefill, by what a model computes with.

use super::golden;
use super::spec::{Ffn, ModelSpec};
use crate::trial::{DecodeRule, Device, Float, Form, KvCache, Reading, Trial};

/// What the end of a decode is held to.
///
/// A step that reads an input, a length or a cache that nobody writes any more gives logits of another text: most often 0.5 to 1.7
/// of the largest logit away, seen with faults put into every test-size model and two larger ones. Rounding stays far below: at up
/// to 511 tokens on the CPU it was 2e-6 in fp32 and 2e-3 in fp16 without a router.
///
/// Two things are no matter of far below. With quantised weights the CPU provider rounds activations to 8 bits, and the kernels of one
/// token do it otherwise than those of several: 2e-2 in 12 and 24 layers, 5e-2 in the 28 of qwen3-0.6b. And a router is no continuous
/// function: where two experts are nearly as good, rounding chooses, and the logits differ by what an expert is worth, 0.37 in
/// moe-120m-a82m. There the tokens are read by the kernels that decode takes, which round alike. On a GPU a captured graph may still
/// add up attention in another order than a step outside of it does, so with a router 0.4 of the largest logit is allowed: enough to
/// tell another text. On an H100 it was never needed: 0 at 95 tokens in the test-size models, at 256 in moe-120m-a82m and at 1,023 in
/// alchemist-16m; and 1.4e-3 at 1,023 tokens in dense-120m, in pieces.
///
/// The fused attention takes several tokens after others for one sequence only, so a batch is read token by token as well.
pub fn decode_rule(spec: &ModelSpec, trial: &Trial) -> DecodeRule {
    let numerics = trial.numerics();
    let quantized = numerics.quantized_bits().is_some();
    let (reading, tolerance) = match (routes(spec), quantized, numerics.compute()) {
        (false, false, Float::Fp32) => (Reading::Pieces, 1e-4),
        // A choice that flips for one token in a million is in the cache of those after it.
        (true, false, Float::Fp32) => (Reading::Pieces, 1e-3),
        (false, false, Float::Fp16) => (Reading::Pieces, 2e-2),
        // On a GPU other kernels multiply with quantised weights where there is one token: read by those.
        (false, true, Float::Fp16) => (Reading::Tokens, 2e-2),
        (_, true, Float::Fp32) => (Reading::Tokens, 8e-2),
        (true, _, Float::Fp16) => (Reading::Tokens, 0.4),
    };
    // A cache in int8 is rounded when it is kept, and not everything that reads it reads it rounded.
    let tolerance = match trial.kv_cache {
        KvCache::Float => tolerance,
        KvCache::Int8 => golden::tolerance(numerics, trial.kv_cache).max(tolerance),
    };
    // A graph of another exporter is run as it is: in fp32 on a GPU by kernels that multiply in TF32, others for several tokens than
    // for one. On an H100 that was 2.3e-3 for a small mixture of experts; a step that reads the wrong cache is off by the order of 1.
    let tolerance = match (spec.foreign, trial.device, numerics.compute()) {
        (Some(_), Device::Cuda(_), Float::Fp32) => tolerance.max(5e-3),
        _ => tolerance,
    };
    let one_by_one = trial.form == Form::Fused && trial.batch > 1;
    DecodeRule {
        reading: if one_by_one { Reading::Tokens } else { reading },
        tolerance,
    }
}

/// Whether something in it is chosen rather than added up.
fn routes(spec: &ModelSpec) -> bool {
    spec.foreign.is_some_and(|foreign| foreign.routes())
        || spec.specialists.is_some()
        || matches!(spec.ffn, Ffn::Moe { .. })
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::super::foreign::{self, ExternalPaths};
    use super::*;
    use crate::trial::Precision;
    use crate::units::Bytes;
    use std::path::Path;

    fn trial(precision: Precision, device: Device, form: Form, batch: u32) -> Trial {
        Trial {
            form,
            precision,
            device,
            batch,
            seed: 1,
            budget: Bytes(1),
            ..Trial::example()
        }
    }

    #[test]
    fn what_rounds_its_choices_or_activations_and_fused_batches_are_read_token_by_token() {
        let table = [
            ("tiny-llama", Precision::Fp32, Reading::Pieces),
            ("tiny-llama", Precision::Fp16, Reading::Pieces),
            ("tiny-llama", Precision::Int8, Reading::Tokens),
            ("tiny-llama", Precision::Int4, Reading::Tokens),
            ("tiny-moe-llama", Precision::Fp32, Reading::Pieces),
            ("tiny-moe-llama", Precision::Int4, Reading::Tokens),
            ("tiny-specialists", Precision::Int8, Reading::Tokens),
            ("tiny-moe-q", Precision::Fp16, Reading::Tokens),
        ];
        for (model, precision, reading) in table {
            let spec = find(model).unwrap();
            for device in [Device::Cpu, Device::Cuda(0)] {
                for (form, batch) in [(Form::Fused, 1), (Form::Plain, 2), (Form::Fused, 2)] {
                    let rule = decode_rule(spec, &trial(precision, device, form, batch));
                    let expected = match (form, batch) {
                        (Form::Fused, 2) => Reading::Tokens,
                        _ => reading,
                    };
                    assert_eq!(
                        rule.reading, expected,
                        "{model} {precision} {device} {form}"
                    );
                    assert!(rule.tolerance > 0.0 && rule.tolerance <= 0.5);
                }
            }
        }
    }

    #[test]
    fn a_foreign_graph_in_fp32_on_a_gpu_may_round_as_tf32_does() {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/foreign");
        let graph = Path::new(fixtures).join("optimum-llama/model.onnx");
        let spec = foreign::adopt(&graph, ExternalPaths::Inside).unwrap();
        let tolerance = |spec, device| {
            let trial = trial(Precision::Fp32, device, Form::Plain, 1);
            decode_rule(spec, &trial).tolerance
        };
        assert_eq!(tolerance(spec, Device::Cuda(0)), 5e-3);
        assert_eq!(tolerance(spec, Device::Cpu), 1e-4);
        assert_eq!(
            tolerance(find("tiny-llama").unwrap(), Device::Cuda(0)),
            1e-4
        );
    }
}
