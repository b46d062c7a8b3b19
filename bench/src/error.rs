//! Why something could not be measured.

use std::io;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{program} is not installed; this line installs it: apt-get install {package}")]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error("`{line}` ended with {how}:\n{output}")]
    Command {
        line: String,
        how: String,
        output: String,
    },
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Unexpected(String),
    #[error("interrupted; what was running is stopped and removed")]
    Interrupted,
}

impl Error {
    /// The error and its causes, on one line.
    pub(crate) fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    }
}

/// Says what was being done when it failed.
pub(crate) fn doing<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Io {
        what: what.into(),
        source,
    })
}
