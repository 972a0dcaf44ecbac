//! How far logits are from fp32's, for people: when it is told beside the speed, and what it means.

use super::{human, notes};
use crate::report::{Difference, Row};

/// Rows whose agreement is told one by one.
const MOST: usize = 12;

/// Whether the weights or the KV cache of a row are quantised.
pub fn is_quantized(row: &Row) -> bool {
    row.precision.starts_with("int") || row.kv_cache_type.starts_with("int")
}

/// What quantised rows were held to, and how far they are from what they were made from.
pub fn remarks(rows: &[Row]) -> Vec<String> {
    let quantized = || rows.iter().filter(|row| is_quantized(row));
    let checked = |row: &Row| Some(row.check.as_ref()?.quantization.as_ref()?.clone());
    let mut remarks = Vec::new();
    if quantized().any(|row| checked(row).is_some()) {
        remarks.push("Test-size models with quantised weights or KV caches are held to reference logits of the same quantised ones.".to_owned());
    }
    // Results of before every model was compared tell of the test-size ones in their check.
    let difference = |row: &Row| row.fp32_difference.clone().or_else(|| checked(row));
    let found: Vec<(&Row, Difference)> = quantized()
        .filter_map(|row| Some((row, difference(row)?)))
        .collect();
    if found.is_empty() {
        return remarks;
    }
    remarks.push("vs fp32: difference of the logits of a fixed text from those of the same weights and KV cache in fp32, root mean square, of that of the logits. It tells what rounding does to these weights, which are random, and not what it does to the answers of a trained model.".to_owned());
    let one = |(row, found): &(&Row, Difference)| {
        let percent = human::percent(found.error);
        let (same, all) = (found.same_top, found.positions);
        format!("{} {percent} and {same} of {all}", notes::name(row))
    };
    if found.len() <= MOST {
        let list: Vec<String> = found.iter().map(one).collect();
        remarks.push(human::one_line(&format!(
            "Difference from fp32, and positions of the text at which the most likely token is the same: {}.",
            list.join("; ")
        )));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Check, fixture};

    fn difference(error: f64) -> Option<Difference> {
        Some(Difference {
            error,
            same_top: 13,
            positions: 16,
        })
    }

    #[test]
    fn it_is_told_of_quantised_rows_only() {
        let mut rows = fixture().trials;
        for row in &mut rows {
            row.fp32_difference = difference(1e-6);
        }
        assert!(remarks(&rows).is_empty());
        rows[1].precision = "int4".into();
        rows[1].fp32_difference = difference(0.25);
        rows[2].kv_cache_type = "int8".into();
        rows[2].fp32_difference = None;
        let told = remarks(&rows).join(" ");
        assert!(told.contains("int4 25.00 % and 13 of 16."), "{told}");
        assert!(
            told.contains("random") && !told.contains("held to"),
            "{told}"
        );
    }

    #[test]
    fn results_of_before_tell_what_their_check_found() {
        let mut rows = fixture().trials;
        rows[0].precision = "int8".into();
        rows[0].check = Some(Check {
            passed: true,
            tolerance: 0.08,
            worst_error: 0.01,
            ids_equal: true,
            quantization: difference(0.0125),
        });
        let told = remarks(&rows).join(" ");
        assert!(
            told.contains("held to") && told.contains("int8 1.25 % and 13 of 16"),
            "{told}"
        );
    }
}
