//! "Did you mean": the candidate that a person most likely had in mind.

/// The candidate that is closest to `text`, if one is close enough to be a slip of the finger.
#[must_use]
pub fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Very long texts are no slip of the finger, and comparing them costs the square of their length.
    if text.len() > 64 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != text && !is_opposite(&lower, candidate))
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= allowed(candidate))
        .min_by(|(a, left), (b, right)| {
            let likeness = |name: &str| strsim::jaro_winkler(&lower, name);
            a.cmp(b)
                .then_with(|| likeness(right).total_cmp(&likeness(left)))
        })
        .map(|(_, candidate)| candidate.to_owned())
}

/// `reversible` is no slip for `irreversible`.
fn is_opposite(text: &str, candidate: &str) -> bool {
    let prefix = candidate.strip_suffix(text).unwrap_or_default();
    ["ir", "in", "un", "non"].contains(&prefix)
}

fn allowed(candidate: &str) -> usize {
    match candidate.chars().count() {
        0..=1 => 0,
        2..=4 => 1,
        5..=7 => 2,
        _ => 3,
    }
}

/// `a` or `one of a, b`, for the words "expected …".
pub(crate) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "one that is declared".to_owned(),
        [one] => one.clone(),
        many => format!("one of {}", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["health", "instances", "env"];
        assert_eq!(closest("helth", keys).as_deref(), Some("health"));
        assert_eq!(closest("Instances", keys).as_deref(), Some("instances"));
        assert_eq!(closest("en", keys).as_deref(), Some("env"));
        assert_eq!(closest("volume", keys), None);
        assert_eq!(closest("reversible", ["irreversible"]), None);
        assert_eq!(
            closest("irreversibel", ["irreversible"]).as_deref(),
            Some("irreversible")
        );
        assert_eq!(closest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn variables_are_in_capitals() {
        assert_eq!(closest("API_KYE", ["API_KEY"]).as_deref(), Some("API_KEY"));
    }

    #[test]
    fn choices_read_as_english() {
        assert_eq!(one_of(["a"]), "`a`");
        assert_eq!(one_of(["a", "b"]), "one of `a`, `b`");
    }
}
