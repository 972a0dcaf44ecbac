//! Arrays that NumPy saved: type, shape and bytes of a `.npy` file. Every length is checked before anything is allocated by it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A header is some hundred bytes; NumPy itself refuses longer ones.
const LONGEST_HEADER: u32 = 10_000;

/// An array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Npy {
    /// NumPy's word for the type of its elements: `<f4`, `<i8`, `|u1`.
    pub descr: String,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// Bytes of its elements, the last dimension's next to each other.
    pub bytes: Vec<u8>,
}

/// Reads type and shape only.
pub fn header(path: &Path) -> Result<Npy, String> {
    open(path).map(|(npy, _)| npy)
}

/// Reads all of it.
pub fn read(path: &Path) -> Result<Npy, String> {
    let (mut npy, mut file) = open(path)?;
    let broken = |error: std::io::Error| format!("could not read {}: {error}", path.display());
    file.read_to_end(&mut npy.bytes).map_err(broken)?;
    Ok(npy)
}

/// The header, and the file where its elements begin. There are as many bytes as it says.
fn open(path: &Path) -> Result<(Npy, File), String> {
    let name = path.display();
    let wrap =
        |cause: &str| format!("{name} is no array as NumPy saves one with numpy.save: {cause}");
    let broken = |error: std::io::Error| format!("could not read {name}: {error}");
    let about = std::fs::metadata(path).map_err(broken)?;
    if !about.is_file() {
        return Err(wrap("it is no regular file"));
    }
    let mut file = File::open(path).map_err(broken)?;
    let mut start = [0; 8];
    let cut_off = |_| wrap("it is cut off");
    file.read_exact(&mut start).map_err(cut_off)?;
    let wide = match &start {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => 2,
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => 4,
        _ => return Err(wrap("its first bytes are others")),
    };
    let mut length = [0; 4];
    file.read_exact(&mut length[..wide]).map_err(cut_off)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(wrap("its header is too long"));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(cut_off)?;
    let text = String::from_utf8(text).map_err(|_| wrap("its header is no text"))?;
    let npy = parse(&text).map_err(wrap)?;
    let count = npy
        .shape
        .iter()
        .try_fold(1u64, |all, size| all.checked_mul(*size));
    let each = npy.descr.get(2..).and_then(|size| size.parse().ok());
    let needed = count
        .zip(each)
        .and_then(|(count, each)| count.checked_mul(each));
    let there = about.len().checked_sub(8 + wide as u64 + u64::from(length));
    if needed.is_none() || needed != there {
        return Err(wrap("it has another number of bytes than its header tells"));
    }
    Ok((npy, file))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }`.
fn parse(text: &str) -> Result<Npy, &'static str> {
    let after = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let descr = after("descr")
        .and_then(|rest| rest.strip_prefix('\'')?.split('\'').next())
        .ok_or("its header names no type of numbers")?;
    if !after("fortran_order").is_some_and(|rest| rest.starts_with("False")) {
        return Err("it is in Fortran's order; save numpy.ascontiguousarray of it");
    }
    let shape = after("shape")
        .and_then(|rest| rest.strip_prefix('(')?.split(')').next())
        .ok_or("its header tells no shape")?;
    let sizes = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty());
    Ok(Npy {
        descr: descr.to_owned(),
        shape: sizes
            .map(|size| size.parse().map_err(|_| "its shape is not of numbers"))
            .collect::<Result<_, _>>()?,
        bytes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(header: &str, bytes: &[u8]) -> Vec<u8> {
        let mut all = b"\x93NUMPY\x01\x00".to_vec();
        all.extend((header.len() as u16).to_le_bytes());
        all.extend(header.as_bytes());
        all.extend(bytes);
        all
    }

    fn of(bytes: &[u8]) -> Result<Npy, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path())
    }

    #[test]
    fn what_numpy_saves_is_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
        let npy = of(&saved(header, &[1; 8])).unwrap();
        assert_eq!(
            (npy.descr.as_str(), npy.shape, npy.bytes),
            ("<f4", vec![1, 2], vec![1; 8])
        );
        let scalar = "{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n";
        assert_eq!(
            of(&saved(scalar, &[0; 8])).unwrap().shape,
            Vec::<u64>::new()
        );
    }

    #[test]
    fn damage_is_a_sentence() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
        let whole = saved(header, &[1; 8]);
        for end in 0..whole.len() {
            assert!(of(&whole[..end]).is_err(), "{end}");
        }
        let huge = header.replace("(1, 2)", "(4294967296, 4294967296)");
        assert!(of(&saved(&huge, &[])).unwrap_err().contains("bytes"));
        let columns = header.replace("False", "True");
        assert!(
            of(&saved(&columns, &[1; 8]))
                .unwrap_err()
                .contains("Fortran")
        );
        assert!(of(b"PK\x03\x04 an archive").is_err());
    }
}
