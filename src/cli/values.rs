//! Values of arguments: sizes, spans of time, counts, prices, devices, conditions. Each parser says what is wrong and what to write.

use crate::report::compare::{Condition, Operator, Quantity, Rename};
use crate::trial::DeviceChoice;
use crate::units::Bytes;
use std::time::Duration;

/// Largest size accepted; a slip of the finger otherwise.
const LARGEST_SIZE: f64 = (1u64 << 50) as f64;

/// Largest amount of money or power accepted.
const LARGEST_AMOUNT: f64 = 1e12;

/// A size such as `4G`, `4.5GiB` or `4096M`; every unit is binary.
pub fn size(text: &str) -> Result<Bytes, String> {
    const EXAMPLE: &str = "write for example 4G, 4.5GiB or 4096M";
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
    if bytes < 1.0 {
        return Err(format!("a size of zero leaves no memory; {EXAMPLE}"));
    }
    if bytes > LARGEST_SIZE {
        return Err(format!(
            "this is more memory than any device has; {EXAMPLE}"
        ));
    }
    Ok(Bytes(bytes as u64))
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

#[cfg(test)]
mod tests {
    use super::*;

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
