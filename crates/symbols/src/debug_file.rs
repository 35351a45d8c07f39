//! Where the separate debug file of an ELF file lies, and whether it is the right one.
//!
//! Looked for, in this order (as gdb does): `ROOT/.build-id/xx/yyyy.debug`, then the name in `.gnu_debuglink` next to
//! the file, in `.debug/` beside it, and in `ROOT/` followed by the file's folder. ROOT is `/usr/lib/debug` unless
//! told otherwise. A candidate counts only when its build id is the file's, or, when one of them has none, when its
//! CRC is the one in `.gnu_debuglink`. Absent: debuginfod (the network), `.gnu_debugdata` (compressed symbol tables).

use crate::elf::Elf;
use object::Object;
use std::path::{Path, PathBuf};

/// Where distributions put debug files.
pub(crate) const SYSTEM_ROOT: &str = "/usr/lib/debug";

/// A separate debug file that belongs to an image.
#[derive(Debug)]
pub(crate) struct DebugFile {
    pub(crate) path: PathBuf,
    pub(crate) elf: Elf,
}

/// The debug file of the file at `path`.
pub(crate) fn find(path: &Path, elf: &Elf, roots: &[PathBuf]) -> Option<DebugFile> {
    let link = elf.file.gnu_debuglink().ok().flatten();
    let build_id = elf.build_id();
    let crc = link.map(|(_, crc)| crc);
    let itself = path.canonicalize().ok();
    for candidate in candidates(path, build_id, link.map(|(name, _)| name), roots) {
        if candidate.canonicalize().ok() == itself {
            continue;
        }
        let Ok(found) = Elf::open(&candidate) else { continue };
        if belongs(&found, build_id, crc) {
            return Some(DebugFile { path: candidate, elf: found });
        }
    }
    None
}

fn candidates(path: &Path, build_id: Option<&[u8]>, link: Option<&[u8]>, roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some(tail) = build_id.and_then(build_id_path) {
        paths.extend(roots.iter().map(|root| root.join(".build-id").join(&tail)));
    }
    let Some(link) = link else { return paths };
    // A name, not a path: `../../x` in a hostile file must not lead anywhere.
    let link = crate::elf::path_of(link);
    let Some(name) = link.file_name() else { return paths };
    let mut folders: Vec<PathBuf> = path.parent().map(Path::to_path_buf).into_iter().collect();
    let real = path.canonicalize().ok();
    if let Some(folder) = real.as_ref().and_then(|real| real.parent())
        && !folders.iter().any(|known| known == folder)
    {
        folders.push(folder.to_path_buf());
    }
    for folder in &folders {
        paths.push(folder.join(name));
        paths.push(folder.join(".debug").join(name));
    }
    for root in roots {
        for folder in &folders {
            if let Ok(inside) = folder.strip_prefix("/") {
                paths.push(root.join(inside).join(name));
                // Merged /usr: the package may have been built when the file still lived in /lib.
                if let Ok(unmerged) = inside.strip_prefix("usr") {
                    paths.push(root.join(unmerged).join(name));
                }
            }
        }
    }
    paths
}

/// `xx/yyyy….debug`.
fn build_id_path(id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = id.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(PathBuf::from(format!("{first:02x}")).join(format!("{rest}.debug")))
}

fn belongs(found: &Elf, build_id: Option<&[u8]>, crc: Option<u32>) -> bool {
    match (found.build_id(), build_id) {
        (Some(one), Some(two)) => one == two,
        _ => crc.is_some_and(|crc| crc32fast::hash(found.bytes.as_slice()) == crc),
    }
}

/// The file that `.gnu_debugaltlink` of `debug` names (strings and types shared by several debug files, made by dwz).
pub(crate) fn find_supplementary(path: &Path, debug: &Elf, roots: &[PathBuf]) -> Option<Elf> {
    let (name, id) = debug.file.gnu_debugaltlink().ok().flatten()?;
    let name = crate::elf::path_of(name);
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut candidates = vec![real.parent()?.join(&name)];
    if let Some(tail) = build_id_path(id) {
        candidates.extend(roots.iter().map(|root| root.join(".build-id").join(&tail)));
    }
    if let Some(file) = name.file_name() {
        candidates.extend(roots.iter().map(|root| root.join(".dwz").join(file)));
    }
    candidates.into_iter().find_map(|path| Elf::open(&path).ok().filter(|elf| elf.build_id() == Some(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_in_the_order_of_gdb() {
        let roots = [PathBuf::from("/root-of-debug")];
        let found = candidates(Path::new("/usr/lib/none/x.so"), Some(&[0xab, 0xcd, 1]), Some(b"../../x.debug"), &roots);
        let words: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            words,
            [
                "/root-of-debug/.build-id/ab/cd01.debug",
                "/usr/lib/none/x.debug",
                "/usr/lib/none/.debug/x.debug",
                "/root-of-debug/usr/lib/none/x.debug",
                "/root-of-debug/lib/none/x.debug",
            ]
        );
    }
}
