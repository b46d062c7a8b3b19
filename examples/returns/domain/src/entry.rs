//! What people enter, checked: the head of a return, its items, the notes of the desk.
//!
//! Input comes as text, from forms and JSON alike, and each check collects all that is wrong, by field, so
//! that a person mends everything in one go.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ndc::Ndc;
use crate::state::Step;

/// The most units of one item.
pub const MOST_UNITS: i32 = 10_000;
/// The most items of one return.
pub const MOST_ITEMS: i64 = 500;

/// Messages by the name of the field.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<&'static str, String>);

impl FieldErrors {
    /// The message for a field.
    pub fn of(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many fields are wrong.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One message alone.
    pub fn one(field: &'static str, message: String) -> Self {
        Self(BTreeMap::from([(field, message)]))
    }

    /// Keeps the value, or notes the message and goes on.
    fn take<T>(&mut self, field: &'static str, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.0.insert(field, message)).ok()
    }
}

/// Why an item comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Past its expiry date.
    Expired,
    /// Broken, wet, opened or otherwise unfit.
    Damaged,
    /// In date and intact, but not needed.
    Unused,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Damaged, Self::Unused];

    /// The name in the database, the API and forms.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Unused => "unused",
        }
    }

    /// The name as a person reads it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Expired => "Expired",
            Self::Damaged => "Damaged",
            Self::Unused => "Unused",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == text.trim())
    }
}

/// The head of a return as it was entered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeadInput {
    /// The pharmacy's name.
    #[serde(deserialize_with = "text")]
    pub pharmacy: String,
    /// Whom to ask.
    #[serde(deserialize_with = "text")]
    pub contact: String,
    /// The pharmacy's own number, such as a debit memo.
    #[serde(deserialize_with = "text")]
    pub reference: String,
    /// Anything else.
    #[serde(deserialize_with = "text")]
    pub note: String,
}

/// The head of a return, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// 2 to 120 characters.
    pub pharmacy: String,
    /// At most 120 characters.
    pub contact: String,
    /// At most 60 characters.
    pub reference: String,
    /// At most 1,000 characters.
    pub note: String,
}

impl HeadInput {
    /// Checks every field.
    pub fn check(&self) -> Result<Head, FieldErrors> {
        let mut wrong = FieldErrors::default();
        let pharmacy = wrong.take(
            "pharmacy",
            required(&self.pharmacy, "Enter the name of the pharmacy.", 2, 120),
        );
        let contact = wrong.take("contact", line(&self.contact, 120));
        let reference = wrong.take("reference", line(&self.reference, 60));
        let note = wrong.take("note", paragraph(&self.note, 1_000));
        match (pharmacy, contact, reference, note) {
            (Some(pharmacy), Some(contact), Some(reference), Some(note)) => Ok(Head {
                pharmacy,
                contact,
                reference,
                note,
            }),
            _ => Err(wrong),
        }
    }
}

/// An item as it was entered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ItemInput {
    /// National Drug Code, in any accepted form.
    #[serde(deserialize_with = "text")]
    pub ndc: String,
    /// Lot number as printed.
    #[serde(deserialize_with = "text")]
    pub lot: String,
    /// `YYYY-MM-DD`, `YYYY-MM` or `MM/YYYY`; a month means its last day.
    #[serde(deserialize_with = "text")]
    pub expiry: String,
    /// Units, 1 to [`MOST_UNITS`].
    #[serde(deserialize_with = "text")]
    pub quantity: String,
    /// `expired`, `damaged` or `unused`.
    #[serde(deserialize_with = "text")]
    pub reason: String,
}

/// An item, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewItem {
    /// The code.
    pub ndc: Ndc,
    /// 1 to 20 letters, digits, hyphens, dots and slashes, upper case.
    pub lot: String,
    /// Last day of use.
    pub expiry: Date,
    /// 1 to [`MOST_UNITS`].
    pub quantity: i32,
    /// Why it comes back.
    pub reason: Reason,
}

impl ItemInput {
    /// Checks every field, and that reason and expiry date agree.
    pub fn check(&self, today: Date) -> Result<NewItem, FieldErrors> {
        let mut wrong = FieldErrors::default();
        let ndc = wrong.take("ndc", Ndc::parse(&self.ndc).map_err(|e| e.to_string()));
        let lot = wrong.take("lot", lot(&self.lot));
        let quantity = wrong.take("quantity", quantity(&self.quantity));
        let reason = wrong.take(
            "reason",
            Reason::parse(&self.reason)
                .ok_or_else(|| "Choose why it comes back: expired, damaged or unused.".into()),
        );
        let expiry = wrong.take(
            "expiry",
            expiry(&self.expiry, today).and_then(|day| agrees(day, reason, today)),
        );
        match (ndc, lot, expiry, quantity, reason) {
            (Some(ndc), Some(lot), Some(expiry), Some(quantity), Some(reason)) => Ok(NewItem {
                ndc,
                lot,
                expiry,
                quantity,
                reason,
            }),
            _ => Err(wrong),
        }
    }
}

/// The note beside a step, at most 500 characters. Whoever destroys medicines says why.
pub fn step_note(step: Step, input: &str) -> Result<String, FieldErrors> {
    let note = paragraph(input, 500).map_err(|message| FieldErrors::one("note", message))?;
    if step == Step::Destroy && note.is_empty() {
        return Err(FieldErrors::one(
            "note",
            "Say why it is destroyed; the note stays in the history.".into(),
        ));
    }
    Ok(note)
}

/// What was typed into a search box, cut and cleaned so that the database can take it.
pub fn search_words(input: &str) -> Option<String> {
    let clean: String = input
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(80)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

fn required(input: &str, missing: &str, shortest: usize, longest: usize) -> Result<String, String> {
    let value = line(input, longest)?;
    match value.chars().count() {
        0 => Err(missing.into()),
        n if n < shortest => Err(format!("Use at least {shortest} characters.")),
        _ => Ok(value),
    }
}

fn line(input: &str, longest: usize) -> Result<String, String> {
    let value = input.trim();
    if value.chars().any(char::is_control) {
        return Err("Line breaks and other control characters are not allowed here.".into());
    }
    short_enough(value, longest)
}

fn paragraph(input: &str, longest: usize) -> Result<String, String> {
    let value = input.replace("\r\n", "\n");
    if value
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        return Err("Control characters are not allowed here.".into());
    }
    short_enough(value.trim(), longest)
}

fn short_enough(value: &str, longest: usize) -> Result<String, String> {
    match value.chars().count() {
        n if n > longest => Err(format!("Use at most {longest} characters; this has {n}.")),
        _ => Ok(value.to_owned()),
    }
}

fn lot(input: &str) -> Result<String, String> {
    let value = required(input, "Enter the lot number printed on the package.", 1, 20)?;
    match value
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"-./".contains(*c))
    {
        Some(other) => Err(format!(
            "A lot number has letters, digits, hyphens, dots and slashes; “{other}” is none."
        )),
        None => Ok(value.to_ascii_uppercase()),
    }
}

fn quantity(input: &str) -> Result<i32, String> {
    let digits = input.trim();
    if digits.is_empty() {
        return Err("Enter how many units come back.".into());
    }
    match digits.parse::<i64>() {
        Ok(n) if n < 1 => Err("At least one unit must come back.".into()),
        Ok(n) if n > i64::from(MOST_UNITS) => {
            Err("At most 10,000 units per item; split larger amounts.".into())
        }
        Ok(n) => i32::try_from(n).map_err(|e| e.to_string()),
        Err(_) => Err(format!(
            "“{}” is not a whole number.",
            digits.chars().take(20).collect::<String>()
        )),
    }
}

fn expiry(input: &str, today: Date) -> Result<Date, String> {
    let text = input.trim();
    if text.is_empty() {
        return Err("Enter the expiry date printed on the package.".into());
    }
    let day = read_day(text)
        .ok_or("Write the date as YYYY-MM-DD, or YYYY-MM where no day is printed.")?;
    if day < today.saturating_sub(10.years()) {
        return Err("That is more than ten years ago; check the year.".into());
    }
    if day > today.saturating_add(10.years()) {
        return Err("That is more than ten years ahead; check the year.".into());
    }
    Ok(day)
}

/// `YYYY-MM-DD`, or a month as `YYYY-MM` or `MM/YYYY`, which lasts to its last day.
fn read_day(text: &str) -> Option<Date> {
    let number = |s: &str, width: usize| -> Option<i16> {
        (s.len() == width && s.bytes().all(|b| b.is_ascii_digit()))
            .then(|| s.parse().ok())
            .flatten()
    };
    let month = |year: i16, month: i16| {
        Some(
            Date::new(year, i8::try_from(month).ok()?, 1)
                .ok()?
                .last_of_month(),
        )
    };
    if let Some((m, y)) = text.split_once('/') {
        return month(number(y, 4)?, number(m, 2)?);
    }
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [y, m] => month(number(y, 4)?, number(m, 2)?),
        [y, m, d] => Date::new(
            number(y, 4)?,
            i8::try_from(number(m, 2)?).ok()?,
            i8::try_from(number(d, 2)?).ok()?,
        )
        .ok(),
        _ => None,
    }
}

fn agrees(day: Date, reason: Option<Reason>, today: Date) -> Result<Date, String> {
    match reason {
        Some(Reason::Expired) if day >= today => {
            Err("This has not expired yet. Choose “unused” or “damaged”, or check the date.".into())
        }
        Some(Reason::Unused) if day < today => {
            Err("This has expired. Choose “expired”, or check the date.".into())
        }
        _ => Ok(day),
    }
}

/// Takes a JSON string or number as the text that a form would have sent, so that one check serves both.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;
    impl serde::de::Visitor<'_> for Text {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or a number")
        }
        fn visit_str<E>(self, v: &str) -> Result<String, E> {
            Ok(v.to_owned())
        }
        fn visit_i64<E>(self, v: i64) -> Result<String, E> {
            Ok(v.to_string())
        }
        fn visit_u64<E>(self, v: u64) -> Result<String, E> {
            Ok(v.to_string())
        }
        fn visit_f64<E>(self, v: f64) -> Result<String, E> {
            Ok(v.to_string())
        }
        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }
    deserializer.deserialize_any(Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    const TODAY: Date = date(2026, 11, 21);

    fn item() -> ItemInput {
        ItemInput {
            ndc: "0093-3109-01".into(),
            lot: " ab12-3 ".into(),
            expiry: "2026-10-31".into(),
            quantity: "12".into(),
            reason: "expired".into(),
        }
    }

    fn wrong(change: impl FnOnce(&mut ItemInput)) -> FieldErrors {
        let mut input = item();
        change(&mut input);
        input.check(TODAY).unwrap_err()
    }

    #[test]
    fn a_good_item_is_normalised() {
        let checked = item().check(TODAY).unwrap();
        assert_eq!(checked.ndc.digits(), "00093310901");
        assert_eq!(checked.lot, "AB12-3");
        assert_eq!(checked.expiry, date(2026, 10, 31));
        assert_eq!(checked.quantity, 12);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let errors = ItemInput::default().check(TODAY).unwrap_err();
        for field in ["ndc", "lot", "expiry", "quantity", "reason"] {
            assert!(errors.of(field).is_some(), "{field}");
        }
    }

    #[test]
    fn months_last_to_their_last_day() {
        for (text, day) in [
            ("2028-02", date(2028, 2, 29)),
            ("02/2027", date(2027, 2, 28)),
        ] {
            let mut input = item();
            input.reason = "unused".into();
            input.expiry = text.into();
            assert_eq!(input.check(TODAY).unwrap().expiry, day);
        }
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "2026-02-30",
            "2026-13-01",
            "26-10-31",
            "31.10.2026",
            "2026",
            "x",
            "2026-1-1",
            "+026-01-01",
        ] {
            assert!(
                wrong(|i| i.expiry = text.into())
                    .of("expiry")
                    .unwrap()
                    .contains("YYYY-MM-DD"),
                "{text}"
            );
        }
        assert!(
            wrong(|i| i.expiry = "2016-11-20".into())
                .of("expiry")
                .unwrap()
                .contains("ten years ago")
        );
        assert!(
            wrong(|i| i.expiry = "2062-01-01".into())
                .of("expiry")
                .unwrap()
                .contains("ten years ahead")
        );
    }

    #[test]
    fn reason_and_date_must_agree() {
        assert!(
            wrong(|i| i.expiry = "2026-11-21".into())
                .of("expiry")
                .unwrap()
                .contains("not expired yet")
        );
        assert!(
            wrong(|i| i.reason = "unused".into())
                .of("expiry")
                .unwrap()
                .contains("has expired")
        );
    }

    #[test]
    fn quantities_have_bounds() {
        for (text, part) in [
            ("0", "At least one"),
            ("-3", "At least one"),
            ("10001", "At most 10,000"),
            ("1.5", "whole number"),
            ("99999999999999999999", "whole number"),
        ] {
            assert!(
                wrong(|i| i.quantity = text.into())
                    .of("quantity")
                    .unwrap()
                    .contains(part),
                "{text}"
            );
        }
    }

    #[test]
    fn lots_and_names_refuse_what_the_database_or_a_label_cannot_hold() {
        assert!(wrong(|i| i.lot = "A\0B".into()).of("lot").is_some());
        assert!(
            wrong(|i| i.lot = "<b>".into())
                .of("lot")
                .unwrap()
                .contains('<')
        );
        let head = HeadInput {
            pharmacy: "x".into(),
            note: "n".repeat(1_001),
            ..Default::default()
        };
        let errors = head.check().unwrap_err();
        assert!(errors.of("pharmacy").is_some() && errors.of("note").unwrap().contains("1001"));
    }

    #[test]
    fn json_numbers_are_taken_as_typed() {
        let input: ItemInput =
            serde_json::from_str(r#"{"quantity": 7, "lot": 123, "ndc": null}"#).unwrap();
        assert_eq!(
            (
                input.quantity.as_str(),
                input.lot.as_str(),
                input.ndc.as_str()
            ),
            ("7", "123", "")
        );
        assert!(serde_json::from_str::<ItemInput>(r#"{"quantity": [1]}"#).is_err());
    }

    #[test]
    fn search_words_are_cut_and_cleaned() {
        assert_eq!(search_words(" a\0b "), Some("a b".into()));
        assert_eq!(search_words("  "), None);
        assert_eq!(search_words(&"x".repeat(200)).unwrap().len(), 80);
    }
}
