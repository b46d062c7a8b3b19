//! Giving back what only the set-up needed.
//!
//! There is a keeper for each instance, and pid 1 beside it. Starting them touches much of a large binary's code that
//! they never run again; mapped pages count as theirs for as long as they are mapped.

use crate::process::last_error;

/// Gives memory that was freed back to the kernel. The allocator keeps it for itself while a few bytes that are in
/// use lie above it, which after thousands of connections is always so. Takes milliseconds per 100 MiB.
pub fn give_back_freed() {
    // SAFETY: it takes no pointer, may be called from any thread at any time (malloc_trim(3): MT-Safe), and touches
    // only pages that hold nothing but freed memory.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Unmaps the pages of this process's code and constants. Those that are used again are found in the page cache.
pub fn let_go_of_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(code) {
        // SAFETY: the range is one whole private mapping of a file that is not writable and that nothing was written
        // into (see `code`), so that each page can be read from the file again, unchanged.
        let result = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                end - start,
                libc::MADV_DONTNEED,
            )
        };
        if result < 0 {
            tracing::debug!(error = %last_error(), "code pages stay mapped");
        }
    }
}

/// The range of a line of /proc/self/maps if it is code, or a file's first pages (headers, symbols, constants). Other
/// read-only mappings may hold what the dynamic linker wrote before it protected them, which is in no file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.nth(2)?;
    let unwritten =
        rights == "r-xp" || (rights == "r--p" && offset.bytes().all(|digit| digit == b'0'));
    if !unwritten || !path.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_constants_are_let_go() {
        let lines = "\
55a000-55b000 r--p 00000000 fe:00 1 /usr/bin/ward
55b000-55c000 r-xp 00001000 fe:00 1 /usr/bin/ward
55c000-55d000 r--p 00002000 fe:00 1 /usr/bin/ward
55d000-55e000 rw-p 00003000 fe:00 1 /usr/bin/ward
55e000-55f000 rw-p 00000000 00:00 0 [heap]
7fff000-8000000 r-xp 00000000 00:00 0 [vdso]";
        let ranges: Vec<_> = lines.lines().filter_map(code).collect();
        assert_eq!(ranges, [(0x55a000, 0x55b000), (0x55b000, 0x55c000)]);
    }

    #[test]
    fn a_program_runs_on_without_its_pages() {
        let_go_of_code();
        assert_eq!(
            format!("{:?}", "still here".split(' ').rev().collect::<Vec<_>>()),
            r#"["here", "still"]"#
        );
    }
}
