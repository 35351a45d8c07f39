//! Where the traces of failing assertions go.
//!
//! May be relied on: a name says program, thread (which the test harness names after the test) and watch; a run of the same test later
//! writes the same file. Absent on purpose: what stands in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Cargo's folder, which the tests' program lies in, or the one for temporary files.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // https://bford.info/cachedir/: cargo puts one into each target folder.
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(std::env::temp_dir, Path::to_path_buf).join("arenascope")
}

/// A name of plain letters.
fn plain(name: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    name.chars().take(60).map(|letter| if is_plain(letter) { letter } else { '-' }).collect()
}

/// Leaves a trace, and says where.
///
/// # Errors
/// Those of the file system.
pub(crate) fn leave(watch: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    static NUMBERS: AtomicU32 = AtomicU32::new(0);
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let thread =
        std::thread::current().name().map_or_else(String::new, |name| format!(".{}", plain(&name.replace("::", "."))));
    let path = folder.join(format!("{}{thread}.{}.ascope", plain(&program), plain(watch)));
    // Whole or not at all, also where two tests of one name fail at once.
    let number = NUMBERS.fetch_add(1, Relaxed);
    let unfinished = folder.join(format!(".{}.{number}.unfinished", std::process::id()));
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// The path as a word for a shell.
pub(crate) fn shell_word(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_safe = |letter: char| letter.is_alphanumeric() || "/-_.,+@%=:".contains(letter);
    if path.chars().all(is_safe) { path.into_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_a_shell_takes_them_for() {
        assert_eq!(shell_word(Path::new("/a/b-c.ascope")), "/a/b-c.ascope");
        assert_eq!(shell_word(Path::new("/my files/it's")), r"'/my files/it'\''s'");
        assert_eq!(plain("parse a/b"), "parse-a-b");
    }
}
