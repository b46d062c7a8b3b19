//! The tiny server (`src/bin/tiny-server.rs`): compiled as a static binary, and started on the host itself; and so
//! the origin that proxies are compared with (`src/bin/origin.rs`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, doing};
use crate::process;

const SOURCE: &str = include_str!("bin/tiny-server.rs");
const ORIGIN: &str = include_str!("bin/origin.rs");

/// The host that the tiny stack's route has.
pub(crate) const HOST: &str = "tiny.localhost";
/// The tiny stack's health interval, and how many good answers make an instance healthy.
pub(crate) const INTERVAL: Duration = Duration::from_millis(50);
pub(crate) const HEALTHY: u32 = 2;

/// A request that the tiny server answers.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: tiny.localhost\r\n\r\n";

/// Compiles the server to a static binary that any image can hold alone.
pub(crate) fn compile(binary: &Path) -> Result<(), Error> {
    compile_source(SOURCE, binary)
}

/// The same with the origin.
pub(crate) fn compile_origin(binary: &Path) -> Result<(), Error> {
    compile_source(ORIGIN, binary)
}

fn compile_source(source: &str, binary: &Path) -> Result<(), Error> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args([
        "--edition",
        "2024",
        "--crate-name",
        "server",
        "-O",
        "-C",
        "target-feature=+crt-static",
    ]);
    rustc
        .args(["-C", "strip=symbols", "-o"])
        .arg(binary)
        .arg("-");
    rustc
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = doing("run rustc", rustc.spawn())?;
    if let Some(mut stdin) = child.stdin.take() {
        doing("give rustc its source", stdin.write_all(source.as_bytes()))?;
    }
    let output = doing("run rustc", child.wait_with_output())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command {
        line: format!("rustc, to make {}", binary.display()),
        how: output.status.to_string(),
        output: said,
    })
}

/// A process that is killed when it is no longer needed.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts so many servers on the host at once; from the first start to the last one's first good answer.
pub(crate) fn own_start(binary: &Path, servers: u32, delay: Duration) -> Result<Duration, Error> {
    let started = Instant::now();
    let mut running = Vec::new();
    for _ in 0..servers {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("START_DELAY_MS", delay.as_millis().to_string())
            .env("PORT", "0");
        running.push(Killed(doing(
            "start the tiny server",
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn(),
        )?));
    }
    for server in &mut running {
        let address = doing("read the tiny server's address", listening(server))?;
        let stream = TcpStream::connect(address);
        doing("ask the tiny server", stream.and_then(first_answer))?;
    }
    Ok(started.elapsed())
}

/// Starts a server on the host, and the address that it names.
pub(crate) fn start(binary: &Path) -> Result<(Killed, SocketAddr), Error> {
    start_with(binary, &[])
}

/// The same with more variables.
pub(crate) fn start_with(
    binary: &Path,
    variables: &[(&str, &str)],
) -> Result<(Killed, SocketAddr), Error> {
    let mut command = process::service(binary);
    command.env_clear().env("PORT", "0").stdin(Stdio::null());
    command.envs(variables.iter().copied());
    let child = doing(
        format!("start {}", binary.display()),
        command.stdout(Stdio::piped()).spawn(),
    )?;
    let mut server = Killed(child);
    let address = doing("read a server's address", listening(&mut server))?;
    Ok((server, address))
}

fn listening(server: &mut Killed) -> std::io::Result<SocketAddr> {
    let stdout = server
        .0
        .stdout
        .take()
        .ok_or(std::io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    line.trim().parse().map_err(std::io::Error::other)
}

/// Asks once, and reads the head of the answer, which must be 200.
pub(crate) fn first_answer(mut stream: impl Read + Write) -> std::io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("it answered {line:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_compiles_and_its_start_takes_as_long_as_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("tiny-server");
        compile(&binary).unwrap();
        let took = own_start(&binary, 2, Duration::from_millis(150)).unwrap();
        assert!(took >= Duration::from_millis(150), "{took:?}");
    }
}
