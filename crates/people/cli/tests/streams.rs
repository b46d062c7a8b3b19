//! What is no single request over a link of another stack: websockets, gRPC calls, and a gateway that is killed
//! meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::sharing::Both;
use support::{eventually, kill9, poll};

const APP: &str = include_str!("support/streams.py");
const HOST: &str = "returns.localhost";
const EXPORTED: &str = "export = [\"returns\"]\nlong_drain_timeout = \"1s\"";
const UNEXPORTED: &str = "long_drain_timeout = \"1s\"";

/// A client's side of a websocket (RFC 6455).
struct Socket(BufReader<TcpStream>);

impl Socket {
    /// The head of the answer is the error where it is another one.
    fn open(http: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut socket = Self(BufReader::new(stream));
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: {HOST}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if socket.0.read_line(&mut head).unwrap_or(0) == 0 {
                return Err(head);
            }
        }
        match head.starts_with("HTTP/1.1 101 ") {
            true if head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") => Ok(socket),
            _ => Err(head),
        }
    }

    /// What comes next: its kind and its content.
    fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let mut size = u16::from(head[1]);
        if size == 126 {
            let mut long = [0; 2];
            self.0.read_exact(&mut long)?;
            size = u16::from_be_bytes(long);
        }
        let mut content = vec![0; size.into()];
        self.0.read_exact(&mut content)?;
        Ok((head[0] & 0x0f, content))
    }

    fn say(&mut self, text: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text);
        self.0.get_mut().write_all(&frame)
    }

    fn echoes(&mut self, text: &[u8]) {
        self.say(text).unwrap();
        let (kind, content) = self.next().unwrap();
        assert_eq!(kind, 1);
        assert!(content == text, "another text came back");
    }
}

/// Begins a call with one message, or with none: curl 7.88 loses an answer that comes while it still has a body to send
/// (RFC 9113, 8.1, lets a server answer then).
fn call(http: &str, message: &str) -> Child {
    let mut curl = Command::new("curl");
    curl.args(["-sSN", "--max-time", "30", "--http2-prior-knowledge"]);
    curl.args(["-D", "-"]);
    match message {
        "" => curl.args(["-X", "POST"]),
        _ => curl.args(["--data-binary", "@-"]),
    };
    curl.args(["-H", "content-type: application/grpc"]);
    curl.args(["-H", "te: trailers", "-H", &format!("host: {HOST}")]);
    curl.arg(format!("http://{http}/echo.Echo/Say"));
    let curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = curl.stderr(Stdio::piped()).spawn().unwrap();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message.as_bytes());
    let mut stdin = child.stdin.take().unwrap();
    // One without a message reads nothing.
    let _ = stdin.write_all(&framed);
    child
}

/// A call to its end: head, messages and trailers.
fn called(http: &str, message: &str) -> String {
    let output = call(http, message).wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A call whose message comes back, and which ends well.
#[track_caller]
fn calls(http: &str, message: &str) {
    let said = called(http, message);
    let well = said.starts_with("HTTP/2 200") && said.contains(message);
    assert!(well && said.contains("grpc-status: 0"), "{said:?}");
}

#[test]
fn p5_websockets_and_grpc_calls_pass_over_a_link_while_it_is_let_in() {
    let both = Both::of("streams.py", APP);
    both.returns("\"claims/api\"", "");
    both.claims(EXPORTED, "");
    both.up();
    let http = both.ward.http();
    let mut socket = Socket::open(&http).unwrap();
    socket.echoes(b"hello");
    socket.echoes(&[b'x'; 60_000]);
    calls(&http, "hello");
    assert_eq!(both.ask("/").body, "returns/dev");
    let log = both.ward.home().join("gateway/access.log");
    eventually("the access log says which environment called", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let mut lines = log.lines().filter(|line| line.contains("echo.Echo"));
        lines.any(|line| line.contains("\"from_env\":\"returns/dev\""))
    });

    // Taken back: what was switched ends as at any deploy, and nothing new passes.
    both.claims(UNEXPORTED, "");
    socket.echoes(b"still here");
    both.deploy_claims().success();
    let (kind, content) = socket.next().unwrap();
    assert_eq!((kind, &content[..2]), (8, &1012_u16.to_be_bytes()[..]));
    let refused = Socket::open(&http).err().expect("it is not let in");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let refused = called(&http, "");
    assert!(refused.contains("grpc-status: 14"), "{refused}");
    let why = "grpc-message: The link of returns/dev leads to the service api of claims/dev. It is not exported";
    assert!(refused.contains(why), "{refused}");
    // And back, on the next call.
    both.ward.ok(&["rollback", "--env", "claims/dev"]);
    Socket::open(&http).unwrap().echoes(b"again");
    calls(&http, "again");
}

/// What the threads that ask over the link have seen.
struct Asked {
    well: u64,
    failed: Vec<Value>,
    longest: f64,
}

fn asked(both: &Both) -> Asked {
    let asked = both.ask("/asked");
    let asked: Value = serde_json::from_str(&asked.body).unwrap();
    Asked {
        well: asked["well"].as_u64().unwrap(),
        failed: asked["failed"].as_array().unwrap().clone(),
        longest: asked["longest"].as_f64().unwrap(),
    }
}

#[test]
fn p1_a_gateway_that_is_killed_loses_what_is_under_way_over_a_link_and_nothing_after() {
    const ASKERS: usize = 4;
    const KILLS: usize = 3;
    let both = Both::of("streams.py", APP);
    both.returns(
        "\"claims/api\"",
        &format!("[environment.dev]\nservice.web.env.ASKERS = \"{ASKERS}\""),
    );
    both.claims(EXPORTED, "");
    both.up();
    let http = both.ward.http();
    let goes_on = || {
        let before = asked(&both).well;
        eventually("they ask on", || asked(&both).well > before + 200);
    };
    goes_on();
    assert_eq!(asked(&both).failed, Vec::<Value>::new(), "before anything");
    for _ in 0..KILLS {
        let mut socket = Socket::open(&http).unwrap();
        socket.echoes(b"hello");
        let mut open = call(&http, "for ever");
        let mut answer = BufReader::new(open.stdout.take().unwrap());
        let mut head = String::new();
        while !head.contains("content-type") {
            assert_ne!(answer.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let gateway = both.ward.gateway_pid();
        kill9(gateway);
        // Both end, and are told of it at once.
        assert!(socket.next().is_err(), "it was to end");
        let so = poll(Duration::from_secs(10), || {
            open.try_wait().unwrap().is_some()
        });
        assert!(so, "the call goes on");
        assert!(!open.wait().unwrap().success());
        eventually("another gateway serves", || {
            both.ward.gateway_pid() != gateway
        });
        goes_on();
        Socket::open(&http).unwrap().echoes(b"hello");
        calls(&http, "hello");
    }
    let Asked {
        failed,
        longest,
        well,
    } = asked(&both);
    println!("{well} went well, the longest took {longest:.3} s; {failed:?}");
    // At most what each of them had under way.
    assert!(failed.len() <= ASKERS * KILLS, "{failed:?}");
    assert!(longest < 10.0, "{longest} s");
    goes_on();
    assert_eq!(asked(&both).failed.len(), failed.len(), "it has healed");
}
