//! Request lines, header lines and hosts.

use super::Book;

pub fn write(book: &mut Book) {
    methods(book);
    targets(book);
    versions(book);
    line_ends(book);
    headers(book);
    hosts(book);
    sizes(book);
}

fn methods(book: &mut Book) {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "POST", "PATCH"] {
        book.good("method", &format!("{method} /c/@N HTTP/1.1\r\n@L\r\n"));
    }
    for method in [
        "get",
        "Get",
        "gET",
        "FOO",
        "PROPFIND",
        "M-SEARCH",
        "TRACE",
        "TRACK",
        "DEBUG",
        "PURGE",
        "PRI",
        "CONNECT",
        "GET\t",
        "GET ",
        " GET",
        "\tGET",
        "",
        "G ET",
        "G\0ET",
        "GET\u{b}",
        "GET\u{c}",
        "GET\u{a0}",
        "G(T",
        "GET:",
        "GET/",
        "G\u{e9}T",
        "\"GET\"",
        "GET,POST",
        "X!#$%&'*+-.^_`|~",
        "\u{ff}",
        "\u{ef}\u{bb}\u{bf}GET",
    ] {
        book.bad("method", &format!("{method} /c/@N HTTP/1.1\r\n@L\r\n@S"));
    }
    let long = "A".repeat(9000);
    book.bad("method", &format!("{long} /c/@N HTTP/1.1\r\n@L\r\n@S"));
    for target in ["@H:80", "@H", "/c/@N", "*"] {
        let line = format!("CONNECT {target} HTTP/1.1\r\nHost: @H:80\r\n\r\n@S");
        book.bad("CONNECT", &line);
    }
}

fn targets(book: &mut Book) {
    for target in [
        "/c/@N",
        "/c/@N?a=b&c=d",
        "/c/@N?",
        "/c/@N/%2f/x",
        "/c/@N/a;b=c",
        "http://@H/c/@N",
        "http://@H/c/@N?x=http://other/",
        "/",
        "//c/@N",
    ] {
        book.good("target", &format!("GET {target} HTTP/1.1\r\n@L\r\n"));
    }
    book.good("target", "OPTIONS * HTTP/1.1\r\n@L\r\n");
    for target in [
        "*",
        "**",
        "",
        "c/@N",
        "@H",
        "@H:80",
        "@H/c/@N",
        "http:/c/@N",
        "http://",
        "http:///c/@N",
        "http://other.localhost/c/@N",
        "HTTP://@H/c/@N",
        "https://@H/c/@N",
        "ftp://@H/c/@N",
        "javascript:alert(1)",
        "http://user:secret@@H/c/@N",
        "http://@H:80/c/@N",
        "http://@H:99999/c/@N",
        "http://@H#x/c/@N",
        "http://@H\\@other/c/@N",
        "http://@H?x",
        "/c/@N#part",
        "/c/@N?a#b?c",
        "/c/@N%",
        "/c/@N%zz",
        "/c/@N%00",
        "/c/@N%0d%0aX-Smuggled:%20@N",
        "/c/@N%2e%2e/x",
        "/c/@N/../x",
        "/c/@N/./x",
        "/../c/@N",
        "/c/@N/..;/x",
        "/c/@N\\..\\x",
        "\\c\\@N",
        "/c/@N\u{e9}",
        "/c/@N\u{80}",
        "/c/@N\u{85}x",
        "/c/@N\u{a0}x",
        "/c/@N\u{ff}",
        "/c/@N\u{c0}\u{ae}",
        "/c/@N\u{e2}\u{80}\u{a8}",
        "/c/@N\0x",
        "/c/@N\u{1}x",
        "/c/@N\u{7f}x",
        "/c/@N x",
        "/c/@N\tx",
        "/c/@N\u{b}x",
        "/c/@N\u{c}x",
        "/c/@N\rx",
        "/c/@N\nx",
        "/c/@N\r\nX: y",
        "/c/@N \r\nX: y",
        "/c/@N\"x",
        "/c/@N<x>",
        "/c/@N|x^y`z{}",
        "/c/@N HTTP/1.1\r\n@L\r\nGET /smuggled/@N",
        "/c/@N HTTP/1.0",
        "/c/@N\u{a0}HTTP/1.1",
        "/c/@N\tHTTP/1.1",
    ] {
        book.bad("target", &format!("GET {target} HTTP/1.1\r\n@L\r\n@S"));
    }
    for length in [8190, 16_380, 70_000] {
        let long = "x".repeat(length);
        book.bad("target", &format!("GET /c/@N/{long} HTTP/1.1\r\n@L\r\n@S"));
    }
}

fn versions(book: &mut Book) {
    book.good(
        "version",
        "GET /c/@N HTTP/1.0\r\n@LConnection: keep-alive\r\n\r\n",
    );
    for version in [
        "HTTP/1.0",
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/+1.1",
        "HTTP/1.1x",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "\tHTTP/1.1",
        "HTTP/1.1\t",
        "HTTP/1.1\u{b}",
        "HTTP/1.1\0",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1 .1",
        "HTTP/1,1",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "XHTTP/1.1",
        "ICY/1.1",
        "HTTP\\1.1",
        "HTTP/1.\u{b1}",
        "HTTP/999999999999.1",
        "HTTP/1.1 HTTP/1.1",
        "HTTP/1.1 x",
        "",
    ] {
        book.bad("version", &format!("GET /c/@N {version}\r\n@L\r\n@S"));
        let body = "Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello@S";
        book.bad("version", &format!("POST /c/@N {version}\r\n@L{body}"));
    }
    book.bad("version", "GET /c/@N\r\n@L\r\n@S");
    book.bad("version", "GET /c/@N\r\n");
    book.bad("version", "GET\r\n@L\r\n@S");
    book.bad("version", "\r\n\r\n\r\nGET /c/@N HTTP/1.1\r\n@L\r\n@S");
    book.bad("version", "PRI * HTTP/2.0\r\n@L\r\n@S");
    book.bad("version", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n@S");
}

const ENDS: [&str; 12] = [
    "\n",
    "\r",
    "\r\r\n",
    "\n\r",
    "\r\n\r",
    "\n\n",
    " \r\n",
    "\t\n",
    "\0\r\n",
    "\u{b}\r\n",
    "\u{85}",
    "\r\u{a0}\n",
];

fn line_ends(book: &mut Book) {
    let lines = [
        "POST /c/@N HTTP/1.1",
        "Host: @H",
        "X-One: 1",
        "Content-Length: 5",
        "X-Two: 2",
        "",
    ];
    for (odd, _) in lines.iter().enumerate() {
        for end in ENDS {
            let line = |(at, line): (usize, &&str)| match at == odd {
                true => format!("{line}{end}"),
                false => format!("{line}\r\n"),
            };
            let head: String = lines.iter().enumerate().map(line).collect();
            book.bad("line end", &format!("{head}hello@S"));
        }
    }
    for end in ENDS {
        let head = lines.map(|line| format!("{line}{end}")).concat();
        book.bad("line end", &format!("{head}hello@S"));
        book.bad("line end", &format!("{end}GET /c/@N HTTP/1.1\r\n@L\r\n@S"));
        // What one reader takes for a header another takes for a line of its own.
        let line = format!("X: a{end}Transfer-Encoding: chunked");
        book.bad(
            "line end",
            &format!("POST /c/@N HTTP/1.1\r\n@LContent-Length: 5\r\n{line}\r\n\r\n0\r\n\r\n@S"),
        );
        book.bad(
            "line end",
            &format!("GET /c/@N HTTP/1.1\r\n@LX: a{end}{end}@S"),
        );
    }
}

fn headers(book: &mut Book) {
    for line in [
        "X: a",
        "x-custom:a",
        "X:\ta\t",
        "X: ",
        "X:",
        "X: a  b",
        "X: \u{e9}\u{ff}",
        "X_Under: a",
        "X!#$%&'*+-.^_`|~: a",
        "X: a\r\nX: b",
        "X: \"a\\\"b\"",
    ] {
        book.good("header", &format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n\r\n"));
    }
    for line in [
        "X : a",
        "X\t: a",
        " X: a",
        "\tX: a",
        "X\u{b}: a",
        "X\u{c}: a",
        "X\u{a0}: a",
        "X\0: a",
        "X\0Y: a",
        "\0: a",
        ": a",
        ":",
        " : a",
        "X",
        "X a",
        "X Y: a",
        "X;: a",
        "X,Y: a",
        "X(y): a",
        "\"X\": a",
        "X=Y: a",
        "X@Y: a",
        "X/Y: a",
        "[X]: a",
        "{X}: a",
        "X\\Y: a",
        "\u{e9}: a",
        "\u{ff}: a",
        "\u{85}X: a",
        "X: a\0b",
        "X: \0",
        "X: a\u{1}b",
        "X: a\u{7f}b",
        "X: a\u{b}b",
        "X: a\u{c}b",
        "X: a\u{85}b",
        "X: a\rb",
        "X: a\r",
        "X: \rTransfer-Encoding: chunked",
        "X: a\nTransfer-Encoding: chunked",
        "X: a\n Y: b",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\r\n \r\n",
        "X: a\r\n ",
        "X:\r\n a",
        "X: a\r\n\r\n",
        "\u{1b}[2J: a",
        "HTTP/1.1 200 OK",
        "GET /smuggled/@N HTTP/1.1",
        "Content-Length\0: 5",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Content-Length\u{2d}: 5",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Host: other",
        "X_Forwarded_For: 6.6.6.6",
        "Forwarded: for=6.6.6.6;host=other",
        "X-Real-Ip: 6.6.6.6",
        "Ward-From: web-r1-1",
        "Ward-Probe: 1",
        "ward-instance: x",
        "X-Original-Url: /smuggled/@N",
        "X-Rewrite-Url: /smuggled/@N",
        "X-Http-Method-Override: DELETE",
        "Proxy: http://6.6.6.6/",
        "Cookie: a=b\r\nCookie: c=d",
        "Te: trailers, chunked",
        "Trailer: Content-Length",
        "Keep-Alive: timeout=1000000, max=1",
        "Proxy-Connection: keep-alive",
        "Range: bytes=0-,0-,0-",
        "Content-Encoding: gzip",
    ] {
        for after in ["", "X-Last: z\r\n"] {
            let text = format!("GET /c/@N HTTP/1.1\r\n@L{line}\r\n{after}\r\n@S");
            book.bad("header", &text);
        }
        let text = format!("POST /c/@N HTTP/1.1\r\n{line}\r\n@LContent-Length: 5\r\n\r\nhello@S");
        book.bad("header", &text);
    }
}

fn hosts(book: &mut Book) {
    for host in ["@H", "@H:80", "@H.", "\t@H \t"] {
        book.good(
            "host",
            &format!("GET /c/@N HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        );
    }
    book.good("host", "GET /c/@N HTTP/1.1\r\nhOST:@H\r\n\r\n");
    for host in [
        "Host: @H\r\nHost: @H",
        "Host: @H\r\nHost: other.localhost",
        "Host: other.localhost\r\nHost: @H",
        "Host: @H\r\nhost: @H",
        "Host: @H\r\n Host: other",
        "Host : @H",
        "Host\t: @H",
        " Host: @H",
        "Host:\r\n @H",
        "Host: @H\r\n other",
        "Host: @H, other.localhost",
        "Host: @H,@H",
        "Host: @H other",
        "Host: @H\tother",
        "Host: user@@H",
        "Host: user:secret@@H:80",
        "Host: @@H",
        "Host: @H@",
        "Host: @H:",
        "Host: @H:0",
        "Host: @H:65535",
        "Host: @H:65536",
        "Host: @H:-1",
        "Host: @H:+80",
        "Host: @H:8 0",
        "Host: @H:80:80",
        "Host: @H:80x",
        "Host: @H:\u{b2}",
        "Host: @H/",
        "Host: @H/c",
        "Host: @H?x",
        "Host: @H#x",
        "Host: @H\\x",
        "Host: http://@H",
        "Host: //@H",
        "Host: @H\0",
        "Host: \0@H",
        "Host: @H\u{1}",
        "Host: @H\u{7f}",
        "Host: @H\u{b}",
        "Host: @H\u{85}",
        "Host: @H\u{a0}",
        "Host: \u{e9}.localhost",
        "Host: @H\rX: y",
        "Host: [::1]",
        "Host: [::1",
        "Host: ::1",
        "Host: [@H]",
        "Host: [::1]:80",
        "Host: [::1%25lo]",
        "Host: 127.0.0.1",
        "Host: 0x7f.1",
        "Host: \"@H\"",
        "Host: <@H>",
        "Host: @H;x",
        "Host: @H..",
        "Host: .@H",
        "Host: *.localhost",
        "Host: %73hop.localhost",
        "Host: @H%00",
        "Host: @H%2f",
        "Host:",
        "Host: ",
        "Host",
        "X: y",
    ] {
        let text = format!("GET /c/@N HTTP/1.1\r\n{host}\r\n\r\n@S");
        book.bad("host", &text);
        let text = format!("GET http://@H/c/@N HTTP/1.1\r\n{host}\r\n\r\n@S");
        book.bad("host", &text);
    }
    let long = "h".repeat(300);
    book.bad(
        "host",
        &format!("GET /c/@N HTTP/1.1\r\nHost: {long}\r\n\r\n@S"),
    );
    book.bad("host", "GET /c/@N HTTP/1.0\r\n\r\n@S");
    book.bad(
        "host",
        "GET /c/@N HTTP/1.0\r\n@LConnection: keep-alive\r\n\r\n@S",
    );
}

fn sizes(book: &mut Book) {
    for (lines, length) in [
        (99, 10),
        (120, 10),
        (1, 15_000),
        (1, 17_000),
        (1, 70_000),
        (5000, 1),
    ] {
        let line = format!("X-Many: {}\r\n", "v".repeat(length));
        let many = line.repeat(lines);
        book.bad("size", &format!("GET /c/@N HTTP/1.1\r\n@L{many}\r\n@S"));
    }
    let name = "N".repeat(20_000);
    book.bad(
        "size",
        &format!("GET /c/@N HTTP/1.1\r\n@L{name}: 1\r\n\r\n@S"),
    );
    let lines = "\r\n".repeat(3000);
    book.bad("size", &format!("{lines}GET /c/@N HTTP/1.1\r\n@L\r\n@S"));
}
