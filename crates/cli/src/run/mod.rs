//! The parts of `run`: from a command line to a finished trace.
//!
//! ```text
//!   program   which file, what kind        launch   fork, exec, wait           trace_file  make it, finish it
//!   compile   C files to a program         serve    answers the agents         finish      names, fates, the tail
//!   watch     which roles                  plan     roles -> hooks -> bytes    near        where thunks can lie
//!   given     roles that the user wrote    fits     roles against signatures   remarks     what those roles left out
//!   memcheck  the program under Valgrind, and its reports
//!   mark_on   signals that set a mark          scan    all memory of a process that waits    reach   what words lead to
//!   markers   places where an inlined allocator tells what it does
//!   libc      where the C library's functions are
//!   outlive   processes that run on        neighbours   code that may jump behind a function's first instruction
//!   unwinding   tables by which frames are followed                place    frames of calls whose program said where they stand
//!   sanitizer   programs that bring a malloc of their own          narrate  events told as they happen
//!   drain   a trace's way from memory to disk                       budget   how much memory that may take
//!   sources, code_source   lines of source and code, for findings
//! ```

pub mod budget;
pub mod code_source;
pub mod compile;
pub mod drain;
pub mod finish;
pub mod fits;
pub mod given;
pub mod launch;
pub mod libc;
pub mod mark_on;
pub mod markers;
pub mod memcheck;
pub mod narrate;
pub mod near;
pub mod neighbours;
pub mod outlive;
pub mod place;
pub mod plan;
pub mod program;
pub mod reach;
pub mod remarks;
pub mod sanitizer;
pub mod scan;
pub mod serve;
pub mod sources;
pub mod trace_file;
pub mod unwinding;
pub mod watch;

/// The agent library, as built by build.rs.
pub const AGENT: &[u8] = include_bytes!(env!("ARENASCOPE_AGENT_OBJECT"));

#[cfg(test)]
mod tests {
    use super::AGENT;
    use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, Register};
    use object::{Object, ObjectSection, ObjectSymbol};

    /// Names of the functions of the agent that call panic machinery, directly.
    fn functions_that_may_panic() -> Vec<String> {
        let file = object::File::parse(AGENT).expect("the agent is an ELF file");
        let text = file.section_by_name(".text").expect("code");
        let code = text.data().expect("its bytes");
        let functions: Vec<_> = file.symbols().filter(|symbol| symbol.size() > 0 && symbol.is_definition()).collect();
        let panics: Vec<u64> = functions
            .iter()
            .filter(|symbol| {
                let name = symbol.name().unwrap_or("");
                name.contains("panicking") || name.contains("unwrap_failed") || name.contains("slice_index_fail")
            })
            .map(ObjectSymbol::address)
            .collect();
        let mut guilty = Vec::new();
        for function in &functions {
            let start = function.address().wrapping_sub(text.address()) as usize;
            let Some(bytes) = code.get(start..start + function.size() as usize) else { continue };
            let mut decoder = Decoder::with_ip(64, bytes, function.address(), DecoderOptions::NONE);
            if decoder.iter().any(|instruction| {
                matches!(instruction.flow_control(), FlowControl::Call | FlowControl::UnconditionalBranch)
                    && panics.contains(&instruction.near_branch_target())
            }) {
                guilty.push(function.name().unwrap_or("").to_owned());
            }
        }
        guilty
    }

    #[test]
    fn no_handler_of_the_agent_can_panic() {
        let guilty = functions_that_may_panic();
        // What is left are rustix's assertions about descriptors the kernel has just returned, and its message buffers.
        let known = ["rustix", "core9panicking", "core5slice", "core6option", "begin", "ask", "carry_out"];
        let with_descriptors = ["each_mapping", "child_here", "take_over"];
        for name in &guilty {
            let allowed = known.iter().chain(&with_descriptors).any(|part| name.contains(part));
            assert!(allowed, "{name} may panic inside the host; all: {guilty:?}");
        }
        let handlers = ["on_enter", "on_exit", "on_before", "thread_begin", "dies", "arrived", "of_program"];
        assert!(!guilty.iter().any(|name| handlers.iter().any(|handler| name.contains(handler))), "{guilty:?}");
    }

    #[test]
    fn the_agent_exports_nothing() {
        let file = object::File::parse(AGENT).expect("the agent is an ELF file");
        let exported: Vec<_> = file.exports().expect("a dynamic symbol table").collect();
        assert!(exported.is_empty(), "{exported:?}");
    }

    /// For every function of the agent: its name, the bytes it takes of the stack (its return address included), and what
    /// it calls or jumps to by a direct branch.
    fn frames() -> std::collections::HashMap<u64, (String, u64, Vec<u64>)> {
        let file = object::File::parse(AGENT).expect("the agent is an ELF file");
        let text = file.section_by_name(".text").expect("code");
        let code = text.data().expect("its bytes");
        let mut frames = std::collections::HashMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.size() > 0 && symbol.is_definition()) {
            let start = symbol.address().wrapping_sub(text.address()) as usize;
            let Some(bytes) = code.get(start..start + symbol.size() as usize) else { continue };
            let (mut taken, mut callees) = (8, Vec::new());
            for instruction in &mut Decoder::with_ip(64, bytes, symbol.address(), DecoderOptions::NONE) {
                let own = symbol.address()..symbol.address() + symbol.size();
                match instruction.flow_control() {
                    FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                        let target = instruction.near_branch_target();
                        if !own.contains(&target) {
                            callees.push(target);
                        }
                    }
                    _ if instruction.mnemonic() == Mnemonic::Push => taken += 8,
                    _ if instruction.mnemonic() == Mnemonic::Sub && instruction.op0_register() == Register::RSP => {
                        taken += instruction.immediate(1);
                    }
                    _ => {}
                }
            }
            frames.insert(symbol.address(), (symbol.name().unwrap_or("").to_owned(), taken, callees));
        }
        frames
    }

    /// The deepest chain of direct calls from `address`, and its length. What `deep::run` starts is on a stack of ours.
    fn deepest(
        address: u64,
        frames: &std::collections::HashMap<u64, (String, u64, Vec<u64>)>,
        above: &mut Vec<u64>,
    ) -> (u64, Vec<String>) {
        let Some((name, taken, callees)) = frames.get(&address) else { return (0, Vec::new()) };
        if above.contains(&address) || (name.contains("deep") && name.contains("perform")) {
            return (0, Vec::new());
        }
        above.push(address);
        let below = callees.iter().map(|callee| deepest(*callee, frames, above)).max_by_key(|(depth, _)| *depth);
        above.pop();
        let (depth, mut chain) = below.unwrap_or_default();
        chain.insert(0, format!("{taken} {name}"));
        (depth + taken, chain)
    }

    #[test]
    fn a_hooked_call_needs_little_of_the_host_s_stack() {
        let frames = frames();
        let stubs = ["on_enter", "on_exit", "on_before", "thread_begin", "arrived"];
        let mut seen = 0;
        for (address, (name, ..)) in &frames {
            if !stubs.iter().any(|stub| name.contains(&format!("{}{stub}17h", stub.len())) || name == stub) {
                continue;
            }
            seen += 1;
            let (depth, chain) = deepest(*address, &frames, &mut Vec::new());
            // With the stub's own 440 bytes: what docs/detection.md promises.
            assert!(depth <= 1450, "{depth} bytes of stack: {chain:#?}");
            assert!(depth > 100, "the object cannot be read like this: {chain:#?}");
        }
        assert!(seen >= 4, "the handlers have other names now");
    }
}
