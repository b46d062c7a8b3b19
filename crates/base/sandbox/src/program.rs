//! A program as execve(2) wants it, prepared before the sandbox is made so that a bad text is an early error.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::Access;
use rustix::io::Errno;

use crate::error::SandboxError;

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program could not be run, and the exit status by which a shell says so.
pub(crate) struct NotRun {
    pub(crate) message: String,
    pub(crate) status: u8,
}

impl NotRun {
    /// It is not there.
    pub(crate) const NOT_FOUND: u8 = 127;
    /// It is there and cannot be executed.
    const NOT_EXECUTABLE: u8 = 126;

    fn not_executable(message: String) -> Self {
        Self {
            message,
            status: Self::NOT_EXECUTABLE,
        }
    }
}

/// A program with its arguments, environment and folder.
pub(crate) struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    candidates: Vec<CString>,
    cwd: CString,
}

impl Program {
    /// Checks and converts all texts.
    pub(crate) fn new<'a>(
        argv: &[String],
        env: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        cwd: &str,
    ) -> Result<Self, SandboxError> {
        let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
            return Err(inside("no program is named".to_owned()));
        };
        let path = env.clone().find(|(name, _)| *name == "PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, path)| path);
        let candidates: Vec<String> = if name.contains('/') {
            vec![name.clone()]
        } else {
            let folders = path.split(':').filter(|folder| !folder.is_empty());
            folders.map(|folder| format!("{folder}/{name}")).collect()
        };
        Ok(Self {
            argv: argv
                .iter()
                .map(|text| c_text("an argument", text))
                .collect::<Result<_, _>>()?,
            env: env.map(variable).collect::<Result<_, _>>()?,
            candidates: candidates
                .iter()
                .map(|text| c_text("the program", text))
                .collect::<Result<_, _>>()?,
            cwd: c_text("the working folder", if cwd.is_empty() { "/" } else { cwd })?,
        })
    }

    /// Whether the program can be found in the file tree of this process.
    pub(crate) fn is_found(&self) -> bool {
        self.candidates
            .iter()
            .any(|path| rustix::fs::access(path.as_c_str(), Access::EXEC_OK).is_ok())
    }

    /// The program as it was named.
    pub(crate) fn name(&self) -> String {
        self.argv[0].to_string_lossy().into_owned()
    }

    /// Goes to its folder and becomes the program. Returns only when that fails, with the reason.
    pub(crate) fn exec(&self) -> NotRun {
        if let Err(error) = rustix::process::chdir(self.cwd.as_c_str()) {
            let cwd = self.cwd.to_string_lossy();
            return NotRun::not_executable(format!(
                "the working folder {cwd} cannot be entered: {error}"
            ));
        }
        let mut refusal = None;
        for path in &self.candidates {
            match self.exec_at(path) {
                Errno::NOENT if rustix::fs::access(path.as_c_str(), Access::EXISTS).is_ok() => {
                    let path = path.to_string_lossy();
                    return NotRun::not_executable(format!(
                        "{path} is there, but the interpreter or the library loader that it names is not in the image"
                    ));
                }
                Errno::NOENT | Errno::NOTDIR => {}
                error => {
                    refusal = Some(format!("{} cannot be run: {error}", path.to_string_lossy()))
                }
            }
        }
        refusal.map_or_else(
            || NotRun {
                message: format!("the program {} is not in the image", self.name()),
                status: NotRun::NOT_FOUND,
            },
            NotRun::not_executable,
        )
    }

    fn exec_at(&self, path: &CString) -> Errno {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            let ends = std::iter::once(std::ptr::null());
            texts.iter().map(|text| text.as_ptr()).chain(ends).collect()
        };
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        // SAFETY: both arrays end with a null pointer, and they and the texts they point to live until execve
        // returns, which it does only on failure.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        crate::process::last_error()
    }
}

fn variable((name, value): (&str, &str)) -> Result<CString, SandboxError> {
    // The value may be a secret: the message names the variable only.
    let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
    CString::new(text).map_err(|_| inside(format!("the variable {name} holds a NUL byte")))
}

fn c_text(what: &str, text: &str) -> Result<CString, SandboxError> {
    let bytes = std::ffi::OsStr::new(text).as_bytes();
    CString::new(bytes).map_err(|_| inside(format!("{what} holds a NUL byte")))
}

fn inside(message: String) -> SandboxError {
    SandboxError::Inside { message }
}
