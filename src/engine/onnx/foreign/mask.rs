//! The mask of steps that all have the same shapes: as wide as a bucket, its ones telling how far the cache is filled.

use super::super::super::EngineError;
use super::super::courier::Courier;
use super::super::tensors::Buffer;
use super::buffers::push;
use crate::protocol::PortType;

/// Brings a mask of so many rows and of this width to have so many ones: as it was but for the new ones, or anew.
pub(super) fn lay_mask(
    courier: &mut Courier,
    buffer: &mut Buffer,
    bytes: &mut Vec<u8>,
    kind: PortType,
    (rows, width, ones): (usize, usize, usize),
    laid: Option<(usize, usize)>,
) -> Result<(), EngineError> {
    let size = kind.bytes() as usize;
    bytes.clear();
    match laid {
        Some((before, from)) if before == width && from <= ones => {
            (from..ones).for_each(|_| push(bytes, kind, 1));
            (0..rows)
                .try_for_each(|row| courier.write_bytes(buffer, (row * width + from) * size, bytes))
        }
        _ => {
            for _ in 0..rows {
                (0..width).for_each(|at| push(bytes, kind, i64::from(at < ones)));
            }
            courier.write_bytes(buffer, 0, bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tensors::Space;
    use super::*;

    #[test]
    fn a_mask_is_brought_up_to_date_in_every_row_and_laid_anew_where_it_was_longer_or_wider() {
        let mut buffer = Buffer::new(&Space::Host, 2 * 8 * 8).unwrap();
        let mut courier = Courier::new(&Space::Host, None, 0).unwrap();
        let (mut bytes, mut laid) = (Vec::new(), None);
        for (width, ones) in [
            (4, 2),
            (4, 3),
            (4, 4),
            (8, 5),
            (8, 8),
            (4, 1),
            (4, 1),
            (8, 2),
        ] {
            let mask = (2, width, ones);
            let kind = PortType::Int64;
            lay_mask(&mut courier, &mut buffer, &mut bytes, kind, mask, laid).unwrap();
            laid = Some((width, ones));
            let mut found = vec![0i64; 2 * width];
            buffer.read(&mut found).unwrap();
            let row = (0..width).map(|at| i64::from(at < ones));
            let expected: Vec<i64> = row.clone().chain(row).collect();
            assert_eq!(found, expected, "{width} {ones}");
        }
    }
}
