//! How a new release of a service takes over.

use ward_types::spec::{Amount, Analysis, CanaryStep, Inconclusive, Probe, Sticky, Strategy};
use ward_types::unit::parse_duration;

use super::At;
use crate::tree::{Table, Value};
use crate::value;

/// The strategy of a service; the default where it has no `deploy`.
pub(super) fn strategy(service: &At<'_>) -> Option<Strategy> {
    let nothing = Table::default();
    let deploy = service.below("deploy");
    let deploy = deploy.unwrap_or_else(|| At::new(&nothing, "service.*.deploy"));
    Some(match deploy.text("strategy")?.as_str() {
        "rolling" => Strategy::Rolling {
            batch: amount(&deploy, "batch")?,
            surge: amount(&deploy, "surge")?,
        },
        "canary" => Strategy::Canary {
            steps: deploy
                .list("steps")
                .iter()
                .map(step)
                .collect::<Option<_>>()?,
            sticky: deploy
                .below("sticky")
                .and_then(|sticky| self::sticky(&sticky)),
            bake: deploy.duration("bake"),
        },
        _ => Strategy::BlueGreen {
            bake: deploy.duration("bake"),
        },
    })
}

/// What a new release of a service must show.
pub(super) fn analysis(service: &At<'_>) -> Option<Analysis> {
    let analysis = service.below("deploy")?.below("analysis")?;
    Some(Analysis {
        requests: analysis.count("requests"),
        inconclusive: match analysis.text("inconclusive")?.as_str() {
            "promote" => Inconclusive::Promote,
            "hold" => Inconclusive::Hold,
            _ => Inconclusive::Rollback,
        },
    })
}

/// What makes requests while it must.
pub(super) fn probe(service: &At<'_>) -> Option<Probe> {
    let analysis = service.below("deploy")?.below("analysis")?;
    let probe = analysis.below("probe")?;
    Some(Probe {
        path: probe.text("path")?,
        every: probe.duration("every"),
    })
}

fn amount(at: &At<'_>, name: &str) -> Option<Amount> {
    at.value(name, |value| match value {
        Value::Integer(number) => u32::try_from((*number)?).ok().map(Amount::Count),
        Value::Text(text) => value::percentage(text).ok().map(Amount::Percent),
        _ => None,
    })
}

fn step(at: &At<'_>) -> Option<CanaryStep> {
    Some(CanaryStep {
        weight: u8::try_from(at.number("weight")?).ok()?,
        // The one word that is no duration is `until_told`.
        hold: parse_duration(&at.text("hold")?).ok(),
    })
}

fn sticky(at: &At<'_>) -> Option<Sticky> {
    let cookie = at.text("cookie").map(Sticky::Cookie);
    cookie.or_else(|| at.text("header").map(Sticky::Header))
}
