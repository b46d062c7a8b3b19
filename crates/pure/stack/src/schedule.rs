//! Schedules, as far as they can be read without a clock.

use croner::parser::{CronParser, Seconds, Year};

use crate::mistake::Code;
use crate::value::{Wrong, quote};

/// The days that a month has at the most, from January.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Five fields of a crontab, at some moment of some year.
pub(crate) fn schedule(text: &str) -> Result<(), Wrong> {
    let wrong = |message: String| Err(Wrong::new(Code::BadSchedule, message));
    let fields: Vec<&str> = text.split_whitespace().collect();
    let nickname = text.starts_with('@');
    if fields.len() != 5 && !nickname {
        let count = fields.len();
        return wrong(format!("{} has {count} fields and not five", quote(text)));
    }
    let parser = CronParser::builder();
    let parser = parser.seconds(Seconds::Disallowed).year(Year::Disallowed);
    let parser = parser.build();
    if parser.parse(text).is_err() {
        let unread = match nickname {
            true => String::new(),
            false => unread(&fields, |text| parser.parse(text).is_ok()),
        };
        return wrong(format!("{} is not a schedule{unread}", quote(text)));
    }
    if !nickname && let Some(message) = oversteps(&fields) {
        return wrong(format!("{} is not a schedule: {message}", quote(text)));
    }
    if !nickname && is_never(fields[2], fields[3], fields[4]) {
        return wrong(format!("{} is never due", quote(text)));
    }
    Ok(())
}

/// What stands in each field.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of the week", "0 to 7, or SUN to SAT"),
];

/// How many values each field has.
const VALUES: [u32; 5] = [60, 24, 31, 12, 7];
const MONTHS: &str = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC";
const WEEKDAYS: &str = "SUN MON TUE WED THU FRI SAT";

/// Of a step that is larger than what it steps through: it is due once in all of that, which nobody means who writes
/// 70 minutes.
fn oversteps(fields: &[&str]) -> Option<String> {
    let parts = fields.iter().enumerate().flat_map(|(at, field)| {
        let parts = field.split(',');
        parts.map(move |part| (at, part))
    });
    parts.into_iter().find_map(|(at, part)| {
        let (range, step) = part.split_once('/')?;
        let values = match range.split_once('-') {
            Some((first, last)) => {
                let behind = number(at, last)?.checked_add(1)?;
                behind.checked_sub(number(at, first)?)?
            }
            None if range == "*" => *VALUES.get(at)?,
            None => return None,
        };
        let (name, _) = FIELDS.get(at)?;
        let step = step.parse::<u32>().ok()?;
        (step > values).then(|| {
            let part = quote(part);
            format!("{part} steps by {step} through {values} values of the {name}, and is due at the first alone")
        })
    })
}

/// What a number or a name stands for in a field, counted from anywhere.
fn number(at: usize, text: &str) -> Option<u32> {
    let names = match at {
        3 => MONTHS,
        4 => WEEKDAYS,
        _ => "",
    };
    let mut names = (1..).zip(names.split(' '));
    let named = names.find(|(_, name)| name.eq_ignore_ascii_case(text));
    let named = named.map(|(number, _)| number - u32::from(at == 4));
    named.or_else(|| text.parse().ok())
}

/// Which field cannot be read, where it is one by itself.
fn unread(fields: &[&str], reads: impl Fn(&str) -> bool) -> String {
    let alone = |number: usize, field: &str| {
        let all = (0..FIELDS.len()).map(|at| if at == number { field } else { "*" });
        all.collect::<Vec<_>>().join(" ")
    };
    let fields = fields.iter().zip(FIELDS).enumerate();
    let mut wrong = fields.filter(|(number, (field, _))| !reads(&alone(*number, field)));
    match wrong.next() {
        Some((_, (field, (name, range)))) => {
            format!(": {} is no {name}, which is {range}", quote(field))
        }
        None => String::new(),
    }
}

/// Whether no month that is named has a day that is: 30 February.
fn is_never(day: &str, month: &str, weekday: &str) -> bool {
    let numbers = |field: &str| {
        let numbers = field.split(',').map(|one| one.parse::<u32>().ok());
        numbers.collect::<Option<Vec<_>>>()
    };
    // A day of the week is enough by itself.
    let (Some(days), Some(months), "*") = (numbers(day), numbers(month), weekday) else {
        return false;
    };
    let most = |month: &u32| DAYS.get(*month as usize - 1).copied().unwrap_or(0);
    let longest = months.iter().map(most).max().unwrap_or(0);
    days.iter().all(|day| *day > longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_five_fields_and_come_true() {
        for good in [
            "0 2 1 * *",
            "*/5 * * * *",
            "30 2 * * MON-FRI",
            "0 0 29 2 *",
            "0 0 31 1,2 *",
            "0 0 30 2 1",
            "0-59/60 * * * *",
            "0 */24 * * *",
            "0 2 * * MON-FRI/5",
            "0 2 1 JAN-dec/12 *",
            "@daily",
        ] {
            assert!(schedule(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "0 2 1 *",
            "0 0 2 1 * *",
            "61 * * * *",
            "0 25 * * *",
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "tomorrow",
            "@reboot",
            "0 0 0 * *",
            "0 0 1 0 *",
            "0-59/70 * * * *",
            "*/61 * * * *",
            "0 9-17,0-4/6 * * *",
            "0 0 * */13 *",
            "0 2 * * MON-FRI/6",
            "0 2 * * 1-5/100",
        ] {
            assert!(schedule(bad).is_err(), "{bad}");
        }
    }
}
