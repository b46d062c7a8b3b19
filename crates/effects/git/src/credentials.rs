//! What git proves itself with over HTTPS.
//!
//! Decision: git asks a helper (gitcredentials(7)), which reads a file without a name in this process's memory. So the
//! token is in no command line, no environment and no file of a disk; and the helper is of one host, so that a server
//! that leads elsewhere is told nothing.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, memfd_create};
use ward_types::secret::Secret;

use crate::{Address, Error, Result};

/// A user and a token, of a form that git can be told.
#[derive(Debug, Clone)]
pub struct Credentials {
    user: String,
    token: Secret,
}

impl Credentials {
    /// Reads both.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one of them is empty, longer than 4,000 bytes, or has a control character in it.
    pub fn new(user: &str, token: &Secret) -> Result<Self> {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= 4000 && !text.contains(|c: char| c.is_control())
        };
        match (plain(user), plain(token.expose())) {
            (true, true) => Ok(Self {
                user: user.to_owned(),
                token: token.clone(),
            }),
            (false, _) => Err(Error::invalid(
                "that is no user of a repository",
                "most services take any with a token, such as git",
            )),
            (true, false) => Err(Error::invalid(
                "that is no token: it is empty, or has more than one line",
                "the token alone is read from standard input, as in `… < FILE`",
            )),
        }
    }

    /// Lays them where the helper of one run reads them.
    pub(crate) fn lend(&self, to: &Address) -> Result<Lent> {
        let host = to.https_host().ok_or_else(|| {
            Error::invalid(
                format!("{} is not reached with a token", to.as_str()),
                "a token is for https:// alone; by ssh:// Ward's user has a key",
            )
        })?;
        let write = || -> io::Result<File> {
            let mut file = File::from(memfd_create("credentials", MemfdFlags::CLOEXEC)?);
            // The form of gitcredentials(7). Each reader opens it anew, at its beginning.
            writeln!(file, "username={}", self.user)?;
            writeln!(file, "password={}", self.token.expose())?;
            Ok(file)
        };
        let file = write().map_err(Error::Start)?;
        let (own, number) = (std::process::id(), file.as_raw_fd());
        let helper = format!("!f() {{ test \"$1\" = get && cat /proc/{own}/fd/{number}; }}; f");
        Ok(Lent {
            setting: format!("credential.https://{host}.helper={helper}"),
            _file: file,
        })
    }
}

/// Credentials for one run; they are gone when it is dropped.
pub(crate) struct Lent {
    pub(crate) setting: String,
    _file: File,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_could_take_for_more_than_a_token_is_refused() {
        let token = |text: &str| Secret::new(text.to_owned());
        assert!(Credentials::new("git", &token("abc")).is_ok());
        for (user, text) in [("", "abc"), ("git", ""), ("git", "a\nurl=x"), ("a\nb", "c")] {
            let refused = Credentials::new(user, &token(text)).expect_err("refused");
            assert!(!refused.to_string().contains("abc"), "{refused}");
        }
    }

    #[test]
    fn p6_a_token_is_lent_to_its_host_alone_and_stands_in_no_setting() {
        let credentials = Credentials::new("git", &Secret::new("hunter2".into())).expect("plain");
        let address = Address::parse("https://git.example.com:8443/shop.git").expect("an address");
        let lent = credentials.lend(&address).expect("lent");
        let start = "credential.https://git.example.com:8443.helper=";
        assert!(lent.setting.starts_with(start), "{lent:?}");
        assert!(!format!("{lent:?} {credentials:?}").contains("hunter2"));
        let path = lent.setting.split(['/', ';']).collect::<Vec<_>>();
        assert!(path.contains(&"fd"), "{lent:?}");
        for other in ["/srv/git/shop", "ssh://git@example.com/shop"] {
            let address = Address::parse(other).expect("an address");
            assert!(credentials.lend(&address).is_err(), "{other}");
        }
    }
}
