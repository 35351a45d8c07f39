//! Which shared libraries a program brings, as the dynamic linker would find them, without running anything.
//!
//! Sources: ld.so(8) for the order of search; glibc's `dl-cache.h` for `/etc/ld.so.cache`. Relied on: paths exist and
//! are ELF files of this machine when returned. Absent: `LD_PRELOAD`, `/etc/ld.so.preload`, `dlopen`, audit libraries,
//! and the processor-specific folders `glibc-hwcaps`; musl's own path file.

use crate::elf::path_of;
use crate::image::Image;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Libraries followed at most: no real program has more, a hostile one could name thousands.
const LIBRARIES: usize = 4096;

/// Folders that a file names for its libraries, `$ORIGIN` resolved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunPaths {
    /// `DT_RPATH`: searched first, also for the libraries' own libraries. Ignored when there is a `DT_RUNPATH`.
    pub rpath: Vec<PathBuf>,
    /// `DT_RUNPATH`: searched after `LD_LIBRARY_PATH`, for this file's own libraries only.
    pub runpath: Vec<PathBuf>,
}

impl Image {
    /// Names of the libraries it asks for (`DT_NEEDED`), in order.
    pub fn needed(&self) -> Vec<String> {
        self.elf.dynamic_strings(DT_NEEDED).into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// Folders it names for them.
    pub fn run_paths(&self) -> RunPaths {
        let folders = |tag| -> Vec<PathBuf> {
            let lists = self.elf.dynamic_strings(tag);
            lists.into_iter().flat_map(|list| self.folders(list)).collect()
        };
        let runpath = folders(DT_RUNPATH);
        let rpath = if runpath.is_empty() { folders(DT_RPATH) } else { Vec::new() };
        RunPaths { rpath, runpath }
    }

    /// A colon-separated list with `$ORIGIN` (the folder of this file), `$LIB` and `$PLATFORM` resolved.
    fn folders(&self, list: &[u8]) -> Vec<PathBuf> {
        let real = self.path().canonicalize().unwrap_or_else(|_| self.path().to_path_buf());
        let origin = real.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes().to_vec();
        list.split(|byte| *byte == b':')
            .filter(|folder| !folder.is_empty())
            .map(|folder| {
                let mut folder = folder.to_vec();
                let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
                for (token, value) in [
                    ("ORIGIN", origin.as_slice()),
                    ("LIB", multiarch.as_bytes()),
                    ("PLATFORM", std::env::consts::ARCH.as_bytes()),
                ] {
                    folder = replace(&folder, format!("${{{token}}}").as_bytes(), value);
                    folder = replace(&folder, format!("${token}").as_bytes(), value);
                }
                path_of(&folder)
            })
            .collect()
    }
}

fn replace(text: &[u8], token: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(token.len()).position(|window| window == token) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(value);
        rest = rest.get(at.saturating_add(token.len())..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The libraries that `image` brings, in the order in which the dynamic linker maps them (breadth first), without
/// `image` itself. Libraries that are not found are left out. Reads `LD_LIBRARY_PATH` of this process.
pub fn load_order(image: &Image) -> Vec<PathBuf> {
    load_order_with(image, std::env::var_os("LD_LIBRARY_PATH").as_deref())
}

/// Like [`load_order`], with the `LD_LIBRARY_PATH` that the program will have.
pub fn load_order_with(image: &Image, library_path: Option<&OsStr>) -> Vec<PathBuf> {
    let cache = Cache::read(Path::new("/etc/ld.so.cache"));
    let library_path: Vec<PathBuf> = library_path
        .map(|list| list.as_bytes().split(|byte| matches!(byte, b':' | b';')))
        .into_iter()
        .flatten()
        .map(|folder| if folder.is_empty() { PathBuf::from(".") } else { path_of(folder) })
        .collect();
    let mut order: Vec<PathBuf> = Vec::new();
    let mut seen: BTreeSet<PathBuf> = image.path().canonicalize().into_iter().collect();
    let mut names: BTreeSet<String> = BTreeSet::new();
    // (libraries asked for, the asker's run paths, RPATHs of those through whom it was loaded)
    let paths = image.run_paths();
    let mut queue = VecDeque::from([(image.needed(), paths.clone(), paths.rpath)]);
    while let Some((needed, paths, rpaths)) = queue.pop_front() {
        for name in needed {
            if order.len() >= LIBRARIES || !names.insert(name.clone()) {
                continue;
            }
            let rpaths: &[PathBuf] = if paths.runpath.is_empty() { &rpaths } else { &[] };
            let folders = rpaths.iter().chain(&library_path).chain(&paths.runpath);
            let Some((path, library)) = find(&name, folders, &cache) else { continue };
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            let own = library.run_paths();
            let inherited: Vec<PathBuf> = own.rpath.iter().chain(rpaths).cloned().collect();
            queue.push_back((library.needed(), own, inherited));
            order.push(path);
        }
    }
    order
}

fn find<'a>(name: &str, folders: impl Iterator<Item = &'a PathBuf>, cache: &Cache) -> Option<(PathBuf, Image)> {
    let open = |path: PathBuf| Image::open(&path).ok().map(|image| (path, image));
    if name.contains('/') {
        return open(PathBuf::from(name));
    }
    let named = folders.map(|folder| folder.join(name)).find_map(open);
    named
        .or_else(|| cache.paths.get(name).cloned().and_then(open))
        .or_else(|| default_folders().into_iter().map(|folder| folder.join(name)).find_map(open))
}

/// Folders searched when the cache does not know a library.
fn default_folders() -> Vec<PathBuf> {
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let mut folders: Vec<PathBuf> =
        ["/lib", "/usr/lib"].iter().map(|folder| Path::new(folder).join(&multiarch)).collect();
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    folders
}

/// What `/etc/ld.so.cache` says of libraries for this machine.
#[derive(Debug, Default)]
struct Cache {
    paths: BTreeMap<String, PathBuf>,
}

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

impl Cache {
    fn read(path: &Path) -> Cache {
        // `ldconfig` replaces the file; it is some 100 KB.
        std::fs::read(path).map(|bytes| Cache::parse(&bytes)).unwrap_or_default()
    }

    /// The new format, alone or after the old one. Any bytes are accepted.
    fn parse(bytes: &[u8]) -> Cache {
        let mut cache = Cache::default();
        let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else { return cache };
        let Some(bytes) = bytes.get(start..) else { return cache };
        let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<4>()?)) };
        // Header: magic 20, nlibs 4, len_strings 4, flags 1, padding 3, extensions 4, unused 12. Entries of 24: flags 4,
        // key 4, value 4, osversion 4, hwcap 8; key and value are offsets from the header.
        let count = word(20).unwrap_or(0) as usize;
        for entry in bytes.get(48..).unwrap_or_default().chunks_exact(24).take(count) {
            let field = |at: usize| Some(u32::from_le_bytes(*entry.get(at..)?.first_chunk::<4>()?));
            let (Some(flags), Some(key), Some(value)) = (field(0), field(4), field(8)) else { break };
            let hwcap = entry.get(16..24).is_some_and(|hwcap| hwcap.iter().any(|byte| *byte != 0));
            if flags != THIS_MACHINE || hwcap {
                continue;
            }
            let text = |at: u32| -> Option<&[u8]> {
                let rest = bytes.get(usize::try_from(at).ok()?..)?;
                rest.get(..rest.iter().take(4096).position(|byte| *byte == 0)?)
            };
            if let (Some(name), Some(path)) = (text(key), text(value)) {
                let name = String::from_utf8_lossy(name).into_owned();
                cache.paths.entry(name).or_insert_with(|| path_of(path));
            }
        }
        cache
    }
}

/// `FLAG_ELF_LIBC6` with the machine's bits (glibc, `sysdeps/generic/ldconfig.h`).
const THIS_MACHINE: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced() {
        assert_eq!(replace(b"$ORIGIN/../lib:$ORIGIN", b"$ORIGIN", b"/a"), b"/a/../lib:/a");
        assert_eq!(replace(b"plain", b"$ORIGIN", b"/a"), b"plain");
    }

    #[test]
    fn the_cache_of_this_system_knows_libc() {
        let cache = Cache::read(Path::new("/etc/ld.so.cache"));
        assert!(cache.paths.get("libc.so.6").is_some_and(|path| path.is_absolute()));
    }

    proptest::proptest! {
        #[test]
        fn any_cache_is_taken(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), count: u32) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(count.to_le_bytes());
            bytes.extend(tail);
            let _ = Cache::parse(&bytes);
        }
    }
}
