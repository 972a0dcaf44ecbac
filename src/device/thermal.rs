//! Temperatures of the kernel's thermal zones, and where each zone begins to slow the machine down.

use super::tree::Tree;
use crate::protocol::Told;

/// One thermal zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its type, such as `gpu-thermal`.
    pub name: String,
    /// Temperature now.
    pub celsius: Told<f64>,
    /// The lowest temperature at which the kernel slows something down.
    pub throttles_at: Option<f64>,
}

/// A sensor that is switched off answers with a temperature below this.
const NO_SENSOR: i64 = -200_000;

/// All zones, in the kernel's order.
pub fn zones(tree: &Tree) -> Vec<Zone> {
    let names = tree.names("/sys/class/thermal");
    let zones = names.iter().filter(|name| name.starts_with("thermal_zone"));
    zones.map(|name| zone(tree, name)).collect()
}

fn zone(tree: &Tree, name: &str) -> Zone {
    let folder = format!("/sys/class/thermal/{name}");
    let celsius = tree
        .number(&format!("{folder}/temp"))
        .and_then(|milli| match milli {
            ..NO_SENSOR => Err("its sensor is switched off".into()),
            milli => Ok(milli as f64 / 1000.0),
        });
    let trips = tree.names(&folder).into_iter().filter_map(|file| {
        let trip = file.strip_suffix("_type")?.strip_prefix("trip_point_")?;
        let slows = matches!(
            tree.text(&format!("{folder}/{file}")).ok()?.as_str(),
            "passive" | "hot"
        );
        let at = tree
            .number(&format!("{folder}/trip_point_{trip}_temp"))
            .ok()?;
        // Unused trip points stand at or below zero.
        (slows && at > 0).then_some(at)
    });
    Zone {
        name: tree
            .text(&format!("{folder}/type"))
            .unwrap_or_else(|_| name.to_owned()),
        celsius,
        throttles_at: trips.min().map(|milli| milli as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    #[test]
    fn zones_tell_their_temperature_and_where_they_throttle() {
        let (_root, tree) = planted(&[
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48125\n"),
            (
                "sys/class/thermal/thermal_zone0/trip_point_0_type",
                "critical",
            ),
            (
                "sys/class/thermal/thermal_zone0/trip_point_0_temp",
                "104500",
            ),
            (
                "sys/class/thermal/thermal_zone0/trip_point_1_type",
                "passive",
            ),
            ("sys/class/thermal/thermal_zone0/trip_point_1_temp", "99000"),
            (
                "sys/class/thermal/thermal_zone0/trip_point_2_type",
                "active",
            ),
            ("sys/class/thermal/thermal_zone0/trip_point_2_temp", "51000"),
            ("sys/class/thermal/thermal_zone1/type", "cv0-thermal"),
            ("sys/class/thermal/thermal_zone1/temp", "-256000"),
            ("sys/class/thermal/cooling_device0/type", "fan"),
        ]);
        let zones = zones(&tree);
        assert_eq!(zones.len(), 2);
        assert_eq!(
            (zones[0].name.as_str(), &zones[0].celsius),
            ("cpu-thermal", &Ok(48.125))
        );
        assert_eq!(zones[0].throttles_at, Some(99.0));
        assert_eq!(zones[1].celsius, Err("its sensor is switched off".into()));
        assert_eq!(zones[1].throttles_at, None);
    }
}
