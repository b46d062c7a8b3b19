//! Where a body ends: lengths, codings, both together, and chunks.

use super::Book;

pub fn write(book: &mut Book) {
    lengths(book);
    codings(book);
    chunks(book);
}

fn lengths(book: &mut Book) {
    for line in [
        "Content-Length: 5",
        "content-length:5",
        "CONTENT-LENGTH:  5\t",
    ] {
        let head = format!("POST /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n");
        book.good("length", &format!("{head}hello"));
        book.good(
            "length",
            &format!("{head}helloGET /c/@N/second HTTP/1.1\r\n@L\r\n"),
        );
    }
    book.good(
        "length",
        "POST /c/@N HTTP/1.1\r\n@LContent-Length: 0\r\n\r\n",
    );
    for line in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 5\r\nContent-Length: ",
        "Content-Length: 5\r\ncontent-length: 05",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: 5,5",
        "Content-Length: 5, 6",
        "Content-Length: ,5",
        "Content-Length: 5,",
        "Content-Length: 5;",
        "Content-Length: 5;x=y",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: -1",
        "Content-Length: -0",
        "Content-Length: +0",
        "Content-Length: 0x5",
        "Content-Length: 0X5",
        "Content-Length: 5h",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: 5_0",
        "Content-Length: 1_0",
        "Content-Length: 5 0",
        "Content-Length: 5 5",
        "Content-Length: 5\t5",
        "Content-Length: \"5\"",
        "Content-Length: '5'",
        "Content-Length: (5)",
        "Content-Length: 05",
        "Content-Length: 0000000000000000000000005",
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: 9223372036854775808",
        "Content-Length: 4294967301",
        "Content-Length: 99999999999999999999999999999999",
        "Content-Length: NaN",
        "Content-Length: five",
        "Content-Length: ",
        "Content-Length:",
        "Content-Length: \u{0}5",
        "Content-Length: 5\0",
        "Content-Length: \u{b}5",
        "Content-Length: 5\u{b}",
        "Content-Length: \u{c}5",
        "Content-Length: 5\u{c}",
        "Content-Length: 5\u{85}",
        "Content-Length: 5\u{a0}",
        "Content-Length: \u{a0}5",
        "Content-Length: \u{b2}",
        "Content-Length: \u{d9}\u{a5}",
        "Content-Length: 5\r",
        "Content-Length: \r5",
        "Content-Length: 5\n",
        "Content-Length: 5\r\n 0",
        "Content-Length:\r\n 5",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content-Length\u{b}: 5",
        " Content-Length: 5",
        "X: y\r\n Content-Length: 5",
        "Content-Length\r\n: 5",
        "Content-Length 5",
        "Content-Length=5",
        "Content-Length;: 5",
        "Content\u{ad}-Length: 5",
        "Content-Length: 7",
        "Content-Length: 3",
        "Content-Length: 0",
        "Connection: Content-Length\r\nContent-Length: 5",
        "Connection: keep-alive, content-length\r\nContent-Length: 5",
    ] {
        book.bad(
            "length",
            &format!("POST /c/@N HTTP/1.1\r\n@L{line}\r\n\r\nhello@S"),
        );
        book.bad(
            "length",
            &format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n@S"),
        );
    }
    let smuggled = book.length("@S");
    for (line, body) in [
        (format!("Content-Length: {smuggled}"), "@S"),
        (
            format!("Content-Length: {smuggled}\r\nContent-Length: 0"),
            "@S",
        ),
        (
            format!("Content-Length: 0\r\nContent-Length: {smuggled}"),
            "@S",
        ),
        (format!("Content-Length: {}", smuggled - 1), "@S"),
        (format!("Content-Length: {}", smuggled + 1), "@S"),
        (format!("Content-Length : {smuggled}"), "@S"),
        (format!("Content-Length: +{smuggled}"), "@S"),
        (format!("Content-Length: {smuggled}, {smuggled}"), "@S"),
        (format!("Content-Length: 0, {smuggled}"), "@S"),
    ] {
        for method in ["POST", "GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "FOO"] {
            let head = format!("{method} /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n");
            book.bad("body of any method", &format!("{head}{body}"));
        }
    }
}

/// The ways to write `Transfer-Encoding: chunked` that some parser reads and another does not.
const CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: \tchunked \t",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\u{b}: chunked",
    "Transfer-Encoding\0: chunked",
    "Transfer-Encoding\u{a0}: chunked",
    "Transfer-Encoding\r: chunked",
    "Transfer-Encoding\n: chunked",
    "Transfer-Encoding\r\n: chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\r\r\nTransfer-Encoding: chunked",
    "X: y\n\rTransfer-Encoding: chunked",
    "X: y\0Transfer-Encoding: chunked",
    "\0Transfer-Encoding: chunked",
    "\u{ff}Transfer-Encoding: chunked",
    "\u{85}Transfer-Encoding: chunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding:\u{c}chunked",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: chunked\u{c}",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: chunked\u{85}",
    "Transfer-Encoding: chunked\u{a0}",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: \u{ff}chunked",
    "Transfer-Encoding: chunked\r",
    "Transfer-Encoding: \rchunked",
    "Transfer-Encoding:\nchunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\r\n\tchunked",
    "Transfer-Encoding: chunked\r\n ",
    "Transfer-Encoding: chunked\r\n x",
    "Transfer-Encoding: chun\r\n ked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunke",
    "Transfer-Encoding: x chunked",
    "Transfer-Encoding: chunked x",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity,chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: cow, chunked",
    "Transfer-Encoding: chunked, cow",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: cow",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: , chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: chunked, ",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked;",
    "Transfer-Encoding: chunked; x=\"y\"",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: (chunked)",
    "Transfer-Encoding: chunk\u{eb}d",
    "Transfer-Encoding: chunKed, Chunked",
    "Transfer-Encoding: ",
    "Transfer-Encoding:",
    "Transfer-Encoding",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding;: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
];

fn codings(book: &mut Book) {
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    for line in &CODINGS[..5] {
        let head = format!("POST /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n");
        book.good("coding", &format!("{head}{chunked}"));
        book.good(
            "coding",
            &format!("{head}{chunked}GET /c/@N/second HTTP/1.1\r\n@L\r\n"),
        );
    }
    let smuggled = book.length("@S");
    let chunk = format!("{smuggled:x}\r\n@S\r\n0\r\n\r\n");
    let whole = book.length(&chunk);
    for line in CODINGS {
        let post = "POST /c/@N HTTP/1.1\r\n@L";
        // By the coding alone.
        book.bad("coding", &format!("{post}{line}\r\n\r\n{chunked}@S"));
        // CL.TE: the length covers what is smuggled, the coding ends before it.
        let body = "0\r\n\r\n@S";
        let length = format!("Content-Length: {}", book.length(body));
        book.bad(
            "coding and length",
            &format!("{post}{length}\r\n{line}\r\n\r\n{body}"),
        );
        book.bad(
            "coding and length",
            &format!("{post}{line}\r\n{length}\r\n\r\n{body}"),
        );
        // TE.CL: the coding covers it, the length ends before.
        let length = format!("Content-Length: {}", whole - smuggled - 9);
        book.bad(
            "coding and length",
            &format!("{post}{length}\r\n{line}\r\n\r\n{chunk}"),
        );
    }
    for line in CODINGS.iter().step_by(4) {
        let head = format!("POST /c/@N HTTP/1.0\r\n@LConnection: keep-alive\r\n{line}\r\n\r\n");
        book.bad("coding in 1.0", &format!("{head}{chunked}@S"));
        let head = format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n");
        book.bad("coding of GET", &format!("{head}0\r\n\r\n@S"));
        let head = format!("HEAD /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n");
        book.bad("coding of HEAD", &format!("{head}{chunk}"));
    }
}

fn chunks(book: &mut Book) {
    let head = "POST /c/@N HTTP/1.1\r\n@LTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "a\r\n0123456789\r\n0\r\n\r\n",
        "005\r\nhello\r\n000\r\n\r\n",
        "5;name=value\r\nhello\r\n0\r\n\r\n",
        "5;name=\"quoted; value\"\r\nhello\r\n0;last\r\n\r\n",
        "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
        "4\r\n\r\n\r\n\r\n0\r\n\r\n",
        "3\r\n0\r\n\r\n0\r\n\r\n",
    ] {
        book.good("chunks", &format!("{head}{body}"));
    }
    // Nothing is wrong with it, and the gateway takes no further request on the connection.
    let trailer = "5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n";
    book.bad("trailer", &format!("{head}{trailer}"));
    for body in [
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "x5\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\t5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0 \r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5 ;x\r\nhello\r\n0\r\n\r\n",
        "5\u{b}\r\nhello\r\n0\r\n\r\n",
        "5\u{c}\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "5\u{a0}\r\nhello\r\n0\r\n\r\n",
        "5,\r\nhello\r\n0\r\n\r\n",
        "5:\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "0_5\r\nhello\r\n0\r\n\r\n",
        "\"5\"\r\nhello\r\n0\r\n\r\n",
        "5.0\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "five\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5\n\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "5\r\n",
        "5",
        "",
        "5\r\nhello\r\n-0\r\n\r\n",
        "5\r\nhello\r\n+0\r\n\r\n",
        "5\r\nhello\r\n0x0\r\n\r\n",
        "5\r\nhello\r\n00000000000000000000000\r\n\r\n",
        "00000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        "8000000000000000\r\nhello\r\n0\r\n\r\n",
        "7fffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "100000005\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;;;;\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\\\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a\u{e9}\r\nhello\r\n0\r\n\r\n",
        "5;\nx\r\nhello\r\n0\r\n\r\n",
        "2;\nxx\r\n4c\r\n0\r\n\r\n",
        "5\r\nhello\r\n0;a\n\r\n",
        "5\r\nhello\r\n0;a\r\n\n",
        "5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\nHost: other\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Smuggled: @N\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Request-Id: smuggled\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: a\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\rY: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\n: a\r\n\r\n",
        "5\r\nhello\r\n0\r\nGET /smuggled/@N HTTP/1.1\r\n@L\r\n",
        "5\r\nhello\r\n0\r\nX: GET /smuggled/@N HTTP/1.1\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        book.bad("chunks", &format!("{head}{body}@S"));
        let body = body.replace("hello", "GET /");
        book.bad("chunks", &format!("{head}{body}"));
    }
    let long = "x".repeat(20_000);
    book.bad("chunks", &format!("{head}5;{long}\r\nhello\r\n0\r\n\r\n@S"));
    book.bad(
        "chunks",
        &format!("{head}5\r\nhello\r\n0\r\nX: {long}\r\n\r\n@S"),
    );
    let zeros = "0".repeat(20_000);
    book.bad("chunks", &format!("{head}{zeros}5\r\nhello\r\n0\r\n\r\n@S"));
    let many = "X: a\r\n".repeat(2000);
    book.bad("chunks", &format!("{head}5\r\nhello\r\n0\r\n{many}\r\n@S"));
    let extended = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(200);
    book.bad("chunks", &format!("{head}{extended}0\r\n\r\n@S"));
    let small = "1\r\na\r\n".repeat(2000);
    book.bad("chunks", &format!("{head}{small}0\r\n\r\n@S"));
}
