//! ONNX element types: names and widths, by the numbers of `TensorProto.DataType`.

/// Name and bits of each type, in the order of their numbers.
const TYPES: [(&str, Option<u32>); 27] = [
    ("undefined", None),
    ("float32", Some(32)),
    ("uint8", Some(8)),
    ("int8", Some(8)),
    ("uint16", Some(16)),
    ("int16", Some(16)),
    ("int32", Some(32)),
    ("int64", Some(64)),
    ("string", None),
    ("bool", Some(8)),
    ("float16", Some(16)),
    ("float64", Some(64)),
    ("uint32", Some(32)),
    ("uint64", Some(64)),
    ("complex64", Some(64)),
    ("complex128", Some(128)),
    ("bfloat16", Some(16)),
    ("float8e4m3fn", Some(8)),
    ("float8e4m3fnuz", Some(8)),
    ("float8e5m2", Some(8)),
    ("float8e5m2fnuz", Some(8)),
    ("uint4", Some(4)),
    ("int4", Some(4)),
    ("float4e2m1", Some(4)),
    ("float8e8m0", Some(8)),
    ("uint2", Some(2)),
    ("int2", Some(2)),
];

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element(pub i32);

impl Element {
    fn entry(self) -> Option<&'static (&'static str, Option<u32>)> {
        usize::try_from(self.0)
            .ok()
            .and_then(|number| TYPES.get(number))
    }

    /// Its name; a number for one that is not known here.
    pub fn name(self) -> String {
        let known = self.entry().map(|(name, _)| (*name).to_owned());
        known.unwrap_or_else(|| format!("type {}", self.0))
    }

    /// Bits of one element, where all have the same.
    pub fn bits(self) -> Option<u32> {
        self.entry().and_then(|(_, bits)| *bits)
    }

    /// Whether it is a floating point type of 16 bits or more: one that weights are stored in as they are.
    pub fn is_float(self) -> bool {
        matches!(self.0, 1 | 10 | 11 | 16)
    }

    /// Whether it is of eight bits or fewer: one that quantised weights are stored in.
    pub fn is_narrow(self) -> bool {
        self.bits().is_some_and(|bits| bits <= 8) && self.0 != 9
    }

    /// Bytes of so many elements; packed types share bytes.
    pub fn bytes_of(self, elements: u64) -> Option<u64> {
        let bits = u128::from(elements) * u128::from(self.bits()?);
        u64::try_from(bits.div_ceil(8)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_types_as_the_format_does() {
        let table = [
            (1, "float32", Some(40)),
            (10, "float16", Some(20)),
            (9, "bool", Some(10)),
            (22, "int4", Some(5)),
            (7, "int64", Some(80)),
            (8, "string", None),
            (0, "undefined", None),
            (99, "type 99", None),
            (-1, "type -1", None),
        ];
        for (number, name, ten) in table {
            let element = Element(number);
            assert_eq!((element.name().as_str(), element.bytes_of(10)), (name, ten));
        }
        assert_eq!(Element(21).bytes_of(3), Some(2));
        assert_eq!(Element(1).bytes_of(u64::MAX), None);
    }
}
