//! The head of a plain request. What the lean path takes, a second reader reads in the same way; what it writes is
//! exactly one request, with nothing that a client may not say, and everything else of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ward_fuzz::HOP;
use ward_fuzz::http1::{self, Head, Lines};
use ward_gateway::fuzzing::{Asked, Plain, ask};

fuzz_target!(|data: &[u8]| {
    let Some((&which, input)) = data.split_first() else {
        return;
    };
    let link = which & 1 == 1;
    let read = http1::head(input, Lines::Lenient);
    match ask(input, link) {
        Asked::Odd => {}
        Asked::Partial => assert_eq!(read, None, "a whole head is waited for"),
        Asked::Plain(plain) => {
            let head = read.expect("what is plain is a head");
            same(&plain, &head);
            let body = plain.body.clone();
            assert_eq!(body.start, head.length);
            one_request(&plain, &head, link);
            before_its_end(input, head.length, usize::from(which), link);
        }
    }
});

fn same(plain: &Plain, head: &Head<'_>) {
    let request = head.request().expect("a plain request has three words");
    assert_eq!(request, [&*plain.method, &*plain.target, "HTTP/1.1"]);
    let hosts: Vec<&[u8]> = head.all("host").collect();
    assert_eq!(hosts, [plain.authority.as_bytes()]);
    let port = plain.authority.strip_prefix(&*plain.host);
    let port = port.expect("the authority begins with the host");
    assert!(port.is_empty() || port[1..].parse::<u32>().is_ok() && port.starts_with(':'));
    let lengths: Vec<&[u8]> = head.all("content-length").collect();
    let length = match lengths[..] {
        [] => 0,
        [one] => std::str::from_utf8(one).unwrap().parse().unwrap(),
        _ => panic!("{lengths:?} are plain"),
    };
    assert_eq!(plain.body.len(), length);
    for name in ["transfer-encoding", "upgrade", "expect", "te", "trailer"] {
        assert_eq!(head.all(name).count(), 0, "{name} is plain");
    }
    let mut closes = false;
    for value in head.all("connection") {
        closes |= value.eq_ignore_ascii_case(b"close");
        assert!(closes || value.eq_ignore_ascii_case(b"keep-alive"));
    }
    assert_eq!(plain.closes, closes);
    let traces = head.all("traceparent").count();
    assert!(traces == 1 || traces == 0 && head.all("tracestate").count() == 0);
    let first = head.all("x-request-id").next();
    let word = |value: &[u8]| {
        value.len() <= 128
            && value
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let id = first.filter(|value| !value.is_empty() && word(value));
    assert_eq!(plain.id.as_deref().map(str::as_bytes), id);
}

/// What an instance reads: the head as it is written, and the gateway's own lines behind it.
fn one_request(plain: &Plain, head: &Head<'_>, link: bool) {
    let whole = [&plain.written[..], b"x-own: 1\r\n\r\n"].concat();
    let read = http1::head(&whole, Lines::Strict).expect("what is written is a head");
    assert_eq!(read.length, whole.len(), "it is two requests");
    let (method, target) = (&*plain.method, &*plain.target);
    assert_eq!(read.request(), Some([method, target, "HTTP/1.1"]));
    let (own, passed) = read.fields.split_last().unwrap();
    assert_eq!(own, &("x-own".to_owned(), &b"1"[..]));
    let fields = head.fields.iter();
    let expected: Vec<_> = fields
        .filter(|(name, _)| passes(name, link))
        .cloned()
        .collect();
    assert_eq!(passed, expected);
}

fn passes(name: &str, link: bool) -> bool {
    let own = ["x-request-id"];
    // What an application may not tell apart.
    let folded = name.replace('_', "-");
    let claim = match link {
        true => folded.starts_with("ward-"),
        false => {
            folded.starts_with("ward-")
                || folded.starts_with("x-forwarded-")
                || folded == "x-real-ip"
                || folded == "x-envoy-expected-rq-timeout-ms"
                || name == "forwarded"
        }
    };
    !HOP.contains(&name) && !own.contains(&name) && !claim
}

/// A head that has not come whole is not taken for another one, and what follows it changes nothing.
fn before_its_end(input: &[u8], length: usize, cut: usize, link: bool) {
    let cut = cut * length / 256;
    assert!(
        !matches!(ask(&input[..cut], link), Asked::Plain(_)),
        "{cut}"
    );
    let alone = ask(&input[..length], link);
    assert_eq!(format!("{alone:?}"), format!("{:?}", ask(input, link)));
}
