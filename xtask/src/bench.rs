//! What Arenascope costs and what its arena is worth, measured into docs/performance.md and docs/performance.json.
//!
//! Two benches share the two files: the hooked call, and the arena beside its peers. Each renews its own part and leaves the
//! other's as it was. Deliberately absent: judgement beyond *must* and *aim*.

mod arenas;
mod hooked;
mod page;

/// Runs what `words` ask for: nothing is everything.
pub fn run(words: &[&str]) -> Result<(), String> {
    match words {
        [] => {
            hooked::run()?;
            arenas::run(&[])
        }
        ["hooked"] => hooked::run(),
        ["arenas", rest @ ..] => arenas::run(rest),
        [other, ..] => Err(format!("no bench {other}: hooked, arenas, or nothing for both")),
    }
}

/// The machine in a line: CPU, how many, memory, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        line.trim_start_matches(['\t', ' ', ':']).trim().to_owned()
    };
    let info = read("/proc/cpuinfo");
    let model = ["model name", "cpu family", "model\t"].map(|name| field(&info, name));
    let [name, family, number] = model;
    let kib: f64 = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let gib = kib / f64::from(1 << 20);
    format!("{name} (family {family}, model {number}), {cpus} CPUs, {gib:.0} GiB, Linux {}", kernel.trim())
}
