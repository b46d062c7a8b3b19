//! Small things that clients say: how much time there is, tickets, names of requests, what is for one hop.
#![no_main]

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ward_fuzz::HOP;
use ward_gateway::fuzzing::{Sealed, callers_time, left, request_id, told_time};
use ward_types::secret::Secret;
use ward_types::table::TicketKey;
use ward_types::time::Millis;

fuzz_target!(|data: &[u8]| {
    let Some((&which, input)) = data.split_first() else {
        return;
    };
    match which % 5 {
        0 => times(input),
        1 => told(input),
        2 => tickets(input),
        3 => names(input),
        _ => hops(input),
    }
});

/// Milliseconds, and what gRPC over HTTP/2 has: up to eight digits and a unit.
fn times(input: &[u8]) {
    let mut values = input.splitn(2, |byte| *byte == b'\n');
    let (own, call) = (values.next().unwrap_or(b""), values.next());
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_bytes(own) else {
        return;
    };
    headers.insert("x-envoy-expected-rq-timeout-ms", value);
    if let Some(call) = call {
        let Ok(value) = HeaderValue::from_bytes(call) else {
            return;
        };
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-timeout", value);
    }
    let number = |digits: &[u8], most: usize| {
        let good = digits.len() <= most && digits.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(digits).ok().filter(|_| good)?;
        text.parse::<u128>().ok()
    };
    let own = number(own, 15).map(|millis| millis * 1_000_000);
    let call = call.and_then(|call| {
        let (unit, digits) = call.split_last()?;
        let unit = match unit {
            b'H' => 3_600_000_000_000,
            b'M' => 60_000_000_000,
            b'S' => 1_000_000_000,
            b'm' => 1_000_000,
            b'u' => 1_000,
            b'n' => 1,
            _ => return None,
        };
        Some(number(digits, 8)? * unit)
    });
    let expected = own.into_iter().chain(call).min();
    let found = callers_time(headers).map(|time| time.as_nanos());
    // Whole milliseconds, and never less than was said.
    let expected = expected.map(|nanos| nanos.div_ceil(1_000_000) * 1_000_000);
    assert_eq!(found, expected);
}

fn told(input: &[u8]) {
    let Some(millis) = input.first_chunk::<8>() else {
        return;
    };
    let left = Duration::from_millis(u64::from_be_bytes(*millis));
    let text = told_time(left);
    let (digits, unit) = text.split_at(text.len() - 1);
    assert!(digits.len() <= 8, "{text}");
    let count: u64 = digits.parse().unwrap();
    let told = match unit {
        "m" => Duration::from_millis(count),
        "S" => Duration::from_secs(count),
        _ => panic!("{text}"),
    };
    assert!(told <= left, "more time is told than there is");
    assert!(left - told < Duration::from_secs(1) || count == 99_999_999);
}

/// A ticket that was not made here opens nothing, whatever key was handed over.
fn tickets(input: &[u8]) {
    let (text, rest) = input.split_at(input.len().min(96));
    let text = String::from_utf8_lossy(text).into_owned();
    let key = TicketKey {
        secret: Secret::new(text),
        age: Millis(u64::from(rest.first().copied().unwrap_or(0)) << 20),
    };
    let one = Sealed::new(&[key]);
    let ticket = one.seal(rest).expect("there is always a key");
    assert_eq!(one.open(&ticket).as_deref(), Some(rest));
    let other = Sealed::new(&one.keys());
    assert_eq!(other.open(&ticket).as_deref(), Some(rest));
    assert_eq!(one.open(input), None);
    let mut broken = ticket;
    for (place, change) in input.chunks_exact(2).map(|pair| (pair[0], pair[1])) {
        let place = usize::from(place) % broken.len();
        broken[place] ^= change | 1;
        assert_eq!(one.open(&broken), None);
        broken[place] ^= change | 1;
    }
}

fn names(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return;
    };
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = (1..=128).contains(&input.len()) && input.iter().all(word);
    assert_eq!(request_id(value.clone()), good.then_some(value));
}

/// RFC 9110 section 7.6.1.
fn hops(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
    });
    let lines: Vec<_> = lines.collect();
    let left = left(&lines);
    let here = ["te", "transfer-encoding", "upgrade"];
    let connections = lines.iter().filter(|(name, _)| name == "connection");
    let listed: Vec<String> = connections
        // What is no text names nothing.
        .filter_map(|(_, value)| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .collect();
    for (name, value) in &lines {
        let listed = name != "host" && listed.iter().any(|one| one == name.as_str());
        let goes = HOP.contains(&name.as_str()) || here.contains(&name.as_str()) || listed;
        let stays = left.get_all(name).iter().any(|one| one == value);
        assert_eq!(stays, !goes, "{name}");
    }
}
