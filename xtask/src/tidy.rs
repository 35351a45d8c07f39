//! The rules that a reviewer should not have to remember: each is a function from facts to complaints.
//!
//! The layer rules ("never" in ARCHITECTURE.md) are read from the arrow table there, so that the picture and the imports
//! cannot part ways; the house rules are read from the sources. `cargo test` runs all of them too.

mod arrows;
mod house;
mod layers;
mod links;

use crate::{sources, steps, unsafe_list};

/// Checks everything; the error lists every complaint.
pub fn run() -> Result<(), String> {
    let complaints = complaints()?;
    if complaints.is_empty() {
        eprintln!("xtask: tidy");
        Ok(())
    } else {
        Err(format!("{} complaints\n  {}", complaints.len(), complaints.join("\n  ")))
    }
}

fn complaints() -> Result<Vec<String>, String> {
    let rust = sources::with_extension("rs")?;
    let markdown = sources::with_extension("md")?;
    let metadata = steps::metadata()?;
    let architecture = markdown
        .iter()
        .find(|source| source.path == "ARCHITECTURE.md")
        .map(|source| source.text.as_str())
        .ok_or("ARCHITECTURE.md is not there")?;

    let mut complaints = Vec::new();
    match arrows::table(architecture) {
        Ok(table) => {
            complaints.extend(arrows::complaints(&table, &arrows::imports(&metadata)));
            complaints.extend(layers::complaints(&table, &rust));
        }
        Err(message) => complaints.push(message),
    }
    complaints.extend(house::complaints(&rust));
    complaints.extend(rust.iter().chain(&markdown).flat_map(house::half_merged));
    complaints.extend(links::complaints(&markdown, &steps::root()));
    complaints.extend(unsafe_list::complaints(&rust)?);
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_is_tidy() {
        let complaints = super::complaints().expect("the sources can be read");
        assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
    }
}
