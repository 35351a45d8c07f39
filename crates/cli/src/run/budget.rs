//! How much memory traces may take before they are on disk.
//!
//! The pages are charged to the watched process (it touches them first), so what counts is what its cgroup has left, at every
//! level, and the machine. Asked again now and then: a container that fills up while the program runs gets a smaller answer.
//! Absent: who gets how much of it.

use std::path::Path;

/// Most that is asked for, bytes: some seconds of a program that records as fast as it can (2 to 5 bytes an event).
const MOST: u64 = 256 << 20;
/// Least, bytes, however little is left: less would lose events between two passes over the traces on any disk.
pub const LEAST: u64 = 4 << 20;
/// The share of what is left: a host that needs the rest must not be ended for our sake.
const SHARE: u64 = 8;
/// Sets the budget in bytes, also where the disk is memory itself: for tests, which want it small.
const VARIABLE: &str = "ARENASCOPE_TRACE_MEMORY";

/// What the environment sets instead.
pub fn given() -> Option<u64> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

/// Bytes that the traces of a run may take in memory together; `pid` is one of its processes. Some files of /proc and /sys are read.
pub fn budget(pid: u32) -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let left = available(&meminfo).into_iter().chain(left_in_cgroups(&cgroups, Path::new("/sys/fs/cgroup")));
    (left.min().unwrap_or(0) / SHARE).clamp(LEAST, MOST)
}

/// MemAvailable, bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().split(' ').next()?.parse::<u64>().ok()? << 10)
}

/// What each cgroup with a limit has left, the innermost first, bytes. Levels that cannot be read (a container sees its own as the root)
/// have none. `memory.high` counts as well: beyond it the kernel slows the process down.
fn left_in_cgroups(cgroups: &str, root: &Path) -> Vec<u64> {
    let mut left = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, limits, used, cache): (_, &[&str], _, _) = match controllers {
            "" => (root.to_owned(), &["memory.max", "memory.high"], "memory.current", "inactive_file "),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), &["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file ")
            }
            _ => continue,
        };
        for level in Path::new(path.trim_start_matches('/')).ancestors() {
            let number =
                |name: &str| std::fs::read_to_string(root.join(level).join(name)).ok()?.trim().parse::<u64>().ok();
            // "max" is no number, and no limit.
            let Some(limit) = limits.iter().filter_map(|name| number(name)).min() else { continue };
            let stat = std::fs::read_to_string(root.join(level).join("memory.stat")).unwrap_or_default();
            let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.parse::<u64>().ok()).unwrap_or(0);
            left.push(limit.saturating_sub(number(used).unwrap_or(0).saturating_sub(cache)));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_calls_available() {
        assert_eq!(available("MemTotal:       100 kB\nMemAvailable:      12 kB\n"), Some(12 << 10));
        assert_eq!(available("MemTotal: 100 kB\n"), None);
    }

    #[test]
    fn every_level_with_a_limit_counts_in_both_kinds_of_cgroups() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::write(path, text).expect("a file");
        };
        put("a/b/memory.max", "max\n");
        put("a/b/memory.high", "1000\n");
        put("a/b/memory.current", "700\n");
        put("a/b/memory.stat", "anon 5\ninactive_file 100\n");
        put("a/memory.max", "5000\n");
        put("a/memory.current", "6000\n");
        assert_eq!(left_in_cgroups("0::/a/b\n", root.path()), [400, 0]);
        put("memory/memory.limit_in_bytes", "64\n");
        put("memory/memory.usage_in_bytes", "60\n");
        assert_eq!(left_in_cgroups("4:memory:/docker/no-such\n3:cpu:/a\n", root.path()), [4]);
        assert_eq!(left_in_cgroups("nonsense", root.path()), [] as [u64; 0]);
    }

    #[test]
    fn a_budget_is_never_nothing_and_never_all() {
        let budget = budget(std::process::id());
        assert!((LEAST..=MOST).contains(&budget), "{budget}");
    }
}
