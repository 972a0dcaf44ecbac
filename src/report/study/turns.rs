//! A pair over the memory budgets of a run: where the mixture is faster, where the dense model is, and between which budgets that
//! turns. Made of the pairs of each budget, so that every ratio here stands there with its interval.

use super::{Basis, StudyPair};
use crate::report::compare::Quantity;
use crate::report::schema::Row;
use crate::report::verdict::{bytes, figure};
use serde::{Deserialize, Serialize};

/// A dense model and a mixture, in one setting, over several budgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairCurve {
    /// By what they belong together.
    pub basis: Basis,
    /// Whether they are equal in that.
    pub matched: bool,
    /// The dense model.
    pub dense: String,
    /// The mixture.
    pub moe: String,
    /// Type of the weights of both.
    pub precision: String,
    /// Type of the KV cache.
    pub kv_cache_type: String,
    /// Device.
    pub device: String,
    /// Graph form.
    pub form: String,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub gen_tokens: u32,
    /// One for each budget, in ascending order.
    pub points: Vec<CurvePoint>,
    /// Each two budgets between which the faster of the two is another one, by 5 % at least on both sides.
    pub turns: Vec<[u64; 2]>,
    /// The same in words.
    pub verdict: String,
}

/// What a budget allows the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The budget.
    pub budget_bytes: u64,
    /// The dense model.
    pub dense: CurveSide,
    /// The mixture.
    pub moe: CurveSide,
    /// Decode speed of the mixture over the dense model's; null where one of the two has none.
    pub ratio: Option<f64>,
    /// Its 95 % interval.
    pub ci95: Option<[f64; 2]>,
    /// As the pair's: `faster`, `slower`, `no_difference`, `not_comparable`; `only_dense`, `only_moe` or `neither` where only one
    /// or none of the two ran inside the budget.
    pub verdict: String,
}

/// One model in one budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveSide {
    /// Id of its row, which has everything else.
    pub row: String,
    /// Its row's status.
    pub status: String,
    /// Mean decode speed; null where it did not run.
    pub decode_tok_s: Option<f64>,
    /// Weights that lay in main memory; null where none were to.
    pub mapped_bytes: Option<u64>,
    /// Share of a decode step that a pinned copy of the bytes over the link takes; null where there are none or the link's speed is
    /// not known.
    pub step_link_share: Option<f64>,
}

/// The curves of these pairs: of those in one precision that were run in two budgets or more.
pub fn of(pairs: &[StudyPair], rows: &[Row]) -> Vec<PairCurve> {
    let mut curves: Vec<PairCurve> = Vec::new();
    for pair in pairs
        .iter()
        .filter(|pair| pair.dense.precision == pair.moe.precision)
    {
        let point = point(pair, rows);
        match curves.iter_mut().find(|curve| is_of(curve, pair)) {
            Some(curve) => curve.points.push(point),
            None => curves.push(start(pair, point)),
        }
    }
    curves.retain(|curve| curve.points.len() > 1);
    for curve in &mut curves {
        curve.points.sort_by_key(|point| point.budget_bytes);
        curve.turns = turns(&curve.points);
        curve.verdict = verdict(curve);
    }
    curves
}

fn start(pair: &StudyPair, point: CurvePoint) -> PairCurve {
    PairCurve {
        basis: pair.basis,
        matched: pair.matched,
        dense: pair.dense.model.clone(),
        moe: pair.moe.model.clone(),
        precision: pair.dense.precision.clone(),
        kv_cache_type: pair.kv_cache_type.clone(),
        device: pair.device.clone(),
        form: pair.form.clone(),
        batch: pair.batch,
        prompt_tokens: pair.prompt_tokens,
        gen_tokens: pair.gen_tokens,
        points: vec![point],
        turns: Vec::new(),
        verdict: String::new(),
    }
}

/// Whether a pair is another budget of a curve.
fn is_of(curve: &PairCurve, pair: &StudyPair) -> bool {
    let names = (&curve.dense, &curve.moe, &curve.precision);
    let setting = (&curve.kv_cache_type, &curve.device, &curve.form);
    let lengths = [curve.batch, curve.prompt_tokens, curve.gen_tokens];
    curve.basis == pair.basis
        && names == (&pair.dense.model, &pair.moe.model, &pair.dense.precision)
        && setting == (&pair.kv_cache_type, &pair.device, &pair.form)
        && lengths == [pair.batch, pair.prompt_tokens, pair.gen_tokens]
        && curve
            .points
            .iter()
            .all(|point| point.budget_bytes != pair.budget_bytes)
}

fn point(pair: &StudyPair, rows: &[Row]) -> CurvePoint {
    let side = |id: &str| {
        let row = rows.iter().find(|row| row.id == id);
        let offload = row.and_then(|row| row.offload.as_ref());
        let speed = row.and_then(|row| row.decode_tok_s.as_ref());
        CurveSide {
            row: id.to_owned(),
            status: row.map_or_else(|| "pending".to_owned(), |row| row.status.clone()),
            decode_tok_s: speed.map(|speed| speed.mean),
            mapped_bytes: offload.map(|offload| offload.mapped_bytes),
            step_link_share: offload.and_then(|offload| offload.step_link_share),
        }
    };
    let decode = pair.ratio(Quantity::DecodeTokS);
    let verdict = match (pair.dense.fits, pair.moe.fits) {
        (Some(true), Some(false)) => "only_dense",
        (Some(false), Some(true)) => "only_moe",
        (Some(false), Some(false)) => "neither",
        _ => decode.map_or("not_comparable", |decode| decode.verdict.as_str()),
    };
    CurvePoint {
        budget_bytes: pair.budget_bytes,
        dense: side(&pair.dense.row),
        moe: side(&pair.moe.row),
        ratio: decode.and_then(|decode| decode.ratio),
        ci95: decode.and_then(|decode| decode.ci95),
        verdict: verdict.to_owned(),
    }
}

/// Whether the mixture is the one to take for its speed, or because it is the only one that runs; `None` where neither is.
fn leads(point: &CurvePoint) -> Option<bool> {
    match told_as(point) {
        "faster" | "only_moe" => Some(true),
        "slower" | "only_dense" => Some(false),
        _ => None,
    }
}

fn turns(points: &[CurvePoint]) -> Vec<[u64; 2]> {
    let told: Vec<(u64, bool)> = points
        .iter()
        .filter_map(|point| Some((point.budget_bytes, leads(point)?)))
        .collect();
    let apart = told.windows(2).filter(|two| two[0].1 != two[1].1);
    apart.map(|two| [two[0].0, two[1].0]).collect()
}

/// Speeds that differ by less than this are told together: a change of sign inside of it is no turn that matters to anybody.
const ALIKE: f64 = 0.05;

/// What a point is told as.
fn told_as(point: &CurvePoint) -> &str {
    match point.ratio {
        Some(ratio) if (ratio - 1.0).abs() < ALIKE => "no_difference",
        _ => &point.verdict,
    }
}

/// Budgets next to each other with one verdict, as a clause for each such run of them.
fn verdict(curve: &PairCurve) -> String {
    let alike = |a: &CurvePoint, b: &CurvePoint| told_as(a) == told_as(b);
    let clauses: Vec<String> = curve
        .points
        .chunk_by(alike)
        .map(|points| clause(curve, points))
        .collect();
    let equal = match curve.basis {
        Basis::Total => " at equal total parameters",
        Basis::Active => " at equal active parameters",
        Basis::OneExpert | Basis::AsPublished => "",
    };
    let equal = if curve.matched { equal } else { "" };
    let turns: Vec<String> = curve
        .turns
        .iter()
        .map(|[below, above]| format!("between {} and {}", bytes(*below), bytes(*above)))
        .collect();
    let turn = match turns.as_slice() {
        [] => "; it does not turn with the budget".to_owned(),
        turns => format!("; it turns {}", turns.join(" and ")),
    };
    format!(
        "{} against {}{equal}, {}: {}{turn}.",
        curve.moe,
        curve.dense,
        curve.precision,
        clauses.join(", ")
    )
}

/// What holds over these budgets, and in which they are.
fn clause(curve: &PairCurve, points: &[CurvePoint]) -> String {
    let ratios: Vec<f64> = points.iter().filter_map(|point| point.ratio).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let times = match ratios.as_slice() {
        [] => String::new(),
        _ if figure(least) == figure(most) => format!(" ({} times the speed)", figure(least)),
        _ => format!(" ({} to {} times the speed)", figure(least), figure(most)),
    };
    let word = points.first().map_or("", told_as);
    let told = match word {
        "faster" => format!("the MoE is faster{times}"),
        "slower" => format!("the MoE is slower{times}"),
        "no_difference" => format!("they are within 5 % of each other{times}"),
        "only_moe" => format!("only {} runs", curve.moe),
        "only_dense" => format!("only {} runs", curve.dense),
        "neither" => "neither runs".to_owned(),
        _ => "there is nothing to compare".to_owned(),
    };
    let ends = points.first().zip(points.last());
    let range = match ends {
        Some((first, last)) if first.budget_bytes == last.budget_bytes => {
            format!("in {}", bytes(first.budget_bytes))
        }
        Some((first, last)) => {
            format!(
                "from {} to {}",
                bytes(first.budget_bytes),
                bytes(last.budget_bytes)
            )
        }
        None => String::new(),
    };
    format!("{range} {told}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::studied;
    use crate::report::study::study;

    const MIB: u64 = 1 << 20;

    /// The rows of two models in three budgets, with these speeds; none is a model that does not fit.
    fn rows(speeds: [[Option<f64>; 2]; 3]) -> Vec<Row> {
        let like = studied().trials;
        let mut rows = Vec::new();
        for (budget, speeds) in [1024, 512, 2048].into_iter().zip(speeds) {
            for (row, speed) in like.iter().zip(speeds) {
                let mut row = row.clone();
                row.memory.budget_bytes = budget * MIB;
                row.memory.peak_bytes = Some(budget * MIB - MIB);
                row.id = format!("{}/vram{budget}M", row.id);
                match (speed, &mut row.decode_tok_s) {
                    (Some(speed), Some(metric)) => {
                        metric.mean = speed;
                        metric.samples = Some(vec![speed; 3]);
                    }
                    _ => {
                        row.decode_tok_s = None;
                        row.status = "does_not_fit".to_owned();
                        row.reason = Some("needs more".to_owned());
                    }
                }
                rows.push(row);
            }
        }
        rows
    }

    #[test]
    fn the_verdict_turns_where_the_faster_is_another_one() {
        let rows = rows([
            [Some(100.0), Some(200.0)],
            [None, Some(150.0)],
            [Some(400.0), Some(300.0)],
        ]);
        let found = study(&rows, None, None).unwrap();
        let curve = &found.curves[0];
        let told: Vec<_> = curve
            .points
            .iter()
            .map(|point| (point.budget_bytes / MIB, point.verdict.as_str()))
            .collect();
        assert_eq!(
            told,
            [(512, "only_moe"), (1024, "faster"), (2048, "slower")]
        );
        assert_eq!(curve.turns, [[1024 * MIB, 2048 * MIB]]);
        assert_eq!(curve.points[1].ratio, Some(2.0));
        assert_eq!(curve.points[0].dense.decode_tok_s, None);
        insta::assert_snapshot!(curve.verdict);
    }

    #[test]
    fn what_does_not_turn_is_said_not_to() {
        let rows = rows([[Some(100.0), Some(200.0)]; 3]);
        let found = study(&rows, None, None).unwrap();
        assert!(found.curves[0].turns.is_empty());
        assert!(
            found.curves[0]
                .verdict
                .ends_with("(2.00 times the speed); it does not turn with the budget."),
            "{}",
            found.curves[0].verdict
        );
    }

    #[test]
    fn one_budget_is_no_curve() {
        let found = study(&studied().trials, None, None).unwrap();
        assert!(found.curves.is_empty());
    }
}
