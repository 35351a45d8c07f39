//! Prints what is found in the files named on the command line: roles, reasons, notes.

fn main() {
    for path in std::env::args().skip(1) {
        println!("== {path}");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        let start = std::time::Instant::now();
        match arenascope_shapes::find(&bytes, None) {
            Ok(found) => {
                for reading in &found.readings {
                    println!("reading: {}", reading.arena_type);
                    for s in &reading.explain {
                        print_scored(s);
                    }
                }
                found.considered.iter().for_each(print_scored);
                found.notes.iter().for_each(|note| println!("  note: {note}"));
            }
            Err(error) => println!("  error: {error}"),
        }
        println!("  ({:?})", start.elapsed());
    }
}

fn print_scored(s: &arenascope_shapes::Scored) {
    let arguments: Vec<&str> = s.decl.arguments.iter().map(|a| a.word()).collect();
    println!(
        "  {} {:3} {}:{}({}) -> {}   {}",
        if s.chosen { "*" } else { " " },
        s.score,
        s.decl.role.word(),
        s.decl.function,
        arguments.join(", "),
        s.decl.result.word(),
        s.because.join("; ")
    );
}
