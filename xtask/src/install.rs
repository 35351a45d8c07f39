//! `cargo xtask install --prefix DIR`: the C library as other programs want to find it.
//!
//! ```text
//! DIR/include/arenascope.h, arenascope_shared.h, arenascope_seed.h, arenascope-mark.h (also by its older name)
//! DIR/lib/libarenascope.a          one object, whose only names begin with ascope_
//! DIR/lib/libarenascope.so → .so.0 → .so.0.1.0
//! DIR/lib/pkgconfig/arenascope.pc  finds itself: the tree may be moved
//! ```
//! Relied on: nothing outside DIR and the target directory is written. Deliberately absent: uninstalling; delete those files.

use crate::steps;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What comes after `libarenascope.so` in the loader's name: changes when old programs cannot use the new library.
const INTERFACE: &str = "0";

/// Builds both libraries and copies everything below `prefix`.
pub fn run(prefix: &str) -> Result<(), String> {
    let prefix = std::path::absolute(prefix).map_err(|error| format!("{prefix}: {error}"))?;
    let (version, target) = facts()?;
    build("cdylib")?;
    build("staticlib")?;
    let built = target.join("agent");
    let source = steps::root().join("crates/capi");

    let include = folder(&prefix.join("include"))?;
    for header in ["arenascope.h", "arenascope_shared.h", "arenascope_seed.h", "arenascope-mark.h", "arenascope_mark.h"]
    {
        copy(&source.join("include").join(header), &include.join(header))?;
    }
    let lib = folder(&prefix.join("lib"))?;
    let full = format!("libarenascope.so.{version}");
    copy(&built.join("libarenascope_capi.so"), &lib.join(&full))?;
    link(&full, &lib.join(format!("libarenascope.so.{INTERFACE}")))?;
    link(&format!("libarenascope.so.{INTERFACE}"), &lib.join("libarenascope.so"))?;
    one_object(&built.join("libarenascope_capi.a"), &lib.join("libarenascope.a"))?;

    let recipe = source.join("arenascope.pc.in");
    let text = std::fs::read_to_string(&recipe).map_err(|error| format!("{}: {error}", recipe.display()))?;
    let pc = folder(&lib.join("pkgconfig"))?.join("arenascope.pc");
    std::fs::write(&pc, text.replace("@VERSION@", &version)).map_err(|error| format!("{}: {error}", pc.display()))?;
    println!("installed arenascope {version} below {}", prefix.display());
    Ok(())
}

/// The workspace's version, and cargo's target directory.
fn facts() -> Result<(String, PathBuf), String> {
    let metadata = steps::metadata()?;
    let version = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "arenascope-capi")
        .and_then(|package| package["version"].as_str())
        .ok_or("cargo metadata names no arenascope-capi")?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok((version.to_owned(), PathBuf::from(target)))
}

/// One crate type at a time, and named here: only then does the compiler leave out what nobody uses. The profile is that of code
/// which lives in other people's programs.
fn build(kind: &str) -> Result<(), String> {
    let soname = format!("link-arg=-Wl,-soname,libarenascope.so.{INTERFACE}");
    let mut words =
        vec!["rustc", "--quiet", "--locked", "--package", "arenascope-capi", "--lib", "--no-default-features"];
    words.extend(["--features", "pthread", "--profile", "agent", "--crate-type", kind]);
    words.extend(["--", "--cfg", "arenascope_c_library"]);
    if kind == "cdylib" {
        // Never unloaded: threads that end later still give their regions back.
        words.extend(["-C", &soname, "-C", "link-arg=-lc", "-C", "link-arg=-Wl,-z,nodelete"]);
    }
    steps::cargo(&words, &[])
}

/// Links the archive's used parts into one object and hides every name but ours: a program may link another Rust library too, and
/// both bring the same internal names.
fn one_object(archive: &Path, installed: &Path) -> Result<(), String> {
    let scratch = steps::scratch("install")?;
    let object = scratch.join("arenascope.o");
    let listing = steps::output(Command::new("nm").args(["-g", "--defined-only"]).arg(archive), "nm")?;
    let mut ours: Vec<&str> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|name| name.starts_with("ascope_"))
        .collect();
    ours.sort_unstable();
    ours.dedup();
    let mut ld = Command::new("ld");
    ld.args(["-r", "--gc-sections", "-o"]).arg(&object);
    for name in &ours {
        ld.args(["-u", name]);
    }
    steps::status(ld.arg(archive), "ld")?;
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["--wildcard", "--keep-global-symbol=ascope_*"]);
    steps::status(objcopy.arg(&object), "objcopy")?;
    if installed.exists() {
        std::fs::remove_file(installed).map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    steps::status(Command::new("ar").arg("rcsD").arg(installed).arg(&object), "ar")
}

fn folder(path: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.to_path_buf())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::copy(from, to).map(|_| ()).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

/// A symbolic link beside its target; replaces an older one.
fn link(target: &str, link: &Path) -> Result<(), String> {
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(link).map_err(|error| format!("{}: {error}", link.display()))?;
    }
    std::os::unix::fs::symlink(target, link).map_err(|error| format!("{}: {error}", link.display()))
}
