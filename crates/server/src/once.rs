//! JSON in which each key of an object stands once. RFC 8259, section 4, leaves it open what two of one name mean, so that
//! two readers may see two things in one file: such a file is refused, with the place of the second.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value that a text holds.
///
/// # Errors
/// Where and why it holds none.
pub fn read(text: &str) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Once.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = list.next_element_seed(Once)? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = object.next_key_seed(Key(&all))? {
            let value = object.next_value_seed(Once)?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// A key that is none of those before it: refused where it stands, and not behind its value.
struct Key<'a>(&'a Map<String, Value>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let key = String::deserialize(deserializer)?;
        match self.0.contains_key(&key) {
            true => Err(D::Error::custom(format!(
                "the key {key:?} stands there twice"
            ))),
            false => Ok(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads() {
        let text = r#"{"a": [1, -2, 3.5, 18446744073709551615, 1e300], "b": {"a": null, "c": {}}, "": true, "ü\n": "x\u0000"}"#;
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(read(text).expect("JSON"), value);
        for broken in ["", "{", "[1,]", "{} {}", "nul", &"[".repeat(10_000)] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_place() {
        for (text, place) in [
            ("{\"a\": 1,\n \"a\": 1}", "line 2 column 4"),
            ("{\"a\": 1, \"\\u0061\": 2}", "line 1 column 17"),
            ("[{\"b\": {\"a\": [], \"a\": {}}}]", "line 1 column 20"),
        ] {
            let error = read(text).expect_err("it stands there twice").to_string();
            assert!(
                error.contains("the key \"a\" stands there twice") && error.contains(place),
                "{error}"
            );
        }
    }
}
