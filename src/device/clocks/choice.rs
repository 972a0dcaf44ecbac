//! Which clocks are held: steady ones, not the highest. Pure.

/// Where the driver tells no default application clock: this share of the highest one, which is near what boards sustain.
const SUSTAINED: f64 = 2.0 / 3.0;

/// Clocks to hold, and why these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Of the multiprocessors.
    pub graphics_mhz: u32,
    /// Of the memory.
    pub memory_mhz: u32,
    /// Why.
    pub rule: String,
}

/// The memory's clock: the highest at or below the default application clock, or the highest of all.
pub fn memory(supported: &[u32], default: Option<u32>) -> Option<u32> {
    match default {
        Some(default) => at_most(supported, default),
        None => supported.iter().copied().max(),
    }
}

/// Clocks of the multiprocessors at that memory clock: a clock above the default one is a boost, which heat and the power limit take
/// back in the middle of a run.
pub fn graphics(supported: &[u32], default: Option<u32>, memory_mhz: u32) -> Option<Choice> {
    let highest = supported.iter().copied().max()?;
    let (limit, what) = match default {
        Some(default) => (
            default,
            format!("the default application clock of {default} MHz"),
        ),
        None => (
            (f64::from(highest) * SUSTAINED) as u32,
            format!(
                "two thirds of the highest ({highest} MHz), for the driver tells no default application clock"
            ),
        ),
    };
    let graphics_mhz = at_most(supported, limit)?;
    let where_ = match graphics_mhz <= limit {
        true => "the highest supported clock at or below",
        false => "the lowest supported clock, for all are above",
    };
    Some(Choice {
        graphics_mhz,
        memory_mhz,
        rule: format!("{where_} {what}"),
    })
}

/// The highest at or below a limit, or the lowest of all.
fn at_most(supported: &[u32], limit: u32) -> Option<u32> {
    let below = supported.iter().copied().filter(|mhz| *mhz <= limit).max();
    below.or_else(|| supported.iter().copied().min())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_clock_at_or_below_the_default_one_is_held() {
        let supported = [300, 1590, 1200, 1410];
        let choice = graphics(&supported, Some(1400), 5000).unwrap();
        assert_eq!((choice.graphics_mhz, choice.memory_mhz), (1200, 5000));
        assert!(choice.rule.contains("1400 MHz"), "{}", choice.rule);
        let exact = graphics(&supported, Some(1410), 5000).unwrap();
        assert_eq!(exact.graphics_mhz, 1410);
        assert_eq!(memory(&[405, 5001, 7001], Some(6000)), Some(5001));
    }

    #[test]
    fn without_a_default_clock_none_that_is_a_boost_is_held() {
        let choice = graphics(&[300, 1300, 1500, 2000], None, 1).unwrap();
        assert_eq!(choice.graphics_mhz, 1300);
        assert!(choice.rule.contains("two thirds"), "{}", choice.rule);
        assert_eq!(memory(&[405, 7001], None), Some(7001));
    }

    #[test]
    fn clocks_that_are_all_above_the_default_and_no_clocks_at_all() {
        let choice = graphics(&[900, 1200], Some(800), 1).unwrap();
        assert_eq!(choice.graphics_mhz, 900);
        assert!(choice.rule.starts_with("the lowest"), "{}", choice.rule);
        assert!(graphics(&[], Some(800), 1).is_none() && memory(&[], None).is_none());
    }
}
