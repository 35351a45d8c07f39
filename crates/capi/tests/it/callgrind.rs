//! Instructions per allocation of the inlined C path, beside obstack and APR, counted by callgrind.
//!
//! Counts are exact and the same on every machine of this kind, so a bar can be held. Loop (3), a comparison with NULL and
//! the stores into the block are in them, for everybody. Prints a table: `cargo test -p arenascope-capi callgrind -- --nocapture`.

use crate::installed::{Compiler, Library, c_folder, compile, pkg_config, run, said};
use std::path::Path;
use std::process::Command;

fn instructions(program: &Path, who: &str, size: &str, count: u64) -> f64 {
    let output = run(Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([who, size, &count.to_string()]));
    let text = said(&output);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, number)| number.trim());
    collected.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in\n{text}"))
}

/// Per operation, to a tenth: the difference between 200,000 and 100,000 of them.
fn per_operation(program: &Path, who: &str, size: &str) -> f64 {
    const N: u64 = 100_000;
    let difference = instructions(program, who, size, 2 * N) - instructions(program, who, size, N);
    (difference / N as f64 * 10.0).round() / 10.0
}

#[test]
fn the_allocation_path_takes_no_more_instructions_than_its_bar() {
    let apr: Vec<String> = pkg_config(&["--cflags", "--libs", "apr-1"]);
    let extra: Vec<&str> = apr.iter().map(String::as_str).collect();
    println!("{:6} {:8} {:>6} {:>8} {:>6}", "", "size", "ours", "obstack", "APR");
    for (compiler, bars) in [
        (Compiler(&["gcc", "-std=gnu11", "-O2"]), [("8", 9.5), ("24", 12.5), ("64", 16.0), ("varying", 16.5)]),
        (Compiler(&["clang", "-std=gnu11", "-O2"]), [("8", 9.5), ("24", 11.5), ("64", 16.5), ("varying", 16.5)]),
    ] {
        let program = compile(compiler, &c_folder().join("count.c"), Library::Archive, &extra, "callgrind");
        for (size, bar) in bars {
            let ours = per_operation(&program, "ascope", size);
            let obstack = per_operation(&program, "obstack", size);
            let apr = per_operation(&program, "apr", size);
            println!("{:6} {size:8} {ours:6} {obstack:8} {apr:6}", compiler.0[0]);
            assert!(ours <= bar, "{} {size}: {ours} instructions, the bar is {bar}", compiler.0[0]);
            assert!(ours <= 0.6 * obstack.min(apr), "{size}: {ours}, obstack {obstack}, APR {apr}");
        }
        let cycle = per_operation(&program, "cycle", "16384");
        let apr = per_operation(&program, "cycle_apr", "0");
        println!("{:6} {:8} {cycle:6} {:>8} {apr:6}", compiler.0[0], "life", "");
        assert!(cycle <= 600.0, "create, one block, destroy: {cycle}");
    }
}
