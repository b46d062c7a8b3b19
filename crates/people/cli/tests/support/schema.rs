//! Holds a value against a published JSON schema (draft 2020-12). It knows the keywords that our schemas use, and fails
//! on any other: none is passed over.

use std::path::Path;

use serde_json::{Map, Value};

pub struct Schema(Value);

/// Says nothing of a value.
const WORDS: [&str; 5] = ["description", "title", "$schema", "$defs", "oneOf"];

impl Schema {
    /// One of the folder `docs`.
    pub fn published(name: &str) -> Self {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs");
        let text = std::fs::read_to_string(docs.join(name)).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    /// The value must be what the definition `name` says.
    #[track_caller]
    pub fn check(&self, name: &str, value: &Value) {
        let schema = &self.0["$defs"][name];
        assert!(schema.is_object(), "the schema has no {name}");
        let mut wrong = Vec::new();
        self.walk(schema, value, name, &mut wrong);
        assert!(wrong.is_empty(), "{}\n{value:#}", wrong.join("\n"));
    }

    fn walk(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let schema = schema.as_object().unwrap();
        for (keyword, says) in schema {
            let holds = match keyword.as_str() {
                word if WORDS.contains(&word) => true,
                "$ref" => {
                    let name = says.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    let there = &self.0["$defs"][name];
                    assert!(there.is_object(), "there is no {name}");
                    self.walk(there, value, at, wrong);
                    true
                }
                "type" => is(says.as_str().unwrap(), value),
                "const" => value == says,
                "enum" => says.as_array().unwrap().contains(value),
                "minimum" => value.as_i64() >= says.as_i64(),
                "pattern" => is_digest(value.as_str().unwrap_or_default()),
                "required" => says.as_array().unwrap().iter().all(|name| {
                    let there = value.get(name.as_str().unwrap()).is_some();
                    if !there {
                        wrong.push(format!("{at} has no {name}"));
                    }
                    there
                }),
                "properties" => {
                    self.properties(says.as_object().unwrap(), value, at, wrong);
                    true
                }
                "additionalProperties" => {
                    assert_eq!(says, &Value::Bool(false));
                    let known = schema["properties"].as_object().unwrap();
                    let own = value.as_object().into_iter().flat_map(Map::keys);
                    let strange: Vec<_> = own.filter(|name| !known.contains_key(*name)).collect();
                    strange
                        .iter()
                        .for_each(|name| wrong.push(format!("{at} has {name}")));
                    strange.is_empty()
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.walk(says, item, &format!("{at}[{index}]"), wrong);
                    }
                    true
                }
                other => panic!("{other} is not looked at"),
            };
            if !holds {
                wrong.push(format!("{at} breaks {keyword} {says}: {value}"));
            }
        }
    }

    fn properties(
        &self,
        known: &Map<String, Value>,
        value: &Value,
        at: &str,
        wrong: &mut Vec<String>,
    ) {
        for (name, schema) in known {
            if let Some(value) = value.get(name) {
                self.walk(schema, value, &format!("{at}.{name}"), wrong);
            }
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other} is not looked at"),
    }
}

/// The one pattern that there is.
fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64
        && hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
