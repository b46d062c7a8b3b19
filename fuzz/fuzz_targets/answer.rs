//! The head of an instance's answer. Status and end of the body are read as RFC 9112 has them, and what the client
//! is sent is exactly one head whose body ends in one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ward_fuzz::HOP;
use ward_fuzz::http1::{self, Head, Lines};
use ward_gateway::fuzzing::{Answered, Ends, Whole, answer};

fuzz_target!(|data: &[u8]| {
    let Some((&which, input)) = data.split_first() else {
        return;
    };
    let of_head = which & 1 == 1;
    let read = http1::head(input, Lines::Lenient);
    match answer(input, of_head) {
        Answered::Malformed => {}
        Answered::Partial => assert_eq!(read, None, "a whole head is waited for"),
        Answered::Interim(length) => {
            let head = read.expect("an interim answer is a head");
            let (_, status) = head.response().expect("it has a status");
            assert!((100..200).contains(&status) && status != 101 && length == head.length);
        }
        Answered::Whole(whole) => {
            let head = read.expect("an answer is a head");
            let (version, status) = head.response().expect("an answer has a status");
            assert_eq!((whole.status, whole.length), (status, head.length));
            let ends = ends(&head, status, of_head);
            assert_eq!(whole.body, ends);
            assert!(!whole.keeps || may_keep(&head, version, ends));
            one_answer(&whole, &head, of_head);
        }
    }
});

/// Section 6.3.
fn ends(head: &Head<'_>, status: u16, of_head: bool) -> Ends {
    let codings: Vec<&[u8]> = head.all("transfer-encoding").collect();
    if let [one] = codings[..] {
        assert!(
            one.eq_ignore_ascii_case(b"chunked"),
            "another coding was taken"
        );
    } else {
        assert!(codings.is_empty(), "codings were taken");
    }
    let mut lengths = head.all("content-length");
    let length = lengths.next();
    assert!(
        lengths.all(|other| Some(other) == length),
        "two lengths were taken"
    );
    let number = |text| std::str::from_utf8(text).unwrap().parse().unwrap();
    match (
        of_head || matches!(status, 204 | 304),
        codings.is_empty(),
        length,
    ) {
        (true, ..) => Ends::AtOnce,
        (_, false, _) => Ends::Chunked,
        (_, _, Some(length)) => Ends::After(number(length)),
        (_, _, None) => Ends::WithTheConnection,
    }
}

fn may_keep(head: &Head<'_>, version: &[u8], ends: Ends) -> bool {
    let closes = tokens(head).iter().any(|token| token == "close");
    let both = head.all("transfer-encoding").next().is_some()
        && head.all("content-length").next().is_some();
    version == b"HTTP/1.1" && !closes && !both && ends != Ends::WithTheConnection
}

fn tokens(head: &Head<'_>) -> Vec<String> {
    let lines = head.all("connection");
    let words = lines.flat_map(|line| line.split(|byte| *byte == b','));
    words
        .map(|word| String::from_utf8_lossy(word.trim_ascii()).to_ascii_lowercase())
        .collect()
}

/// What the client reads.
fn one_answer(whole: &Whole, head: &Head<'_>, of_head: bool) {
    let read = http1::head(&whole.written, Lines::Strict).expect("what is written is a head");
    assert_eq!(read.length, whole.written.len(), "it is two answers");
    assert_eq!(read.response(), Some((&b"HTTP/1.1"[..], whole.status)));
    let one = |name: &str| {
        let all: Vec<&[u8]> = read.all(name).collect();
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied()
    };
    let (length, coding) = (one("content-length"), one("transfer-encoding"));
    match whole.body {
        // The length that another method would have (RFC 9110 section 8.6).
        Ends::AtOnce => {
            assert!(coding.is_none());
            assert!(
                length.is_none() || of_head || whole.status == 304,
                "204 has a length"
            );
        }
        Ends::After(bytes) => {
            assert_eq!(length, Some(bytes.to_string().as_bytes()));
            assert!(coding.is_none());
        }
        Ends::Chunked | Ends::WithTheConnection => {
            assert_eq!((length, coding), (None, Some(&b"chunked"[..])));
        }
    }
    assert_eq!(one("ward-instance"), Some(&b"web-r1-1"[..]));
    assert_eq!(one("ward-release"), Some(&b"r1"[..]));
    assert_eq!(one("x-request-id"), Some(&b"abc"[..]));
    let here = ["te", "upgrade"];
    let own = [
        "ward-instance",
        "ward-release",
        "ward-fault",
        "x-request-id",
    ];
    let framing = ["content-length", "transfer-encoding"];
    let listed = tokens(head);
    let hop = |name: &str| HOP.contains(&name) || here.contains(&name);
    assert!(!read.fields.iter().any(|(name, _)| hop(name)));
    let passes = |name: &String| {
        let name = name.as_str();
        let hop = hop(name) || listed.iter().any(|one| one == name);
        !hop && !own.contains(&name) && !framing.contains(&name)
    };
    let expected = head.fields.iter().filter(|(name, _)| passes(name));
    let dated = head.all("date").next().is_some() && !listed.iter().any(|one| one == "date");
    let told = read.fields.iter().filter(|(name, _)| {
        let name = name.as_str();
        !own.contains(&name) && !framing.contains(&name) && (dated || name != "date")
    });
    assert!(
        expected.eq(told),
        "{:?} became {:?}",
        head.fields,
        read.fields
    );
}
