//! The gateway's process: that it survives, and what it takes.

/// What a process takes.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    kilobytes: u64,
    descriptors: usize,
}

impl Process {
    pub fn of(pid: i32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.split_whitespace().next());
        Self {
            pid,
            kilobytes: resident.and_then(|text| text.parse().ok()).unwrap(),
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap()
                .count(),
        }
    }

    /// Whether it is the same process still, and takes hardly more than before.
    pub fn survives_as(&self, after: &Self) -> bool {
        after.pid == self.pid
            && after.kilobytes < self.kilobytes + 64 * 1024
            && after.descriptors < self.descriptors + 400
    }
}
