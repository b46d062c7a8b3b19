//! What the numbers were measured on: without it they mean nothing.

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Processors that this program may use.
    cores: usize,
    /// The processor's own name.
    cpu: String,
    /// Bytes of main memory.
    memory: u64,
    /// The kernel's release.
    kernel: String,
    /// Processes that wanted to run in the minute before: another load makes the numbers worse.
    load: f64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let first = |text: String| {
            text.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| "unknown".to_owned()),
            memory: field(&read("/proc/meminfo"), "MemTotal").map_or(0, |value| kibibytes(&value)),
            kernel: first(read("/proc/sys/kernel/osrelease")),
            load: first(read("/proc/loadavg")).parse().unwrap_or(0.0),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        let gigabytes = self.memory as f64 / 1e9;
        let (cores, cpu, kernel, load) = (self.cores, &self.cpu, &self.kernel, self.load);
        format!(
            "{cores} cores of {cpu}, {gigabytes:.1} GB of memory, Linux {kernel}, load {load} before"
        )
    }
}

/// The value of the first line `NAME: VALUE`.
pub(crate) fn field(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    values.next()
}

/// `123 kB`, as the kernel writes it, in bytes.
pub(crate) fn kibibytes(value: &str) -> u64 {
    let number = value
        .split_whitespace()
        .next()
        .and_then(|number| number.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// How much of the machine's memory can still be had, in bytes; `None`: the kernel does not say.
pub(crate) fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    field(&text, "MemAvailable").map(|value| kibibytes(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let text = "Rss:  10 kB\nPss:                1234 kB\nPss_Anon:  7 kB\n";
        assert_eq!(
            field(text, "Pss").map(|value| kibibytes(&value)),
            Some(1234 * 1024)
        );
        assert_eq!(field(text, "Swap"), None);
        let here = Machine::look();
        assert!(
            here.cores > 0 && here.memory > 1 << 20 && !here.kernel.is_empty(),
            "{here:?}"
        );
        let left = available().unwrap();
        assert!(left > 1 << 20 && left < here.memory, "{left}");
    }
}
