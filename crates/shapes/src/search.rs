//! The search itself: signatures, proofs, wrappers, families, pairs, readings.
//!
//! Relied on: the same bytes give the same answer, in the same order. Deliberately absent: how effects are computed
//! (`effects`), what proves a role (`allocs`, `family`).

mod families;
mod pairs;
mod telling;

use crate::allocs::{self, Anchor, Outlet, Proof, Verdict};
use crate::binary::Binary;
use crate::calls::Graph;
use crate::debug::Info;
use crate::effects::{Effects, Summary};
use crate::survey::{self, Callable, Kind, Pointers, Returned};
use crate::value::Base;
use crate::{Candidates, Unwatched, words};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most rejected functions that are listed.
const MAX_LISTED: usize = 300;

/// One function that could be an alloc.
struct Candidate {
    /// Index into the callables.
    function: usize,
    anchor: Anchor,
    /// Position of the arena parameter.
    position: Option<usize>,
    /// Key and name of the arena structure.
    key: Option<(String, String)>,
    pointers: Pointers,
    outlet: Outlet,
    verdict: Verdict,
    /// Why it is not chosen although proved.
    dropped: Option<String>,
    callers_write: bool,
    /// Every call was inlined.
    unseen: bool,
}

impl Candidate {
    fn proof(&self) -> Option<&Proof> {
        if self.verdict.objection.is_none() { self.verdict.proof.as_ref() } else { None }
    }

    fn stands(&self) -> bool {
        self.proof().is_some() && self.dropped.is_none()
    }
}

struct Search<'s, 'a, 'd> {
    info: &'s Info<'d>,
    binary: &'s Binary<'a>,
    functions: Vec<Callable>,
    ends: HashMap<u64, u64>,
    candidates: Vec<Candidate>,
    notes: Vec<String>,
    unwatched: Vec<Unwatched>,
}

/// Searches a program whose debug information has been read.
pub(crate) fn search(info: &Info<'_>, binary: &Binary<'_>) -> Candidates {
    let functions = survey::functions(info);
    let ends = functions.iter().map(|f| (f.low, f.high)).collect();
    let mut search =
        Search { info, binary, functions, ends, candidates: Vec::new(), notes: Vec::new(), unwatched: Vec::new() };
    search.find_candidates();
    if !search.candidates.iter().any(Candidate::stands) {
        return search.nothing();
    }
    let graph = search.graph();
    search.drop_wrappers(&graph);
    search.drop_readers(&graph);
    search.drop_structures();
    if !search.candidates.iter().any(Candidate::stands) {
        return search.nothing();
    }
    search.read_families(&graph)
}

/// Library code that comes with compilers, not hand-made.
fn is_library(name: &str) -> bool {
    let inner = name.trim_start_matches('<');
    (inner.starts_with("std::") && !inner.starts_with("std::pmr::"))
        || [
            "__gnu_cxx::",
            "__cxxabiv1::",
            "core::",
            "alloc::",
            "compiler_builtins::",
            "hashbrown::",
            "gimli::",
            "addr2line::",
            "arenascope::",
            // Our library in C: it tells of itself.
            "ascope_",
        ]
        .iter()
        .any(|prefix| inner.starts_with(prefix))
        || matches!(name, "main" | "_start" | "malloc" | "calloc" | "realloc" | "memalign" | "aligned_alloc")
}

impl Search<'_, '_, '_> {
    fn find_candidates(&mut self) {
        let mut effects = Effects::new(self.binary, &self.ends, BTreeSet::new());
        let mut found = Vec::new();
        for (number, function) in self.functions.iter().enumerate() {
            if is_library(&function.name) || !function.parameters.iter().any(|p| matches!(p.kind, Kind::Integer)) {
                continue;
            }
            let outlet = match &function.returned {
                Returned::Pointer { .. } | Returned::Object { .. } => Outlet::Result,
                _ => match function.parameters.iter().position(|p| matches!(p.kind, Kind::PointerOut)) {
                    Some(at) => Outlet::Parameter(at),
                    None => continue,
                },
            };
            let objects: Vec<(usize, u8, (String, String), Pointers)> = function
                .parameters
                .iter()
                .enumerate()
                .filter_map(|(at, p)| match &p.kind {
                    Kind::Object { record, constant: false } => {
                        let same =
                            matches!(&function.returned, Returned::Object { record: r, .. } if r.key == record.key);
                        let pointers = Pointers::of(self.info, record);
                        if same {
                            None
                        } else if record.name == "ascope_arena" {
                            // Whoever takes our library's arena hands out its blocks, of which the library tells.
                            None
                        } else {
                            Some((at, p.word()?, (record.key.clone(), record.name.clone()), pointers))
                        }
                    }
                    _ => None,
                })
                .collect();
            let Some(summary) = effects.summary(function.low) else { continue };
            let mut best: Option<Candidate> = None;
            let anchors = objects
                .into_iter()
                .map(|(at, word, key, pointers)| (Anchor::Argument(word), Some(at), Some(key), pointers))
                .chain([(Anchor::Global, None, None, Pointers::default())]);
            for (anchor, position, key, pointers) in anchors {
                if anchor == Anchor::Global && best.as_ref().is_some_and(|b| b.verdict.proof.is_some()) {
                    continue;
                }
                let seen = canonical(&summary, anchor, &pointers);
                let verdict = allocs::judge(function, &seen, anchor, outlet);
                let better = match &best {
                    None => anchor != Anchor::Global || verdict.because.len() > 1,
                    Some(old) => rank(&verdict) > rank(&old.verdict),
                };
                if better {
                    best = Some(Candidate {
                        function: number,
                        anchor,
                        position,
                        key,
                        pointers,
                        outlet,
                        verdict,
                        dropped: None,
                        callers_write: false,
                        unseen: false,
                    });
                }
            }
            found.extend(best.filter(|c| c.outlet == Outlet::Result || c.verdict.proof.is_some()));
        }
        self.candidates = found;
    }

    fn low(&self, candidate: &Candidate) -> u64 {
        self.functions.get(candidate.function).map_or(0, |f| f.low)
    }

    fn standing(&self) -> BTreeSet<u64> {
        self.candidates.iter().filter(|c| c.stands()).map(|c| self.low(c)).collect()
    }

    fn graph(&self) -> Graph {
        let mut ranges: BTreeMap<u64, u64> =
            self.binary.functions().filter_map(|(start, size)| Some((start, start.checked_add(size)?))).collect();
        for (&low, &high) in &self.ends {
            ranges.entry(low).and_modify(|end| *end = high.max(*end)).or_insert(high);
        }
        // A fragment belongs to the function whose name it carries.
        let by_name: HashMap<&str, u64> = self
            .binary
            .functions()
            .flat_map(|(address, _)| self.binary.names(address).iter().map(move |name| (name.as_str(), address)))
            .collect();
        let mut owner = BTreeMap::new();
        for (address, _) in self.binary.functions() {
            for name in self.binary.names(address) {
                if let Some(whole) = name.split(".cold").next()
                    && whole.len() < name.len()
                    && let Some(&function) = by_name.get(whole)
                {
                    owner.insert(address, function);
                }
            }
        }
        let ranges: Vec<(u64, u64)> = ranges.into_iter().collect();
        Graph::read(self.binary, &ranges, &owner)
    }

    /// Keeps, of functions that call each other, the one whose own code moves the field.
    fn drop_wrappers(&mut self, graph: &Graph) {
        let standing = self.standing();
        let mut effects = Effects::new(self.binary, &self.ends, standing.clone());
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get(index).filter(|c| c.stands()) else { continue };
            let Some(function) = self.functions.get(candidate.function) else { continue };
            let Some(summary) = effects.summary(function.low) else { continue };
            let seen = canonical(&summary, candidate.anchor, &candidate.pointers);
            let again = allocs::judge(function, &seen, candidate.anchor, candidate.outlet);
            if again.proof.is_some() {
                continue;
            }
            let inner = self.names_of_calls(&summary);
            if let Some(candidate) = self.candidates.get_mut(index) {
                candidate.dropped = Some(format!("a wrapper: what it returns is what {} returned", inner.join(" or ")));
            }
        }
        // What remains has code of its own; of a pair, one is the slow path of the other.
        let alive: Vec<(usize, u64, Option<String>)> = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.stands())
            .map(|(i, c)| (i, self.low(c), c.key.as_ref().map(|k| k.0.clone())))
            .collect();
        let outside = |low: u64| graph.callers(low).filter(|c| !standing.contains(c)).count();
        for (outer, outer_low, outer_key) in &alive {
            for (inner, inner_low, inner_key) in &alive {
                let gone = |i: usize| self.candidates.get(i).is_none_or(|c| !c.stands());
                if outer == inner
                    || outer_key != inner_key
                    || gone(*outer)
                    || gone(*inner)
                    || !graph.calls(*outer_low, *inner_low)
                {
                    continue;
                }
                let (lost, kept, what) = if outside(*inner_low) > outside(*outer_low) {
                    (*outer, *inner, "most callers use")
                } else {
                    (*inner, *outer, "it is a part of")
                };
                let name = self.name(kept);
                if let Some(candidate) = self.candidates.get_mut(lost) {
                    candidate.dropped = Some(format!("{what} {name}"));
                }
            }
        }
    }

    fn name(&self, candidate: usize) -> String {
        self.candidates
            .get(candidate)
            .and_then(|c| self.functions.get(c.function))
            .map_or_else(String::new, |f| f.name.clone())
    }

    fn names_of_calls(&self, summary: &Summary) -> Vec<String> {
        let targets: BTreeSet<u64> = summary.calls.iter().map(|c| c.target).collect();
        self.functions.iter().filter(|f| targets.contains(&f.low)).map(|f| f.name.clone()).collect()
    }

    /// Fresh memory is written before it is read: whose result is only ever read hands out someone's data.
    fn drop_readers(&mut self, graph: &Graph) {
        let standing = self.standing();
        let mut effects = Effects::new(self.binary, &self.ends, standing.clone());
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get(index).filter(|c| c.stands()) else { continue };
            let low = self.low(candidate);
            let block = Base::Result(low);
            let mut written = false;
            let mut read = false;
            for caller in graph.callers(low).filter(|c| !standing.contains(c)) {
                let Some(summary) = effects.summary(caller) else { continue };
                written |= summary.stores.iter().any(|s| s.loc.base == block)
                    || summary.fills.iter().any(|v| v.reaches(block));
                read |= summary.reads.contains(&(block, false));
            }
            let origin = self.functions.get(candidate.function).map_or(0, |f| f.origin);
            let unseen =
                graph.callers(low).next().is_none() && self.info.copies(origin) > 0 && !self.binary.is_exported(low);
            if let Some(candidate) = self.candidates.get_mut(index) {
                candidate.callers_write = written;
                candidate.unseen = unseen;
                if unseen {
                    candidate.dropped = Some("all its calls were inlined".into());
                } else if read && !written {
                    candidate.dropped = Some("its callers only read what it returns".into());
                }
            }
        }
    }

    /// Where one function of an arena hands out bytes, those that hand out structures are built on copies of it.
    fn drop_structures(&mut self) {
        let byte_givers: BTreeSet<Option<String>> = self
            .candidates
            .iter()
            .filter(|c| c.stands() && self.gives_bytes(c))
            .map(|c| c.key.as_ref().map(|k| k.0.clone()))
            .collect();
        for index in 0..self.candidates.len() {
            let Some(candidate) = self.candidates.get(index).filter(|c| c.stands()) else { continue };
            let Some(function) = self.functions.get(candidate.function) else { continue };
            let key = candidate.key.as_ref().map(|k| k.0.clone());
            let gives_bytes = self.gives_bytes(candidate);
            let holds_copy = self.candidates.iter().any(|other| {
                self.functions
                    .get(other.function)
                    .is_some_and(|f| f.origin != function.origin && self.info.is_inlined_in(f.origin, function.index))
                    && other.proof().is_some()
            });
            let sized = candidate
                .proof()
                .and_then(|p| p.sizes.first())
                .and_then(|at| function.parameters.get(*at))
                .is_some_and(|p| words::is_size(&p.name) && p.name != "n" && p.name != "len");
            let why = if gives_bytes {
                None
            } else if byte_givers.contains(&key) || holds_copy {
                Some("it hands out one kind of structure, on top of an alloc")
            } else if matches!(function.returned, Returned::Pointer { bytes: false, .. }) && !sized {
                Some("it counts elements, not bytes")
            } else {
                None
            };
            if let (Some(why), Some(candidate)) = (why, self.candidates.get_mut(index)) {
                candidate.dropped = Some(why.into());
            }
        }
    }

    fn gives_bytes(&self, candidate: &Candidate) -> bool {
        self.functions.get(candidate.function).is_some_and(|f| {
            matches!(f.returned, Returned::Pointer { bytes: true, .. })
                || matches!(candidate.outlet, Outlet::Parameter(_))
        })
    }
}

/// A summary in which pointers of the arena that point at the same kind of thing are one.
fn canonical(summary: &Summary, anchor: Anchor, pointers: &Pointers) -> Summary {
    summary.map_places(&|loc| if anchor.owns(loc.base) { pointers.canonical(loc) } else { loc })
}

fn rank(verdict: &Verdict) -> (bool, bool, usize) {
    (verdict.proof.is_some() && verdict.objection.is_none(), verdict.proof.is_some(), verdict.because.len())
}
