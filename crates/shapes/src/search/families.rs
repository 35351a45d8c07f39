//! Which functions belong to the proved arenas, and which of them are chosen.
//!
//! Relied on: a function gets at most one role in a reading. Deliberately absent: what proves a role (`family`).

use super::{Candidate, Search, canonical, is_library};
use crate::allocs::Anchor;
use crate::calls::Graph;
use crate::effects::Effects;
use crate::family::{self, Arena, Decision, View};
use crate::survey::{self, Callable, Kind, Returned};
use crate::value::{Base, Loc};
use crate::{Candidates, words};
use arenascope_event::Role;
use std::collections::BTreeSet;

impl Search<'_, '_, '_> {
    fn arenas(&self) -> Vec<(Arena, String, Vec<usize>)> {
        let mut groups: Vec<(Arena, String, Vec<usize>)> = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            let Some(proof) = candidate.proof().filter(|_| candidate.stands()) else { continue };
            let neutral = |loc: &Loc| match loc.base {
                Base::Argument(_) => Loc { base: Base::Argument(0), ..*loc },
                _ => *loc,
            };
            let advanced: Vec<Loc> = proof.advanced.iter().map(neutral).collect();
            let sources: Vec<Loc> = proof.sources.iter().map(neutral).collect();
            let key = candidate.key.as_ref().map(|k| k.0.clone());
            let known = groups.iter_mut().find(|(arena, _, _)| {
                arena.key == key && (key.is_some() || arena.advanced.iter().any(|a| advanced.contains(a)))
            });
            match known {
                Some((arena, _, members)) => {
                    for loc in advanced {
                        if !arena.advanced.contains(&loc) {
                            arena.advanced.push(loc);
                        }
                    }
                    for loc in sources {
                        if !arena.sources.contains(&loc) {
                            arena.sources.push(loc);
                        }
                    }
                    members.push(index);
                }
                None => {
                    let name = candidate.key.as_ref().map_or_else(|| "(global)".to_string(), |k| k.1.clone());
                    groups.push((
                        Arena { key, advanced, sources, pointers: candidate.pointers.clone() },
                        name,
                        vec![index],
                    ));
                }
            }
        }
        groups
    }

    pub(super) fn read_families(mut self, graph: &Graph) -> Candidates {
        let mut groups = self.arenas();
        // Roles without an arena argument mean one global arena: of several, the one used most.
        let weight = |s: &Self, members: &[usize]| -> usize {
            members.iter().filter_map(|i| s.candidates.get(*i)).map(|c| graph.callers(s.low(c)).count()).sum()
        };
        let best_global = groups
            .iter()
            .filter(|(arena, _, _)| arena.key.is_none())
            .max_by_key(|(arena, _, members)| (weight(&self, members), std::cmp::Reverse(arena.advanced.clone())))
            .map(|(_, _, members)| members.clone());
        let mut lost = Vec::new();
        groups.retain(|(arena, _, members)| {
            let keep = arena.key.is_some() || Some(members) == best_global.as_ref();
            if !keep {
                lost.extend(members.iter().copied());
            }
            keep
        });
        for index in lost {
            let name = self.name(index);
            self.notes
                .push(format!("{name} hands out memory of a second global arena; only one can be watched by shape"));
            if let Some(candidate) = self.candidates.get_mut(index) {
                candidate.dropped = Some("only one global arena can be watched".into());
            }
        }

        let allocs = self.standing();
        let mut effects = Effects::new(self.binary, &self.ends, allocs.clone());
        let mut decided: Vec<(usize, usize, Decision)> = Vec::new(); // (group, function, decision)
        for (group, (arena, _, members)) in groups.iter().enumerate() {
            let mut family: Vec<(usize, Decision)> = Vec::new();
            for (number, function) in self.functions.iter().enumerate() {
                if is_library(&function.name)
                    || self.candidates.iter().any(|c| c.function == number && c.proof().is_some())
                {
                    continue;
                }
                if let Some(decision) = self.decide(arena, function, &mut effects, graph) {
                    family.push((number, decision));
                }
            }
            let own: BTreeSet<u64> =
                members.iter().filter_map(|i| self.candidates.get(*i)).map(|c| self.low(c)).collect();
            self.settle_family(&mut family, &own, graph);
            decided.extend(family.into_iter().map(|(number, decision)| (group, number, decision)));
        }
        self.pair_marks(&mut decided, graph, &allocs);
        let doubted = self.drop_doubtful(&groups, &decided);
        if doubted.len() == groups.len() {
            return self.nothing();
        }
        decided.retain(|(group, _, _)| !doubted.contains(group));

        let groups: Vec<(Arena, String, Vec<usize>)> =
            groups.into_iter().enumerate().filter(|(i, _)| !doubted.contains(i)).map(|(_, g)| g).collect();
        let keys: BTreeSet<String> = groups.iter().filter_map(|(arena, _, _)| arena.key.clone()).collect();
        for (_, _, decision) in decided.iter().filter(|(_, _, d)| !d.chosen) {
            if matches!(decision.decl.role, Role::Rewind) && decision.because.iter().any(|b| b.contains("two words")) {
                self.notes.push(format!(
                    "{} goes back to a position of two words, which no role can express: blocks after it may seem to overlap",
                    decision.decl.function
                ));
            }
        }
        self.note_unseen();
        self.note_inlined(&keys);
        self.note_unproved(&decided);
        for candidate in self.candidates.iter().filter(|c| c.stands()) {
            if let Some(function) = self.functions.get(candidate.function) {
                let copies = self.info.copies(function.origin);
                if copies > 0 {
                    self.notes.push(format!(
                        "{} also exists as {copies} inlined {} that cannot be watched: compile with -fno-inline or -O0/-Og to see all calls",
                        function.name,
                        if copies == 1 { "copy" } else { "copies" }
                    ));
                }
            }
        }
        self.note_damage();
        let names: Vec<String> = groups.iter().map(|(_, name, _)| name.clone()).collect();
        let mut readings = vec![self.reading(&names, &decided, false)];
        if decided.iter().any(|(_, _, d)| d.chosen && d.rival.is_some()) {
            readings.push(self.reading(&names, &decided, true));
        }
        Candidates { readings, notes: self.notes, considered: Vec::new(), unwatched: self.unwatched }
    }

    /// Groups with nothing to show that what they hand out is free memory: no caller writes into it, nothing obtains
    /// or frees it, and no name says so. (A reader of data has the effects of an alloc.)
    fn drop_doubtful(
        &mut self,
        groups: &[(Arena, String, Vec<usize>)],
        decided: &[(usize, usize, Decision)],
    ) -> BTreeSet<usize> {
        let mut doubted = BTreeSet::new();
        for (group, (_, _, members)) in groups.iter().enumerate() {
            let memory = decided.iter().any(|(g, _, d)| {
                *g == group && d.chosen && matches!(d.decl.role, Role::Create | Role::Destroy | Role::Free)
            });
            let members: Vec<&Candidate> = members.iter().filter_map(|i| self.candidates.get(*i)).collect();
            let shown = members.iter().any(|c| {
                c.callers_write || self.functions.get(c.function).is_some_and(|f| words::says_alloc(&f.short_name()))
            });
            if !memory && !shown {
                doubted.insert(group);
            }
        }
        for group in &doubted {
            for index in groups.get(*group).map(|g| g.2.clone()).unwrap_or_default() {
                if let Some(candidate) = self.candidates.get_mut(index) {
                    candidate.dropped = Some("nothing shows that what it returns is free memory".into());
                }
            }
        }
        doubted
    }

    fn decide(
        &self,
        arena: &Arena,
        function: &Callable,
        effects: &mut Effects<'_, '_>,
        graph: &Graph,
    ) -> Option<Decision> {
        let Some(key) = arena.key.as_deref() else { return self.decide_global(arena, function, effects, graph) };
        let is_key = |k: &Kind| matches!(k, Kind::Object { record, .. } if record.key == key);
        let is_out = |k: &Kind| matches!(k, Kind::ObjectOut { record } if record.key == key);
        let returns = matches!(&function.returned, Returned::Object { record, .. } | Returned::Value { record, .. } if record.key == key);
        let position = function.parameters.iter().position(|p| is_key(&p.kind));
        if position.is_none() && !returns && !function.parameters.iter().any(|p| is_out(&p.kind)) {
            return None;
        }
        let summary = effects.summary(function.low)?;
        let maker = View { function, summary: &summary, anchor: Anchor::Argument(u8::MAX), position: None, arena };
        if let Some(decision) = family::judge_maker(&maker, is_out) {
            return Some(decision);
        }
        let position = position?;
        let parameter = function.parameters.get(position)?;
        let constant = matches!(parameter.kind, Kind::Object { constant: true, .. });
        let word = parameter.word()?;
        let seen = canonical(&summary, Anchor::Argument(word), &arena.pointers);
        let view = View { function, summary: &seen, anchor: Anchor::Argument(word), position: Some(position), arena };
        Some(family::judge_user(&view, constant, &self.names_of_calls(&summary)))
    }

    fn decide_global(
        &self,
        arena: &Arena,
        function: &Callable,
        effects: &mut Effects<'_, '_>,
        graph: &Graph,
    ) -> Option<Decision> {
        let touches = arena.advanced.iter().chain(&arena.sources).any(|loc| match (loc.base, loc.is_deep()) {
            (Base::Global(address), _) => {
                let end = address.saturating_add(1);
                graph.touching(address.saturating_sub(64), end).any(|f| f == function.low)
            }
            _ => false,
        });
        if !touches || function.parameters.iter().any(|p| matches!(p.kind, Kind::Object { .. })) {
            return None;
        }
        let summary = effects.summary(function.low)?;
        let view = View { function, summary: &summary, anchor: Anchor::Global, position: None, arena };
        let decision = family::judge_user(&view, false, &self.names_of_calls(&summary));
        if decision.chosen { Some(decision) } else { None }
    }

    /// Of functions with the same role that call each other, keeps the inner one.
    fn settle_family(&self, family: &mut [(usize, Decision)], allocs: &BTreeSet<u64>, graph: &Graph) {
        let lows: Vec<u64> =
            family.iter().map(|(number, _)| self.functions.get(*number).map_or(0, |f| f.low)).collect();
        let frees_itself = |d: &Decision| d.because.iter().any(|b| b.contains("structure itself"));
        for (inner, inner_low) in lows.iter().enumerate() {
            let Some((_, decision)) = family.get(inner) else { continue };
            if !decision.chosen {
                continue;
            }
            if allocs.iter().any(|alloc| graph.calls(*alloc, *inner_low)) && decision.decl.role != Role::Mark {
                if let Some((_, decision)) = family.get_mut(inner) {
                    decision.chosen = false;
                    decision.because.push("but alloc itself calls it: a part of alloc".into());
                }
                continue;
            }
            for (outer, outer_low) in lows.iter().enumerate() {
                let (Some((_, a)), Some((_, b))) = (family.get(inner), family.get(outer)) else { continue };
                if inner == outer
                    || !a.chosen
                    || !b.chosen
                    || a.decl.role != b.decl.role
                    || !graph.leads_to(*outer_low, *inner_low)
                {
                    continue;
                }
                if a.decl.role == Role::Destroy && frees_itself(b) && !frees_itself(a) {
                    if let Some((_, a)) = family.get_mut(inner) {
                        a.decl.role = Role::Reset;
                        a.because.push("and the structure lives on, unlike in the function that calls it".into());
                    }
                } else {
                    let name = a.decl.function.clone();
                    if let Some((_, b)) = family.get_mut(outer) {
                        b.chosen = false;
                        b.because.push(format!("but it calls {name}: a wrapper"));
                    }
                }
            }
        }
        // Two that free, and only one frees the structure: the other one empties.
        let ends: Vec<usize> = (0..family.len())
            .filter(|i| family.get(*i).is_some_and(|(_, d)| d.chosen && d.decl.role == Role::Destroy))
            .collect();
        if ends.iter().any(|i| family.get(*i).is_some_and(|(_, d)| frees_itself(d))) {
            for i in ends {
                if let Some((_, d)) = family.get_mut(i)
                    && !frees_itself(d)
                    && words::sounds_like(Role::Reset, &survey::short_name(&d.decl.function))
                {
                    d.decl.role = Role::Reset;
                    d.because.push("and the structure lives on".into());
                }
            }
        }
    }
}
