//! The folder that a run of the bench works in: state folders, and copies of what is deployed.
//!
//! Cargo compiles again when the path of its target folder is another, because Ward hands the path to the
//! compiler. So all measurements of the example use one state folder, one after the other, of which everything
//! is removed in between except what cargo compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::error::{Error, doing};
use crate::report::say;
use crate::tiny;
use crate::ward::Ward;

pub(crate) struct Workshop {
    exe: PathBuf,
    dir: PathBuf,
    /// Removes the folder at the end, unless it was given.
    own: Option<TempDir>,
    /// How long `ward up` of the example took when nothing was compiled.
    first_build: OnceCell<Option<Duration>>,
}

impl Workshop {
    pub(crate) fn open(exe: PathBuf, given: Option<&Path>) -> Result<Self, Error> {
        let own = match given {
            Some(_) => None,
            None => Some(doing(
                "make a temporary folder",
                tempfile::Builder::new().prefix("ward-bench-").tempdir(),
            )?),
        };
        let dir = match (given, &own) {
            (Some(dir), _) => {
                doing(format!("make {}", dir.display()), fs::create_dir_all(dir))?;
                doing(format!("open {}", dir.display()), fs::canonicalize(dir))?
            }
            (None, own) => own
                .as_ref()
                .map(|own| own.path().to_owned())
                .unwrap_or_default(),
        };
        Ok(Self {
            exe,
            dir,
            own,
            first_build: OnceCell::new(),
        })
    }

    pub(crate) fn exe(&self) -> &Path {
        &self.exe
    }

    /// An empty folder for one measurement, removed with the value.
    pub(crate) fn scratch(&self, prefix: &str) -> Result<TempDir, Error> {
        doing(
            format!("make a folder in {}", self.dir.display()),
            tempfile::Builder::new()
                .prefix(prefix)
                .tempdir_in(&self.dir),
        )
    }

    /// A folder for a stack; what was in it is not looked at.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.dir.join(name);
        let made = fs::create_dir_all(&folder);
        doing(format!("make {}", folder.display()), made).map(|()| folder)
    }

    /// A platform for a stack of which cargo builds nothing.
    pub(crate) fn of(&self, stack: &Path) -> Ward {
        Ward::new(&self.exe, self.dir.join("home"), stack.to_owned())
    }

    /// A platform for examples/returns. Nothing of it runs yet, and cargo has nothing to compile.
    pub(crate) async fn returns(&self) -> Result<Ward, Error> {
        self.first_build().await?;
        self.returns_as_is()
    }

    /// How long the very first `ward up` took, cargo's compiling included; `None` when the folder that was
    /// given had it compiled already.
    pub(crate) async fn first_build(&self) -> Result<Option<Duration>, Error> {
        self.first_build
            .get_or_try_init(|| self.build())
            .await
            .copied()
    }

    async fn build(&self) -> Result<Option<Duration>, Error> {
        if !Path::new("/usr/lib/postgresql").exists() {
            return Err(Error::Missing {
                program: "PostgreSQL",
                package: "postgresql",
            });
        }
        let ward = self.returns_as_is()?;
        let compiled = ward.home().join("builds/returns/target").exists();
        say("building examples/returns once, so that cargo has nothing to compile later");
        let took = ward.up().await?;
        say(&format!("  `ward up` took {:.1} s", took.as_secs_f64()));
        ward.stop().await?;
        Ok((!compiled).then_some(took))
    }

    fn returns_as_is(&self) -> Result<Ward, Error> {
        self.example("returns")
    }

    /// A platform for examples/plans. Nothing of it runs yet, and cargo may have all of it to compile.
    pub(crate) fn plans(&self) -> Result<Ward, Error> {
        self.example("plans")
    }

    fn example(&self, name: &str) -> Result<Ward, Error> {
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .with_file_name("examples")
            .join(name);
        let stack = self.dir.join(name);
        copy(&example, &stack)?;
        Ok(Ward::new(&self.exe, self.dir.join("home"), stack))
    }

    /// A platform for a service `web` of the tiny server with so many instances, which take so long to start.
    pub(crate) fn tiny(&self, instances: u32, start: Duration) -> Result<Ward, Error> {
        let stack = self.dir.join("tiny");
        doing(
            format!("make {}", stack.display()),
            fs::create_dir_all(&stack),
        )?;
        tiny::compile(&stack.join("tiny-server"))?;
        let text = format!(
            r#"[stack]
name = "tiny"
version = "1.0"

[service.web]
build = {{ files = ["tiny-server"], run = ["/app/tiny-server"], base = "empty" }}
port = 8000
health = {{ path = "/healthz", interval = "{interval}ms", healthy = {healthy} }}
instances = {instances}
route = {{ host = "{host}" }}
env = {{ START_DELAY_MS = "{start}", MARK = "a" }}

[environment.dev]
"#,
            interval = tiny::INTERVAL.as_millis(),
            healthy = tiny::HEALTHY,
            host = tiny::HOST,
            start = start.as_millis(),
        );
        let path = stack.join("ward.toml");
        doing(format!("write {}", path.display()), fs::write(&path, text))?;
        Ok(Ward::new(&self.exe, self.dir.join("home"), stack))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if self.own.is_none() {
            for name in ["returns", "plans", "many", "tiny", "clerk", "origin"] {
                let _ = fs::remove_dir_all(self.dir.join(name));
            }
        }
    }
}

/// Copies a folder anew, without what was built in it. Files keep their times, so that cargo takes them for the
/// ones that it has compiled.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    doing(format!("make {}", to.display()), fs::create_dir_all(to))?;
    for entry in doing(format!("read {}", from.display()), fs::read_dir(from))? {
        let entry = doing(format!("read {}", from.display()), entry)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            if entry.file_name() != "target" {
                copy(&source, &target)?;
            }
            continue;
        }
        let copied = fs::copy(&source, &target).and_then(|_| {
            let times = fs::FileTimes::new().set_modified(source.metadata()?.modified()?);
            fs::File::options()
                .write(true)
                .open(&target)?
                .set_times(times)
        });
        doing(
            format!("copy {} to {}", source.display(), target.display()),
            copied,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_files_and_their_times_and_nothing_that_was_built() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("src")).unwrap();
        fs::create_dir_all(from.join("target/debug")).unwrap();
        fs::write(from.join("src/main.rs"), "fn main() {}").unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = fs::File::options()
            .write(true)
            .open(from.join("src/main.rs"))
            .unwrap();
        file.set_times(fs::FileTimes::new().set_modified(past))
            .unwrap();
        copy(&from, &to).unwrap();
        copy(&from, &to).unwrap();
        let copied = to.join("src/main.rs");
        assert_eq!(fs::read_to_string(&copied).unwrap(), "fn main() {}");
        assert_eq!(copied.metadata().unwrap().modified().unwrap(), past);
        assert!(!to.join("target").exists());
    }
}
