//! The ceilings that two files share, for people: columns shared by the text table and Markdown, and why a ratio is missing.

use crate::export::human::{self, Cells};
use crate::export::lists::grouped;
use crate::export::table::Prepared;
use crate::report::compare::{Against, CeilingPair};

/// The columns; none where both files have no ceiling in common.
pub fn columns<'a>(against: &'a Against, ratio: &'a str) -> Vec<Prepared<'a>> {
    let baseline = against.baseline.as_str();
    let pairs = &against.ceilings;
    if pairs.is_empty() {
        return Vec::new();
    }
    let column = |importance, title, numeric, read: &dyn Fn(&CeilingPair) -> String| Prepared {
        importance,
        title,
        cells: Cells {
            unit: String::new(),
            texts: pairs
                .iter()
                .map(|pair| human::one_line(&read(pair)))
                .collect(),
            numeric,
        },
    };
    let count = |fits: Option<u32>| fits.map_or(human::MISSING.to_owned(), |n| grouped(n.into()));
    let mut columns = vec![
        column(0, "ceiling", false, &kind),
        column(0, "model", false, &|pair| pair.key.model.clone()),
        column(1, "precision", false, &|pair| pair.key.precision.clone()),
    ];
    if pairs
        .windows(2)
        .any(|two| two[0].key.form != two[1].key.form)
    {
        columns.push(column(1, "form", false, &|pair| pair.key.form.clone()));
    }
    let budget = |pair: &CeilingPair| pair.baseline.budget_bytes;
    if pairs
        .windows(2)
        .any(|two| budget(&two[0]) != budget(&two[1]))
    {
        columns.push(column(1, "budget", true, &|pair| {
            human::bytes(budget(pair))
        }));
    }
    columns.extend([
        column(0, baseline, true, &|pair| count(pair.baseline.fits)),
        column(0, &against.file, true, &|pair| count(pair.other.fits)),
        column(0, ratio, true, &|pair| match pair.ratio {
            Some(ratio) => human::ratio(ratio),
            None => human::MISSING.to_owned(),
        }),
        column(2, "limited by", false, &|pair| {
            limits(pair, baseline, &against.file)
        }),
    ]);
    columns
}

/// What was searched for, with the lengths of a batch.
fn kind(pair: &CeilingPair) -> String {
    let lengths = pair.key.prompt_tokens.zip(pair.key.gen_tokens);
    match lengths {
        Some((prompt, generated)) => format!("{} {prompt}+{generated}", pair.key.kind),
        None => pair.key.kind.clone(),
    }
}

/// What keeps the sizes from being larger: said once where it is the same.
fn limits(pair: &CeilingPair, baseline: &str, other: &str) -> String {
    let word = |limit: &Option<String>| match limit {
        Some(limit) => limit.replace('_', " "),
        None => human::MISSING.to_owned(),
    };
    let (ours, theirs) = (
        word(&pair.baseline.limited_by),
        word(&pair.other.limited_by),
    );
    match ours == theirs {
        true => ours,
        false => format!("{baseline} {ours}, {other} {theirs}"),
    }
}

/// Why ratios are missing.
pub fn remarks(against: &Against) -> Vec<String> {
    let one = |pair: &CeilingPair| {
        let reason = pair.not_measured.get("ratio")?;
        let key = &pair.key;
        Some(format!(
            "{} {} {}, ceiling of {}: not comparable: {reason}",
            key.model,
            key.form,
            key.precision,
            kind(pair)
        ))
    };
    against.ceilings.iter().filter_map(one).collect()
}
