//! A program of people's that is told something: on its standard input, once.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::process::Step;
use crate::{Error, Result};

/// Runs the program to its end, in this folder, with `input` on its standard input and these variables beside those
/// that every program of a build gets. Dropping the future kills its process group.
///
/// # Errors
/// When it cannot be started, or ends with anything but 0; [`Error::output`] then has its last lines.
pub async fn tell(
    program: &Path,
    dir: &Path,
    env: Vec<(&'static str, PathBuf)>,
    input: &[u8],
) -> Result<()> {
    let step = Step {
        program: &program.to_string_lossy(),
        args: Vec::new(),
        dir,
        env,
    };
    let input = file_of(input).map_err(Error::file("give its input to", program))?;
    step.run_fed(Stdio::from(input), &|_| {}).await
}

/// In memory: a pipe would hold up whoever writes more than it takes.
fn file_of(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn it_gets_its_input_to_the_end_and_what_it_wrote_is_said_where_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("notify");
        let script = |text: &str| {
            fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        };
        let told = |input: Vec<u8>| {
            let (program, dir) = (program.clone(), folder.path().to_owned());
            async move {
                let home = vec![("WARD_HOME", dir.clone())];
                tell(&program, &dir, home, &input).await
            }
        };
        script("cat > \"$WARD_HOME/got\"");
        let long = vec![b'x'; 300_000];
        told(long.clone()).await.unwrap();
        assert_eq!(fs::read(folder.path().join("got")).unwrap(), long);
        // Whoever does not read it is none the worse.
        script("exit 0");
        told(long).await.unwrap();
        script("read line; echo \"not $line\" >&2; exit 3");
        let failed = told(b"this\n".to_vec()).await.unwrap_err();
        assert_eq!(failed.output(), ["not this"]);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(told(Vec::new()).await.is_err());
    }
}
