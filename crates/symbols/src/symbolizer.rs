//! Addresses of a process to frames, over all its modules.
//!
//! Relied on: a module whose file is gone, or is another build than the one that ran (build id), still names the
//! module and claims no function. Files are opened at the first address that needs them. Absent: reading
//! `/proc`; the modules are handed in.

use crate::image::Image;
use arenascope_event::{Address, Frame, Module};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Largest source file that is read for a line of text, bytes.
const SOURCE_LIMIT: u64 = 16 << 20;

/// Resolves addresses of one process.
#[derive(Debug)]
pub struct Symbolizer {
    /// Sorted by start.
    modules: Vec<Loaded>,
    sources: Mutex<HashMap<String, Option<String>>>,
}

#[derive(Debug)]
struct Loaded {
    module: Module,
    image: OnceLock<Option<Image>>,
}

impl Loaded {
    fn image(&self) -> Option<&Image> {
        let open = || {
            let image = Image::open(Path::new(&self.module.path)).ok()?;
            let same = self.module.build_id.is_empty() || image.build_id() == self.module.build_id;
            same.then_some(image)
        };
        self.image.get_or_init(open).as_ref()
    }
}

impl Symbolizer {
    /// Takes the modules of a process; opens none of them yet.
    pub fn new(modules: &[Module]) -> Symbolizer {
        let mut modules: Vec<Loaded> =
            modules.iter().map(|module| Loaded { module: module.clone(), image: OnceLock::new() }).collect();
        modules.sort_by_key(|loaded| loaded.module.start);
        Symbolizer { modules, sources: Mutex::default() }
    }

    /// Frames of a return address: what called, not what comes after the call. Never empty; innermost first.
    pub fn frames(&self, address: Address) -> Vec<Frame> {
        self.resolve(address, Address(address.0.saturating_sub(1)))
    }

    /// Frames of the instruction at `pc` (a fault, a sample). Never empty; innermost first.
    pub fn frames_at_pc(&self, pc: Address) -> Vec<Frame> {
        self.resolve(pc, pc)
    }

    /// The image of the module that holds `address`, and its load bias.
    pub fn image_at(&self, address: Address) -> Option<(&Image, u64)> {
        let loaded = self.module_at(address)?;
        Some((loaded.image()?, loaded.module.bias))
    }

    fn module_at(&self, address: Address) -> Option<&Loaded> {
        let after = self.modules.partition_point(|loaded| loaded.module.start <= address);
        let loaded = self.modules.get(after.checked_sub(1)?)?;
        (address < loaded.module.end).then_some(loaded)
    }

    fn resolve(&self, address: Address, pc: Address) -> Vec<Frame> {
        let unknown = Frame { address, ..Frame::default() };
        let Some(loaded) = self.module_at(pc) else { return vec![unknown] };
        let module = file_name(&loaded.module.path).to_owned();
        let vaddr = pc.0.wrapping_sub(loaded.module.bias);
        let found = loaded.image().map(|image| image.source_frames(vaddr)).unwrap_or_default();
        if found.is_empty() {
            return vec![Frame { module, ..unknown }];
        }
        let frame = |source: crate::SourceFrame| Frame {
            address,
            function: source.function,
            file: source.file,
            line: source.line,
            module: module.clone(),
            inlined: source.inlined,
        };
        found.into_iter().map(frame).collect()
    }

    /// The text of a source line, trimmed. A relative `file` is looked for in the current folder and next to each
    /// module. `None` when there is no such file or line, or the file is larger than 16 MiB.
    pub fn source_line(&self, file: &str, line: u32) -> Option<String> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let text = sources.entry(file.to_owned()).or_insert_with(|| self.read_source(file));
        let text = text.as_ref()?.lines().nth(index)?.trim();
        Some(text.to_owned())
    }

    fn read_source(&self, file: &str) -> Option<String> {
        let path = Path::new(file);
        if let Some(text) = read_limited(path) {
            return Some(text);
        }
        if path.is_absolute() {
            return None;
        }
        self.modules.iter().filter_map(|loaded| Path::new(&loaded.module.path).parent()).find_map(|folder| {
            let path = folder.join(path);
            path.is_absolute().then(|| read_limited(&path)).flatten()
        })
    }
}

fn read_limited(path: &Path) -> Option<String> {
    // `metadata` first: opening a FIFO would wait for ever.
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > SOURCE_LIMIT {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
