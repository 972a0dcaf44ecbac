//! Tiny graphs to measure a device with: chains of one kernel each, and a large matrix product.

use super::graph::{Dim, GraphBuilder};
use super::proto::DataType;
use crate::error::{Error, Result};
use crate::protocol::Yardsticks;
use crate::trial::{Device, Float};
use std::path::Path;

/// Kernels of the two chains. Their difference in time is that of so many more launches, free of what a run takes once.
const CHAINS: [u32; 2] = [64, 256];

/// Edge of the square matrices of the product.
fn edge(device: Device) -> u32 {
    match device {
        // 2 GFLOP: tens of milliseconds on a small CPU.
        Device::Cpu => 1024,
        // 137 GFLOP, 96 MiB in fp16: enough to fill any GPU, a tenth of a second on a small one.
        Device::Cuda(_) => 4096,
    }
}

/// Writes the graphs for a device into a folder.
pub fn yardsticks(folder: &Path, device: Device) -> Result<Yardsticks> {
    let float = match device {
        Device::Cpu => Float::Fp32,
        Device::Cuda(_) => Float::Fp16,
    };
    let write = |name: String, graph: GraphBuilder| {
        let path = folder.join(name);
        std::fs::write(&path, graph.finish(&[]))
            .map_err(|cause| Error::output(&path, cause, " with TMPDIR"))?;
        Ok(path)
    };
    let [short, long] = CHAINS.map(|count| write(format!("chain-{count}.onnx"), chain(count)));
    let edge = edge(device);
    Ok(Yardsticks {
        short_chain: (short?, CHAINS[0]),
        long_chain: (long?, CHAINS[1]),
        product: write("product.onnx".into(), product(edge, float))?,
        edge,
        float,
    })
}

/// `y` is the square root of the square root … of `x`: one number, one kernel each, nothing that optimisation may drop.
fn chain(count: u32) -> GraphBuilder {
    let mut graph = GraphBuilder::new("chain", DataType::Float);
    let mut value = graph.input("x", DataType::Float, &[Dim::Fixed(1)]);
    for _ in 0..count {
        value = graph.op("Sqrt", &[&value], &[]);
    }
    graph.output(&value, "y", DataType::Float, &[Dim::Fixed(1)]);
    graph
}

fn product(edge: u32, float: Float) -> GraphBuilder {
    let kind = match float {
        Float::Fp32 => DataType::Float,
        Float::Fp16 => DataType::Float16,
    };
    let dims = [Dim::Fixed(edge), Dim::Fixed(edge)];
    let mut graph = GraphBuilder::new("product", kind);
    let a = graph.input("a", kind, &dims);
    let b = graph.input("b", kind, &dims);
    let c = graph.op("MatMul", &[&a, &b], &[]);
    graph.output(&c, "c", kind, &dims);
    graph
}
