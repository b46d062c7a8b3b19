//! `--strategy`: a strategy in one word of the command line, as an alternative to `[service.NAME.deploy]`.

use ward_types::spec::{Amount, CanaryStep, Strategy};
use ward_types::time::Millis;
use ward_types::unit::parse_duration;

/// What `--help` says of it.
pub(crate) const HELP: &str = "How services with a port take over (but for those with `overlap = false`), whatever the stack file says: \
blue_green[:BAKE], rolling[:BATCH[/SURGE]] or canary:WEIGHT=HOLD,… such as canary:10=2m,50=until_told";

const UNTIL_TOLD: &str = "until_told";
const MOST: Millis = Millis::secs(7 * 24 * 3600);

/// Reads a strategy.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn parse(text: &str) -> Result<Strategy, String> {
    let (name, rest) = match text.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text, None),
    };
    match (name, rest) {
        ("blue_green", bake) => Ok(Strategy::BlueGreen {
            bake: bake.map_or(Ok(Millis(0)), span)?,
        }),
        ("rolling", rest) => rolling(rest.unwrap_or("1")),
        ("canary", Some(steps)) => canary(steps),
        ("canary", None) => Err("a canary needs its steps, such as canary:10=2m,50=5m".to_owned()),
        _ => Err(format!("{name} is none of blue_green, rolling and canary")),
    }
}

fn span(text: &str) -> Result<Millis, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    match span <= MOST {
        true => Ok(span),
        false => Err(format!("{text} is more than 7d")),
    }
}

fn rolling(text: &str) -> Result<Strategy, String> {
    let (batch, surge) = text.split_once('/').unwrap_or((text, "1"));
    Ok(Strategy::Rolling {
        batch: amount(batch)?,
        surge: amount(surge)?,
    })
}

fn amount(text: &str) -> Result<Amount, String> {
    let wrong = || format!("{text} is neither a number from 1 to 100 nor a percentage");
    let number = text.strip_suffix('%').unwrap_or(text);
    let count: u8 = number.parse().map_err(|_| wrong())?;
    match (1..=100).contains(&count) {
        true if number.len() < text.len() => Ok(Amount::Percent(count)),
        true => Ok(Amount::Count(u32::from(count))),
        false => Err(wrong()),
    }
}

fn canary(text: &str) -> Result<Strategy, String> {
    let steps: Vec<CanaryStep> = text.split(',').map(step).collect::<Result<_, _>>()?;
    let grows = steps.windows(2).all(|two| two[0].weight < two[1].weight);
    match grows && steps.len() <= 20 {
        true => Ok(Strategy::Canary {
            steps,
            sticky: None,
            bake: Millis(0),
        }),
        false => Err("a canary has at most 20 steps, each of more weight than before".to_owned()),
    }
}

fn step(text: &str) -> Result<CanaryStep, String> {
    let shape = || format!("{text} is no step: WEIGHT=HOLD, such as 10=2m or 10=until_told");
    let (weight, hold) = text.split_once('=').ok_or_else(shape)?;
    let weight: u8 = weight.parse().map_err(|_| shape())?;
    if !(1..=99).contains(&weight) {
        return Err(format!("{weight} is no weight from 1 to 99"));
    }
    let hold = match hold {
        UNTIL_TOLD => None,
        time => Some(span(time)?)
            .filter(|span| *span >= Millis::secs(1))
            .map_or_else(
                || Err(format!("{time} is less than 1s")),
                |span| Ok(Some(span)),
            )?,
    };
    Ok(CanaryStep { weight, hold })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_has_its_word() {
        let blue_green = |bake| Strategy::BlueGreen { bake };
        assert_eq!(parse("blue_green"), Ok(blue_green(Millis(0))));
        assert_eq!(parse("blue_green:10m"), Ok(blue_green(Millis::secs(600))));
        let rolling = |batch, surge| Strategy::Rolling { batch, surge };
        let one = Amount::Count(1);
        assert_eq!(parse("rolling"), Ok(rolling(one, one)));
        let quarter = Amount::Percent(25);
        assert_eq!(
            parse("rolling:25%/2"),
            Ok(rolling(quarter, Amount::Count(2)))
        );
        let canary = parse("canary:10=2m,50=until_told");
        let Ok(Strategy::Canary { steps, .. }) = canary else {
            panic!("{canary:?}");
        };
        let holds: Vec<_> = steps.iter().map(|s| (s.weight, s.hold)).collect();
        assert_eq!(holds, [(10, Some(Millis::secs(120))), (50, None)]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("purple", "none of blue_green"),
            ("canary", "needs its steps"),
            ("canary:10", "no step"),
            ("canary:0=1m", "no weight"),
            ("canary:100=1m", "no weight"),
            ("canary:50=1m,10=1m", "more weight"),
            ("canary:10=1ms", "less than 1s"),
            ("canary:10=8d", "more than 7d"),
            ("rolling:0", "from 1 to 100"),
            ("rolling:101%", "from 1 to 100"),
            ("blue_green:soon", "soon"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
