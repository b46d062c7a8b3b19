//! The corpus: what a request's fields and its body can be, one thing of it wrong or odd, and mutations of that.

use super::frames::Field;
use crate::random::Random;

/// How many mutations there are.
const MUTATIONS: usize = 300;

/// What is sent on one stream.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its number, which is in its path.
    pub id: usize,
    pub family: &'static str,
    pub fields: Vec<Field>,
    /// The DATA frames; none: the header section ends the stream.
    pub data: Vec<Vec<u8>>,
    pub trailers: Vec<Field>,
    /// Whether the request behind it comes along, or once it is answered.
    pub along: bool,
    /// Whether nothing is wrong with it: it must be answered with 200.
    pub good: bool,
    host: String,
}

impl Case {
    /// The fields of the request that comes behind it.
    pub fn canary(&self) -> Vec<Field> {
        let path = format!("/canary/{:05}", self.id);
        head(&self.host, "GET", &path)
    }

    pub fn method(&self) -> &[u8] {
        self.value(b":method")
    }

    pub fn target(&self) -> &[u8] {
        self.value(b":path")
    }

    fn value(&self, name: &[u8]) -> &[u8] {
        let found = self.fields.iter().find(|field| field.0 == name);
        found.map_or(&[], |field| &field.1)
    }
}

fn field(name: &str, value: &str) -> Field {
    (latin(name), latin(value))
}

/// A letter is a byte.
fn latin(text: &str) -> Vec<u8> {
    let byte = |letter| u8::try_from(u32::from(letter)).expect("a letter of the corpus is a byte");
    text.chars().map(byte).collect()
}

fn head(host: &str, method: &str, path: &str) -> Vec<Field> {
    vec![
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", host),
    ]
}

/// All cases for an origin of this host.
pub fn corpus(host: &str, seed: u64) -> Vec<Case> {
    let mut book = Book {
        host: host.to_owned(),
        cases: Vec::new(),
    };
    methods(&mut book);
    targets(&mut book);
    schemes(&mut book);
    hosts(&mut book);
    pseudo(&mut book);
    names(&mut book);
    values(&mut book);
    lengths(&mut book);
    bodies(&mut book);
    trailers(&mut book);
    mutations(&mut book, seed);
    book.cases
}

struct Book {
    host: String,
    cases: Vec<Case>,
}

/// What a case has beside its head: more fields, DATA and trailers.
#[derive(Default)]
struct More<'a> {
    fields: &'a [(&'a str, &'a str)],
    data: &'a [&'a str],
    trailers: &'a [(&'a str, &'a str)],
}

impl Book {
    /// A request in lines, which a header of HTTP/1.1 or a body would become.
    fn smuggled(&self) -> String {
        let (host, id) = (&self.host, self.cases.len());
        format!("GET /smuggled/{id:05} HTTP/1.1\r\nHost: {host}\r\nX-Smuggled: 1\r\n\r\n")
    }

    fn path(&self) -> String {
        format!("/c/{:05}", self.cases.len())
    }

    /// With this head, whatever it is.
    fn push(&mut self, family: &'static str, good: bool, fields: Vec<Field>, data: &[&str]) {
        let id = self.cases.len();
        self.cases.push(Case {
            id,
            family,
            fields,
            data: data.iter().map(|data| latin(data)).collect(),
            trailers: Vec::new(),
            along: id.is_multiple_of(2),
            good,
            host: self.host.clone(),
        });
    }

    /// With a head that is good, and more.
    fn more(&mut self, family: &'static str, good: bool, method: &str, more: More<'_>) {
        let mut fields = head(&self.host, method, &self.path());
        let fill = |text: &str| {
            text.replace("@H", &self.host)
                .replace("@S", &self.smuggled())
        };
        let filled = |(name, value): &(&str, &str)| field(&fill(name), &fill(value));
        fields.extend(more.fields.iter().map(filled));
        let trailers: Vec<Field> = more.trailers.iter().map(filled).collect();
        let data: Vec<String> = more.data.iter().map(|data| fill(data)).collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        self.push(family, good, fields, &data);
        if let Some(last) = self.cases.last_mut() {
            last.trailers = trailers;
        }
    }
}

fn methods(book: &mut Book) {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "POST", "PATCH"] {
        book.more("method", true, method, More::default());
    }
    for method in [
        "get",
        "FOO",
        "PROPFIND",
        "M-SEARCH",
        "TRACE",
        "PRI",
        "CONNECT",
        "",
        " GET",
        "GET ",
        "\tGET",
        "G ET",
        "GET\r\n",
        "GET\n",
        "GET\r",
        "G\0ET",
        "GET\u{b}",
        "GET\u{a0}",
        "G\u{e9}T",
        "GET:",
        "GET/",
        "\"GET\"",
        "\u{ff}",
        "X!#$%&'*+-.^_`|~",
    ] {
        book.more("method", false, method, More::default());
    }
    let smuggled = book.smuggled();
    for method in [
        format!("{smuggled}GET"),
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\nGET", book.host),
        format!("GET /c/{:05} HTTP/1.1\r\nX: y", book.cases.len()),
        format!(
            "GET /c/{:05} HTTP/1.1\nTransfer-Encoding: chunked\n",
            book.cases.len()
        ),
        "A".repeat(9000),
    ] {
        book.more("method", false, &method, More::default());
    }
}

fn targets(book: &mut Book) {
    for end in [
        "",
        "?a=b&c=d",
        "?",
        "/%2f/x",
        "/a;b=c",
        "/a=b/@x/!$&'()*+,",
        "?x=http://other/",
    ] {
        let path = book.path() + end;
        let fields = head(&book.host, "GET", &path);
        book.push("path", true, fields, &[]);
    }
    for end in [
        " ",
        " HTTP/1.1",
        " HTTP/1.1\r\nX-Smuggled: 1",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\t",
        "\u{b}",
        "\u{7f}",
        "\u{80}",
        "\u{e9}",
        "\u{ff}",
        "#x",
        "#",
        "?a b",
        "?a\r\nb",
        "?a#b",
        "\\x",
        "/../x",
        "/./x",
        "%",
        "%zz",
        "%00",
        "%0d%0aX-Smuggled:%201",
        "/..;/x",
        "\"",
        "<>",
        "{}",
        "|",
        "^",
        "`",
    ] {
        let path = book.path() + end;
        let fields = head(&book.host, "GET", &path);
        book.push("path", false, fields, &[]);
    }
    let smuggled = book.smuggled();
    for end in [
        format!(" HTTP/1.1\r\nHost: {}\r\n\r\n{smuggled}", book.host),
        format!(" HTTP/1.1\nHost: {}\n\n{smuggled}", book.host),
        format!("?x HTTP/1.1\r\nContent-Length: 0\r\n\r\n{smuggled}GET /x"),
    ] {
        let path = book.path() + &end;
        let fields = head(&book.host, "GET", &path);
        book.push("path", false, fields, &[]);
    }
    for path in [
        "",
        "*",
        "**",
        "c/00000",
        "http://other.localhost/c/1",
        "http://@H/c/1",
        "@H",
        "@H:80",
        " /c/1",
        "\r\n/c/1",
        "//c/1",
        "\\c\\1",
        "?x",
        "#x",
        "/",
        ".",
        "..",
        "/..",
    ] {
        let path = path.replace("@H", &book.host);
        let fields = head(&book.host, "GET", &path);
        book.push("path", false, fields, &[]);
    }
    let host = book.host.clone();
    book.push("path", false, head(&host, "OPTIONS", "*"), &[]);
}

fn schemes(book: &mut Book) {
    for scheme in [
        "https",
        "HTTP",
        "ftp",
        "",
        "http ",
        " http",
        "http:",
        "http://",
        "javascript",
        "http\r\nX-Smuggled: 1",
        "http\n",
        "http\0",
        "http://@H/c/1?",
        "\u{e9}",
        "a".repeat(5000).as_str(),
    ] {
        let mut fields = head(&book.host, "GET", &book.path());
        fields[1] = field(":scheme", &scheme.replace("@H", &book.host));
        book.push("scheme", false, fields, &[]);
    }
}

fn hosts(book: &mut Book) {
    for authority in [
        "@H",
        "@H:80",
        "@H:",
        "@H:99999",
        "@H:x",
        "@H:80:80",
        "user@@H",
        "user:secret@@H",
        "@H/",
        "@H/c/1",
        "@H?x",
        "@H#x",
        "@H\\x",
        " @H",
        "@H ",
        "@H\t",
        "@H\r\nX-Smuggled: 1",
        "@H\n",
        "@H\0",
        "@H,other",
        "@H other",
        "other.localhost",
        "",
        "[::1]",
        "[::1",
        "%40",
        "@H%00",
        "@H.",
        ".@H",
        "\u{e9}.localhost",
        "@H\r\n\r\n@S",
        "@U",
    ] {
        for hosts in [&[][..], &["@H"], &["other.localhost"], &["@H", "@H"]] {
            let fill = |text: &str| {
                let text = text.replace("@@H", &format!("@{}", book.host));
                text.replace("@U", &book.host.to_ascii_uppercase())
                    .replace("@H", &book.host)
                    .replace("@S", &book.smuggled())
            };
            let mut fields = head(&book.host, "GET", &book.path());
            fields[3] = field(":authority", &fill(authority));
            fields.extend(hosts.iter().map(|host| field("host", &fill(host))));
            book.push("host", authority == "@H" && hosts.is_empty(), fields, &[]);
        }
    }
    for hosts in [
        &["@H"][..],
        &["@H", "other.localhost"],
        &["@H", "@H"],
        &["@H:80"],
        &[""],
        &["@H\r\nX: y"],
        &[],
    ] {
        let mut fields = head(&book.host, "GET", &book.path());
        fields.remove(3);
        let host = |host: &&str| field("host", &host.replace("@H", &book.host));
        fields.extend(hosts.iter().map(host));
        book.push("host", hosts == ["@H"], fields, &[]);
    }
}

fn pseudo(book: &mut Book) {
    for at in 0..4 {
        let fields = head(&book.host, "GET", &book.path());
        let mut missing = fields.clone();
        missing.remove(at);
        book.push("pseudo", false, missing, &[]);
        for value in [
            fields[at].1.clone(),
            b"/smuggled".to_vec(),
            b"POST".to_vec(),
        ] {
            let mut fields = head(&book.host, "GET", &book.path());
            let name = fields[at].0.clone();
            fields.push((name, value));
            book.push("pseudo", false, fields, &[]);
        }
        // Behind a header.
        let mut fields = head(&book.host, "GET", &book.path());
        let moved = fields.remove(at);
        fields.extend([field("x-before", "1"), moved]);
        book.push("pseudo", false, fields, &[]);
    }
    for (name, value) in [
        (":status", "200"),
        (":protocol", "websocket"),
        (":foo", "bar"),
        (":", "x"),
        (":Method", "GET"),
        (":method ", "GET"),
        (":path\r\nx", "/"),
        ("::path", "/"),
        (":host", "other.localhost"),
        (":authority ", "x"),
    ] {
        book.more(
            "pseudo",
            false,
            "GET",
            More {
                fields: &[(name, value)],
                ..More::default()
            },
        );
    }
    // In another order they are as good.
    let mut fields = head(&book.host, "GET", &book.path());
    fields.reverse();
    book.push("pseudo", true, fields, &[]);
}

fn names(book: &mut Book) {
    for (name, value) in [
        ("x-a", "1"),
        ("x_b", "1"),
        ("a", ""),
        ("!#$%&'*+-.^_`|~", "1"),
        ("te", "trailers"),
        ("cookie", "a=b"),
    ] {
        book.more(
            "name",
            true,
            "GET",
            More {
                fields: &[(name, value)],
                ..More::default()
            },
        );
    }
    for name in [
        "X-Upper",
        "Transfer-Encoding",
        "x y",
        " x",
        "x ",
        "x\t",
        "x:",
        "x:y",
        "x\r\ny",
        "x\n",
        "x\r",
        "x\0",
        "",
        "x\u{e9}",
        "\u{ff}",
        "x(",
        "x\"",
        "x/",
        "x,",
        "x\u{7f}",
        "content-length ",
        " content-length",
        "content-length:",
        "content_length",
        "transfer-encoding",
        "transfer-encoding ",
        "transfer_encoding",
        "transfer-encoding\r\nx",
        "connection",
        "proxy-connection",
        "keep-alive",
        "upgrade",
        "te",
        "http2-settings",
        "host ",
        "x\r\nTransfer-Encoding",
        "x: y\r\nTransfer-Encoding",
        "trailer",
        "x: y\r\n\r\n@S",
        "GET /smuggled HTTP/1.1\r\nhost",
    ] {
        for (value, data) in [
            ("chunked", &["0\r\n\r\n@S"][..]),
            ("7", &["@S"]),
            ("close", &[]),
        ] {
            let method = if data.is_empty() { "GET" } else { "POST" };
            let fields = [(name, value)];
            book.more(
                "name",
                false,
                method,
                More {
                    fields: &fields,
                    data,
                    ..More::default()
                },
            );
        }
    }
}

fn values(book: &mut Book) {
    for value in [
        "",
        "x",
        "a, b",
        "a\tb",
        "\"quoted\"",
        "a:b",
        "caf\u{e9}",
        &"v".repeat(4000),
    ] {
        book.more(
            "value",
            true,
            "GET",
            More {
                fields: &[("x-a", value)],
                ..More::default()
            },
        );
    }
    let crumbs = [
        ("cookie", "a=b"),
        ("x-a", "1"),
        ("cookie", "c=d"),
        ("cookie", "e=f"),
    ];
    book.more(
        "cookies",
        true,
        "GET",
        More {
            fields: &crumbs,
            ..More::default()
        },
    );
    let same = [("x-a", "1"), ("x-b", "2"), ("x-a", "3")];
    book.more(
        "value",
        true,
        "GET",
        More {
            fields: &same,
            ..More::default()
        },
    );
    for name in [
        "x-a",
        "cookie",
        "content-type",
        "x-forwarded-for",
        "x-request-id",
        "expect",
        "te",
        "accept",
    ] {
        for value in [
            " x",
            "x ",
            "\tx",
            "x\r\ny: z",
            "x\ny: z",
            "x\ry: z",
            "x\0",
            "x\u{7f}",
            "x\u{1}",
            "x\r\n",
            "\r\nx",
            "x\r\n y",
            "x\r\nTransfer-Encoding: chunked",
            "x\r\nContent-Length: 100",
            "x\r\n\r\n@S",
            "x\n\n@S",
        ] {
            book.more(
                "value",
                false,
                "GET",
                More {
                    fields: &[(name, value)],
                    ..More::default()
                },
            );
        }
    }
}

fn lengths(book: &mut Book) {
    for method in ["POST", "PUT", "GET", "DELETE", "HEAD", "OPTIONS"] {
        let right = [("content-length", "5")];
        book.more(
            "length",
            method == "POST",
            method,
            More {
                fields: &right,
                data: &["hello"],
                ..More::default()
            },
        );
        book.more(
            "length",
            method == "POST",
            method,
            More {
                data: &["hello"],
                ..More::default()
            },
        );
        for length in ["0", "4", "6", "500"] {
            let fields = [("content-length", length)];
            book.more(
                "length",
                false,
                method,
                More {
                    fields: &fields,
                    data: &["hello"],
                    ..More::default()
                },
            );
            book.more(
                "length",
                false,
                method,
                More {
                    fields: &fields,
                    ..More::default()
                },
            );
            book.more(
                "length",
                false,
                method,
                More {
                    fields: &fields,
                    data: &["@S"],
                    ..More::default()
                },
            );
        }
    }
    for lengths in [
        &["5", "5"][..],
        &["5", "6"],
        &["6", "5"],
        &["5", "0"],
        &["0", "5"],
        &["5, 5"],
        &["5,6"],
        &["+5"],
        &["-5"],
        &["05"],
        &["0x5"],
        &["5 "],
        &[" 5"],
        &["\t5"],
        &["5\r\n"],
        &["5\0"],
        &[""],
        &["five"],
        &["5.0"],
        &["5;x"],
        &["1e1"],
        &["18446744073709551621"],
        &["18446744073709551615"],
        &["\u{b2}"],
    ] {
        let fields: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        for data in [&["hello"][..], &["hello@S"], &[]] {
            book.more(
                "length",
                false,
                "POST",
                More {
                    fields: &fields,
                    data,
                    ..More::default()
                },
            );
        }
    }
}

fn bodies(book: &mut Book) {
    for data in [
        &[""][..],
        &["", ""],
        &["h", "e", "l", "l", "o"],
        &["", "hello", ""],
        &["0\r\n\r\n"],
        &["5\r\nhello\r\n0\r\n\r\n@S"],
        &["@S"],
        &["0\r\n\r\n@S"],
        &["\r\n@S"],
        &["\0\0\0"],
    ] {
        for method in ["POST", "PATCH"] {
            book.more(
                "body",
                true,
                method,
                More {
                    data,
                    ..More::default()
                },
            );
        }
        for method in ["GET", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
            book.more(
                "body",
                false,
                method,
                More {
                    data,
                    ..More::default()
                },
            );
        }
        for (name, value) in [
            ("expect", "100-continue"),
            ("expect", "200-ok"),
            ("te", "trailers"),
            ("te", "chunked"),
            ("content-encoding", "gzip"),
            ("trailer", "x-a"),
        ] {
            let fields = [(name, value)];
            book.more(
                "body",
                false,
                "POST",
                More {
                    fields: &fields,
                    data,
                    ..More::default()
                },
            );
        }
    }
    let long = "x".repeat(16_000);
    book.more(
        "body",
        true,
        "POST",
        More {
            data: &[&long, &long, &long],
            ..More::default()
        },
    );
    let fields = [("content-length", "48000")];
    book.more(
        "body",
        true,
        "POST",
        More {
            fields: &fields,
            data: &[&long, &long, &long],
            ..More::default()
        },
    );
}

fn trailers(book: &mut Book) {
    for trailers in [
        &[("x-a", "1")][..],
        &[("grpc-status", "0")],
        &[("X-A", "1")],
        &[("x-a", "1\r\nx-b: 2")],
        &[("x-a", "1\r\n\r\n@S")],
        &[("x a", "1")],
        &[("x\"", "1")],
        &[("x-a", "1 ")],
        &[("", "1")],
        &[("content-length", "5")],
        &[("transfer-encoding", "chunked")],
        &[("host", "other.localhost")],
        &[("connection", "close")],
        &[(":path", "/smuggled")],
        &[(":status", "200")],
        &[("te", "trailers")],
        &[("x-request-id", "1")],
        &[("x-forwarded-for", "10.0.0.1")],
        &[("authorization", "x")],
        &[("cookie", "a=b")],
    ] {
        for data in [&["hello"][..], &[], &["0\r\n\r\n@S"]] {
            for fields in [&[][..], &[("content-length", "5")], &[("trailer", "x-a")]] {
                book.more(
                    "trailers",
                    false,
                    "POST",
                    More {
                        fields,
                        data,
                        trailers,
                    },
                );
            }
        }
    }
}

/// What is put into names and values.
const BYTES: [u8; 18] = [
    b'\r', b'\n', b' ', b'\t', 0, b':', b';', b',', b'"', 0x0b, 0x0c, 0x85, 0xa0, 0xff, b'0', b'x',
    b'X', b'_',
];

fn mutations(book: &mut Book, seed: u64) {
    let grammar = book.cases.len();
    for _ in 0..MUTATIONS {
        let id = book.cases.len();
        let mut random = Random::new(seed, id as u64);
        let mut case = book.cases[random.below(grammar)].clone();
        let (old, new) = (format!("{:05}", case.id), format!("{id:05}"));
        for (_, value) in &mut case.fields {
            let at = value.windows(5).position(|five| five == old.as_bytes());
            if let Some(at) = at {
                value[at..at + 5].copy_from_slice(new.as_bytes());
            }
        }
        for _ in 0..=random.below(2) {
            mutate(&mut case.fields, &mut random);
        }
        case.along = random.below(2) == 0;
        (case.id, case.family, case.good) = (id, "mutation", false);
        book.cases.push(case);
    }
}

fn mutate(fields: &mut Vec<Field>, random: &mut Random) {
    if fields.is_empty() {
        return;
    }
    let at = random.below(fields.len());
    match random.below(8) {
        0 => {
            let twice = fields[at].clone();
            fields.push(twice);
        }
        1 => {
            fields.remove(at);
        }
        2 => {
            let other = random.below(fields.len());
            fields.swap(at, other);
        }
        3 => {
            let other = random.below(fields.len());
            fields[at].1 = fields[other].1.clone();
        }
        which => {
            let (name, value) = &mut fields[at];
            let bytes = if which < 6 { name } else { value };
            let place = random.below(bytes.len() + 1);
            match bytes.get_mut(place) {
                Some(byte) if random.below(2) == 0 => *byte = *random.of(&BYTES),
                _ => bytes.insert(place, *random.of(&BYTES)),
            }
        }
    }
}
