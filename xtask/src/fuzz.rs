//! `cargo xtask fuzz`: every fuzz target of `fuzz/` for a while, on stable Rust.
//!
//! Relied on: inputs are guided by coverage (LLVM's sanitizer coverage, which stable rustc can switch on; the flags are those
//! that cargo-fuzz sets, without a sanitizer, which would need nightly). A crash leaves its input under the target
//! directory and the command that repeats it. Deliberately absent: corpora; each run starts from nothing.

use crate::steps;
use std::path::Path;
use std::process::Command;

/// Of the machine that the instrument runs on. Naming it keeps the flags away from build scripts.
const HOST: &str = "x86_64-unknown-linux-gnu";

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";

/// How long a target runs, and on what.
#[derive(Clone, Copy)]
pub enum Effort {
    /// So many seconds of inputs that nobody saw before.
    Seconds(u32),
    /// Few inputs from a fixed seed, much the same each time (exactly the same where no address is compared): what a change's tests
    /// say should be about that change.
    Seeded,
}

impl Effort {
    fn words(self) -> Vec<String> {
        match self {
            Effort::Seconds(seconds) => vec![format!("-max_total_time={seconds}")],
            // The slowest target makes 50,000 inputs a second; the time bounds a machine that is busy.
            Effort::Seeded => vec!["-seed=1".to_owned(), "-runs=50000".to_owned(), "-max_total_time=20".to_owned()],
        }
    }
}

/// Runs the targets whose name contains `part`.
pub fn run(part: &str, effort: Effort) -> Result<(), String> {
    let names = targets()?;
    let chosen: Vec<&String> = names.iter().filter(|name| name.contains(part)).collect();
    if chosen.is_empty() {
        return Err(format!("no fuzz target has {part:?} in its name; there are {}", names.join(", ")));
    }
    let folder = Path::new(&steps::target_directory()?).join("fuzz");
    let words = ["build", "--quiet", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", HOST];
    let target = folder.to_str().ok_or("the target directory's path is no text")?;
    steps::cargo(&words, &[("RUSTFLAGS", FLAGS), ("CARGO_TARGET_DIR", target)])?;
    for name in chosen {
        let program = folder.join(HOST).join("release").join(name);
        let found = folder.join("found").join(name);
        std::fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        let prefix = format!("-artifact_prefix={}/", found.display());
        let words = effort.words();
        let shown = format!("{} {prefix} {}", program.display(), words.join(" "));
        eprintln!("xtask: {shown}");
        let output = Command::new(&program)
            .args([&prefix, "-verbosity=0", "-print_final_stats=1"])
            .args(&words)
            .current_dir(&found)
            .output()
            .map_err(|error| format!("{shown}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{name} found something; its input lies in {}\n{said}", found.display()));
        }
        let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!(
            "fuzz {name}: {} inputs ({}), nothing found",
            runs.map_or("an unknown number of", str::trim),
            words.join(" ")
        );
    }
    Ok(())
}

/// The names of the targets: one file each.
fn targets() -> Result<Vec<String>, String> {
    let folder = steps::root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
