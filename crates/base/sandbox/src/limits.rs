//! Limits that each process carries itself.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most open files that a workload gets, where the machine's hard limit is not lower.
const OPEN_FILES: u64 = 65_536;

/// Sets the limits of this process and of all that come from it.
///
/// `file` is the most bytes of one file; writing more fails with EFBIG, behind SIGXFSZ.
///
/// `processes` is given where no cgroup counts them: since Linux 5.14 RLIMIT_NPROC counts by user namespace, so
/// that it holds for one instance.
pub(crate) fn set(processes: Option<u32>, file: Option<u64>) -> Result<(), Errno> {
    // A core file would hold secrets.
    both(Resource::Core, 0)?;
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(OPEN_FILES);
    both(Resource::Nofile, hard.min(OPEN_FILES))?;
    if let Some(file) = file {
        let hard = getrlimit(Resource::Fsize).maximum.unwrap_or(file);
        both(Resource::Fsize, hard.min(file))?;
    }
    match processes {
        Some(processes) => both(Resource::Nproc, u64::from(processes)),
        None => Ok(()),
    }
}

fn both(resource: Resource, value: u64) -> Result<(), Errno> {
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(resource, limit)
}

/// Whether RLIMIT_NPROC counts by user namespace on this kernel.
pub(crate) fn processes_count_by_namespace() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (5, 14)
}
