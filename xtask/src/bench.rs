//! What Arenascope costs and what its arena is worth, measured into docs/performance.md and docs/performance.json.
//!
//! Seven benches share the two files: the hooked call, recording one event beside other recorders, each mode on one load, check mode of our
//! own arenas, replay with all rules, sampling, and the arena beside its peers. Each renews its own part and leaves the others' as they were. Deliberately absent: judgement beyond *must* and *aim*.

mod arenas;
mod check;
mod hooked;
mod modes;
mod page;
mod record;
mod replay;
mod sample;
mod spread;

/// Runs what `words` ask for: nothing is everything.
pub fn run(words: &[&str]) -> Result<(), String> {
    match words {
        [] => {
            hooked::run()?;
            record::run()?;
            modes::run()?;
            check::run()?;
            replay::run()?;
            sample::run()?;
            arenas::run(&[])
        }
        ["hooked"] => hooked::run(),
        ["record"] => record::run(),
        ["modes"] => modes::run(),
        ["check"] => check::run(),
        ["replay"] => replay::run(),
        ["sample"] => sample::run(),
        ["arenas", rest @ ..] => arenas::run(rest),
        [other, ..] => {
            Err(format!("no bench {other}: hooked, record, modes, check, replay, sample, arenas, or nothing for all"))
        }
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

/// How many events a screen's last line counts.
///
/// # Errors
/// There is no such line, or events were lost.
fn events_of(screen: &str) -> Result<u64, String> {
    let line = screen.lines().rev().find(|line| line.contains(" events, ")).unwrap_or("");
    let counted = line.split(" · ").find_map(|part| part.split_once(" events, "));
    let (events, lost) = counted.ok_or_else(|| format!("no count of events on the screen:\n{screen}"))?;
    if lost != "0 lost" {
        return Err(format!("events were lost: {line}"));
    }
    events.replace(',', "").trim().parse().map_err(|_| format!("no number of events: {line}"))
}
