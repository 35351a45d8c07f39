//! What the compiler says when a value that needs dropping is given to a call that would forget it: the message ends with the
//! line of the program, not with one of the library's.

use std::path::Path;
use std::process::Command;

/// The calls that refuse such values, by what has them; `N` stands for a number, another one in each call.
const ARENA: &[&str] = &[
    "alloc(D::<N>)",
    "try_alloc(D::<N>)",
    "alloc_with(|| D::<N>)",
    "try_alloc_with(|| D::<N>)",
    "alloc_try_with(|| Ok::<D<N>, ()>(D))",
    "try_alloc_try_with(|| Ok::<D<N>, ()>(D))",
    "alloc_slice_clone(&[D::<N>])",
    "try_alloc_slice_clone(&[D::<N>])",
    "alloc_slice_fill_with(1, |_| D::<N>)",
    "try_alloc_slice_fill_with(1, |_| D::<N>)",
    "alloc_slice_fill_clone(1, &D::<N>)",
    "try_alloc_slice_fill_clone(1, &D::<N>)",
    "alloc_slice_fill_default::<D<N>>(1)",
    "try_alloc_slice_fill_default::<D<N>>(1)",
    "alloc_slice_fill_iter([D::<N>])",
    "try_alloc_slice_fill_iter([D::<N>])",
    "alloc_slice_try_fill_with(1, |_| Ok::<D<N>, ()>(D))",
    "try_alloc_slice_try_fill_with(1, |_| Ok::<D<N>, ()>(D))",
    "alloc_slice_try_fill_iter([Ok::<D<N>, ()>(D)])",
    "try_alloc_slice_try_fill_iter([Ok::<D<N>, ()>(D)])",
    "alloc_iter([D::<N>])",
    "try_alloc_iter([D::<N>])",
    "alloc_zeroed::<D<N>>()",
    "try_alloc_zeroed::<D<N>>()",
    "alloc_zeroed_slice::<D<N>>(1)",
    "try_alloc_zeroed_slice::<D<N>>(1)",
];

const BURST: &[&str] = &[
    "alloc(D::<N>)",
    "try_alloc(D::<N>)",
    "alloc_with(|| D::<N>)",
    "try_alloc_with(|| D::<N>)",
    "alloc_slice_fill_with(1, |_| D::<N>)",
    "try_alloc_slice_fill_with(1, |_| D::<N>)",
];

const TYPE: &str = "\
#[derive(Clone, Default)]
struct D<const N: usize>;
impl<const N: usize> Drop for D<N> { fn drop(&mut self) {} }
unsafe impl<const N: usize> arenascope::Zeroable for D<N> {}
";

/// What the compiler writes about a program; it must refuse it.
fn refusals(program: &str) -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = std::env::current_exe().expect("a running program has a file");
    let target = tests.parent().and_then(Path::parent).expect("cargo puts tests two folders deep").join("assembly");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--lib", "--manifest-path"]).arg(package.join("Cargo.toml"));
    assert!(cargo.arg("--target-dir").arg(&target).status().expect("cargo runs").success());
    let release = target.join("release");
    let file = target.join(format!("refused-{}.rs", std::process::id()));
    std::fs::write(&file, program).expect("the target folder is writable");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--emit", "obj", "--cap-lints", "allow", "--extern"]);
    rustc.arg(format!("arenascope={}", release.join("libarenascope.rlib").display()));
    rustc.arg("-L").arg(format!("dependency={}", release.join("deps").display()));
    let output = rustc.arg("-o").arg(file.with_extension("o")).arg(&file).output().expect("rustc runs");
    std::fs::remove_file(&file).expect("written above");
    assert!(!output.status.success(), "the compiler refused nothing");
    String::from_utf8(output.stderr).expect("rustc writes UTF-8")
}

#[test]
fn a_refused_value_is_shown_at_the_users_line() {
    let mut program = String::from(TYPE);
    program.push_str("fn main() {\nlet mut arena = arenascope::Arena::init(64).unwrap();\n");
    let mut places = Vec::new();
    let mut call = |program: &mut String, what: &str, call: &str| {
        let number = places.len();
        places.push((program.lines().count() + 1, format!("{what}.{call}")));
        program.push_str(&format!("_ = {what}.{};\n", call.replace("<N>", &format!("<{number}>"))));
    };
    ARENA.iter().for_each(|text| call(&mut program, "arena", text));
    program.push_str("arena.scope(|scope| {\n");
    ARENA.iter().for_each(|text| call(&mut program, "scope", text));
    program.push_str("});\nlet mut burst = arena.burst();\n");
    BURST.iter().for_each(|text| call(&mut program, "burst", text));
    program.push_str("}\n");

    let said = refusals(&program);
    assert_eq!(said.matches("error[E0080]").count(), places.len(), "{said}");
    for (number, (line, call)) in places.iter().enumerate() {
        let about = format!("Undropped::<D<{number}>>::OK");
        let message = said.split("error[E0080]").find(|part| part.contains(&about));
        let message = message.unwrap_or_else(|| panic!("{call} is not refused\n{said}"));
        let shown = format!("refused-{}.rs:{line}:", std::process::id());
        assert!(message.contains(&shown), "{call}, line {line}: {message}");
        assert!(message.contains("use alloc_box"), "{call}: the message names no way out: {message}");
    }
}
