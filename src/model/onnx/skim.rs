//! Reads an ONNX file as its messages, but steps over the bytes of its weights: a file of gigabytes is read in milliseconds
//! and takes no memory. Constants of nodes and branches, small as a rule, are read with their nodes. Bad bytes are a sentence, never a panic.

use super::super::proto::{GraphProto, ModelProto, TensorProto};
use prost::Message;
use prost::encoding::encode_varint;
use std::io::{BufRead, BufReader, Read, Seek};

/// Why something could not be read.
pub type Cause = String;

/// Values of a tensor up to this many bytes are kept: shapes and single numbers that tell something.
const SMALL: u64 = 1024;

/// `ModelProto.graph`.
const GRAPH: u64 = 7;
/// `GraphProto.initializer`.
const INITIALIZER: u64 = 5;
/// `TensorProto.raw_data`.
const RAW_DATA: u64 = 9;
/// Fields of `TensorProto` that hold values one by one: floats, integers, strings, doubles.
const TYPED_DATA: [u64; 6] = [4, 5, 6, 7, 10, 11];

/// A file without its weights.
#[derive(Debug)]
pub struct Skimmed {
    /// Everything but the initializers of its graph.
    pub model: ModelProto,
    /// Those, without their values.
    pub tensors: Vec<SkimmedTensor>,
}

/// An initializer without its values.
#[derive(Debug, Clone)]
pub struct SkimmedTensor {
    /// What stands about it; of values only few and small ones.
    pub proto: TensorProto,
    /// Bytes that the file holds for it as they are in memory; `None` where its values are elsewhere or stored one by one.
    pub raw_bytes: Option<u64>,
}

/// Reads `length` bytes of a file.
pub fn skim(source: impl Read + Seek, length: u64) -> Result<Skimmed, Cause> {
    let mut file = Source {
        reader: BufReader::with_capacity(1 << 16, source),
        at: 0,
    };
    let (mut outer, mut inner, mut tensors) = (Vec::new(), None, Vec::new());
    while let Some(field) = file.field(length)? {
        match field {
            Field::Message(GRAPH, end) => {
                let graph = inner.get_or_insert_with(Vec::new);
                read_graph(&mut file, end, graph, &mut tensors)?;
            }
            field => file.copy(field, &mut outer)?,
        }
    }
    let mut model = ModelProto::decode(outer.as_slice()).map_err(decoding)?;
    model.graph = match inner {
        Some(graph) => Some(GraphProto::decode(graph.as_slice()).map_err(decoding)?),
        None => None,
    };
    Ok(Skimmed { model, tensors })
}

fn decoding(error: prost::DecodeError) -> Cause {
    format!("its messages are broken ({error})")
}

/// Everything of a graph but its initializers goes to `rest`.
fn read_graph<R: Read + Seek>(
    file: &mut Source<R>,
    end: u64,
    rest: &mut Vec<u8>,
    tensors: &mut Vec<SkimmedTensor>,
) -> Result<(), Cause> {
    while let Some(field) = file.field(end)? {
        match field {
            Field::Message(INITIALIZER, end) => tensors.push(read_tensor(file, end)?),
            field => file.copy(field, rest)?,
        }
    }
    Ok(())
}

fn read_tensor<R: Read + Seek>(file: &mut Source<R>, end: u64) -> Result<SkimmedTensor, Cause> {
    let (mut kept, mut raw_bytes) = (Vec::new(), None);
    while let Some(field) = file.field(end)? {
        match field {
            Field::Message(number, end) if number == RAW_DATA || TYPED_DATA.contains(&number) => {
                let bytes = end - file.at;
                if number == RAW_DATA {
                    raw_bytes = Some(bytes);
                }
                if bytes > SMALL {
                    file.skip(bytes)?;
                } else {
                    file.copy(field, &mut kept)?;
                }
            }
            field => file.copy(field, &mut kept)?,
        }
    }
    Ok(SkimmedTensor {
        proto: TensorProto::decode(kept.as_slice()).map_err(decoding)?,
        raw_bytes,
    })
}

/// One field of a message, its key already read.
enum Field {
    /// Number, and where its bytes end.
    Message(u64, u64),
    /// A number: its key, and how it is encoded.
    Number(u64, Vec<u8>),
}

/// A file, and how far it is read.
struct Source<R> {
    reader: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Source<R> {
    /// The next field of a message that ends at `end`.
    fn field(&mut self, end: u64) -> Result<Option<Field>, Cause> {
        if self.at >= end {
            return Ok(None);
        }
        let began = self.at;
        let key = self.varint(end)?;
        let field = match key & 7 {
            0 => {
                let mut bytes = Vec::new();
                encode_varint(self.varint(end)?, &mut bytes);
                Field::Number(key, bytes)
            }
            1 => Field::Number(key, self.bytes(8, end)?),
            5 => Field::Number(key, self.bytes(4, end)?),
            2 => {
                let length = self.varint(end)?;
                let field_end = self
                    .at
                    .checked_add(length)
                    .filter(|field_end| *field_end <= end);
                let field_end = field_end.ok_or_else(|| {
                    format!(
                        "it is cut off or damaged: at byte {began} begins a field of {length} bytes, and {} are left",
                        end - self.at
                    )
                })?;
                Field::Message(key >> 3, field_end)
            }
            _ => return Err(format!("byte {began} begins no field of a message")),
        };
        if key >> 3 == 0 || key > u64::from(u32::MAX) {
            return Err(format!("byte {began} begins no field of a message"));
        }
        Ok(Some(field))
    }

    /// Appends a field as it stands in the file.
    fn copy(&mut self, field: Field, to: &mut Vec<u8>) -> Result<(), Cause> {
        match field {
            Field::Number(key, bytes) => {
                encode_varint(key, to);
                to.extend(bytes);
            }
            Field::Message(number, end) => {
                encode_varint(number << 3 | 2, to);
                encode_varint(end - self.at, to);
                to.extend(self.bytes(end - self.at, end)?);
            }
        }
        Ok(())
    }

    fn varint(&mut self, end: u64) -> Result<u64, Cause> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(end)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(format!(
            "the number before byte {} has no end, so it is damaged or something else",
            self.at
        ))
    }

    fn byte(&mut self, end: u64) -> Result<u8, Cause> {
        let buffer = self.reader.fill_buf().map_err(|error| error.to_string())?;
        let byte = buffer.first().copied().filter(|_| self.at < end);
        let byte = byte.ok_or_else(|| self.cut_off())?;
        self.reader.consume(1);
        self.at += 1;
        Ok(byte)
    }

    fn bytes(&mut self, count: u64, end: u64) -> Result<Vec<u8>, Cause> {
        if count > end - self.at {
            return Err(self.cut_off());
        }
        let mut bytes = Vec::new();
        let read = Read::take(&mut self.reader, count).read_to_end(&mut bytes);
        self.at += count;
        match read {
            Ok(read) if read as u64 == count => Ok(bytes),
            Ok(_) => Err(self.cut_off()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), Cause> {
        let step = i64::try_from(count).map_err(|_| self.cut_off())?;
        self.reader
            .seek_relative(step)
            .map_err(|error| error.to_string())?;
        self.at += count;
        Ok(())
    }

    fn cut_off(&self) -> Cause {
        format!("it is cut off or damaged near byte {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Variant, emit::emit, find, weights::Layout};
    use super::*;
    use crate::trial::{Float, Form, KvCache, Precision};
    use proptest::prelude::*;
    use std::io::Cursor;

    fn graph() -> Vec<u8> {
        let spec = find("tiny-moe-llama").unwrap();
        emit(
            spec,
            &Layout::of(spec, Precision::Fp16.with(Float::Fp16)),
            Variant::portable(Form::Plain, KvCache::Float, 64),
        )
        .bytes
    }

    fn of(bytes: &[u8]) -> Result<Skimmed, Cause> {
        skim(Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn what_is_skimmed_is_the_file_without_its_large_values() {
        let mut whole = ModelProto::decode(graph().as_slice()).unwrap();
        let large = TensorProto {
            dims: vec![1000],
            data_type: 1,
            name: "large".into(),
            raw_data: Some(vec![7; 4000]),
            ..TensorProto::default()
        };
        whole.graph.as_mut().unwrap().initializer.push(large);
        let skimmed = of(&whole.encode_to_vec()).unwrap();
        let initializers = std::mem::take(&mut whole.graph.as_mut().unwrap().initializer);
        assert_eq!(skimmed.model, whole);
        let (large, small) = skimmed.tensors.split_last().unwrap();
        assert_eq!(
            (large.raw_bytes, &large.proto.raw_data),
            (Some(4000), &None)
        );
        assert_eq!(large.proto.dims, [1000]);
        let small: Vec<_> = small.iter().map(|tensor| tensor.proto.clone()).collect();
        assert_eq!(small, initializers[..initializers.len() - 1]);
    }

    #[test]
    fn a_file_that_ends_early_is_cut_off_wherever_it_ends() {
        let graph = graph();
        for end in (1..graph.len()).step_by(97) {
            // A file may end between two fields of the outermost message; then the graph is missing or whole.
            if let Err(cause) = of(&graph[..end]) {
                assert!(cause.contains("cut off"), "{end}: {cause}");
            }
        }
        assert!(of(&graph[..graph.len() / 2]).is_err());
        assert!(of(b"{\"model\": 1}").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = of(&bytes);
        }

        #[test]
        fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let mut bytes = graph();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = of(&bytes);
        }
    }
}
