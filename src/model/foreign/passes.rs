//! What a pass of a model that is no decoder runs over: dimensions and files as given, each refused in one sentence.

use crate::npy;
use crate::protocol::{PassDim, PassInput, PassIo, Told};
use crate::trial::Pass;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Settles every dimension, and tells the items of a pass.
pub fn settle(
    io: &PassIo,
    dims: &BTreeMap<String, u32>,
    files: &BTreeMap<String, PathBuf>,
) -> Told<(Pass, u32)> {
    let names = io.names();
    if let Some(name) = dims.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(match names.as_slice() {
            [] => format!("--dim {name}: the graph leaves no dimension free; leave it out"),
            names => format!(
                "--dim {name}: the graph has no such dimension; it leaves {} free",
                names.join(", ")
            ),
        });
    }
    let mut pass = Pass {
        dims: dims.clone(),
        files: files.clone(),
    };
    for (name, path) in files {
        let input = io.inputs.iter().find(|input| input.name == *name);
        let input = input.ok_or_else(|| {
            let names: Vec<&str> = io.inputs.iter().map(|input| input.name.as_str()).collect();
            format!(
                "--input {name}: the graph has no such input; it has {}",
                names.join(", ")
            )
        })?;
        measure(input, path, &mut pass.dims)?;
    }
    let missing = names.iter().find(|name| !pass.dims.contains_key(**name));
    if let Some(name) = missing {
        return Err(format!(
            "the graph leaves its dimension {name} free, and its size is not given; add --dim {name}=N"
        ));
    }
    let items = match io.items() {
        Some(PassDim::Size(size)) => u32::try_from(*size).unwrap_or(u32::MAX),
        Some(PassDim::Named(name)) => pass.dims.get(name).copied().unwrap_or(1),
        None => 1,
    };
    Ok((pass, items))
}

/// Holds a file to its input, and takes the sizes of free dimensions from it.
fn measure(input: &PassInput, path: &Path, dims: &mut BTreeMap<String, u32>) -> Told<()> {
    let (flag, npy) = (format!("--input {}", input.name), npy::header(path));
    let npy = npy.map_err(|cause| format!("{flag}: {cause}"))?;
    let (file, kind) = (path.display(), input.kind);
    if kind.numpy() != Some(npy.descr.as_str()) {
        return Err(format!(
            "{flag}: the input is of {}, and {file} of NumPy's {}; convert it with astype",
            kind.name(),
            npy.descr
        ));
    }
    let wrong = || {
        let dims = input.dims.iter().map(|dim| match dim {
            PassDim::Size(size) => size.to_string(),
            PassDim::Named(name) => match dims.get(name) {
                Some(size) => format!("{name}={size}"),
                None => name.clone(),
            },
        });
        format!(
            "{flag}: the input has the shape [{}], and {file} {:?}; save one of that shape",
            dims.collect::<Vec<_>>().join(", "),
            npy.shape
        )
    };
    if input.dims.len() != npy.shape.len() {
        return Err(wrong());
    }
    let mut settled = dims.clone();
    for (dim, size) in input.dims.iter().zip(&npy.shape) {
        let same = match (dim, u32::try_from(*size)) {
            (PassDim::Size(fixed), _) => fixed == size,
            (PassDim::Named(_), Err(_) | Ok(0)) => false,
            (PassDim::Named(name), Ok(size)) => {
                *settled.entry(name.clone()).or_insert(size) == size
            }
        };
        if !same {
            return Err(wrong());
        }
    }
    *dims = settled;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{PassContent, PortType};

    fn io() -> PassIo {
        let named = |name: &str| PassDim::Named(name.into());
        PassIo {
            inputs: vec![PassInput {
                name: "x".into(),
                kind: PortType::Fp32,
                dims: vec![named("batch"), PassDim::Size(2)],
                content: PassContent::Normal,
            }],
        }
    }

    fn dims(given: &[(&str, u32)]) -> BTreeMap<String, u32> {
        let given = given.iter();
        given
            .map(|(name, size)| ((*name).to_owned(), *size))
            .collect()
    }

    #[test]
    fn dimensions_are_given_by_name_or_by_a_file() {
        let none = BTreeMap::new();
        let (pass, items) = settle(&io(), &dims(&[("batch", 3)]), &none).unwrap();
        assert_eq!((pass.name().as_str(), items), ("batch=3", 3));
        let missing = settle(&io(), &dims(&[]), &none).unwrap_err();
        assert!(missing.contains("dimension batch") && missing.contains("--dim batch=N"));
        let unknown = settle(&io(), &dims(&[("seq", 3)]), &none).unwrap_err();
        assert!(unknown.contains("no such dimension"), "{unknown}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let save = |descr: &str, shape: &str, bytes: usize| {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
            let mut all = b"\x93NUMPY\x01\x00".to_vec();
            all.extend((header.len() as u16).to_le_bytes());
            all.extend(header.as_bytes());
            all.resize(all.len() + bytes, 0);
            std::fs::write(&path, all).unwrap();
        };
        let file: BTreeMap<_, _> = [("x".to_owned(), path.clone())].into();
        save("<f4", "(4, 2)", 32);
        assert_eq!(settle(&io(), &dims(&[]), &file).unwrap().1, 4);
        let other = settle(&io(), &dims(&[("batch", 3)]), &file).unwrap_err();
        assert!(other.contains("[batch=3, 2]"), "{other}");
        save("<f4", "(4, 3)", 48);
        assert!(settle(&io(), &dims(&[]), &file).is_err());
        save("<f8", "(4, 2)", 64);
        let kind = settle(&io(), &dims(&[]), &file).unwrap_err();
        assert!(kind.contains("astype"), "{kind}");
    }
}
