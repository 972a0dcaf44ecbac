//! Cost of generated tokens, from stated prices. Every input travels with the result.

use super::schema::Cost;

/// Prices that the cost is computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct CostInputs {
    /// Price of the hardware.
    pub hardware_price: f64,
    /// Hours of use it is written off over.
    pub hardware_life_hours: f64,
    /// A flat price of one hour, instead of hardware and electricity.
    pub flat_price_per_hour: Option<f64>,
    /// Price of a kilowatt-hour.
    pub electricity_price_per_kwh: f64,
    /// Mean power, as given by the user: it counts instead of what was measured.
    pub watts: Option<f64>,
    /// Currency, a label.
    pub currency: String,
}

impl Default for CostInputs {
    /// Assumptions, not measurements: the list price of a Jetson Orin Nano developer kit (249 USD) over three years of
    /// 24-hour days, electricity at 0.15 USD/kWh, power unknown.
    fn default() -> CostInputs {
        CostInputs {
            hardware_price: 249.0,
            hardware_life_hours: 3.0 * 365.0 * 24.0,
            flat_price_per_hour: None,
            electricity_price_per_kwh: 0.15,
            watts: None,
            currency: "USD".to_owned(),
        }
    }
}

/// Where a hardware price comes from: the default is an assumption and is called one.
pub fn hardware_price_source(price: f64, currency: &str) -> &'static str {
    let assumed = CostInputs::default();
    if price == assumed.hardware_price && currency == assumed.currency {
        "assumed: list price of a Jetson Orin Nano developer kit"
    } else {
        "as given"
    }
}

/// Cost at a decode speed, prompt processing not counted; `None` where the inputs give no number. `measured` is the mean power
/// in watts with words for where it is from.
pub fn cost(
    decode_tok_s: f64,
    inputs: &CostInputs,
    measured: Option<(f64, String)>,
) -> Option<Cost> {
    let cost = match inputs.flat_price_per_hour {
        Some(price) => flat(price, inputs),
        None => amortised(inputs, measured),
    };
    let per_million_tokens = cost.per_hour / (decode_tok_s * 3600.0) * 1e6;
    let sane = [cost.per_hour, per_million_tokens]
        .iter()
        .all(|price| price.is_finite() && *price >= 0.0);
    sane.then_some(Cost {
        per_million_tokens,
        ..cost
    })
}

/// Words that every formula shares.
const PER_MILLION: &str = "per_hour / (mean decode tokens per second * 3600) * 1,000,000";

/// The source of a power that the user gave.
const GIVEN: &str = "given with --watts";

/// A flat price of the hour.
fn flat(price: f64, inputs: &CostInputs) -> Cost {
    Cost {
        per_million_tokens: 0.0,
        per_hour: price,
        currency: inputs.currency.clone(),
        formula: format!("{PER_MILLION}; per_hour = flat_price_per_hour"),
        hardware_price: None,
        hardware_life_hours: None,
        flat_price_per_hour: Some(price),
        electricity_price_per_kwh: None,
        watts: inputs.watts,
        watts_source: "not used: the price of an hour is flat".to_owned(),
    }
}

/// Hardware written off by the hour, and energy where the power is known.
fn amortised(inputs: &CostInputs, measured: Option<(f64, String)>) -> Cost {
    let hardware = inputs.hardware_price / inputs.hardware_life_hours;
    let given = inputs.watts.map(|watts| (watts, GIVEN.to_owned()));
    let (watts, source) = match given.or(measured) {
        Some((watts, source)) => (Some(watts), source),
        None => (
            None,
            "not measured on this device; --watts W adds it".to_owned(),
        ),
    };
    let (energy, term) = match watts {
        Some(watts) => (
            watts / 1000.0 * inputs.electricity_price_per_kwh,
            " + watts / 1000 * electricity_price_per_kwh",
        ),
        None => (0.0, ", energy left out"),
    };
    Cost {
        per_million_tokens: 0.0,
        per_hour: hardware + energy,
        currency: inputs.currency.clone(),
        formula: format!(
            "{PER_MILLION}; per_hour = hardware_price / hardware_life_hours{term}; hardware_price {}",
            hardware_price_source(inputs.hardware_price, &inputs.currency)
        ),
        hardware_price: Some(inputs.hardware_price),
        hardware_life_hours: Some(inputs.hardware_life_hours),
        flat_price_per_hour: None,
        electricity_price_per_kwh: Some(inputs.electricity_price_per_kwh),
        watts,
        watts_source: source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_price_is_the_price_of_the_hour() {
        let inputs = CostInputs {
            flat_price_per_hour: Some(3.6),
            ..CostInputs::default()
        };
        let cost = cost(100.0, &inputs, None).unwrap();
        assert!((cost.per_million_tokens - 10.0).abs() < 1e-9);
        assert_eq!((cost.per_hour, cost.hardware_price), (3.6, None));
    }

    #[test]
    fn hardware_and_energy_add_up() {
        let inputs = CostInputs {
            hardware_price: 100.0,
            hardware_life_hours: 1000.0,
            electricity_price_per_kwh: 0.5,
            watts: Some(200.0),
            ..CostInputs::default()
        };
        let measured = Some((400.0, "measured: the GPU alone".to_owned()));
        // What the user gives counts instead of what was measured.
        let given = cost(1.0, &inputs, measured.clone()).unwrap();
        assert!((given.per_hour - 0.2).abs() < 1e-12);
        assert_eq!(given.watts_source, "given with --watts");
        let inputs = CostInputs {
            watts: None,
            ..inputs
        };
        let cost = cost(1.0, &inputs, measured).unwrap();
        assert!((cost.per_hour - 0.3).abs() < 1e-12);
        assert_eq!(
            (cost.watts, cost.watts_source.as_str()),
            (Some(400.0), "measured: the GPU alone")
        );
    }

    #[test]
    fn unknown_power_leaves_energy_out_and_says_so() {
        let cost = cost(10.0, &CostInputs::default(), None).unwrap();
        assert!((cost.per_hour - 249.0 / 26_280.0).abs() < 1e-12);
        assert_eq!(
            cost.watts_source,
            "not measured on this device; --watts W adds it"
        );
        assert!(cost.formula.contains("energy left out"));
    }

    #[test]
    fn inputs_that_give_no_number_give_no_cost() {
        let inputs = CostInputs {
            hardware_life_hours: 0.0,
            ..CostInputs::default()
        };
        assert_eq!(cost(10.0, &inputs, None), None);
        assert_eq!(cost(0.0, &CostInputs::default(), None), None);
        assert_eq!(cost(f64::NAN, &CostInputs::default(), None), None);
    }
}
