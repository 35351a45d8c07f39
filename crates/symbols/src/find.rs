//! Functions by the names people type.
//!
//! Relied on: names match exactly (as symbol, or as whole qualified name); everything near is for `nearest` to say.
//! Absent: ranking of several matches; the caller asks when there is more than one.

use crate::function::Function;
use crate::image::Image;
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
    /// arguments, Rust hash. Clones (`name.constprop.0`) are listed with their kind; `.cold` parts and indirect
    /// functions are not listed. O(number of symbols).
    pub fn find(&self, name: &str) -> Vec<Match<'_>> {
        let wanted = Wanted::new(name);
        self.matching(&wanted, &self.table().functions).filter(|found| !found.function.is_ifunc).collect()
    }

    /// Whether `name` is an indirect function here, whose implementation is chosen when the program starts.
    pub fn is_ifunc(&self, name: &str) -> bool {
        let wanted = Wanted::new(name);
        self.matching(&wanted, &self.table().functions).any(|found| found.function.is_ifunc)
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
