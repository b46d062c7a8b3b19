//! Where a service sees a volume.

use crate::mistake::Code;
use crate::value::{Wrong, no_nul, quote};

/// What is the instance's own, or Ward's: no volume is there or below.
const OURS: [&str; 6] = ["/dev", "/etc", "/proc", "/run", "/sys", "/tmp"];

/// An absolute path as the kernel would write it.
pub(crate) fn path(text: &str) -> Result<(), Wrong> {
    no_nul(text)?;
    let wrong = |message: String| Wrong::new(Code::BadVolumePath, message);
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control) && part.len() < 256
    };
    let parts = text.strip_prefix('/');
    if text.len() > 1024 || !parts.is_some_and(|parts| parts.split('/').all(plain)) {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let meant = format!("/{}", parts.join("/"));
        let good = meant != text && path(&meant).is_ok();
        let message = match text {
            "/" => "`/` is the whole of the instance".to_owned(),
            _ => format!("{} is not a plain absolute path", quote(text)),
        };
        return Err(wrong(message).mean(good.then_some(meant)));
    }
    let below = |folder: &&&str| {
        let rest = text.strip_prefix(**folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match OURS.iter().find(below) {
        Some(folder) => {
            let message = format!("{} lies in {}, which is Ward's", quote(text), quote(folder));
            Err(wrong(message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_plain_and_not_wards_own() {
        for good in ["/data", "/var/lib/app/uploads", "/running", "/tmpfiles"] {
            assert!(path(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "data",
            "./data",
            "/a/../b",
            "/a/./b",
            "/a//b",
            "/a/",
            "/run",
            "/run/secrets",
            "/tmp/x",
            "/proc",
            "/dev/shm",
            "/etc/app",
            "/sys",
            "/a\nb",
        ] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
        let meant = |text: &str| path(text).unwrap_err().did_you_mean;
        assert_eq!(meant("data/").as_deref(), Some("/data"));
        assert_eq!(meant("/a//b").as_deref(), Some("/a/b"));
        assert_eq!(meant("/a/../b"), None);
    }
}
