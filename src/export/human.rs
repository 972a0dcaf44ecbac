//! Numbers to short strings for people: one unit and one number of digits for a whole column. Nowhere else in this room
//! are digits chosen.

use super::columns::{Unit, Value};

/// Stands for what was not measured.
pub const MISSING: &str = "-";

/// Digits behind the point of a percentage: less than a hundredth of a percent, beside tens of them, is as good as nothing.
const SHARE_DIGITS: usize = 2;

/// A column as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// The unit, for the header; empty where there is none.
    pub unit: String,
    /// One string for each value.
    pub texts: Vec<String>,
    /// Whether the cells are numbers, to stand right.
    pub numeric: bool,
}

/// Whether a spread is shown beside its mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Detail {
    /// The mean.
    Mean,
    /// `mean ± sd`.
    Spread,
}

/// A column's values as text, all in one unit.
pub fn cells(unit: Unit, values: &[Value], detail: Detail, currency: &str) -> Cells {
    let numbers: Vec<f64> = values.iter().filter_map(number).collect();
    let largest = numbers.iter().fold(0.0_f64, |max, n| max.max(n.abs()));
    let (divisor, name) = scale(unit, largest, currency);
    let digits = match unit {
        Unit::Plain => 0,
        // Totals and active counts stand side by side.
        Unit::Parameters => 1,
        Unit::Share => SHARE_DIGITS,
        _ => digits(&numbers, divisor),
    };
    let show = |value: &Value| match value {
        Value::Missing => MISSING.to_owned(),
        Value::Text(text) => one_line(text),
        Value::Name(name) => name.replace('_', " "),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Count(count) if unit == Unit::Plain => count.to_string(),
        Value::Spread(mean, Some(sd)) if detail == Detail::Spread => {
            let (mean, sd) = (fixed(mean / divisor, digits), fixed(sd / divisor, digits));
            format!("{mean} ± {sd}")
        }
        other => match number(other) {
            Some(number) => fixed(number / divisor, digits),
            None => MISSING.to_owned(),
        },
    };
    Cells {
        unit: name,
        texts: values.iter().map(show).collect(),
        numeric: !values
            .iter()
            .any(|value| matches!(value, Value::Text(_) | Value::Name(_))),
    }
}

/// The number in a value.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Count(count) => Some(*count as f64),
        Value::Signed(count) => Some(*count as f64),
        Value::Number(number) | Value::Spread(number, _) => Some(*number),
        Value::Missing | Value::Text(_) | Value::Name(_) | Value::Flag(_) => None,
    }
}

/// What to divide by, and what the unit is then called.
fn scale(unit: Unit, largest: f64, currency: &str) -> (f64, String) {
    let mib = f64::from(1 << 20);
    let (divisor, name) = match unit {
        Unit::Plain => (1.0, ""),
        Unit::Parameters => (1e6, "M"),
        Unit::Bytes if largest < 10.0 * 1024.0 * mib => (mib, "MiB"),
        Unit::Bytes => (1024.0 * mib, "GiB"),
        Unit::Millis => (1.0, "ms"),
        Unit::TokensPerSecond => (1.0, "tok/s"),
        Unit::ItemsPerSecond => (1.0, "items/s"),
        Unit::Watts => (1.0, "W"),
        Unit::JoulesPerToken => (1.0, "J/tok"),
        Unit::Share => (0.01, "%"),
        Unit::MoneyPerMillion => return (1.0, format!("{currency}/1M")),
    };
    (divisor, name.to_owned())
}

/// Columns of bytes that are read together, such as the terms of a sum: all in MiB, with no digit behind the point, or one where
/// all of them are small.
pub fn mebibytes(columns: &[Vec<Value>]) -> Vec<Cells> {
    const SMALL: f64 = 100.0;
    let mib = f64::from(1 << 20);
    let numbers = columns.iter().flatten().filter_map(number);
    let largest = numbers.fold(0.0_f64, |max, n| max.max(n.abs()));
    let digits = usize::from(largest < SMALL * mib);
    let show = |value: &Value| match number(value) {
        Some(number) => match fixed(number / mib, digits).as_str() {
            "-0" => "0".to_owned(),
            "-0.0" => "0.0".to_owned(),
            text => text.to_owned(),
        },
        None => MISSING.to_owned(),
    };
    let cells = |values: &Vec<Value>| Cells {
        unit: "MiB".to_owned(),
        texts: values.iter().map(show).collect(),
        numeric: true,
    };
    columns.iter().map(cells).collect()
}

/// A deviation as signed percent, without the sign of percent.
pub fn off(share: f64) -> String {
    format!("{:+.1}", share * 100.0)
}

/// A share alone as percent, as in a column of shares.
pub fn percent(share: f64) -> String {
    format!("{} %", fixed(share * 100.0, SHARE_DIGITS))
}

/// Digits behind the point that give the smallest number of a column three significant ones, six at most.
fn digits(numbers: &[f64], divisor: f64) -> usize {
    let sizes = numbers.iter().map(|number| (number / divisor).abs());
    let smallest = sizes
        .filter(|size| *size > 0.0)
        .fold(f64::INFINITY, f64::min);
    if !smallest.is_finite() {
        return 0;
    }
    (2.0 - smallest.log10().floor()).clamp(0.0, 6.0) as usize
}

/// A number with so many digits behind the point; one that no measurement gives, as a power of ten.
fn fixed(number: f64, digits: usize) -> String {
    if number.abs() < 1e12 {
        format!("{number:.digits$}")
    } else {
        format!("{number:.2e}")
    }
}

/// Bytes alone, in MiB or GiB.
pub fn bytes(count: u64) -> String {
    let value = Value::Count(count);
    let gib = 1 << 30;
    let (divisor, name) = if count >= gib {
        (gib as f64, "GiB")
    } else {
        (f64::from(1 << 20), "MiB")
    };
    let number = number(&value).unwrap_or_default();
    let digits = digits(&[number], divisor);
    format!("{:.digits$} {name}", number / divisor)
}

/// A number alone: no more digits than it has, three behind the point at most.
pub fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number alone with three significant digits.
pub fn short(number: f64) -> String {
    fixed(number, digits(&[number], 1.0))
}

/// Ratios that stand together: three digits behind the point where the first is near 1, fewer where it is large, more
/// where it is small.
pub fn ratios(values: &[f64]) -> Vec<String> {
    let size = values.first().map_or(1.0, |value| value.abs());
    let digits = if size > 0.0 && size.is_finite() {
        (2.0 - size.log10().floor()).clamp(0.0, 6.0)
    } else {
        2.0
    };
    let digits = if (0.1..10.0).contains(&size) {
        3
    } else {
        digits as usize
    };
    values.iter().map(|value| fixed(*value, digits)).collect()
}

/// A ratio.
pub fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// Text from elsewhere on one line: no control characters (a terminal would obey them), white space collapsed.
pub fn one_line(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words in lines of `width` at most; lines after the first are indented. A longer word stands alone.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let needed = word.chars().count() + 1;
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > indent && used + needed > width {
            lines.push(" ".repeat(indent));
        }
        if let Some(line) = lines.last_mut() {
            if !line.trim().is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of a column of numbers.
    fn texts(unit: Unit, numbers: &[f64]) -> (Vec<String>, String) {
        let values: Vec<Value> = numbers.iter().copied().map(Value::Number).collect();
        let cells = cells(unit, &values, Detail::Mean, "USD");
        (cells.texts, cells.unit)
    }

    #[test]
    fn a_column_has_one_unit_and_one_number_of_digits() {
        assert_eq!(
            texts(Unit::Millis, &[3.21987, 1234.5]).0,
            ["3.22", "1234.50"]
        );
        assert_eq!(
            texts(Unit::TokensPerSecond, &[41.26, 101.0]).0,
            ["41.3", "101.0"]
        );
        assert_eq!(texts(Unit::MoneyPerMillion, &[0.02634]).0, ["0.0263"]);
        assert_eq!(texts(Unit::Millis, &[0.0]).0, ["0"]);
        assert_eq!(texts(Unit::Millis, &[1.0, 1e308]).0, ["1.00", "1.00e308"]);
        let gib = f64::from(1 << 30);
        assert_eq!(
            texts(Unit::Bytes, &[gib, 2.0 * gib]),
            (vec!["1024".into(), "2048".into()], "MiB".into())
        );
        assert_eq!(
            texts(Unit::Bytes, &[gib, 20.0 * gib]),
            (vec!["1.00".into(), "20.00".into()], "GiB".into())
        );
    }

    #[test]
    fn a_spread_is_shown_where_there_is_one() {
        let values = [
            Value::Spread(41.26, Some(0.31)),
            Value::Spread(9.5, None),
            Value::Missing,
        ];
        let shown = cells(Unit::TokensPerSecond, &values, Detail::Spread, "");
        assert_eq!(shown.texts, ["41.26 ± 0.31", "9.50", "-"]);
        assert_eq!(
            cells(Unit::TokensPerSecond, &values, Detail::Mean, "").texts,
            ["41.26", "9.50", "-"]
        );
    }

    #[test]
    fn terms_of_a_sum_have_one_unit_and_equal_digits() {
        let mib = |numbers: &[f64]| -> Vec<Value> {
            let bytes = numbers
                .iter()
                .map(|n| Value::Signed((n * 1048576.0) as i64));
            bytes.chain([Value::Missing]).collect()
        };
        let texts = |columns: &[Vec<Value>]| -> Vec<Vec<String>> {
            mebibytes(columns)
                .into_iter()
                .map(|cells| cells.texts)
                .collect()
        };
        assert_eq!(
            texts(&[mib(&[0.2, -0.3]), mib(&[20000.0, 7.5])]),
            [["0", "0", "-"], ["20000", "8", "-"]]
        );
        assert_eq!(texts(&[mib(&[0.25, -3.0])]), [["0.2", "-3.0", "-"]]);
        assert_eq!([off(0.0123), off(-0.2)], ["+1.2", "-20.0"]);
    }

    #[test]
    fn a_ratio_near_one_shows_what_the_noise_threshold_sees() {
        assert_eq!(ratios(&[0.98765, 0.91]), ["0.988", "0.910"]);
        assert_eq!(ratios(&[1.0114]), ["1.011"]);
        assert_eq!(ratios(&[46.49, 44.0]), ["46.5", "44.0"]);
        assert_eq!(ratios(&[0.00123]), ["0.00123"]);
        assert_eq!(ratios(&[12345.6]), ["12346"]);
        assert_eq!(
            (short(0.009468), short(1758.2)),
            ("0.00947".into(), "1758".into())
        );
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(one_line("a\u{1b}[31mb\n\tc "), "a [31mb c");
    }

    #[test]
    fn words_wrap_inside_the_width() {
        assert_eq!(wrap("one two three", 8, 2), "one two\n  three");
        assert_eq!(
            wrap("incomprehensibilities ok", 8, 0),
            "incomprehensibilities\nok"
        );
        assert_eq!(wrap("", 8, 2), "");
    }

    #[test]
    fn bytes_alone_choose_their_unit() {
        assert_eq!(
            (bytes(4 << 30), bytes(593 << 20), bytes(0)),
            ("4.00 GiB".into(), "593 MiB".into(), "0 MiB".into())
        );
        assert_eq!((plain(249.0), plain(0.15)), ("249".into(), "0.15".into()));
    }
}
