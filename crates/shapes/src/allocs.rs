//! Does this function hand out memory of an arena? The proof, from its effects.
//!
//! The proof has two halves that must meet in one field. The result comes out of a field of the arena (or of a chunk
//! behind one of its pointers); and that same field moves on by the size that was asked for. A vector's `at`, a list's
//! `find`, a statistics counter and a lookup have one half at most. What has both and is still no arena (growing buffers,
//! output buffers, rings, readers of someone's data) gives itself away by a further effect: see the objections.
//!
//! Relied on: no proof, no choice. Deliberately absent: names, and how callers use the result (`search`).

use crate::effects::Summary;
use crate::survey::{Callable, Kind, Returned};
use crate::value::{Atom, Base, Loc, Value, Way};

/// What the arena of a function is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    /// The object that the argument in this word points at.
    Argument(u8),
    /// Variables of the program.
    Global,
}

impl Anchor {
    /// True when memory with this base belongs to the arena.
    pub(crate) fn owns(self, base: Base) -> bool {
        match self {
            Anchor::Argument(word) => base == Base::Argument(word),
            Anchor::Global => matches!(base, Base::Global(_)),
        }
    }

    /// True when a value is reached from the arena.
    pub(crate) fn reaches(self, value: &Value) -> bool {
        value.atoms().iter().any(|atom| match atom {
            Atom::Load(loc) => self.owns(loc.base),
            Atom::Argument(word, 0) => self.owns(Base::Argument(*word)),
            Atom::Global(address) => self.owns(Base::Global(*address)),
            _ => false,
        })
    }
}

/// What was proved.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    /// Fields that the result comes out of and that move on by the size.
    pub advanced: Vec<Loc>,
    /// All fields that the result comes out of.
    pub sources: Vec<Loc>,
    /// Positions of the parameters that the fields move on by.
    pub sizes: Vec<usize>,
    /// Positions of two parameters that are multiplied.
    pub product: Option<(usize, usize)>,
}

/// The answer for one function and one choice of arena.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub proof: Option<Proof>,
    /// Why a proved function is no allocator all the same.
    pub objection: Option<String>,
    pub because: Vec<String>,
}

/// Where the block comes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outlet {
    Result,
    /// Stored where the parameter at this position points.
    Parameter(usize),
}

/// Judges one function.
pub(crate) fn judge(function: &Callable, summary: &Summary, arena: Anchor, outlet: Outlet) -> Verdict {
    let mut because = Vec::new();
    let refuse = |because: Vec<String>| Verdict { proof: None, objection: None, because };
    let block = match outlet {
        Outlet::Result => summary.result.clone(),
        Outlet::Parameter(position) => {
            let word = function.parameters.get(position).and_then(|p| p.word());
            word.and_then(|word| {
                let target = Loc { base: Base::Argument(word), way: Way::Direct, offset: Some(0) };
                summary.stores.iter().filter(|s| s.loc == target).map(|s| s.value.clone()).reduce(|a, b| a.join(&b))
            })
        }
    };
    let Some(block) = block else {
        return refuse(vec!["no block could be followed out of it".into()]);
    };
    let sources: Vec<Loc> = block.loads().filter(|loc| arena.owns(loc.base)).collect();
    if sources.is_empty() {
        return refuse(vec!["its result does not come out of the structure".into()]);
    }
    because.push("its result comes out of a field of the structure".into());

    let sizes: Vec<(usize, u8)> = function
        .parameters
        .iter()
        .enumerate()
        .filter(|(_, p)| matches!(p.kind, Kind::Integer))
        .filter_map(|(position, p)| Some((position, p.word()?)))
        .collect();
    // Compilers may have fixed the size in a clone (`.constprop`): then the field moves on by a constant.
    let lost_size = function.parameters.iter().any(|p| matches!(p.kind, Kind::Integer) && p.words.is_empty());
    let mut advanced: Vec<Loc> = Vec::new();
    let mut used: Vec<usize> = Vec::new();
    let mut elements = false;
    for store in summary.stores.iter().filter(|s| arena.owns(s.loc.base)) {
        let from_itself: Vec<Loc> =
            store.value.loads().filter(|loc| store.covers(*loc) && sources.iter().any(|s| s.may_be(*loc))).collect();
        if from_itself.is_empty() {
            continue;
        }
        let mut moved = lost_size && store.value.offset != Some(0);
        for &(position, word) in &sizes {
            let scales: Vec<i8> = store
                .value
                .atoms()
                .iter()
                .filter_map(|atom| match atom {
                    Atom::Argument(w, scale) if *w == word => Some(*scale),
                    _ => None,
                })
                .collect();
            // A field in units of 16 bytes may move on by size / 16, not by size.
            let units = from_itself.iter().any(|loc| block.has(Atom::Times(*loc)));
            if scales.iter().any(|scale| if units { *scale < 0 } else { *scale <= 0 }) {
                moved = true;
                if !used.contains(&position) {
                    used.push(position);
                }
            } else if !scales.is_empty() {
                elements = true;
            }
        }
        if moved {
            for loc in from_itself {
                if !advanced.contains(&loc) {
                    advanced.push(loc);
                }
            }
        }
    }
    // Who hands out structures must show the very field; bytes may come from chunks found by index.
    if !matches!(function.returned, Returned::Pointer { bytes: true, .. }) && outlet == Outlet::Result {
        advanced.retain(|loc| loc.offset.is_some());
    }
    if advanced.is_empty() {
        because.push(if elements {
            "the field moves on by a number of elements, not of bytes".into()
        } else {
            "no field that the result comes from moves on by the size".into()
        });
        return refuse(because);
    }
    because.push("that field moves on by the size".into());
    used.sort_unstable();
    let product = summary.products.iter().find_map(|(a, b)| {
        let of = |v: &Value| sizes.iter().find(|(_, word)| v.stems_from(*word)).map(|(position, _)| *position);
        match (of(a), of(b)) {
            (Some(x), Some(y)) if x != y => Some((x, y)),
            _ => None,
        }
    });
    let objection = object(function, summary, arena, &block, &sources, &advanced);
    Verdict { proof: Some(Proof { advanced, sources, sizes: used, product }), objection, because }
}

/// Effects that an arena's alloc does not have.
fn object(
    function: &Callable,
    summary: &Summary,
    arena: Anchor,
    block: &Value,
    sources: &[Loc],
    advanced: &[Loc],
) -> Option<String> {
    match &function.returned {
        Returned::Pointer { constant: true, .. } | Returned::Object { constant: true, .. } => {
            return Some("what it returns may not be written: it reads someone's data".into());
        }
        _ => {}
    }
    let own_stores = || summary.stores.iter().filter(|s| arena.owns(s.loc.base));
    if block.has(Atom::Wrapped)
        || own_stores().any(|s| s.value.has(Atom::Wrapped) && advanced.iter().any(|a| s.covers(*a)))
    {
        return Some("its position wraps around: a ring".into());
    }
    let replaces_source = |atom: Atom| {
        own_stores().any(|s| s.value.has(atom) && sources.iter().any(|source| !source.is_deep() && s.covers(*source)))
    };
    if block.has(Atom::Moved) || replaces_source(Atom::Moved) {
        return Some("it reallocates what it handed out before: a growing buffer".into());
    }
    let carries_over = summary.copies.iter().any(|(to, from)| {
        (to.has(Atom::Fresh) || to.has(Atom::Foreign)) && from.loads().any(|loc| arena.owns(loc.base))
    });
    if carries_over && (replaces_source(Atom::Fresh) || replaces_source(Atom::Foreign)) {
        return Some("it copies what it handed out before into new memory: a growing buffer".into());
    }
    if summary.sends.iter().any(|sent| arena.reaches(sent)) {
        return Some("it writes its memory out: an output buffer".into());
    }
    let starts_over = own_stores().any(|s| {
        !s.loc.is_deep()
            && (s.value.as_number() == Some(0) || s.value.has(Atom::Zero))
            && advanced.iter().any(|a| !a.is_deep() && s.covers(*a))
    });
    let changes_memory = own_stores().any(|s| {
        !s.loc.is_deep()
            && !advanced.iter().any(|a| s.covers(*a))
            && s.value.atoms().iter().any(|atom| match atom {
                Atom::Fresh | Atom::Foreign | Atom::Result(_) => true,
                Atom::Load(loc) => loc.is_deep(),
                _ => false,
            })
    });
    if starts_over && !changes_memory {
        return Some("it starts over in the same memory when full: a ring".into());
    }
    for parameter in &function.parameters {
        let Some(word) = parameter.word() else { continue };
        if arena == Anchor::Argument(word) || matches!(parameter.kind, Kind::Integer | Kind::Other) {
            continue;
        }
        let data = Base::Argument(word);
        let copied =
            summary.copies.iter().any(|(to, from)| from.reaches(data) && to.loads().any(|loc| arena.owns(loc.base)));
        let stored = own_stores().any(|s| s.loc.is_deep() && s.value.loads().any(|loc| loc.base == data));
        if copied || stored {
            return Some(format!("it copies `{}` into the memory: it appends data", parameter.name));
        }
    }
    None
}
