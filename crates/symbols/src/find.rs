//! Functions by the names people type.
//!
//! Relied on: names match exactly (as symbol, or as whole qualified name); everything near is for `nearest` to say.
//! Absent: ranking of several matches; the caller asks when there is more than one.

use crate::function::Function;
use crate::image::Image;
use crate::index::Definition;
use crate::names::{self, CloneKind, Wanted};

/// One function that a name means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match<'a> {
    /// The function.
    pub function: &'a Function,
    /// What the compiler changed; `None` for the function as written.
    pub clone: Option<CloneKind>,
}

impl Image {
    /// All functions that `name` means: a symbol, or a C++ or Rust path, whole, with or without parameters, template
    /// arguments, Rust hash, symbol version. Clones (`name.constprop.0`) are listed with their kind; `.cold` parts and
    /// indirect functions are not listed. Sorted by address, each address once. O(number of symbols).
    pub fn find(&self, name: &str) -> Vec<Match<'_>> {
        let wanted = Wanted::new(names::without_version(name));
        let mut found: Vec<Match<'_>> = self.matching(&wanted, &self.table().functions).collect();
        if found.is_empty() {
            found = self.matching(&wanted, &self.dwarf_only().functions).collect();
        }
        found.retain(|found| !found.function.is_ifunc);
        // Constructors have two names for one body.
        found.dedup_by_key(|found| found.function.address);
        found
    }

    /// Whether `name` is an indirect function here, whose implementation is chosen when the program starts.
    pub fn is_ifunc(&self, name: &str) -> bool {
        let wanted = Wanted::new(name);
        self.matching(&wanted, &self.table().functions).any(|found| found.function.is_ifunc)
    }

    /// How many copies of the function were inlined into others, over all functions that `name` means. 0 without
    /// debug information.
    pub fn inlined_copies(&self, name: &str) -> usize {
        let Some(index) = self.index() else { return 0 };
        let mut origins: Vec<_> = self.defined(name).map(|definition| definition.origin).collect();
        origins.sort_unstable_by_key(|origin| (origin.unit, origin.offset.0));
        origins.dedup();
        origins.into_iter().map(|origin| index.copies_of(origin)).fold(0, usize::saturating_add)
    }

    /// Whether debug information knows a body of `name` and the file has no code for it as a function: inlined
    /// everywhere.
    pub fn defined_but_no_body(&self, name: &str) -> bool {
        let mut any = false;
        let no_code = self.defined(name).all(|definition| {
            any = true;
            definition.code.is_none()
        });
        any && no_code
    }

    fn defined(&self, name: &str) -> impl Iterator<Item = &Definition> {
        // Debug information knows no clones.
        let wanted = Wanted::new(names::take_apart(name).base);
        let definitions = self.index().map(|index| index.definitions.as_slice()).unwrap_or_default();
        definitions.iter().filter(move |definition| {
            wanted.may_be(definition.name) && wanted.is(names::take_apart(definition.name).base)
        })
    }

    fn matching<'a>(&self, wanted: &Wanted<'_>, functions: &'a [Function]) -> impl Iterator<Item = Match<'a>> {
        functions.iter().filter_map(move |function| {
            if !wanted.may_be(&function.name) {
                return None;
            }
            let linkage = names::take_apart(&function.name);
            if linkage.never_entry || !(wanted.is(linkage.base) || wanted.is(&function.name)) {
                return None;
            }
            Some(Match { function, clone: linkage.clone })
        })
    }
}
