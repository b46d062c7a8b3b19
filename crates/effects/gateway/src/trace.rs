//! Decision: which trace a request belongs to (W3C Trace Context, levels 1 and 2, `traceparent` and `tracestate`).
//!
//! - One `traceparent` that the specification lets pass goes on unchanged, and `tracestate` with it: the gateway has no
//!   spans of its own to put between. So from clients and over links alike.
//! - One that is malformed, or given twice, is dropped together with `tracestate`, and so is `tracestate` alone.
//! - Where none is left one is made, unless whoever runs the gateway wants none ([`Traces`]). Its trace id is the
//!   request id where the gateway made that too, so that there is one name less to look for. It says "sampled": the
//!   access log has every request under its trace id, and "not sampled" would tell applications that ask their caller,
//!   as most do, to record nothing.
//!
//! The trace id is in the access log.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::balance::Lots;

/// The header that names trace and caller.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems say to each other beside it.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How long a trace id is, in hexadecimal digits.
pub(crate) const ID: usize = 32;
/// `00-`, trace id, `-`, parent id, `-`, flags.
const LENGTH: usize = 55;

/// What becomes of a request that belongs to no trace yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traces {
    /// It stays so.
    Passed,
    /// It begins a trace that its caller does not record.
    Unsampled,
    /// It begins a trace that its caller records.
    #[default]
    Sampled,
}

/// A trace that begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made([u8; LENGTH]);

impl Made {
    /// One for a request whose id the gateway made, or that has another name.
    pub(crate) fn new(traces: Traces, id: Option<&[u8]>, lots: &Lots) -> Option<Self> {
        // Level 2's second bit: the trace id is random.
        let flags = match traces {
            Traces::Passed => return None,
            Traces::Unsampled => b"-02",
            Traces::Sampled => b"-03",
        };
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        match id.and_then(|id| id.first_chunk::<ID>()) {
            Some(id) => value[3..35].copy_from_slice(id),
            None => {
                digits(&mut value[3..19], lots.next());
                digits(&mut value[19..35], lots.next());
            }
        }
        digits(&mut value[36..52], lots.next());
        value[52..].copy_from_slice(flags);
        Some(Self(value))
    }

    /// The header's value.
    pub(crate) fn value(&self) -> &[u8] {
        &self.0
    }

    /// The trace id.
    pub(crate) fn id(&self) -> [u8; ID] {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0[3..35]);
        id
    }
}

fn digits(out: &mut [u8], number: u64) {
    let places = out.iter_mut().zip((0..16).rev());
    places.for_each(|(digit, at)| {
        *digit = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15];
    });
}

/// The trace id in a `traceparent` that may be passed on (section 3.2). Of a version that is not known yet only what it
/// has in common with the known one is looked at.
pub(crate) fn id(value: &[u8]) -> Option<&[u8; ID]> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    let version = &known[..2];
    let ends = match version {
        b"00" => rest.is_empty(),
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let good = hex(version) && version != b"ff" && ends && dashes;
    let good = good && some(&known[3..35]) && some(&known[36..52]) && hex(&known[53..]);
    known[3..].first_chunk().filter(|_| good)
}

/// Settles it in a head: what may not pass goes, and what was made takes its place. The trace id.
pub(crate) fn settle(
    headers: &mut HeaderMap,
    make: impl FnOnce() -> Option<Made>,
) -> Option<[u8; ID]> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let first = given.next().filter(|_| given.next().is_none());
    if let Some(id) = first.and_then(|value| id(value.as_bytes())) {
        return Some(*id);
    }
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    let made = make()?;
    let value = HeaderValue::from_bytes(made.value());
    let value = value.expect("digits and hyphens may stand in a header");
    headers.insert(TRACEPARENT, value);
    Some(made.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_the_specification_lets_pass() {
        let digits = &GOOD.as_bytes()[3..35];
        for good in [
            GOOD.to_owned(),
            GOOD.replace("-01", "-ff"),
            GOOD.replace("00-", "01-"),
            GOOD.replace("00-", "cc-") + "-what-the-future-brings",
            GOOD.replace("00-", "fe-") + "-",
        ] {
            assert_eq!(id(good.as_bytes()).unwrap(), digits, "{good}");
        }
        let nothing = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            GOOD[..54].to_owned(),
            GOOD.to_owned() + "-",
            GOOD.to_owned() + "-01",
            GOOD.to_owned() + "0",
            GOOD.to_uppercase(),
            GOOD.replace("00-", "ff-"),
            GOOD.replace("00-", "0g-"),
            GOOD.replace("00-", "cc-") + ".x",
            GOOD.replace("-01", "-0x"),
            GOOD.replace("-01", "_01"),
            GOOD.replace('-', " "),
            GOOD.replace("b7ad6b7169203331", &nothing[..16]),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &nothing),
            format!(" {GOOD}"),
        ] {
            assert_eq!(id(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_made_may_be_passed_on_and_has_the_name_that_there_is() {
        let lots = Lots::new();
        let own = b"0123456789abcdef0123456789abcdef";
        for (traces, flags) in [
            (Traces::Sampled, &b"-03"[..]),
            (Traces::Unsampled, &b"-02"[..]),
        ] {
            let made = Made::new(traces, Some(own), &lots).unwrap();
            assert_eq!(id(made.value()), Some(own));
            assert_eq!(made.id(), *own);
            assert!(made.value().ends_with(flags));
            let [one, other] = [(); 2].map(|()| Made::new(traces, None, &lots).unwrap());
            assert_eq!(id(one.value()), Some(&one.id()));
            assert_ne!(one.id(), other.id());
            assert_ne!(one.value()[36..52], other.value()[36..52]);
        }
        assert_eq!(Made::new(Traces::Passed, Some(own), &lots), None);
    }

    #[test]
    fn state_goes_with_the_parent_that_it_belongs_to() {
        let lots = Lots::new();
        let made = Made::new(Traces::Sampled, None, &lots).unwrap();
        let settled = |parents: &[&str], make: Option<Made>| {
            let mut headers = HeaderMap::new();
            headers.append("tracestate", HeaderValue::from_static("a=1"));
            headers.append("tracestate", HeaderValue::from_static("b=2"));
            for parent in parents {
                headers.append(TRACEPARENT, parent.parse().unwrap());
            }
            let id = settle(&mut headers, || make);
            let parents = headers.get_all(TRACEPARENT).iter();
            let parents: Vec<Vec<u8>> = parents.map(|one| one.as_bytes().to_vec()).collect();
            (id, parents, headers.get_all(TRACESTATE).iter().count())
        };
        let own = id(GOOD.as_bytes()).copied();
        let kept = (own, vec![GOOD.as_bytes().to_vec()], 2);
        assert_eq!(settled(&[GOOD], Some(made)), kept);
        for none in [&[][..], &["00-bad"], &[GOOD, GOOD], &["00-bad", GOOD]] {
            let anew = (Some(made.id()), vec![made.value().to_vec()], 0);
            assert_eq!(settled(none, Some(made)), anew, "{none:?}");
            assert_eq!(settled(none, None), (None, vec![], 0), "{none:?}");
        }
    }
}
