//! Commands at a terminal of their own.

use std::process::Command;

use super::Ward;

/// Runs a program to its end at a terminal of so many columns that is its own; says what was shown there.
const PROGRAM: &str = r#"
import fcntl, os, struct, subprocess, sys, termios
ours, theirs = os.openpty()
fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
def own():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(sys.argv[2:], stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own)
os.close(theirs)
seen = b""
while True:
    try:
        more = os.read(ours, 4096)
    except OSError:
        break
    if not more:
        break
    seen += more
status = child.wait()
os.write(1, seen)
sys.exit(status)
"#;

/// A command of the binary that runs at a terminal of so many columns: what is shown there is its output.
pub fn at_a_terminal(ward: &Ward, columns: u16, arguments: &[&str]) -> Command {
    ward.write("terminal.py", PROGRAM);
    let mut command = ward.command_of("python3", &["terminal.py", &columns.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_ward")).args(arguments);
    command
}
