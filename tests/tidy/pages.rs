//! The pages under `docs/`, the links between them, and the list of end-to-end tests.

use std::collections::BTreeSet;

use crate::Violation;
use crate::scan::Source;

/// A Markdown file.
pub(crate) struct Page {
    /// Path from the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Links that lead nowhere, and files under `docs/` that no link leads to.
///
/// `files` are all files and directories of the repository, from its root.
pub(crate) fn check_links(pages: &[Page], files: &BTreeSet<String>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut linked = BTreeSet::new();
    for page in pages {
        for (line, target) in links(&page.text) {
            match resolve(&page.path, &target) {
                Some(file) if file.is_empty() || files.contains(&file) => {
                    if file != page.path {
                        linked.insert(file);
                    }
                }
                _ => {
                    let what = format!("the link to {target} leads nowhere: correct its path");
                    found.push(Violation { path: page.path.clone(), line, what });
                }
            }
        }
    }
    for file in files.iter().filter(|file| file.starts_with("docs/") && is_file(file, files)) {
        if !linked.contains(file) {
            let what = "no page links to it: link it from README.md or from another page".into();
            found.push(Violation { path: file.clone(), line: 0, what });
        }
    }
    found
}

/// Files of end-to-end tests that nothing runs, or whose name is no sentence.
pub(crate) fn check_e2e(sources: &[Source]) -> Vec<Violation> {
    let directory = "tests/e2e/";
    let main = sources.iter().find(|source| source.path == "tests/e2e/main.rs");
    let declared: BTreeSet<&str> = main
        .iter()
        .flat_map(|main| &main.code)
        .filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let mut found = Vec::new();
    for source in sources {
        let name = source.path.strip_prefix(directory).and_then(|name| name.strip_suffix(".rs"));
        let Some(name) = name.filter(|name| *name != "main" && !name.contains('/')) else {
            continue;
        };
        let mut complain = |what: String| {
            found.push(Violation { path: source.path.clone(), line: 0, what });
        };
        if !declared.contains(name) {
            complain(format!("nothing runs it: declare `mod {name};` in tests/e2e/main.rs"));
        }
        let has_tests = source.code.iter().any(|line| line.trim() == "#[test]");
        if has_tests && name.split('_').count() < 3 {
            complain("a test file is named by a sentence that says what is required".to_owned());
        }
    }
    found
}

/// Targets of the links of a page, `[text](target)` and `[text]: target`, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (line, text) in text.lines().enumerate() {
        if text.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        }
        if is_fenced {
            continue;
        }
        // What is between backticks is code.
        let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in prose.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            found.push((line, target.split(' ').next().unwrap_or_default().to_owned()));
        }
        if let Some((label, target)) = prose.split_once("]: ")
            && label.starts_with('[')
        {
            found.push((line, target.trim().to_owned()));
        }
    }
    found.retain(|(_, target)| !target.contains("://") && !target.starts_with("mailto:"));
    found
}

/// The file that a link of `page` means, from the root; `None` where it leaves the repository.
fn resolve(page: &str, target: &str) -> Option<String> {
    let file = target.split('#').next().unwrap_or_default();
    if file.is_empty() {
        return Some(page.to_owned());
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn is_file(path: &str, files: &BTreeSet<String>) -> bool {
    let below = format!("{path}/");
    !files.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pages: &[(&str, &str)], others: &[&str]) -> Vec<String> {
        let page = |&(path, text): &(&str, &str)| Page { path: path.into(), text: text.into() };
        let pages: Vec<Page> = pages.iter().map(page).collect();
        let paths = pages.iter().map(|page| page.path.as_str()).chain(others.iter().copied());
        let files = paths.map(str::to_owned).collect();
        check_links(&pages, &files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_caught() {
        let others = ["docs", "docs/a.md", "src/x.rs", "docs/b"];
        let readme = "[a](docs/a.md#top) [x](./src/x.rs) [w](https://w.example) [t](#t)\n";
        assert!(found(&[("README.md", readme)], &["docs/a.md", "src/x.rs"]).is_empty());
        let bad = format!("{readme}see [b](docs/c.md)\n");
        let violations = found(&[("README.md", &bad)], &others[..3]);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("README.md:2: "), "{violations:?}");
        assert_eq!(found(&[("README.md", "[a](../x.md)")], &["x.md"]).len(), 1);
        assert_eq!(found(&[("README.md", "[a]\n\n[a]: nowhere.md")], &[]).len(), 1);
        assert!(found(&[("README.md", "`[a](b.md)`\n```\n[a](b.md)\n```")], &[]).is_empty());
    }

    #[test]
    fn a_page_that_nothing_links_to_is_caught() {
        let readme = ("README.md", "[a](docs/a.md)");
        let lonely = ("docs/d/lonely.md", "[a](../a.md) [myself](lonely.md)");
        let violations = found(&[readme, ("docs/a.md", ""), lonely], &["docs", "docs/d"]);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("docs/d/lonely.md:1: "), "{violations:?}");
    }

    #[test]
    fn an_end_to_end_test_that_nothing_runs_is_caught() {
        let file = |path: &str, text: &str| Source::new(path, text);
        let main = || file("tests/e2e/main.rs", "mod a_client_is_refused;\nmod support;\nmod x;\n");
        let test = |path| file(path, "#[test]\nfn t() {}\n");
        let run = test("tests/e2e/a_client_is_refused.rs");
        let support = file("tests/e2e/support.rs", "");
        assert!(check_e2e(&[main(), run, support]).is_empty());
        assert_eq!(check_e2e(&[main(), test("tests/e2e/an_orphan_test.rs")]).len(), 1);
        assert_eq!(check_e2e(&[test("tests/e2e/without_a_main.rs")]).len(), 1);
        assert_eq!(check_e2e(&[main(), test("tests/e2e/x.rs")]).len(), 1);
    }
}
