//! The tables by which the watched processes unwind their frames, of all modules they have, in one file that they map.
//!
//! Relied on: what stands in the file never changes, it only grows; a module is parsed once for all processes that load it. The
//! descriptor that is handed out cannot be written through. Deliberately absent: judgement of what a table says (`arenascope_unwind`).

use crate::run::plan::Loaded;
use arenascope_plan::Unwinding;
use arenascope_unwind::{Section, build};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Tables begin at multiples of it.
const PAGE: u64 = 4096;
/// More bytes of tables are not kept: a hundred of the largest programs.
const MOST_BYTES: u64 = 1 << 30;

/// Where a module's table is, in its own addresses.
#[derive(Clone, Copy)]
struct Placed {
    code: (u64, u64),
    offset: u64,
    count: u32,
}

/// All tables so far.
#[derive(Default)]
pub struct Tables {
    file: Option<Handles>,
    used: u64,
    known: HashMap<String, Option<Placed>>,
}

struct Handles {
    writable: File,
    /// The same file, for processes that read.
    readable: File,
}

impl Handles {
    fn new() -> io::Result<Handles> {
        let descriptor = rustix::fs::memfd_create("arenascope-unwinding", rustix::fs::MemfdFlags::CLOEXEC)?;
        let writable = File::from(descriptor);
        let readable = File::open(format!("/proc/self/fd/{}", writable.as_raw_fd()))?;
        Ok(Handles { writable, readable })
    }
}

impl Tables {
    /// What a process is told about its modules, in ascending order. What could not be made goes to `remarks`.
    pub fn of(&mut self, modules: &[Loaded], remarks: &mut Vec<String>) -> Vec<Unwinding> {
        let mut all: Vec<Unwinding> = Vec::with_capacity(modules.len());
        for module in modules {
            let placed = match self.known.get(&module.path) {
                Some(placed) => *placed,
                None => {
                    let (placed, trouble) = self.place(module);
                    remarks.extend(trouble.map(|why| {
                        format!("backtraces through {} end where it keeps no frame pointer: {why}", module.path)
                    }));
                    self.known.insert(module.path.clone(), placed);
                    placed
                }
            };
            if let Some(Placed { code: (start, end), offset, count }) = placed {
                let (start, end) = (module.bias.wrapping_add(start), module.bias.wrapping_add(end));
                all.push(Unwinding { start, end, offset, count });
            }
        }
        all.sort_by_key(|unwinding| unwinding.start);
        if all.len() > arenascope_record::MODULES {
            let rest = all.split_off(arenascope_record::MODULES).len();
            remarks.push(format!(
                "backtraces end in {rest} of the modules, which are more than {}",
                arenascope_record::MODULES
            ));
        }
        all
    }

    /// The file to map and its length; `None` while nothing is in it.
    pub fn file(&self) -> Option<(&File, u64)> {
        self.file.as_ref().filter(|_| self.used > 0).map(|handles| (&handles.readable, self.used))
    }

    /// Parses a module. `None`: it has no code. A module without a table is code all the same: frame pointers may lead through it.
    fn place(&mut self, module: &Loaded) -> (Option<Placed>, Option<String>) {
        let image = module.image.as_deref();
        let Some((image, code)) = image.and_then(|image| Some((image, image.code_bounds()?))) else {
            return (None, None);
        };
        let nothing = Placed { code, offset: 0, count: 0 };
        let Some((address, bytes)) = image.frame_information() else { return (Some(nothing), None) };
        let built = build(Section { address, bytes }, code).map_err(|error| error.to_string());
        let placed = built.and_then(|built| {
            let words: Vec<u8> = built.starts.iter().chain(&built.rules).flat_map(|word| word.to_le_bytes()).collect();
            let offset = self.append(&words).map_err(|error| error.to_string())?;
            Ok(Placed { code, offset, count: u32::try_from(built.rules.len()).map_err(|error| error.to_string())? })
        });
        match placed {
            Ok(placed) => (Some(placed), None),
            Err(why) => (Some(nothing), Some(why)),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.used;
        let end = offset.saturating_add(bytes.len() as u64).next_multiple_of(PAGE);
        if end > MOST_BYTES {
            return Err(io::Error::other(format!("more than {} MiB of tables", MOST_BYTES >> 20)));
        }
        let handles = match self.file.take() {
            Some(handles) => handles,
            None => Handles::new()?,
        };
        let file = &self.file.insert(handles).writable;
        file.set_len(end)?;
        file.write_all_at(bytes, offset)?;
        self.used = end;
        Ok(offset)
    }
}
