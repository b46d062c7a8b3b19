//! The list of the tests that carry a promise's number in their names, read off the tests themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::run::root;

/// What is above this line is written by hand.
const HEADING: &str = "## Every test that carries a number\n";

/// The promises' numbers, each with its tests: name and file.
type Tests = BTreeMap<u32, Vec<(String, String)>>;

/// The whole page.
pub(crate) fn page() -> Result<String, String> {
    let path = root().join("docs/promises.md");
    let there = fs::read_to_string(&path);
    let there = there.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let by_hand = there.split(HEADING).next().unwrap_or_default();
    let mut tests = Tests::new();
    for folder in ["crates", "examples"] {
        collect(&root().join(folder), &mut tests);
    }
    let mut page = format!(
        "{}\n\n{HEADING}\nThis list is read off the tests by `cargo xtask docs`.\n",
        by_hand.trim_end()
    );
    for (promise, mut tests) in tests {
        tests.sort();
        page.push_str(&format!("\nP{promise}\n\n"));
        for (name, file) in tests {
            page.push_str(&format!("- `{name}` in `{file}`\n"));
        }
    }
    Ok(page)
}

fn collect(folder: &Path, tests: &mut Tests) {
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in items.map(|item| item.path()) {
        let is_built = path.file_name().is_some_and(|name| name == "target");
        if path.is_dir() && !is_built {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&path, tests);
        }
    }
}

fn read(path: &Path, tests: &mut Tests) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let file = path.strip_prefix(root()).unwrap_or(path);
    let names = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn p")?.split('(').next()
    });
    for name in names {
        let name = format!("p{name}");
        for promise in numbers(&name) {
            let test = (name.clone(), file.display().to_string());
            tests.entry(promise).or_default().push(test);
        }
    }
}

/// Of `p4_p10_the_server_is_killed`: 4 and 10.
fn numbers(name: &str) -> Vec<u32> {
    let parts = name.split('_').map(|part| {
        let digits = part.strip_prefix('p')?;
        digits.parse().ok()
    });
    parts.map_while(|number| number).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn a_name_says_which_promises_it_holds() {
        assert_eq!(numbers("p4_p10_the_server_is_killed"), [4, 10]);
        assert_eq!(numbers("p1_two_p2"), [1]);
        assert!(numbers("pools_of").is_empty());
    }
}
