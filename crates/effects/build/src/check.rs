//! A check of what runs: a command of the stack file's, in the stack's folder on this machine, as build commands
//! are. It is a client like any other: it reaches what it checks by its addresses.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::{Piece, Step};
use crate::{Error, Result};

/// Runs the command to its end, with these variables beside those that every program of a build gets. Dropping
/// the future kills its process group.
///
/// # Errors
/// When it cannot be started, or ends with anything but 0; [`Error::output`] then has its last lines.
pub async fn check(
    command: &[String],
    dir: &Path,
    env: Vec<(&'static str, String)>,
    pieces: &(dyn Fn(Piece) + Send + Sync),
) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::NoCommand);
    };
    let env = env
        .into_iter()
        .map(|(name, value)| (name, PathBuf::from(value)));
    let step = Step {
        program,
        args: arguments.iter().map(Into::into).collect(),
        dir,
        env: env.collect(),
    };
    step.run_told(Stdio::null(), pieces).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str) -> Result<()> {
        let command = ["sh", "-c", script].map(str::to_owned);
        let env = vec![("WARD_ENV", "shop/qa".to_owned())];
        check(&command, Path::new("/"), env, &|_| {}).await
    }

    #[tokio::test]
    async fn it_ends_with_0_or_says_what_it_wrote() {
        run(r#"test "$WARD_ENV" = shop/qa"#).await.unwrap();
        let failed = run("echo one; echo two >&2; exit 3").await.unwrap_err();
        assert_eq!(failed.output(), ["one", "two"]);
        assert!(failed.to_string().contains("exit status"), "{failed}");
        assert!(
            check(&[], Path::new("/"), Vec::new(), &|_| {})
                .await
                .is_err()
        );
    }
}
