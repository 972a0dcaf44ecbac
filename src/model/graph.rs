//! Builds an ONNX graph node by node. Knows the format, nothing of models.

use super::proto::{
    AttributeProto, DataType, DimensionProto, EXTERNAL, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto, attribute_type,
};
use crate::protocol::{Element, WeightTensor};
use half::f16;
use prost::Message;
use std::collections::HashSet;

/// ONNX Runtime's contributed operators.
pub const CONTRIB: &str = "com.microsoft";

/// Operators of the engine's own (`engine/onnx/fetch.rs`).
pub const OWN: &str = "edgebench";

/// Name of the external-data file, beside the graph.
pub const WEIGHTS_FILE: &str = "weights.bin";

impl From<Element> for DataType {
    fn from(element: Element) -> DataType {
        match element {
            Element::Fp32 => DataType::Float,
            Element::Fp16 => DataType::Float16,
            Element::Uint8 => DataType::Uint8,
        }
    }
}

/// One dimension of an input or output.
#[derive(Debug, Clone, Copy)]
pub enum Dim {
    /// Known size.
    Fixed(u32),
    /// Named, chosen at run time.
    Named(&'static str),
}

/// Value of a node's attribute.
#[derive(Debug, Clone)]
pub enum Attr {
    /// Integer.
    Int(i64),
    /// Float.
    Float(f32),
    /// String.
    Text(&'static str),
    /// List of integers.
    Ints(Vec<i64>),
    /// One-element tensor (`ConstantOfShape`).
    Zero(DataType),
}

/// A graph under construction. Values are named by strings, as in the format.
pub struct GraphBuilder {
    graph: GraphProto,
    known: HashSet<String>,
    float: DataType,
    scope: String,
    contrib: bool,
    weights: Vec<WeightTensor>,
}

impl GraphBuilder {
    /// An empty graph whose floating point constants are of type `float`.
    pub fn new(name: &str, float: DataType) -> GraphBuilder {
        let graph = GraphProto {
            name: name.into(),
            ..GraphProto::default()
        };
        GraphBuilder {
            graph,
            known: HashSet::new(),
            float,
            scope: String::new(),
            contrib: false,
            weights: Vec::new(),
        }
    }

    /// Prefix of the names of the nodes that follow.
    pub fn scope(&mut self, scope: &str) {
        self.scope = scope.to_owned();
    }

    /// Declares a graph input.
    pub fn input(&mut self, name: &str, kind: DataType, dims: &[Dim]) -> String {
        self.graph.input.push(value_info(name, kind, dims));
        name.to_owned()
    }

    /// Makes `value` a graph output called `name`, by way of the node that yields it.
    pub fn output(&mut self, value: &str, name: &str, kind: DataType, dims: &[Dim]) {
        for node in &mut self.graph.node {
            for slot in node.output.iter_mut().chain(node.input.iter_mut()) {
                if slot == value {
                    *slot = name.to_owned();
                }
            }
        }
        self.graph.output.push(value_info(name, kind, dims));
    }

    /// Adds a standard operator with one output.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attr)]) -> String {
        self.node("", op, inputs, 1, attributes).swap_remove(0)
    }

    /// Adds a contributed operator with one output.
    pub fn contrib(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attr)]) -> String {
        self.node(CONTRIB, op, inputs, 1, attributes).swap_remove(0)
    }

    /// Adds an operator with several outputs. An empty input name leaves an optional input out.
    pub fn node(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        attributes: &[(&str, Attr)],
    ) -> Vec<String> {
        let name = format!("{}{op}_{}", self.scope, self.graph.node.len());
        let results: Vec<String> = (0..outputs)
            .map(|index| format!("{name}.{index}"))
            .collect();
        self.contrib |= domain == CONTRIB;
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: results.clone(),
            name,
            op_type: op.into(),
            attribute: attributes
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
            domain: domain.into(),
        });
        results
    }

    /// A floating point constant of the graph's type, without dimensions.
    pub fn float(&mut self, value: f32) -> String {
        let raw = match self.float {
            DataType::Float16 => f16::from_f32(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        self.constant(format!("float_{value:e}"), self.float, &[], raw)
    }

    /// A constant of one 32-bit floating point number, whatever the graph computes in.
    pub fn scale(&mut self, name: &str, value: f32) -> String {
        let raw = value.to_le_bytes().to_vec();
        self.constant(name.to_owned(), DataType::Float, &[1], raw)
    }

    /// A constant vector of 64-bit integers.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let raw = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let name = values
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join("_");
        self.constant(
            format!("ints_{name}"),
            DataType::Int64,
            &[values.len() as i64],
            raw,
        )
    }

    /// A constant 64-bit integer without dimensions.
    pub fn int(&mut self, value: i64) -> String {
        self.constant(
            format!("int_{value}"),
            DataType::Int64,
            &[],
            value.to_le_bytes().to_vec(),
        )
    }

    /// A constant tensor of 32-bit integers `0..count`, of shape `dims`.
    pub fn int32_range(&mut self, count: u32, dims: &[i64]) -> String {
        let raw = (0..count as i32).flat_map(i32::to_le_bytes).collect();
        self.constant(format!("range_{count}"), DataType::Int32, dims, raw)
    }

    fn constant(&mut self, name: String, kind: DataType, dims: &[i64], raw: Vec<u8>) -> String {
        if self.known.insert(name.clone()) {
            let tensor = TensorProto {
                dims: dims.to_vec(),
                data_type: kind as i32,
                name: name.clone(),
                raw_data: Some(raw),
                ..TensorProto::default()
            };
            self.graph.initializer.push(tensor);
        }
        name
    }

    /// A weight in the external-data file, of so many bytes; declared once however often it is used.
    pub fn weight(&mut self, weight: WeightTensor, bytes: u64) -> String {
        let name = weight.name.clone();
        if self.known.insert(name.clone()) {
            let entry = |key: &str, value: String| StringStringEntryProto {
                key: key.into(),
                value,
            };
            self.graph.initializer.push(TensorProto {
                dims: weight.dims.clone(),
                data_type: DataType::from(weight.element) as i32,
                name: name.clone(),
                external_data: vec![
                    entry("location", WEIGHTS_FILE.into()),
                    entry("offset", weight.offset.to_string()),
                    entry("length", bytes.to_string()),
                ],
                data_location: Some(EXTERNAL),
                ..TensorProto::default()
            });
            self.weights.push(weight);
        }
        name
    }

    /// The weights in the external-data file that were declared so far.
    pub fn weights(&self) -> Vec<WeightTensor> {
        self.weights.clone()
    }

    /// The file's bytes. Opset 20 is the oldest with the tanh form of Gelu, and ONNX Runtime 1.17 and later know it.
    pub fn finish(self, metadata: &[(&str, String)]) -> Vec<u8> {
        let opset = |domain: &str, version| OperatorSetIdProto {
            domain: domain.into(),
            version,
        };
        let mut opset_import = vec![opset("", 20)];
        if self.contrib {
            opset_import.push(opset(CONTRIB, 1));
        }
        if self.graph.node.iter().any(|node| node.domain == OWN) {
            opset_import.push(opset(OWN, 1));
        }
        let entry = |(key, value): &(&str, String)| StringStringEntryProto {
            key: (*key).into(),
            value: value.clone(),
        };
        let model = ModelProto {
            ir_version: 9,
            producer_name: "edgebench".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import,
            metadata_props: metadata.iter().map(entry).collect(),
            functions: Vec::new(),
        };
        model.encode_to_vec()
    }
}

fn value_info(name: &str, kind: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(size) => DimensionProto {
            dim_value: Some(i64::from(*size)),
            dim_param: None,
        },
        Dim::Named(name) => DimensionProto {
            dim_value: None,
            dim_param: Some((*name).into()),
        },
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    let tensor_type = TensorTypeProto {
        elem_type: kind as i32,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}

fn attribute(name: &str, value: &Attr) -> AttributeProto {
    let mut proto = AttributeProto {
        name: name.into(),
        ..AttributeProto::default()
    };
    match value {
        Attr::Int(value) => (proto.r#type, proto.i) = (attribute_type::INT, Some(*value)),
        Attr::Float(value) => (proto.r#type, proto.f) = (attribute_type::FLOAT, Some(*value)),
        Attr::Text(value) => {
            (proto.r#type, proto.s) = (attribute_type::STRING, Some(value.as_bytes().to_vec()))
        }
        Attr::Ints(values) => (proto.r#type, proto.ints) = (attribute_type::INTS, values.clone()),
        Attr::Zero(kind) => {
            let size = if *kind == DataType::Float16 { 2 } else { 4 };
            let tensor = TensorProto {
                dims: vec![1],
                data_type: *kind as i32,
                raw_data: Some(vec![0; size]),
                ..TensorProto::default()
            };
            (proto.r#type, proto.t) = (attribute_type::TENSOR, Some(tensor));
        }
    }
    proto
}
