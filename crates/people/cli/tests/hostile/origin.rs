//! An origin that tells what it saw, with a parser that believes whatever can be believed: bare LF ends a line,
//! anything with `chunked` in it is a coding, the last length counts and may have a sign, spaces stand where they
//! like. What a strict parser in front of it lets through in two meanings shows here. The standard library only.
//!
//! `GET /seen/N` gives a JSON object a line for each request but the first N.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Mutex;

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok();
    let port: u16 = port.and_then(|text| text.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for (number, stream) in listener.incoming().flatten().enumerate() {
        let _ = stream.set_nodelay(true);
        // One that breaks off is the gateway's business.
        std::thread::spawn(move || serve(stream, number));
    }
    Ok(())
}

struct Head {
    method: Vec<u8>,
    target: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Head {
    fn last(&self, name: &str) -> Option<String> {
        let of = |field: &&(Vec<u8>, Vec<u8>)| field.0.eq_ignore_ascii_case(name.as_bytes());
        let found = self.fields.iter().rev().find(of);
        found.map(|field| String::from_utf8_lossy(&field.1).into_owned())
    }
}

fn serve(stream: TcpStream, number: usize) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        let id = head.last("x-request-id").unwrap_or_else(|| "-".to_owned());
        let text = match &head.target[..] {
            b"/healthz" => "ok".to_owned(),
            [b'/', b's', b'e', b'e', b'n', b'/', from @ ..] => {
                let from = String::from_utf8_lossy(from).parse().unwrap_or(0);
                SEEN.lock().unwrap()[from..].join("\n")
            }
            _ => {
                if head.last("expect").is_some() {
                    writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                let mut body = Vec::new();
                let whole = read_body(&mut reader, &head, &mut body).is_some();
                SEEN.lock().unwrap().push(line(number, &head, &body, whole));
                if !whole {
                    return Ok(());
                }
                format!("{id} {}", String::from_utf8_lossy(&head.target))
            }
        };
        let length = text.len();
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-seen: {id}\r\n\r\n");
        if head.method != b"HEAD" {
            answer.push_str(&text);
        }
        writer.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let Some(first) = read_line(reader)? else {
        return Ok(None);
    };
    let mut words = first.splitn(2, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default().to_vec();
    let rest = words.next().unwrap_or_default();
    let end = rest.iter().rposition(|byte| *byte == b' ');
    let target = rest[..end.unwrap_or(rest.len())].to_vec();
    let mut fields = Vec::new();
    loop {
        match read_line(reader)? {
            None => return Ok(None),
            Some(line) if line.is_empty() => break,
            Some(line) => {
                let colon = line
                    .iter()
                    .position(|byte| *byte == b':')
                    .unwrap_or(line.len());
                let value = line.get(colon + 1..).unwrap_or_default();
                fields.push((
                    line[..colon].trim_ascii().to_vec(),
                    value.trim_ascii().to_vec(),
                ));
            }
        }
    }
    Ok(Some(Head {
        method,
        target,
        fields,
    }))
}

fn read_body(reader: &mut impl BufRead, head: &Head, body: &mut Vec<u8>) -> Option<()> {
    let coding = head.last("transfer-encoding").unwrap_or_default();
    if !coding.to_ascii_lowercase().contains("chunked") {
        let length = head.last("content-length").unwrap_or_default();
        return read_bytes(reader, length.trim().parse().unwrap_or(0), body);
    }
    loop {
        let line = read_line(reader).ok()??;
        let digits: String = line
            .iter()
            .map(|byte| *byte as char)
            .take_while(char::is_ascii_hexdigit)
            .collect();
        let size = u64::from_str_radix(&digits, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        read_bytes(reader, size, body)?;
        read_line(reader).ok()??;
    }
    while !read_line(reader).ok()??.is_empty() {}
    Some(())
}

fn read_bytes(reader: &mut impl BufRead, size: u64, body: &mut Vec<u8>) -> Option<()> {
    let before = body.len() as u64;
    reader.take(size).read_to_end(body).ok()?;
    (body.len() as u64 - before == size).then_some(())
}

fn line(number: usize, head: &Head, body: &[u8], whole: bool) -> String {
    let fields: Vec<String> = head
        .fields
        .iter()
        .map(|(name, value)| format!("[{},{}]", text(name), text(value)))
        .collect();
    let mut hex = String::new();
    for byte in body {
        let _ = write!(hex, "{byte:02x}");
    }
    format!(
        r#"{{"conn":"{number}","method":{},"target":{},"headers":[{}],"body":"{hex}","whole":{whole}}}"#,
        text(&head.method),
        text(&head.target),
        fields.join(",")
    )
}

/// A JSON text with a letter for each byte.
fn text(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b' '..=b'~' if !b"\"\\".contains(byte) => out.push(*byte as char),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out + "\""
}
