//! The facts as one list for people and for programs: both see the same, and what is not known has its reason.

mod hardware;
mod readings;
mod software;

use super::gpu::Gpu;
use super::{Facts, PayloadFacts};
use crate::protocol::Told;
use crate::units::Bytes;

/// A group of facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its key for programs.
    pub key: &'static str,
    /// Its title for people.
    pub title: &'static str,
    /// What it has.
    pub facts: Vec<Fact>,
}

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Its key for programs; a bare number's unit is in it.
    pub key: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// What it is, or why that is not known.
    pub value: Told<Value>,
}

/// What a fact is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// Yes or no.
    Flag(bool),
    /// A number without a unit.
    Count(u64),
    /// A number of bytes.
    Bytes(Bytes),
    /// A frequency in MHz.
    MegaHertz(u64),
    /// Power in mW.
    MilliWatts(u64),
    /// Energy in mJ.
    MilliJoules(u64),
    /// Voltage in mV.
    MilliVolts(u64),
    /// Current in mA.
    MilliAmperes(u64),
    /// Temperature in degrees Celsius.
    Celsius(f64),
    /// A share in percent.
    Percent(f64),
    /// Several things of one kind; each begins with its name.
    Rows(Vec<Vec<(&'static str, Told<Value>)>>),
}

/// All sections, in reading order.
pub fn sections(facts: &Facts, gpu: &Gpu<'_>) -> Vec<Section> {
    let section = |key, title, facts| Section { key, title, facts };
    let machine = &facts.machine;
    vec![
        section("program", "Program", program(facts)),
        section("board", "Board", hardware::board(machine)),
        section("gpu", "GPU", hardware::gpu(gpu, machine)),
        section("cuda", "CUDA", software::cuda(facts, gpu)),
        section("runtime", "ONNX Runtime", software::runtime(facts)),
        section("nvml", "NVML", software::nvml(facts, gpu)),
        section("memory", "Memory", hardware::memory(machine, gpu)),
        section("power", "Power and clocks", readings::power(machine, gpu)),
        section(
            "thermal",
            "Temperature and throttling",
            readings::thermal(machine, gpu),
        ),
        section("payload", "Payload", payload(facts.payload.as_ref())),
    ]
}

fn fact(key: &'static str, label: &'static str, value: Told<Value>) -> Fact {
    Fact { key, label, value }
}

fn text(told: &Told<String>) -> Told<Value> {
    told.clone().map(Value::Text)
}

fn bytes(told: Told<Bytes>) -> Told<Value> {
    told.map(Value::Bytes)
}

/// A list that has nothing in it is a fact too, but an empty line says little.
fn list(items: Vec<String>, none: &str) -> Told<Value> {
    if items.is_empty() {
        return Err(none.to_owned());
    }
    Ok(Value::List(items))
}

fn rows(rows: Vec<Vec<(&'static str, Told<Value>)>>, none: &str) -> Told<Value> {
    if rows.is_empty() {
        return Err(none.to_owned());
    }
    Ok(Value::Rows(rows))
}

fn program(facts: &Facts) -> Vec<Fact> {
    let program = &facts.program;
    let commit = program.commit.clone();
    vec![
        fact(
            "version",
            "version",
            Ok(Value::Text(program.version.clone())),
        ),
        fact(
            "commit",
            "commit",
            commit
                .map(Value::Text)
                .ok_or_else(|| "it was built outside a git checkout".into()),
        ),
        fact("arch", "built for", Ok(Value::Text(program.arch.clone()))),
    ]
}

fn payload(payload: Option<&PayloadFacts>) -> Vec<Fact> {
    let part = |(name, size): &(String, Bytes)| {
        vec![
            ("name", Ok(Value::Text(name.clone()))),
            ("bytes", Ok(Value::Bytes(*size))),
        ]
    };
    let parts = payload.ok_or("this build carries no payload");
    vec![fact(
        "parts",
        "parts",
        parts
            .map(|payload| Value::Rows(payload.parts.iter().map(part).collect()))
            .map_err(str::to_owned),
    )]
}
