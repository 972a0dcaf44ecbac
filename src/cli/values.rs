//! Values of arguments: sizes, spans of time, counts, prices, devices, conditions. Each parser says what is wrong and what to write.

use crate::ceiling::Kind;
use crate::report::compare::{Condition, Operator, Quantity, Rename};
use crate::trial::{DeviceChoice, Offload, TuningName};
use crate::tuning::Choice;
use crate::units::Bytes;
use std::path::PathBuf;
use std::time::Duration;

/// Largest size accepted; a slip of the finger otherwise.
const LARGEST_SIZE: f64 = (1u64 << 50) as f64;

/// Largest amount of money or power accepted.
const LARGEST_AMOUNT: f64 = 1e12;

/// How a size is written.
const SIZE_EXAMPLE: &str = "write for example 4G, 4.5GiB or 4096M";

/// How a range of sizes is written.
const RANGE_EXAMPLE: &str = "write for example 1G..8G, 1G..8G+512M or 1G..8G*2";

/// The most memory budgets of one run.
const MOST_BUDGETS: usize = 64;

/// Memory budgets in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets(pub Vec<Bytes>);

/// Budgets such as `4G`, `2G,4G`, `1G..8G` (steps of 1G), `1G..8G+512M` or `1G..8G*2`, and lists of those.
pub fn budgets(text: &str) -> Result<Budgets, String> {
    let mut found = std::collections::BTreeSet::new();
    for piece in text.split(',') {
        match piece.split_once("..") {
            Some((first, rest)) => found.extend(range(first, rest)?),
            None => {
                found.insert(size(piece)?);
            }
        }
    }
    if found.len() > MOST_BUDGETS {
        return Err(format!(
            "these are more than {MOST_BUDGETS} budgets; {RANGE_EXAMPLE}"
        ));
    }
    Ok(Budgets(found.into_iter().collect()))
}

/// `auto`, `off`, or names of tunings, which come in the order of the table and each once.
pub fn tune(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => return Ok(Choice::Auto),
        "off" => return Ok(Choice::Off),
        _ => {}
    }
    let given = text
        .split(',')
        .map(|name| TuningName::try_from(name.trim().to_owned()));
    let given = given
        .collect::<Result<Vec<TuningName>, String>>()
        .map_err(|error| format!("{error}, or give auto or off alone"))?;
    let named = TuningName::all().filter(|name| given.contains(name));
    Ok(Choice::Named(named.collect()))
}

/// The sizes of a range. Its end is one of them where a step meets it.
fn range(first: &str, rest: &str) -> Result<Vec<Bytes>, String> {
    let of_range = |text: &str| match text.trim() {
        "" => Err(format!(
            "a range has a size on both sides of ..; {RANGE_EXAMPLE}"
        )),
        text => size(text),
    };
    let first = of_range(first)?;
    let (last, next): (_, Box<dyn Fn(u64) -> u64>) =
        if let Some((last, factor)) = rest.split_once('*') {
            let factor: f64 = factor.trim().parse().unwrap_or(f64::NAN);
            if !(factor > 1.0 && factor.is_finite()) {
                return Err(format!(
                    "the factor of a range is a number larger than 1; {RANGE_EXAMPLE}"
                ));
            }
            (
                last,
                Box::new(move |at| (at as f64 * factor).round() as u64),
            )
        } else {
            let (last, step) = rest.split_once('+').unwrap_or((rest, "1G"));
            let step = amount(step)?;
            if step < 1.0 {
                return Err(format!(
                    "the step of a range is larger than zero; {RANGE_EXAMPLE}"
                ));
            }
            (last, Box::new(move |at| at.saturating_add(step as u64)))
        };
    let last = of_range(last)?;
    if last < first {
        return Err(format!(
            "the range is empty, because its end is smaller than its beginning; {RANGE_EXAMPLE}"
        ));
    }
    // A factor near 1 moves a small size by less than a byte.
    let sizes = std::iter::successors(Some(first.0), |at| Some(next(*at).max(at + 1)));
    let sizes = sizes.take_while(|at| *at <= last.0).map(Bytes);
    Ok(sizes.take(MOST_BUDGETS + 1).collect())
}

/// A size such as `4G`, `4.5GiB` or `4096M`; every unit is binary.
pub fn size(text: &str) -> Result<Bytes, String> {
    let bytes = amount(text)?;
    if bytes < 1.0 {
        return Err(format!("a size of zero leaves no memory; {SIZE_EXAMPLE}"));
    }
    Ok(Bytes(bytes as u64))
}

/// Bytes, zero too.
fn amount(text: &str) -> Result<f64, String> {
    const EXAMPLE: &str = SIZE_EXAMPLE;
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(format!("the size is empty; {EXAMPLE}"));
    }
    if trimmed.starts_with('-') {
        return Err(format!("a size cannot be negative; {EXAMPLE}"));
    }
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("this is not a size; {EXAMPLE}"))?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "" if number > 0.0 => return Err(format!("the unit is missing; {EXAMPLE}")),
        "" => 0,
        _ => {
            return Err(format!(
                "'{}' is not a unit of size; {EXAMPLE}",
                unit.trim()
            ));
        }
    };
    let bytes = (number * (1u64 << shift) as f64).round();
    if bytes > LARGEST_SIZE {
        return Err(format!(
            "this is more memory than any device has; {EXAMPLE}"
        ));
    }
    Ok(bytes)
}

/// A deadline such as `10m` or `90s`.
pub fn deadline(text: &str) -> Result<Duration, String> {
    let month = Duration::from_secs(30 * 24 * 3600);
    span(text, month, "30 days", "10m, 90s or 1h30m")
}

/// A pause between readings, such as `10ms`, or `off`.
pub fn interval(text: &str) -> Result<super::args::Pause, String> {
    if text == "off" {
        return Ok(super::args::Pause(None));
    }
    let minute = Duration::from_secs(60);
    let pause = span(text, minute, "a minute", "10ms, 1s or off")?;
    if pause < Duration::from_millis(1) {
        return Err("it is shorter than 1 ms; write for example 10ms, 1s or off".into());
    }
    Ok(super::args::Pause(Some(pause)))
}

/// A life of hardware such as `3y` or `18months`.
pub fn life(text: &str) -> Result<Duration, String> {
    let century = Duration::from_secs(100 * 366 * 24 * 3600);
    span(text, century, "100 years", "3y, 18months or 2years6months")
}

fn span(text: &str, most: Duration, most_said: &str, example: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| {
        format!("this is not a span of time ({error}); write for example {example}")
    })?;
    if span.is_zero() {
        return Err(format!(
            "it must be longer than zero; write for example {example}"
        ));
    }
    if span > most {
        return Err(format!(
            "it is longer than {most_said}; write for example {example}"
        ));
    }
    Ok(span)
}

/// A whole number from `LEAST` to `MOST`.
pub fn count<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(count) if (LEAST..=MOST).contains(&count) => Ok(count),
        _ => Err(format!("give a whole number from {LEAST} to {MOST}")),
    }
}

/// Which weights stay in main memory.
pub fn offload(text: &str) -> Result<Offload, String> {
    text.trim().parse()
}

/// Untimed repetitions of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmup {
    /// So many at least.
    pub least: u32,
    /// And then until times are steady.
    pub steady: bool,
}

/// `auto`, or a number.
pub fn warmup(text: &str) -> Result<Warmup, String> {
    if text.trim() == "auto" {
        return Ok(Warmup {
            least: 1,
            steady: true,
        });
    }
    let least = count::<0, 1_000>(text).map_err(|reason| format!("{reason}, or auto"))?;
    Ok(Warmup {
        least,
        steady: false,
    })
}

/// A seed: any whole number of 64 bits.
pub fn seed(text: &str) -> Result<u64, String> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| format!("give a whole number from 0 to {}", u64::MAX))
}

/// An amount of money, zero or more.
pub fn price(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(price) if (0.0..=LARGEST_AMOUNT).contains(&price) => Ok(price.abs()),
        _ => Err("give a price as a plain number, zero or more, for example 0.25".to_owned()),
    }
}

/// Power in watts, more than zero.
pub fn watts(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(watts) if watts > 0.0 && watts <= LARGEST_AMOUNT => Ok(watts),
        _ => Err("give the power as a plain number of watts above zero, for example 65".to_owned()),
    }
}

/// A label such as `USD`.
pub fn currency(text: &str) -> Result<String, String> {
    let label = text.trim();
    let length = label.chars().count();
    if !(1..=8).contains(&length) || label.chars().any(char::is_control) {
        return Err("give a label of 1 to 8 characters, for example USD or EUR".to_owned());
    }
    Ok(label.to_owned())
}

/// `auto`, `cpu`, `cuda` or `cuda:N`.
pub fn device(text: &str) -> Result<DeviceChoice, String> {
    let wrong = || "give auto, cpu, cuda or cuda:N, for example cuda:0".to_owned();
    match text.split_once(':') {
        None if text == "auto" => Ok(DeviceChoice::Auto),
        None if text == "cpu" => Ok(DeviceChoice::Cpu),
        None if text == "cuda" => Ok(DeviceChoice::Cuda(0)),
        Some(("cuda", index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => {
            index.parse().map(DeviceChoice::Cuda).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

/// A condition such as `decode_tok_s<0.95`.
pub fn condition(text: &str) -> Result<Condition, String> {
    const EXAMPLE: &str = "write for example decode_tok_s<0.95 or peak_bytes>1.1";
    let found = Operator::ALL
        .iter()
        .find_map(|(sign, operator)| Some((*operator, text.split_once(sign)?)));
    let Some((operator, (name, limit))) = found else {
        return Err(format!("there is no <, <=, > or >= in it; {EXAMPLE}"));
    };
    let name = name.trim();
    let known = Quantity::ALL.iter().find(|known| known.name() == name);
    let Some(quantity) = known else {
        let names = Quantity::ALL.map(Quantity::name).join(", ");
        return Err(format!("'{name}' is none of {names}; {EXAMPLE}"));
    };
    let limit = limit.trim().parse::<f64>();
    let sound = limit.ok().filter(|limit| (1e-6..=1e6).contains(limit));
    let limit = sound.ok_or_else(|| {
        format!(
            "a ratio to the baseline must stand behind the sign, a number above zero; {EXAMPLE}"
        )
    })?;
    let condition = Condition {
        quantity: *quantity,
        operator,
        limit,
    };
    if condition.fails(1.0) {
        return Err(format!(
            "it is true of equal results (ratio 1) already; {EXAMPLE}"
        ));
    }
    Ok(condition)
}

/// Another name of a model, such as `llama 1B F16=llama-1b`.
pub fn rename(text: &str) -> Result<Rename, String> {
    let sides = text
        .rsplit_once('=')
        .map(|(from, to)| (from.trim(), to.trim()));
    match sides {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        }),
        _ => Err("give NAME=MODEL, for example 'llama 1B F16=llama-1b'".to_owned()),
    }
}

/// `NAME=N` of a dimension. The name may hold `=` itself, as in `batch*2=n`: the last one parts.
pub fn dimension(text: &str) -> Result<(String, u32), String> {
    let given = text
        .rsplit_once('=')
        .filter(|(name, _)| !name.is_empty())
        .and_then(|(name, size)| Some((name.to_owned(), size.parse().ok()?)))
        .filter(|(_, size)| *size > 0);
    given.ok_or_else(|| "expected NAME=N, such as seq=128, with a size of 1 to 4294967295".into())
}

/// `NAME=FILE` of an input.
pub fn input(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=');
    let given = parts.filter(|(name, file)| !name.is_empty() && !file.is_empty());
    given
        .map(|(name, file)| (name.to_owned(), PathBuf::from(file)))
        .ok_or_else(|| "expected NAME=FILE.npy, such as pixel_values=image.npy".into())
}

/// A ceiling to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ceiling {
    /// None at all.
    None,
    /// Of this kind.
    Of(Kind),
    /// Of a dimension with this name.
    Dimension(String),
}

/// What may be searched for, besides dimensions.
pub const CEILINGS: [&str; 5] = ["none", "context", "batch", "model", "dim:NAME"];

/// `none`, a kind, or `dim:NAME`.
pub fn ceiling(text: &str) -> Option<Ceiling> {
    if let Some(name) = text.strip_prefix("dim:").filter(|name| !name.is_empty()) {
        return Some(Ceiling::Dimension(name.to_owned()));
    }
    let kinds = [Kind::Context, Kind::Batch, Kind::Model];
    let kind = kinds.into_iter().find(|kind| kind.name() == text);
    match text {
        "none" => Some(Ceiling::None),
        _ => kind.map(Ceiling::Of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_a_number_or_goes_on_until_times_are_steady() {
        let of = |least, steady| Ok(Warmup { least, steady });
        assert_eq!(warmup("auto"), of(1, true));
        assert_eq!((warmup("0"), warmup("3")), (of(0, false), of(3, false)));
        assert!(warmup("-1").unwrap_err().contains("or auto"));
    }

    /// Checks a table of accepted values, and that each refused text says how to write it.
    fn table<T: PartialEq + std::fmt::Debug>(
        parse: impl Fn(&str) -> Result<T, String>,
        good: &[(&str, T)],
        bad: &[(&str, &str)],
    ) {
        for (text, value) in good {
            assert_eq!(parse(text).as_ref(), Ok(value), "{text}");
        }
        for (text, part) in bad {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
            assert!(
                reason.contains("give") || reason.contains("write"),
                "{reason}"
            );
        }
    }

    #[test]
    fn sizes() {
        let gib = |count: f64| Bytes((count * (1u64 << 30) as f64) as u64);
        let good = [
            ("4G", gib(4.0)),
            ("4GiB", gib(4.0)),
            ("4gb", gib(4.0)),
            ("4 G", gib(4.0)),
            ("4.5G", gib(4.5)),
            ("4096M", gib(4.0)),
            (".5G", gib(0.5)),
            ("1T", gib(1024.0)),
            ("512k", Bytes(512 << 10)),
            ("1000B", Bytes(1000)),
        ];
        let bad = [
            ("", "empty"),
            (" ", "empty"),
            ("0", "zero"),
            ("0G", "zero"),
            ("0.0000000001G", "zero"),
            ("-1", "negative"),
            ("-4G", "negative"),
            ("4X", "'X' is not a unit"),
            ("4", "unit is missing"),
            ("G", "not a size"),
            ("1.2.3G", "not a size"),
            ("nan", "not a size"),
            ("1e3G", "not a unit"),
            ("9999999T", "more memory than any device"),
            (
                "99999999999999999999999999999G",
                "more memory than any device",
            ),
        ];
        table(size, &good, &bad);
    }

    #[test]
    fn lists_and_ranges_of_budgets() {
        let of =
            |mebibytes: &[u64]| Budgets(mebibytes.iter().map(|count| Bytes(count << 20)).collect());
        let whole: Vec<u64> = (1..=8).map(|gibibytes| gibibytes << 10).collect();
        let good = [
            ("4G", of(&[4096])),
            ("6G,2G , 4G,2048M", of(&[2048, 4096, 6144])),
            ("1G..8G", of(&whole)),
            ("1G .. 3.5G", of(&[1024, 2048, 3072])),
            ("1G..2G+512M", of(&[1024, 1536, 2048])),
            ("512M..4G*2", of(&[512, 1024, 2048, 4096])),
            ("1G..3G*1.5", of(&[1024, 1536, 2304])),
            ("2G..2G", of(&[2048])),
            ("512M...75G+128M", of(&[512, 640, 768])),
            ("512M,1G..2G,16G", of(&[512, 1024, 2048, 16384])),
            ("1M..64M+1M", of(&(1..=64).collect::<Vec<_>>())),
        ];
        table(budgets, &good, &[]);
        let bad = [
            ("", "empty"),
            ("2G,", "empty"),
            ("2G,,4G", "empty"),
            ("0", "zero"),
            ("-1G", "negative"),
            ("1G;2G", "not a unit"),
            ("8G..1G", "range is empty"),
            ("..8G", "both sides"),
            ("1G..", "both sides"),
            ("1G..*2", "both sides"),
            ("1G..2G..3G", "not a unit"),
            ("0G..2G", "zero"),
            ("-1G..2G", "negative"),
            ("1G..8G+0M", "step of a range is larger than zero"),
            ("1G..8G+", "empty"),
            ("1G..8G+-1G", "negative"),
            ("1G..8G*1", "larger than 1"),
            ("1G..8G*0.5", "larger than 1"),
            ("1G..8G*-2", "larger than 1"),
            ("1G..8G*", "larger than 1"),
            ("1G..8G*inf", "larger than 1"),
            ("1G..8G*nan", "larger than 1"),
            ("1G..8G+1M", "more than 64"),
            ("1B..8G*1.001", "more than 64"),
            ("1G..8G*1.000000001", "more than 64"),
            ("1M..65M+1M", "more than 64"),
            ("1M..40M+1M,41M..80M+1M", "more than 64"),
        ];
        table(budgets, &[], &bad);
    }

    #[test]
    fn spans() {
        let second = Duration::from_secs;
        let good = [
            ("10m", second(600)),
            ("1h30m", second(5400)),
            ("90s", second(90)),
        ];
        let bad = [
            ("10", "not a span of time"),
            ("", "not a span of time"),
            ("-5m", "not a span of time"),
            ("0s", "longer than zero"),
            ("99999999y", "30 days"),
        ];
        table(deadline, &good, &bad);
        assert_eq!(life("3y").unwrap().as_secs() / 86_400, 1095);
        assert!(life("200y").is_err());
    }

    #[test]
    fn counts() {
        let good = [("1", 1), ("64", 64)];
        let bad = ["0", "65", "-1", "", "two", "1.5"].map(|text| (text, "from 1 to 64"));
        table(count::<1, 64>, &good, &bad);
        table(
            seed,
            &[("0", 0), ("18446744073709551615", u64::MAX)],
            &[("-1", "from 0"), ("x", "from 0")],
        );
    }

    #[test]
    fn money_and_power() {
        let good = [("0", 0.0), ("0.25", 0.25), ("1999", 1999.0)];
        let bad = ["-1", "nan", "inf", "", "$5", "1e99"].map(|text| (text, "plain number"));
        table(price, &good, &bad);
        table(
            watts,
            &[("65", 65.0)],
            &["0", "-5", "NaN", "65W"].map(|text| (text, "watts")),
        );
        let label = |text: &str| text.to_owned();
        table(
            currency,
            &[("EUR", label("EUR")), ("€", label("€"))],
            &[("", "label"), ("more than eight", "label")],
        );
    }

    #[test]
    fn tunings() {
        let named = |text: &str| {
            let names = text
                .split('+')
                .map(|name| TuningName::try_from(name.to_owned()).unwrap());
            Choice::Named(names.collect())
        };
        let good = [
            ("auto", Choice::Auto),
            ("off", Choice::Off),
            ("gemm", named("gemm")),
            ("moe-timed, gemm,gemm", named("gemm+moe-timed")),
        ];
        let bad = [
            ("", "choose of gemm, attention-flash"),
            ("gemm,", "no tuning \"\""),
            ("auto,gemm", "no tuning \"auto\""),
            ("GEMM", "no tuning \"GEMM\""),
        ];
        table(tune, &good, &bad);
    }

    #[test]
    fn devices() {
        let good = [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ];
        let bad = [
            "",
            "gpu",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:+1",
            "cpu:0",
            "cuda:99999999999",
        ]
        .map(|text| (text, "cuda:N"));
        table(device, &good, &bad);
    }

    #[test]
    fn conditions() {
        let of = |quantity, operator, limit| Condition {
            quantity,
            operator,
            limit,
        };
        let good = [
            (
                "decode_tok_s<0.95",
                of(Quantity::DecodeTokS, Operator::Below, 0.95),
            ),
            (
                " ttft_ms >= 1.1 ",
                of(Quantity::TtftMs, Operator::AtLeast, 1.1),
            ),
            (
                "peak_bytes>1",
                of(Quantity::PeakBytes, Operator::Above, 1.0),
            ),
            (
                "itl_ms_p90<=.5",
                of(Quantity::ItlMsP90, Operator::AtMost, 0.5),
            ),
        ];
        let bad = [
            ("", "no <, <=, > or >="),
            ("decode_tok_s", "no <, <=, > or >="),
            ("decode_tok_s=1", "no <, <=, > or >="),
            ("decode<0.9", "'decode' is none of ttft_ms"),
            ("<0.9", "'' is none of"),
            ("decode_tok_s<", "a ratio"),
            ("decode_tok_s<fast", "a ratio"),
            ("decode_tok_s<-1", "a ratio"),
            ("decode_tok_s<nan", "a ratio"),
            ("decode_tok_s<0", "a ratio"),
            ("decode_tok_s<inf", "a ratio"),
            ("decode_tok_s<0.9<1", "a ratio"),
            ("decode_tok_s==0.9", "no <, <=, > or >="),
            ("decode_tok_s>0.95", "equal results"),
            ("ttft_ms<=1", "equal results"),
        ];
        table(condition, &good, &bad);
    }

    #[test]
    fn names() {
        let to = |from: &str, to: &str| Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        let good = [
            ("llama 1B Q4_0=llama-1b", to("llama 1B Q4_0", "llama-1b")),
            ("a=b=c", to("a=b", "c")),
        ];
        let bad = ["", "x", "=x", "x=", " = "].map(|text| (text, "NAME=MODEL"));
        table(rename, &good, &bad);
    }
}
