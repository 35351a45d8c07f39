//! Which positions are marks: those that something goes back to.
//!
//! Relied on: what callers pass to a rewind function is evidence; without callers, types and names decide.
//! Deliberately absent: positions of more than one word.

use super::Search;
use crate::calls::Graph;
use crate::effects::Effects;
use crate::family::Decision;
use crate::survey::{self, Kind, Returned};
use crate::value::{Atom, Base, Loc};
use crate::words;
use arenascope_event::{Argument, Role};
use std::collections::BTreeSet;

impl Search<'_, '_, '_> {
    /// A position counts as a mark only when something goes back to it, and the other way round is told by callers.
    pub(super) fn pair_marks(&self, decided: &mut [(usize, usize, Decision)], graph: &Graph, allocs: &BTreeSet<u64>) {
        let low = |number: usize| self.functions.get(number).map_or(0, |f| f.low);
        let of_role = |decided: &[(usize, usize, Decision)], role: Role| -> Vec<usize> {
            (0..decided.len())
                .filter(|i| decided.get(*i).is_some_and(|d| d.2.chosen && d.2.decl.role == role))
                .collect()
        };
        let marks = of_role(decided, Role::Mark);
        let rewinds = of_role(decided, Role::Rewind);
        let lows_of = |decided: &[(usize, usize, Decision)], list: &[usize]| -> BTreeSet<u64> {
            list.iter().filter_map(|i| decided.get(*i)).map(|d| low(d.1)).collect()
        };
        let mark_lows = lows_of(decided, &marks);
        let rewind_lows = lows_of(decided, &rewinds);
        let opaque: BTreeSet<u64> = allocs.iter().chain(&mark_lows).chain(&rewind_lows).copied().collect();
        let mut effects = Effects::new(self.binary, &self.ends, opaque);
        let mut fed: BTreeSet<u64> = BTreeSet::new();
        for &index in &rewinds {
            let Some((_, number, decision)) = decided.get(index) else { continue };
            let number = *number;
            let word = decision
                .decl
                .arguments
                .iter()
                .position(|a| matches!(a, Argument::Mark | Argument::MarkAt))
                .and_then(|at| self.functions.get(number)?.parameters.get(at)?.word());
            let target = low(number);
            let mut sources: BTreeSet<u64> = BTreeSet::new();
            for caller in graph.callers(target) {
                let Some(summary) = effects.summary(caller) else { continue };
                for call in summary.calls.iter().filter(|c| c.target == target) {
                    let Some(value) = word.and_then(|w| call.arguments.get(usize::from(w))) else { continue };
                    sources.extend(value.atoms().iter().filter_map(|a| match a {
                        Atom::Result(function) => Some(*function),
                        Atom::Load(Loc { base: Base::Result(function), .. }) => Some(*function),
                        _ => None,
                    }));
                }
            }
            fed.extend(sources.intersection(&mark_lows));
            if sources.intersection(&mark_lows).next().is_some()
                && let Some((_, _, decision)) = decided.get_mut(index)
            {
                decision.rival = None;
                decision.score += 3;
                decision.because.push("its callers pass what a mark function returned".into());
            }
        }
        // A pointer to a structure is a position only where another function fills one in.
        for &index in &rewinds {
            let Some((group, _, decision)) = decided.get(index) else { continue };
            let filled = marks
                .iter()
                .filter_map(|i| decided.get(*i))
                .any(|m| m.0 == *group && (m.2.decl.arguments.contains(&Argument::MarkAt) || fed.contains(&low(m.1))));
            if decision.decl.arguments.contains(&Argument::MarkAt)
                && !filled
                && let Some((_, _, decision)) = decided.get_mut(index)
            {
                decision.chosen = false;
                decision.because.push("but no function saves such a position".into());
            }
        }
        for &index in &marks {
            let Some((group, number, decision)) = decided.get(index) else { continue };
            let (group, own) = (*group, low(*number));
            let by_pointer = decision.decl.arguments.contains(&Argument::MarkAt);
            let goes_back = rewinds.iter().filter_map(|i| decided.get(*i)).any(|(g, n, d)| {
                *g == group
                    && (by_pointer == d.decl.arguments.contains(&Argument::MarkAt))
                    && self.same_position(*number, *n, d)
            });
            let some_fed =
                marks.iter().filter_map(|i| decided.get(*i)).any(|d| d.0 == group && fed.contains(&low(d.1)));
            let short = survey::short_name(&decision.decl.function);
            let question = words::sounds_like_question(&short) && !words::sounds_like(Role::Mark, &short);
            let Some((_, _, decision)) = decided.get_mut(index) else { continue };
            let against = if !goes_back {
                Some("but no function goes back to such a position")
            } else if some_fed && !fed.contains(&own) {
                Some("but no caller goes back to what it returns")
            } else if !some_fed && question {
                Some("but its name asks a question")
            } else {
                None
            };
            if let Some(against) = against {
                decision.chosen = false;
                decision.because.push(against.into());
            }
            if fed.contains(&own) {
                decision.score += 3;
                decision.because.push("what it returns is given to a rewind function".into());
            }
        }
    }

    /// True when what `mark` returns has the type that `rewind` takes.
    fn same_position(&self, mark: usize, rewind: usize, decision: &Decision) -> bool {
        let (Some(mark), Some(rewind)) = (self.functions.get(mark), self.functions.get(rewind)) else { return false };
        let at = decision.decl.arguments.iter().position(|a| matches!(a, Argument::Mark | Argument::MarkAt));
        let Some(parameter) = at.and_then(|at| rewind.parameters.get(at)) else { return false };
        match (&mark.returned, &parameter.kind) {
            (Returned::Integer, Kind::Integer) => true,
            (Returned::Pointer { .. }, Kind::Pointer { .. }) => true,
            (Returned::Value { record: a, .. }, Kind::Value { record: b }) => a.key == b.key,
            (Returned::Object { record: a, .. }, Kind::Object { record: b, .. }) => a.key == b.key,
            (Returned::Nothing | Returned::Other, Kind::Object { .. } | Kind::Pointer { .. }) => true,
            _ => false,
        }
    }
}
