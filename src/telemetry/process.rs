//! What the kernel knows of this process, under the names that every Prometheus client library uses.
//!
//! Read from `/proc/self` when somebody asks, so it costs nothing otherwise. Rendered as text here and not
//! through the recorder, whose counters are whole numbers: CPU time is not. Where there is no `/proc`, or a
//! value of it cannot be read, that metric is left out.

use std::fmt::Write as _;
use std::fs;

/// Clock ticks a second in `/proc/*/stat`. The kernel's interface fixes `USER_HZ` at 100 on every
/// architecture that we build for (see `time(7)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the `process_*` metrics in the text format.
pub fn render(out: &mut String) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let help = "User and system CPU time spent.";
    metric(out, "process_cpu_seconds_total", "counter", help, cpu_seconds(&stat));
    let help = "Resident memory.";
    metric(out, "process_resident_memory_bytes", "gauge", help, status_bytes(&status, "VmRSS:"));
    let help = "Virtual memory.";
    metric(out, "process_virtual_memory_bytes", "gauge", help, status_bytes(&status, "VmSize:"));
    let help = "Start of the process, in seconds since 1970.";
    metric(out, "process_start_time_seconds", "gauge", help, start_time(&stat, &boot));
    metric(out, "process_open_fds", "gauge", "Open file descriptors.", open_files());
    metric(out, "process_max_fds", "gauge", "Most file descriptors that may be open.", max_files(&limits));
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}

/// A field of `/proc/self/stat` by its number in `proc(5)`; numbers from 3 on stand after the name, which is
/// in parentheses and may hold spaces and parentheses itself.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, boot: &str) -> Option<f64> {
    let booted: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

/// A value of `/proc/self/status`, which the kernel writes in KiB and calls kB.
fn status_bytes(status: &str, key: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: f64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    // Reading the folder opens one more.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(open).ok().map(f64::from)
}

fn max_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_spaces_and_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 12345 1000 200";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(start_time(stat, "cpu 1\nbtime 1000\n"), Some(1123.45));
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(status_bytes("Name:\tx\nVmRSS:\t    2048 kB\n", "VmRSS:"), Some(2_097_152.0));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(start_time("1 (x) S", "btime 5"), None);
        assert_eq!(max_files("Max open files            unlimited            unlimited            files"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_files_and_a_start() {
        let mut text = String::new();
        render(&mut text);
        for name in ["resident_memory_bytes", "open_fds", "cpu_seconds_total", "start_time_seconds", "max_fds"] {
            assert!(text.contains(&format!("\nprocess_{name} ")), "{name} is missing in\n{text}");
        }
    }
}
