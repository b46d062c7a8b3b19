//! The one way to write a value down as bytes, so that whoever recomputes a hash gets the same.
//!
//! RFC 8785 (JSON Canonicalization Scheme), as far as the log's values go: no white space; the members of
//! an object sorted by their names as UTF-16 code units; strings escaped as ECMAScript does (only `"`,
//! `\` and the control characters, the short form where there is one). Numbers are whole: a fraction is
//! refused, because no event holds one. A whole number is written with all its digits, which is what
//! RFC 8785 says up to 2^53; above it RFC 8785 would round, and this does not.
//!
//! Written here and not by the JSON library's printer, whose order of members depends on a feature that
//! any crate of a build can switch on.

use serde::Serialize;
use serde_json::Value;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    /// It is not JSON.
    #[error("it has no form in JSON")]
    NotJson(#[source] serde_json::Error),
    /// It holds a number that is not whole.
    #[error("it holds the number {0}, which is not whole")]
    NotWhole(serde_json::Number),
}

/// The canonical bytes of a value.
///
/// # Errors
/// [`NotCanonical`] when it has no form in JSON or holds a number that is not whole.
pub fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    let value = serde_json::to_value(value).map_err(NotCanonical::NotJson)?;
    let mut out = Vec::with_capacity(256);
    write_value(&value, &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(NotCanonical::NotWhole(number.clone()));
        }
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => write_array(items, out)?,
        Value::Object(members) => write_object(members, out)?,
    }
    Ok(())
}

fn write_array(items: &[Value], out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_value(item, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_object(
    members: &serde_json::Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), NotCanonical> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push(b'{');
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_value(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(to_bytes(value).unwrap()).unwrap()
    }

    #[test]
    fn members_are_sorted_as_rfc_8785_section_3_2_3_sorts_them() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control",
            "\u{f6}": "Latin Small Letter O With Diaeresis",
        });
        let bytes = text(&value);
        let places: Vec<usize> = [
            "Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew",
        ]
        .iter()
        .map(|word| bytes.find(word).unwrap())
        .collect();
        assert!(places.is_sorted(), "{bytes}");
    }

    #[test]
    fn strings_are_escaped_as_rfc_8785_section_3_2_2_escapes_them() {
        let value = json!({"string": "\u{20ac}$\u{000F}\u{000a}A'\u{0042}\u{0022}\u{005c}\\\"/"});
        assert_eq!(
            text(&value),
            "{\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }

    #[test]
    fn literals_nesting_and_numbers() {
        let value = json!({"b": [null, true, false, -1, u64::MAX], "a": {}});
        assert_eq!(
            text(&value),
            r#"{"a":{},"b":[null,true,false,-1,18446744073709551615]}"#
        );
        let fraction = to_bytes(&json!([1.5])).unwrap_err();
        assert_eq!(
            fraction.to_string(),
            "it holds the number 1.5, which is not whole"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn reading_the_canonical_form_gives_the_value_and_its_form_again(value in values()) {
            let bytes = to_bytes(&value).unwrap();
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(to_bytes(&read).unwrap(), bytes);
        }
    }
}
