//! Machine code and names of a process, from its modules' files: what the decoders of `arenascope-code` ask for.

use arenascope_code::CodeSource;
use arenascope_event::Address;
use arenascope_symbols::Symbolizer;

/// Code of all modules of one process. From files, so without our own patches.
pub struct ModulesCode<'a> {
    /// The modules.
    pub symbols: &'a Symbolizer,
}

impl CodeSource for ModulesCode<'_> {
    fn code(&self, address: u64, len: usize) -> Option<&[u8]> {
        let (image, bias) = self.symbols.image_at(Address(address))?;
        image.code(address.wrapping_sub(bias), len)
    }

    fn name(&self, address: u64) -> Option<String> {
        let (image, bias) = self.symbols.image_at(Address(address))?;
        let in_file = address.wrapping_sub(bias);
        // Stubs have no symbol of their own.
        image.plt_display(in_file).or_else(|| {
            let function = image.function_at(in_file).filter(|function| function.address == in_file)?;
            Some(function.display().to_owned())
        })
    }

    fn slot_name(&self, slot: u64) -> Option<String> {
        let (image, bias) = self.symbols.image_at(Address(slot))?;
        image.slot_display(slot.wrapping_sub(bias))
    }

    fn system_v(&self, address: u64) -> bool {
        self.symbols.image_at(Address(address)).is_none_or(|(image, _)| image.keeps_platform_convention())
    }

    fn function_bounds(&self, address: u64) -> Option<(u64, u64)> {
        let (image, bias) = self.symbols.image_at(Address(address))?;
        let function = image.function_at(address.wrapping_sub(bias))?;
        Some((function.address.wrapping_add(bias), function.end().wrapping_add(bias)))
    }
}
