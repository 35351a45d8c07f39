//! Runs the rows: rounds by turns, a process per run where memory must be cold, instructions under callgrind.
//!
//! Every run happens in a child process that is pinned to one CPU. Rounds go through all contenders before the next round
//! begins, and each round begins with another contender, so that a slow minute of the machine hits everybody.

use crate::loops::Took;
use crate::machine;
use crate::rows::{Bar, Bounds, Contender, Measure, Row, Scale};
use serde_json::{Value, json};
use std::process::Command;

/// What to run.
pub struct Plan {
    /// Small sizes and few rounds: for trying, not for the record.
    pub quick: bool,
    /// Whether instructions are counted.
    pub counts: bool,
    /// Rounds instead of the row's own.
    pub rounds: Option<usize>,
    /// Only contenders whose name contains this.
    pub contender: String,
}

/// A contender's numbers, in the row's unit.
struct Numbers {
    time: Vec<f64>,
    second: Vec<f64>,
    instructions: Option<f64>,
}

/// Runs a row and returns its numbers and bars.
pub fn row(row: &Row, plan: &Plan) -> Result<Value, String> {
    let units = row.units[usize::from(plan.quick)];
    let rounds = plan.rounds.unwrap_or(row.rounds[usize::from(plan.quick)]);
    let chosen: Vec<usize> =
        (0..row.contenders.len()).filter(|&at| row.contenders[at].name.contains(&plan.contender)).collect();
    let mut took: Vec<Vec<Took>> = row.contenders.iter().map(|_| Vec::new()).collect();
    if row.apart {
        for round in 0..rounds {
            eprint!("\r{}: round {} of {rounds} ", row.id, round + 1);
            for turn in 0..chosen.len() {
                let at = chosen[(turn + round) % chosen.len()];
                let words = ["one", row.id, &row.contenders[at].name, &units.to_string()];
                took[at].extend(runs(&words)?.into_iter().map(|(_, took)| took));
            }
        }
    } else {
        eprint!("\r{}: {rounds} rounds ", row.id);
        let words = ["together", row.id, &plan.contender, &units.to_string(), &rounds.to_string()];
        for (at, run) in runs(&words)? {
            took.get_mut(at).ok_or("a child named a contender that does not exist")?.push(run);
        }
    }
    let mut numbers = Vec::new();
    for (at, contender) in row.contenders.iter().enumerate() {
        let scale = |ns: f64| match row.scale {
            Scale::PerOperation(operations) => ns / (units as f64 * operations),
            Scale::WholeRun => ns / 1e6,
            Scale::Count => ns,
        };
        let sorted = |pick: fn(&Took) -> f64| {
            let mut values: Vec<f64> = took[at].iter().map(|took| scale(pick(took))).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let counted = plan.counts && row.counted_units > 0 && chosen.contains(&at);
        numbers.push(Numbers {
            time: sorted(|took| took.ns),
            second: sorted(|took| took.second_ns),
            instructions: if counted { Some(instructions(row, contender)?) } else { None },
        });
    }
    eprintln!("\r{}: {}          ", row.id, row.title);
    for (contender, numbers) in row.contenders.iter().zip(&numbers).filter(|(_, numbers)| !numbers.time.is_empty()) {
        eprintln!(
            "  {:32} {:>10.2} {} (min {:.2}){}{}",
            contender.name,
            median(&numbers.time).unwrap_or(0.0),
            row.unit,
            numbers.time[0],
            row.second.map_or(String::new(), |what| format!("  {what} {:.2}", median(&numbers.second).unwrap_or(0.0))),
            numbers.instructions.map_or(String::new(), |count| format!("  {count:.1} instructions")),
        );
    }
    let bars: Vec<Value> = row.bars.iter().map(|bar| judged(row, bar, &numbers)).collect();
    Ok(json!({
        "id": row.id, "title": row.title, "unit": row.unit, "second": row.second, "rounds": rounds, "quick": plan.quick,
        "contenders": row.contenders.iter().zip(&numbers).filter(|(_, numbers)| !numbers.time.is_empty())
            .map(|(contender, numbers)| told(row, contender, numbers)).collect::<Vec<_>>(),
        "bars": bars,
    }))
}

fn told(row: &Row, contender: &Contender, numbers: &Numbers) -> Value {
    let spread = |values: &[f64]| json!({"median": median(values), "min": values.first(), "max": values.last()});
    json!({
        "name": contender.name, "kind": format!("{:?}", contender.kind).to_lowercase(), "time": spread(&numbers.time),
        "second": row.second.map(|_| spread(&numbers.second)), "instructions": numbers.instructions,
    })
}

/// A bar with its numbers; null where ours has not run.
fn judged(row: &Row, bar: &Bar, numbers: &[Numbers]) -> Value {
    let value = |numbers: &Numbers, least: bool| match bar.measure {
        Measure::Time if least => numbers.time.first().copied(),
        Measure::Second if least => numbers.second.first().copied(),
        Measure::Time => median(&numbers.time),
        Measure::Second => median(&numbers.second),
        Measure::Instructions => numbers.instructions,
    };
    let best = |wanted: &dyn Fn(&Contender) -> bool, least: bool| {
        let all = row.contenders.iter().zip(numbers).filter(|(contender, _)| wanted(contender));
        all.filter_map(|(contender, numbers)| Some((contender.name.as_str(), value(numbers, least)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let is_ours = |contender: &Contender| bar.ours.contains(&contender.name.as_str());
    let is_peer = |contender: &Contender| bar.against.includes(contender);
    let (ours, peer) = (best(&is_ours, false), best(&is_peer, false));
    let short = |value: f64| (value * 1e4).round() / 1e4;
    let ratio = |least| Some(short(best(&is_ours, least)?.1 / best(&is_peer, least)?.1));
    let title = match bar.title.strip_prefix("the same") {
        Some(rest) => format!("{}{rest}", row.title),
        None => bar.title.to_owned(),
    };
    json!({
        "row": title,
        "unit": if bar.measure == Measure::Instructions { "instructions" } else { row.unit },
        "ours": ours.map(|(_, value)| short(value)), "ours_as": ours.map(|(name, _)| name),
        "peer": peer.map(|(name, _)| name), "peer_value": peer.map(|(_, value)| short(value)),
        "ratio": ratio(false), "ratio_of_least": ratio(true),
        "bounds": if bar.bounds == Bounds::Ratio { "ratio" } else { "ours" },
        "must": bar.must, "aim": bar.aim,
    })
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

/// Runs this program again as a child and reads `CONTENDER NS SECOND_NS` lines.
fn runs(words: &[&str]) -> Result<Vec<(usize, Took)>, String> {
    let text = output(Command::new(own()?).args(words), &words.join(" "))?;
    text.lines()
        .map(|line| {
            let mut parts = line.split(' ');
            let mut next = || parts.next().and_then(|part| part.parse::<f64>().ok());
            match (next(), next(), next()) {
                (Some(at), Some(ns), Some(second_ns)) => Ok((at as usize, Took { ns, second_ns })),
                _ => Err(format!("{}: the child printed {line:?}", words.join(" "))),
            }
        })
        .collect()
}

/// The child that runs one contender once.
pub fn one(row: &Row, contender: &str, units: u64) -> Result<(), String> {
    let at = row.contenders.iter().position(|c| c.name == contender).ok_or(format!("no contender {contender:?}"))?;
    machine::pin_to_last();
    machine::touch(row.touch_per_unit * units as usize);
    let took = (row.contenders[at].run)(units);
    println!("{at} {} {}", took.ns, took.second_ns);
    Ok(())
}

/// The child that runs a contender for callgrind: no pinning, no touching, nothing printed.
pub fn count(row: &Row, contender: &str, units: u64) -> Result<(), String> {
    let contender = row.contenders.iter().find(|c| c.name == contender).ok_or(format!("no contender {contender:?}"))?;
    (contender.run)(units);
    Ok(())
}

/// The child that runs all contenders by turns.
pub fn together(row: &Row, part: &str, units: u64, rounds: usize) {
    machine::pin_to_last();
    let chosen: Vec<usize> = (0..row.contenders.len()).filter(|&at| row.contenders[at].name.contains(part)).collect();
    for round in 0..rounds {
        for turn in 0..chosen.len() {
            let at = chosen[(turn + round) % chosen.len()];
            let took = (row.contenders[at].run)(units);
            println!("{at} {} {}", took.ns, took.second_ns);
        }
    }
}

/// Instructions per operation: a run of twice the units minus one of the units, so that all preparation falls out.
fn instructions(row: &Row, contender: &Contender) -> Result<f64, String> {
    let once = collected(row, contender, row.counted_units)?;
    let twice = collected(row, contender, 2 * row.counted_units)?;
    let operations = match row.scale {
        // Microseconds are still one operation.
        Scale::PerOperation(operations) if row.unit != "µs" => operations,
        _ => 1.0,
    };
    // To a tenth: what is smaller is the reset at the end of 10,000 blocks.
    Ok(((twice - once) / (row.counted_units as f64 * operations) * 10.0).round() / 10.0)
}

fn collected(row: &Row, contender: &Contender, units: u64) -> Result<f64, String> {
    let what = format!("callgrind of {}, {}", row.id, contender.name);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own()?);
    command.args(["count", row.id, &contender.name, &units.to_string()]);
    let output = command.output().map_err(|error| format!("{what}: valgrind cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{what} ended with {}\n{text}", output.status));
    }
    text.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .ok_or(format!("{what}: no count in\n{text}"))
}

fn own() -> Result<std::path::PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program's own file: {error}"))
}

fn output(command: &mut Command, what: &str) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{what}: cannot be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{what}: ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Kind;
    use crate::rows::{Against, Row};

    fn numbers(time: &[f64], instructions: f64) -> Numbers {
        Numbers { time: time.to_vec(), second: Vec::new(), instructions: Some(instructions) }
    }

    #[test]
    fn a_bar_takes_the_best_of_ours_and_the_best_peer() {
        let contender =
            |name: &str, kind| Contender { name: name.into(), kind, run: |_| Took { ns: 1.0, second_ns: 0.0 } };
        let row = Row {
            id: "x",
            title: "X",
            unit: "ns",
            scale: Scale::WholeRun,
            units: [1, 1],
            rounds: [1, 1],
            apart: false,
            touch_per_unit: 0,
            counted_units: 1,
            second: None,
            contenders: vec![
                contender("a", Kind::Ours),
                contender("b", Kind::Ours),
                contender("p", Kind::Arena),
                contender("q", Kind::Arena),
                contender("m", Kind::Malloc),
            ],
            bars: vec![],
        };
        let bar = |measure| Bar {
            title: "the same, judged",
            measure,
            ours: &["a", "b"],
            against: Against::Kinds(&[Kind::Arena]),
            bounds: Bounds::Ratio,
            must: Some(0.5),
            aim: None,
        };
        let all = [
            numbers(&[1.0, 4.0, 9.0], 30.0),
            numbers(&[2.0, 3.0, 4.0], 40.0),
            numbers(&[5.0, 6.0, 7.0], 50.0),
            numbers(&[4.0, 8.0, 9.0], 20.0),
            numbers(&[0.1, 0.1, 0.1], 1.0),
        ];
        let time = judged(&row, &bar(Measure::Time), &all);
        assert_eq!(
            (&time["row"], &time["ours_as"], &time["peer"], &time["ratio"], &time["ratio_of_least"]),
            (&json!("X, judged"), &json!("b"), &json!("p"), &json!(0.5), &json!(0.25))
        );
        let instructions = judged(&row, &bar(Measure::Instructions), &all);
        assert_eq!((&instructions["ours"], &instructions["peer_value"]), (&json!(30.0), &json!(20.0)));
    }
}
