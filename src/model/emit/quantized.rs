//! Operators on quantised weights: linear layers, embedding, head, experts. Whatever the layout keeps floating point is none of
//! this file's business.

use super::super::graph::{Attr, CONTRIB};
use super::super::spec::{Ffn, ModelSpec};
use super::super::weights::QUANTIZED_BLOCK;
use super::Emitter;
use crate::trial::Precision;

const BLOCK_SIZE: (&str, Attr) = ("block_size", Attr::Int(QUANTIZED_BLOCK as i64));

/// What the CPU provider may round activations to: 8 bits in blocks, for which it has integer kernels. Without it a quantised
/// model is slower there than one in fp32: by 100 times with 8 bits, for which it then has no kernel of its own. The CUDA
/// provider computes in the type of the activations whatever this says: neither of its kernels reads it, and its library of the
/// 1.31.1 wheel does not have the name.
const ACCURACY_LEVEL: (&str, Attr) = ("accuracy_level", Attr::Int(4));

/// What both widths of quantised experts are multiples of for the operator of the CUDA provider: the tile of its kernels along
/// what they sum over, which is one of them in an expert's first product and the other in the second.
pub(super) const CUDA_WIDTHS: u32 = 64;

/// Outer and inner width of the experts that are quantised, if any.
pub(super) fn experts(spec: &ModelSpec, precision: Precision) -> Option<[u32; 2]> {
    precision.quantized_bits()?;
    let Ffn::Moe { d_ff, .. } = spec.ffn else {
        return None;
    };
    let widths = [spec.d_model, d_ff];
    // Others stay floating point.
    let whole = |width: &u32| u64::from(*width).is_multiple_of(QUANTIZED_BLOCK);
    widths.iter().all(whole).then_some(widths)
}

/// Whether the CUDA provider has an operator for quantised experts of these widths.
pub(super) fn runs_on_cuda(widths: [u32; 2]) -> bool {
    widths.iter().all(|width| width.is_multiple_of(CUDA_WIDTHS))
}

/// What the operator for quantised experts has besides those for all experts. Their codes are as they are in the file, the one layout
/// that both the CPU and the CUDA kernel take, or packed by the engine for CUDA.
pub(super) fn attributes(bits: i64, packed: bool) -> [(&'static str, Attr); 4] {
    [
        ("expert_weight_bits", Attr::Int(bits)),
        BLOCK_SIZE,
        ("weights_prepacked", Attr::Int(i64::from(packed))),
        ACCURACY_LEVEL,
    ]
}

impl Emitter<'_> {
    /// Whether the layout stores this weight quantised.
    pub(super) fn is_quantized(&self, weight: &str) -> bool {
        self.layout.get(&format!("{weight}.q")).is_some()
    }

    fn bits(&self) -> i64 {
        self.layout.numerics.quantized_bits().map_or(0, i64::from)
    }

    /// `x` times a linear layer's weight.
    pub(super) fn quantized_matmul(&mut self, x: &str, weight: &str) -> String {
        let packed = &self.tensor(&format!("{weight}.q")).dims;
        let (outputs, inputs) = (packed[0] as i64, (packed[1] * QUANTIZED_BLOCK) as i64);
        let packed = self.operand(&format!("{weight}.q"), x);
        let scales = self.operand(&format!("{weight}.scales"), x);
        let attributes = [
            ("K", Attr::Int(inputs)),
            ("N", Attr::Int(outputs)),
            ("bits", Attr::Int(self.bits())),
            BLOCK_SIZE,
            ACCURACY_LEVEL,
        ];
        self.g
            .contrib("MatMulNBits", &[x, &packed, &scales], &attributes)
    }

    /// Logits `[B, V]`: a product with all stored rows, without those that only fill up the matrix.
    pub(super) fn quantized_head(&mut self, last: &str, weight: &str) -> String {
        let logits = self.quantized_matmul(last, weight);
        let vocab = i64::from(self.spec.vocab);
        if self.tensor(&format!("{weight}.q")).dims[0] == u64::from(self.spec.vocab) {
            return logits;
        }
        let (start, end, axis) = (self.g.ints(&[0]), self.g.ints(&[vocab]), self.g.ints(&[1]));
        self.g.op("Slice", &[&logits, &start, &end, &axis], &[])
    }

    /// Rows of the embedding. Where that is the head as well, the two operators read the same bytes of the weight file.
    pub(super) fn quantized_lookup(&mut self, weight: &str, tokens: &str) -> String {
        let rows = u64::from(self.spec.vocab);
        let mut rows_of =
            |part: &str| self.weight_as_rows(&format!("{weight}.{part}"), rows, "rows");
        let (packed, scales, zeros) = (rows_of("q"), rows_of("scales"), rows_of("zero_points"));
        let attributes = [
            ("bits", Attr::Int(self.bits())),
            BLOCK_SIZE,
            ("gather_axis", Attr::Int(0)),
            ("quantize_axis", Attr::Int(1)),
        ];
        self.g.contrib(
            "GatherBlockQuantized",
            &[&packed, tokens, &scales, &zeros],
            &attributes,
        )
    }

    /// All experts in one operator; `attributes` are those that it shares with the one for floating point.
    pub(super) fn quantized_experts(
        &mut self,
        x: &str,
        logits: &str,
        [fc1, fc2]: [&str; 2],
        mut attributes: Vec<(&str, Attr)>,
    ) -> String {
        attributes.extend(self::attributes(self.bits(), self.packed_experts));
        let mut both = |weight: &str| {
            let packed = self.operand(&format!("{weight}.q"), x);
            // The operator turns scales round when it is loaded, which it does to constants only.
            (packed, self.weight(&format!("{weight}.scales")))
        };
        let ((fc1, fc1_scales), (fc2, fc2_scales)) = (both(fc1), both(fc2));
        let inputs = [x, logits, &fc1, &fc1_scales, "", &fc2, &fc2_scales];
        self.g
            .node(CONTRIB, "QMoE", &inputs, 1, &attributes)
            .swap_remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::weights::Layout;
    use super::super::super::{builtin, find};
    use super::super::check_device;
    use super::*;
    use crate::trial::{Device, Float};

    const GPU: Device = Device::Cuda(0);

    #[test]
    fn experts_are_told_to_be_quantised_where_the_layout_has_them_so() {
        for spec in builtin() {
            for precision in Precision::ALL {
                let layout = Layout::of(spec, precision.with(Float::Fp16));
                let found = layout.get("l0.experts.fc1.q").is_some();
                let what = format!("{} {precision}", spec.name);
                assert_eq!(experts(spec, precision).is_some(), found, "{what}");
            }
        }
        let mut spec = find("tiny-moe-q").unwrap().clone();
        // Of no whole blocks: the experts stay fp16, and fp16 experts have no such rule.
        spec.d_model += 8;
        assert!(check_device(&spec, Precision::Int4, GPU).is_ok());
    }

    #[test]
    fn cuda_takes_quantised_experts_of_whole_tiles_only() {
        for spec in builtin() {
            for precision in Precision::ALL {
                let narrow = ["tiny-moe-gpt2", "tiny-moe-llama"].contains(&spec.name.as_str())
                    && precision.quantized_bits().is_some();
                let refused = narrow || spec.specialists.is_some() && precision == Precision::Int4;
                let checked = check_device(spec, precision, GPU);
                assert_eq!(checked.is_err(), refused, "{} {precision}", spec.name);
                assert!(check_device(spec, precision, Device::Cpu).is_ok());
            }
        }
        let spec = find("tiny-moe-llama").unwrap();
        let error = check_device(spec, Precision::Int4, GPU).unwrap_err();
        let text = error.to_string();
        for part in [
            "tiny-moe-llama in int4",
            "64 by 96",
            "multiples of 64",
            "--precision fp16",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
