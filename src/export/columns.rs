//! The columns of a result: key, title, unit, where each is shown and how it is read off a row. Table, CSV and Markdown
//! share the list; none of them knows a field of its own.

use std::collections::BTreeMap;

use crate::report::{
    Difference, Energy, EnergyWindow, Metric, Quantiles, Readings, Row, step, tuning_name,
};

/// What a cell holds, in base units.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Not measured.
    Missing,
    /// Words.
    Text(String),
    /// A name from the schema: one word in data formats, with spaces for people.
    Name(String),
    /// A count.
    Count(u64),
    /// A count that may be negative.
    Signed(i64),
    /// Yes or no.
    Flag(bool),
    /// A measured number.
    Number(f64),
    /// A mean and its standard deviation.
    Spread(f64, Option<f64>),
}

/// What a column's numbers count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// Words, or a plain count.
    Plain,
    /// Parameters.
    Parameters,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Millis,
    /// Tokens per second.
    TokensPerSecond,
    /// Items per second.
    ItemsPerSecond,
    /// Watts.
    Watts,
    /// Joules for a token.
    JoulesPerToken,
    /// Money for a million tokens.
    MoneyPerMillion,
    /// A share, in percent for people.
    Share,
}

/// Where a column is shown besides CSV, which has them all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// For people; the table leaves out the one with the highest number first and never those with 0.
    Shown(u8),
    /// Like `Shown`, but only beside rows whose weights or KV cache are quantised.
    Quantized(u8),
    /// Like `Shown`, but a setting: said once above the table when it is the same in all rows.
    Setting(u8),
    /// In data formats only.
    Data,
}

/// One column.
pub struct Column {
    /// Name in data formats, with the unit.
    pub key: &'static str,
    /// Name for people; empty where the column is not for them.
    pub title: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Where it is shown.
    pub place: Place,
    /// Reads it.
    pub get: fn(&Row) -> Value,
}

impl<T: IntoValue> From<T> for Value {
    fn from(value: T) -> Value {
        value.into_value()
    }
}

/// Microseconds of a decode step that are spent outside the runtime and the wait for the device.
fn outside_run_us(row: &Row) -> Option<f64> {
    let step_ms = row.itl_ms.as_ref()?.mean;
    Some(row.outside_run_share? * step_ms * 1e3)
}

/// What can stand in a cell.
pub trait IntoValue {
    /// The cell.
    fn into_value(self) -> Value;
}

macro_rules! into_value {
    ($($type:ty => $make:expr),+ $(,)?) => {
        $(impl IntoValue for $type {
            fn into_value(self) -> Value {
                $make(self)
            }
        })+
    };
}
into_value!(
    &String => |text: &String| Value::Text(text.clone()),
    String => Value::Text,
    u64 => Value::Count,
    u32 => |count| Value::Count(u64::from(count)),
    i64 => Value::Signed,
    bool => Value::Flag,
    f64 => Value::Number,
);

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Value {
        self.map_or(Value::Missing, T::into_value)
    }
}

/// A column for people and for data.
const fn shown(
    key: &'static str,
    title: &'static str,
    unit: Unit,
    place: Place,
    get: fn(&Row) -> Value,
) -> Column {
    Column {
        key,
        title,
        unit,
        place,
        get,
    }
}

/// A column for data only.
const fn data(key: &'static str, get: fn(&Row) -> Value) -> Column {
    shown(key, "", Unit::Plain, Place::Data, get)
}

/// Mean and standard deviation of a metric.
fn spread(metric: &Option<Metric>) -> Value {
    match metric {
        Some(metric) => Value::Spread(metric.mean, metric.sd),
        None => Value::Missing,
    }
}

/// One figure of a metric.
fn of<T: IntoValue>(metric: &Option<Metric>, read: fn(&Metric) -> T) -> Value {
    metric.as_ref().map(read).into_value()
}

/// One quantile of the inter-token latency.
fn itl<T: IntoValue>(row: &Row, read: fn(&Quantiles) -> T) -> Value {
    let quantiles = row
        .itl_ms
        .as_ref()
        .and_then(|metric| metric.quantiles.as_ref());
    quantiles.map(read).into_value()
}

/// Lower and upper end of the interval.
fn ci(metric: &Metric, end: usize) -> Option<f64> {
    metric.ci95.map(|ends| ends[end])
}

/// Sizes of dimensions: `batch=1 seq=128`.
fn sizes(dims: &BTreeMap<String, u32>) -> String {
    let sizes = dims.iter().map(|(name, size)| format!("{name}={size}"));
    sizes.collect::<Vec<_>>().join(" ")
}

/// The columns of models that are no decoders.
pub const OF_PASSES: [&str; 5] = [
    "dims",
    "latency_ms_mean",
    "latency_ms_median",
    "latency_ms_p90",
    "items_s_mean",
];

/// The columns of decoders.
pub const OF_DECODERS: [&str; 5] = [
    "prompt_tokens",
    "gen_tokens",
    "ttft_ms_mean",
    "prefill_tok_s_mean",
    "decode_tok_s_mean",
];

/// One figure of the energy.
fn energy(row: &Row, read: fn(&Energy) -> f64) -> Value {
    row.energy.as_ref().map(read).into_value()
}

/// One figure of the energy of one kind of phase.
fn phase(
    row: &Row,
    phase: fn(&Energy) -> &Option<EnergyWindow>,
    read: fn(&EnergyWindow) -> f64,
) -> Value {
    let energy = row.energy.as_ref();
    energy
        .and_then(|energy| phase(energy).as_ref())
        .map(read)
        .into_value()
}

/// One reading of the device after the timed part.
fn end<T: IntoValue>(row: &Row, read: fn(&Readings) -> Option<T>) -> Value {
    let state = row.device_state.as_ref();
    state
        .and_then(|state| read(state.end.as_ref()?))
        .into_value()
}

/// Throttle reasons in one cell; empty where they are not known and where there were none.
fn throttling(row: &Row) -> Value {
    let state = row.device_state.as_ref();
    let reasons = state.and_then(|state| state.throttle_reasons.as_ref());
    reasons
        .filter(|reasons| !reasons.is_empty())
        .map(|reasons| reasons.join(" "))
        .into_value()
}

/// What quantising the weights changed.
fn quantization(row: &Row) -> Option<&Difference> {
    row.check.as_ref()?.quantization.as_ref()
}

/// The status.
fn status(row: &Row) -> Value {
    Value::Name(row.status.clone())
}

/// How far the logits are from fp32's.
fn fp32(row: &Row) -> Option<&Difference> {
    row.fp32_difference.as_ref()
}

use Place::{Quantized, Setting, Shown};
use Unit::{
    Bytes, ItemsPerSecond, JoulesPerToken, Millis, MoneyPerMillion, Parameters, Plain, Share,
    TokensPerSecond, Watts,
};

/// Every column, in the order in which they are shown.
pub const COLUMNS: &[Column] = &[
    data("id", |r| (&r.id).into()),
    shown("model", "model", Plain, Shown(0), |r| (&r.model).into()),
    shown("form", "form", Plain, Setting(1), |r| (&r.form).into()),
    shown("precision", "prec", Plain, Setting(1), |r| {
        (&r.precision).into()
    }),
    shown("step", "step", Plain, Shown(1), |r| {
        step(r).map(str::to_owned).into()
    }),
    shown("kv_cache_type", "KV", Plain, Setting(1), |r| {
        (&r.kv_cache_type).into()
    }),
    shown("device", "device", Plain, Setting(4), |r| {
        (&r.device).into()
    }),
    shown("batch", "batch", Plain, Setting(2), |r| r.batch.into()),
    shown("prompt_tokens", "prompt", Plain, Setting(2), |r| {
        r.prompt_tokens.into()
    }),
    shown("gen_tokens", "gen", Plain, Setting(2), |r| {
        r.gen_tokens.into()
    }),
    data("repetitions", |r| r.repetitions.into()),
    shown("params_total", "total", Parameters, Shown(6), |r| {
        r.params.total.into()
    }),
    shown("params_active", "active", Parameters, Shown(5), |r| {
        r.params.active.into()
    }),
    data("params_active_read", |r| r.params.active_read.into()),
    shown("load_ms", "load", Millis, Shown(11), |r| {
        of(&r.load_ms, |m| m.mean)
    }),
    shown("dims", "sizes", Plain, Setting(2), |r| {
        r.dims.as_ref().map(sizes).into()
    }),
    shown("latency_ms_mean", "latency", Millis, Shown(1), |r| {
        spread(&r.latency_ms)
    }),
    shown("latency_ms_median", "median", Millis, Shown(5), |r| {
        of(&r.latency_ms, |m| m.median)
    }),
    data("latency_ms_sd", |r| of(&r.latency_ms, |m| m.sd)),
    shown("latency_ms_p90", "p90", Millis, Shown(7), |r| {
        of(&r.latency_ms, |m| {
            m.quantiles.as_ref().and_then(|all| all.p90)
        })
    }),
    shown("items_s_mean", "items", ItemsPerSecond, Shown(2), |r| {
        spread(&r.items_s)
    }),
    data("output_check_passed", |r| {
        r.output_check.as_ref().map(|check| check.passed).into()
    }),
    shown("ttft_ms_mean", "TTFT", Millis, Shown(4), |r| {
        spread(&r.ttft_ms)
    }),
    data("ttft_ms_median", |r| of(&r.ttft_ms, |m| m.median)),
    data("ttft_ms_sd", |r| of(&r.ttft_ms, |m| m.sd)),
    data("ttft_ms_ci95_low", |r| of(&r.ttft_ms, |m| ci(m, 0))),
    data("ttft_ms_ci95_high", |r| of(&r.ttft_ms, |m| ci(m, 1))),
    shown(
        "prefill_tok_s_mean",
        "prefill",
        TokensPerSecond,
        Shown(8),
        |r| spread(&r.prefill_tok_s),
    ),
    data("prefill_tok_s_median", |r| {
        of(&r.prefill_tok_s, |m| m.median)
    }),
    data("prefill_tok_s_sd", |r| of(&r.prefill_tok_s, |m| m.sd)),
    data("prefill_tok_s_ci95_low", |r| {
        of(&r.prefill_tok_s, |m| ci(m, 0))
    }),
    data("prefill_tok_s_ci95_high", |r| {
        of(&r.prefill_tok_s, |m| ci(m, 1))
    }),
    shown(
        "decode_tok_s_mean",
        "decode",
        TokensPerSecond,
        Shown(0),
        |r| spread(&r.decode_tok_s),
    ),
    data("decode_tok_s_median", |r| of(&r.decode_tok_s, |m| m.median)),
    data("decode_tok_s_sd", |r| of(&r.decode_tok_s, |m| m.sd)),
    data("decode_tok_s_ci95_low", |r| {
        of(&r.decode_tok_s, |m| ci(m, 0))
    }),
    data("decode_tok_s_ci95_high", |r| {
        of(&r.decode_tok_s, |m| ci(m, 1))
    }),
    data("decode_tok_s_n", |r| of(&r.decode_tok_s, |m| m.n)),
    shown(
        "fp32_difference_error",
        "vs fp32",
        Share,
        Quantized(4),
        |r| fp32(r).map(|found| found.error).into(),
    ),
    data("fp32_difference_same_top", |r| {
        fp32(r).map(|found| found.same_top).into()
    }),
    data("fp32_difference_positions", |r| {
        fp32(r).map(|found| found.positions).into()
    }),
    data("itl_ms_mean", |r| of(&r.itl_ms, |m| m.mean)),
    data("itl_ms_sd", |r| of(&r.itl_ms, |m| m.sd)),
    shown("itl_ms_p50", "ITL p50", Millis, Shown(10), |r| {
        itl(r, |q| q.p50)
    }),
    shown("itl_ms_p90", "ITL p90", Millis, Shown(7), |r| {
        itl(r, |q| q.p90)
    }),
    data("itl_ms_p99", |r| itl(r, |q| q.p99)),
    data("itl_ms_min", |r| itl(r, |q| q.min)),
    data("itl_ms_max", |r| itl(r, |q| q.max)),
    data("itl_ms_n", |r| of(&r.itl_ms, |m| m.n)),
    data("outside_run_us_per_step", |r| outside_run_us(r).into()),
    data("outside_run_share", |r| r.outside_run_share.into()),
    shown("peak_bytes", "peak", Bytes, Shown(3), |r| {
        r.memory.peak_bytes.into()
    }),
    shown("weights_bytes", "weights", Bytes, Shown(12), |r| {
        r.memory.weights_bytes.into()
    }),
    data("kv_bytes", |r| r.memory.kv_bytes.into()),
    data("activations_bytes", |r| r.memory.activations_bytes.into()),
    data("runtime_bytes", |r| r.memory.runtime_bytes.into()),
    data("unaccounted_bytes", |r| r.memory.unaccounted_bytes.into()),
    data("loaded_peak_bytes", |r| r.memory.loaded_peak_bytes.into()),
    data("prefill_peak_bytes", |r| r.memory.prefill_peak_bytes.into()),
    data("decode_peak_bytes", |r| r.memory.decode_peak_bytes.into()),
    data("steady_bytes", |r| r.memory.steady_bytes.into()),
    data("runtime_context_bytes", |r| {
        r.memory.runtime_context_bytes.into()
    }),
    data("runtime_libraries_bytes", |r| {
        r.memory.runtime_libraries_bytes.into()
    }),
    data("arena_reserved_bytes", |r| {
        r.memory.arena_reserved_bytes.into()
    }),
    data("arena_live_peak_bytes", |r| {
        r.memory.arena_live_peak_bytes.into()
    }),
    data("free_memory_drop_bytes", |r| {
        r.memory.free_memory_drop_bytes.into()
    }),
    data("budget_bytes", |r| r.memory.budget_bytes.into()),
    data("enforced", |r| r.memory.enforced.clone().into()),
    shown("predicted_peak_bytes", "predicted", Bytes, Shown(13), |r| {
        r.memory.predicted_peak_bytes.into()
    }),
    data("load_peak_anon_bytes", |r| {
        r.memory.load_peak_anon_bytes.into()
    }),
    data("load_peak_file_bytes", |r| {
        r.memory.load_peak_file_bytes.into()
    }),
    data("largest_tensor_bytes", |r| {
        r.memory.largest_tensor_bytes.into()
    }),
    data("decode_floor_ms", |r| {
        r.limits.as_ref().map(|l| l.decode.floor_ms).into()
    }),
    data("decode_limit_share", |r| {
        r.limits.as_ref().map(|l| l.decode.share).into()
    }),
    data("decode_bound", |r| {
        r.limits.as_ref().map(|l| l.decode.bound.clone()).into()
    }),
    data("prefill_floor_ms", |r| {
        r.limits.as_ref().map(|l| l.prefill.floor_ms).into()
    }),
    data("prefill_limit_share", |r| {
        r.limits.as_ref().map(|l| l.prefill.share).into()
    }),
    data("prefill_bound", |r| {
        r.limits.as_ref().map(|l| l.prefill.bound.clone()).into()
    }),
    data("memory_method", |r| (&r.memory.method).into()),
    shown(
        "energy_j_per_token",
        "energy",
        JoulesPerToken,
        Shown(9),
        |r| energy(r, |e| e.per_token_j),
    ),
    shown("mean_watts", "power", Watts, Shown(10), |r| {
        energy(r, |e| e.mean_watts)
    }),
    data("energy_j", |r| energy(r, |e| e.energy_j)),
    data("energy_window_s", |r| energy(r, |e| e.window_s)),
    data("energy_measures", |r| {
        r.energy.as_ref().map(|energy| &energy.measures).into()
    }),
    data("decode_j_per_token", |r| {
        phase(r, |e| &e.decode, |w| w.per_token_j)
    }),
    data("decode_mean_watts", |r| {
        phase(r, |e| &e.decode, |w| w.mean_watts)
    }),
    data("prefill_j_per_token", |r| {
        phase(r, |e| &e.prefill, |w| w.per_token_j)
    }),
    data("prefill_mean_watts", |r| {
        phase(r, |e| &e.prefill, |w| w.mean_watts)
    }),
    data("sm_clock_mhz_end", |r| end(r, |s| s.sm_clock_mhz)),
    data("memory_clock_mhz_end", |r| end(r, |s| s.memory_clock_mhz)),
    data("cpu_clock_mhz_end", |r| end(r, |s| s.cpu_clock_mhz)),
    data("temperature_c_end", |r| end(r, |s| s.temperature_c)),
    data("power_limit_w", |r| end(r, |s| s.power_limit_w)),
    data("throttle_reasons", throttling),
    shown(
        "cost_per_million_tokens",
        "cost",
        MoneyPerMillion,
        Shown(9),
        |r| r.cost.as_ref().map(|cost| cost.per_million_tokens).into(),
    ),
    data("cost_currency", |r| {
        r.cost.as_ref().map(|cost| &cost.currency).into()
    }),
    data("cost_watts", |r| {
        r.cost.as_ref().and_then(|cost| cost.watts).into()
    }),
    data("check_passed", |r| {
        r.check.as_ref().map(|check| check.passed).into()
    }),
    data("check_worst_error", |r| {
        r.check.as_ref().map(|check| check.worst_error).into()
    }),
    data("decode_check_passed", |r| {
        r.decode_check.as_ref().map(|check| check.passed).into()
    }),
    data("decode_check_error", |r| {
        r.decode_check.as_ref().map(|check| check.error).into()
    }),
    data("decode_check_position", |r| {
        r.decode_check.as_ref().map(|check| check.position).into()
    }),
    data("quantization_error", |r| {
        quantization(r).map(|found| found.error).into()
    }),
    data("quantization_same_top", |r| {
        quantization(r).map(|found| found.same_top).into()
    }),
    data("quantization_positions", |r| {
        quantization(r).map(|found| found.positions).into()
    }),
    data("tuning", |r| tuning_name(r).into()),
    data("wall_s", |r| r.wall_s.into()),
    data("test", |r| (&r.llama_bench.test).into()),
    data("n_threads", |r| r.llama_bench.n_threads.into()),
    data("test_time", |r| r.llama_bench.test_time.clone().into()),
    // Last for people, so that the words stand in a ragged column at the right.
    shown("status", "status", Plain, Shown(0), status),
    data("reason", |r| r.reason.clone().into()),
    data("failed_phase", |r| r.failed_phase.clone().into()),
    data("failed_bytes", |r| r.failed_bytes.into()),
    data("warnings", |r| {
        (!r.warnings.is_empty())
            .then(|| r.warnings.join(" | "))
            .into()
    }),
];
