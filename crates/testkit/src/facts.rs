//! Facts of a process written as a story: `Facts::new().alloc("arena_alloc").site("main", "09b.c", 71, dropped("…"))`.
//!
//! May be relied on: sites are numbered in the order they are added. Absent on purpose: consistency with any events.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, Argument, Fate, FateKind, Frame, HookFact, HookStatus, Lost, Module, NullUse, ProcessFacts, Result_, Role,
    RoleDecl, SiteFacts, Synchronises, Watched,
};

/// Facts under construction.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    facts: ProcessFacts,
}

/// The result is thrown away, in the direct caller.
pub fn dropped(because: &str) -> Fate {
    Fate { kind: FateKind::Dropped, depth: 0, because: because.to_owned() }
}

/// The result is read.
pub fn read() -> Fate {
    Fate { kind: FateKind::Read, depth: 0, because: "it is stored".to_owned() }
}

/// The result is handed to the caller's caller, and what that does is not known.
pub fn returned() -> Fate {
    Fate { kind: FateKind::Returned, depth: 0, because: String::new() }
}

impl Facts {
    /// Nothing known.
    pub fn new() -> Facts {
        Facts::default()
    }

    /// The facts.
    pub fn build(self) -> ProcessFacts {
        self.facts
    }

    /// A watched `name(arena, size) -> block`.
    #[must_use]
    pub fn alloc(self, name: &str) -> Facts {
        self.hook(Role::Alloc, name, &[Argument::Arena, Argument::Size], Result_::Block)
    }

    /// A watched function.
    #[must_use]
    pub fn hook(mut self, role: Role, name: &str, arguments: &[Argument], result: Result_) -> Facts {
        self.facts.hooks.push(HookFact {
            decl: RoleDecl { role, function: name.to_owned(), arguments: Vec::from(arguments), result },
            module: String::new(),
            address: Address(0x40_0000),
            status: HookStatus::Watched,
            synchronises: Default::default(),
            markers: None,
        });
        self
    }

    /// Every watched function so far keeps threads apart as said.
    #[must_use]
    pub fn synchronises(mut self, verdict: Synchronises) -> Facts {
        self.facts.hooks.iter_mut().for_each(|hook| hook.synchronises = verdict);
        self
    }

    /// How the functions were chosen.
    #[must_use]
    pub fn chosen(mut self, watched: Watched) -> Facts {
        self.facts.watched = watched;
        self
    }

    /// A site of one frame; its return address is made from its line.
    #[must_use]
    pub fn site(self, function: &str, file: &str, line: u32, fate: Fate) -> Facts {
        self.stack(&[(function, file, line)], fate)
    }

    /// A site of several frames, innermost first.
    #[must_use]
    pub fn stack(mut self, frames: &[(&str, &str, u32)], fate: Fate) -> Facts {
        let frames: Vec<Frame> = frames
            .iter()
            .map(|(function, file, line)| Frame {
                address: Address(0x40_0000_u64.saturating_add(u64::from(*line).saturating_mul(16))),
                function: (*function).to_owned(),
                file: (*file).to_owned(),
                line: *line,
                module: "prog".to_owned(),
                inlined: false,
            })
            .collect();
        self.facts.sites.push(SiteFacts {
            place: None,
            addresses: frames.iter().map(|frame| frame.address).collect(),
            frames,
            source: String::new(),
            fate,
        });
        self
    }

    /// A module at `start..end`.
    #[must_use]
    pub fn module(mut self, start: u64, end: u64) -> Facts {
        self.facts.modules.push(Module {
            path: "/bin/prog".to_owned(),
            bias: start,
            start: Address(start),
            end: Address(end),
            build_id: Vec::new(),
        });
        self
    }

    /// The raw wait status.
    #[must_use]
    pub fn waited(mut self, status: i32) -> Facts {
        self.facts.wait_status = Some(status);
        self
    }

    /// Events lost for want of space.
    #[must_use]
    pub fn lost(mut self, events: u64) -> Facts {
        self.facts.lost = Lost { no_space: events, ..Lost::default() };
        self
    }

    /// The launcher's verdict on the fault.
    #[must_use]
    pub fn null_use(mut self, verdict: NullUse, because: &str) -> Facts {
        self.facts.null_use = verdict;
        self.facts.null_use_because = because.to_owned();
        self
    }

    /// The process came from a fork.
    #[must_use]
    pub fn forked(mut self, fork_id: u64) -> Facts {
        self.facts.fork_id = fork_id;
        self
    }
}
