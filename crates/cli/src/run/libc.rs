//! Where the functions of the C library are in a process, whatever addresses the program has for them.
//!
//! A program at a fixed address (no PIE) that takes a function's address makes its own PLT stub that address, for the
//! whole process: dlsym answers with it. Calls by libraries do not go through the stub, so that a hook there would miss
//! them, and the stub's module says nothing about whose function it is.

use crate::run::plan::Loaded;
use arenascope_plan::LibcFunction;

/// The addresses of the functions themselves: of each that lies in a module which only uses it, the one that the first
/// later module exports, as the dynamic linker searches. `addresses` is in message order, 0 for what is not there.
pub fn functions(modules: &[Loaded], addresses: &[u64; LibcFunction::COUNT]) -> [u64; LibcFunction::COUNT] {
    let mut found = *addresses;
    for (function, name) in LibcFunction::ALL {
        let Some(place) = found.get_mut(function as usize) else { continue };
        let name = name.to_str().unwrap_or_default();
        if let Some(address) = behind_the_stub(modules, *place, name) {
            *place = address;
        }
    }
    found
}

/// `None`: `address` is the function's own, or nobody can tell.
fn behind_the_stub(modules: &[Loaded], address: u64, name: &str) -> Option<u64> {
    let holder = modules.iter().position(|module| module.start <= address && address < module.end)?;
    let exported = |module: &Loaded| Some(module.bias.wrapping_add(module.image.as_ref()?.exported(name)?));
    if modules.get(holder)?.image.is_none() || modules.get(holder).and_then(exported).is_some() {
        return None;
    }
    modules.iter().skip(holder.wrapping_add(1)).find_map(exported)
}
