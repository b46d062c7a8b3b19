//! Whether a signal stopped a process (proc(5), /proc/PID/stat: `T`).
//!
//! What a debugger holds (`t`) is not meant: somebody looks at it, and lets it go.

use std::path::Path;

/// Whether a process is stopped, or all that it started and has not seen end: a shell waits for the program that does
/// the work. Where the kernel does not list children (`CONFIG_PROC_CHILDREN`) only the first counts.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let mut children = children.split_ascii_whitespace().peekable();
    is_in_stop(&pid.to_string()) || (children.peek().is_some() && children.all(is_in_stop))
}

fn is_in_stop(pid: &str) -> bool {
    let stat = Path::new("/proc").join(pid).join("stat");
    std::fs::read(stat).is_ok_and(|stat| state(&stat) == Some(b'T'))
}

/// The letter behind the name, which stands in brackets and may hold any character.
fn state(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letter_is_found_behind_any_name() {
        assert_eq!(state(b"7 (python3) T 1 7 7"), Some(b'T'));
        assert_eq!(state(b"7 (a) T (b) S 1 7 7"), Some(b'S'));
        assert_eq!(state(b"7 (python3)"), None);
        assert_eq!(state(b""), None);
        assert!(!is_stopped(std::process::id()));
    }
}
