//! Who somebody is: `uid:1000(anna)` in the log, and what people write for that.

/// The number, and the name that the machine knew it by, where it knew one.
fn parts(who: &str) -> (&str, Option<&str>) {
    match who.split_once('(') {
        Some((id, rest)) => (id, rest.strip_suffix(')')),
        None => (who, None),
    }
}

/// The name of `uid:1000(anna)`.
#[must_use]
pub fn name(who: &str) -> Option<&str> {
    parts(who).1
}

/// Whether `uid:1000`, `anna` or `uid:1000(anna)`, as people write it, is `who`.
#[must_use]
pub fn is(who: &str, written: &str) -> bool {
    let (id, name) = parts(who);
    written == who || written == id || Some(written) == name
}

/// Whether two are one person: a number stays who it is, whatever name the machine knows it by meanwhile.
#[must_use]
pub fn same(who: &str, other: &str) -> bool {
    parts(who).0 == parts(other).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_known_by_number_and_by_name() {
        let anna = "uid:1000(anna)";
        for written in ["uid:1000", "anna", anna] {
            assert!(is(anna, written), "{written}");
        }
        for other in ["uid:100", "ann", "uid:1000(bert)", ""] {
            assert!(!is(anna, other), "{other}");
        }
        assert!(same(anna, "uid:1000") && same(anna, "uid:1000(bert)") && !same(anna, "uid:100"));
        assert_eq!((name(anna), name("uid:1000")), (Some("anna"), None));
    }
}
