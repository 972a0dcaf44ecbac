//! Number formats: what weights are stored in, and what is computed in.

use super::Device;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Type that a graph computes in: activations, KV cache if it is not quantised, norms, biases and the scales of quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Float {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16.
    Fp16,
}

impl Float {
    /// Size of one element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Float::Fp32 => 4,
            Float::Fp16 => 2,
        }
    }
}

/// Type of the keys and values that are kept of the tokens before.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum KvCache {
    /// That of the activations.
    #[default]
    Float,
    /// 8 bits and one scale for the whole cache.
    Int8,
}

impl KvCache {
    /// Size of one element in bytes, where activations are of type `compute`.
    pub fn bytes(self, compute: Float) -> u64 {
        match self {
            KvCache::Float => compute.bytes(),
            KvCache::Int8 => 1,
        }
    }

    /// What it adds to the id of a trial.
    pub fn suffix(self) -> &'static str {
        match self {
            KvCache::Float => "",
            KvCache::Int8 => "/kv8",
        }
    }
}

/// Type of the weights, as asked for. What is computed in follows from it and the device: see [`Precision::on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE 754 binary32 throughout.
    Fp32,
    /// IEEE 754 binary16 throughout.
    Fp16,
    /// Weights of 8 bits in blocks with a scale each; everything else floating point.
    Int8,
    /// Weights of 4 bits in blocks with a scale each; everything else floating point.
    Int4,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 4] = [
        Precision::Fp32,
        Precision::Fp16,
        Precision::Int8,
        Precision::Int4,
    ];

    /// Bits of a quantised weight; `None` where weights are floating point.
    pub fn quantized_bits(self) -> Option<u32> {
        match self {
            Precision::Fp32 | Precision::Fp16 => None,
            Precision::Int8 => Some(8),
            Precision::Int4 => Some(4),
        }
    }

    /// The number formats of a graph of this precision on a device. Beside quantised weights that is what the device's
    /// operators take: the CUDA provider's attention and experts know no fp32, and the CPU provider computes in fp32 anyway.
    pub fn on(self, device: Device) -> Numerics {
        self.with(match device {
            Device::Cpu => Float::Fp32,
            Device::Cuda(_) => Float::Fp16,
        })
    }

    /// The number formats of a graph of this precision that computes in `activations` where its weights are quantised.
    pub fn with(self, activations: Float) -> Numerics {
        let compute = match self {
            Precision::Fp32 => Float::Fp32,
            Precision::Fp16 => Float::Fp16,
            Precision::Int8 | Precision::Int4 => activations,
        };
        Numerics {
            precision: self,
            compute,
        }
    }
}

/// The number formats of a graph and its weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numerics {
    precision: Precision,
    compute: Float,
}

impl Numerics {
    /// Type of the weights.
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// What everything else is: activations, KV cache if it is not quantised, norms, biases and scales.
    pub fn compute(self) -> Float {
        self.compute
    }

    /// Bits of a quantised weight; `None` where weights are floating point.
    pub fn quantized_bits(self) -> Option<u32> {
        self.precision.quantized_bits()
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Float::Fp32 => "fp32",
            Float::Fp16 => "fp16",
        })
    }
}

impl fmt::Display for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            KvCache::Float => "float",
            KvCache::Int8 => "int8",
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Int8 => "int8",
            Precision::Int4 => "int4",
        })
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quantized_bits() {
            None => self.precision.fmt(f),
            Some(_) => f.pad(&format!("{}-{}", self.precision, self.compute)),
        }
    }
}
