//! Installs the library once, by the command that users run, and compiles programs against it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The workspace's folder.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// This package's C test programs.
pub fn c_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c")
}

/// Where the library is installed.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = scratch("installed");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["xtask", "install", "--prefix"]).arg(&prefix).current_dir(root());
        run(&mut cargo);
        prefix
    })
}

/// A folder for one test's files.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi").join(name);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}

/// Runs to a good end, or fails the test with everything that was said.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    output
}

/// Both streams as text.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Which of the two libraries a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Archive,
    Shared,
}

/// A compiler with its language and optimisation.
#[derive(Clone, Copy)]
pub struct Compiler(pub &'static [&'static str]);

/// Everything that a header has to get along with.
pub const COMPILERS: &[Compiler] = &[
    Compiler(&["gcc", "-std=c11", "-O0"]),
    Compiler(&["gcc", "-std=c11", "-O2"]),
    Compiler(&["gcc", "-std=gnu17", "-O3"]),
    Compiler(&["clang", "-std=c11", "-O0"]),
    Compiler(&["clang", "-std=c11", "-O2"]),
    Compiler(&["g++", "-std=c++17", "-O2", "-x", "c++"]),
    Compiler(&["clang++", "-std=c++17", "-O1", "-x", "c++"]),
];

/// No warning is small.
pub const STRICT: &[&str] = &["-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Compiles `source` without a warning, links it as pkg-config says, and returns the program.
pub fn compile(compiler: Compiler, source: &Path, library: Library, extra: &[&str], name: &str) -> PathBuf {
    let prefix = prefix();
    let program = scratch(name).join(format!(
        "{}-{}{}",
        source.file_stem().unwrap_or_default().to_string_lossy(),
        compiler.0.concat().replace('/', "_"),
        if library == Library::Archive { "-a" } else { "-so" }
    ));
    let (driver, flags) = compiler.0.split_first().expect("a compiler has a name");
    let mut command = Command::new(driver);
    command.args(flags).args(STRICT).args(pkg_config(&["--cflags", "arenascope"])).arg(source);
    command.args(["-x", "none"]);
    match library {
        Library::Archive => command.arg(prefix.join("lib/libarenascope.a")),
        Library::Shared => command
            .args(pkg_config(&["--libs", "arenascope"]))
            .arg(format!("-Wl,-rpath,{}", prefix.join("lib").display())),
    };
    command.args(extra).arg("-o").arg(&program);
    run(&mut command);
    program
}

/// What pkg-config says, with the installed file first in its path.
pub fn pkg_config(words: &[&str]) -> Vec<String> {
    let output = run(Command::new("pkg-config").args(words).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}
