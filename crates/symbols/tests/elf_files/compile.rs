//! Programs made for one test. Nothing is skipped: a compiler that is missing or fails is a failed test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that goes away with its programs.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Compiles `text` (file name `NAME.c`, or `.cpp` for g++ and clang++, `.rs` for rustc) and returns the program.
    pub fn compile(&self, compiler: &str, name: &str, text: &str, flags: &str) -> PathBuf {
        let extension = match compiler {
            "g++" | "clang++" => "cpp",
            "rustc" => "rs",
            _ => "c",
        };
        let source = format!("{name}.{extension}");
        self.write(&source, text);
        let program = self.path(name);
        let mut arguments: Vec<&str> = flags.split_whitespace().collect();
        arguments.extend(["-o", name, source.as_str()]);
        self.run(compiler, &arguments);
        program
    }

    /// Runs a tool in this folder; its failure fails the test.
    pub fn run(&self, tool: &str, arguments: &[&str]) -> String {
        run_in(self.0.path(), tool, arguments)
    }
}

fn run_in(folder: &Path, tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{tool} is needed for this test: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
