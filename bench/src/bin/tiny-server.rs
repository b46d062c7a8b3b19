//! The smallest web server that can be measured: it answers every GET with 200 and its name.
//!
//! `PORT` (0 takes a free one, which the first line of output names), `START_DELAY_MS` (how long its start takes),
//! `SOCKET` (a Unix socket to answer on as well). The standard library only, so that nothing but the platform's
//! own work is in what is measured with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::time::Duration;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\ntiny\n";

fn main() -> std::io::Result<()> {
    std::thread::sleep(Duration::from_millis(number("START_DELAY_MS", 0)));
    if let Some(path) = std::env::var_os("SOCKET") {
        let listener = UnixListener::bind(path)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
    }
    let port = u16::try_from(number("PORT", 0)).map_err(std::io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    for stream in listener.incoming().flatten() {
        let _ = stream.set_nodelay(true);
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Answers one request after the other until the client leaves. Requests have no body.
fn serve(stream: impl Read + Write) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.trim_end().is_empty() => {
                if stream.get_mut().write_all(ANSWER).is_err() {
                    return;
                }
            }
            Ok(_) => {}
        }
    }
}
