//! The rules of the house, read off the sources: who may use whom, how long a file may be, and
//! that documents and code agree. Every rule is tried on a planted violation too.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank: each may use those of a lower rank only; those of rank 0 one another.
const RANKS: [(&str, u8); 19] = [
    ("error", 0),
    ("id", 0),
    ("random", 0),
    ("sync", 0),
    ("load", 1),
    ("health", 1),
    ("endpoint", 2),
    ("event", 3),
    ("policy", 3),
    ("discover", 3),
    ("cluster", 4),
    ("probe", 5),
    ("affinity", 6),
    ("balance", 6),
    ("config", 8),
    ("sticky", 7),
    ("failover", 7),
    ("limit", 7),
    ("admin", 9),
];

/// What `use crate::…` may name beside modules: re-exports of the root.
const ROOT: [(&str, &str); 1] = [("BoxError", "error")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The module that a file of `src` belongs to.
fn module(name: &str) -> &str {
    let path = name.strip_prefix("src/").unwrap();
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn rank(module: &str) -> Option<u8> {
    let module = ROOT.iter().find(|(name, _)| *name == module).map_or(module, |(_, of)| *of);
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The code: no comment lines, and none of the items that only tests are built with.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let item = line.trim_start();
        if item.starts_with("#[cfg(test)]") || item.starts_with("#[cfg(all(test") {
            skip_item(&line[..line.len() - item.len()], &mut lines);
        } else if !item.starts_with("//") {
            code.extend([line, "\n"]);
        }
    }
    code
}

/// Skips an item as rustfmt writes it: to the brace below its beginning, or to its semicolon.
fn skip_item<'a>(indent: &str, lines: &mut impl Iterator<Item = &'a str>) {
    let close = format!("{indent}}}");
    let mut open = false;
    for line in lines {
        open |= line.ends_with('{');
        if line.starts_with(&close) || !open && (line.ends_with(';') || line.ends_with('}')) {
            return;
        }
    }
}

/// The names of the crate's root that the code uses.
fn uses(name: &str, code: &str) -> Vec<String> {
    let mut used = Vec::new();
    let mut inline = Vec::new();
    let mut offset = 0;
    for line in code.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if inline.last() == Some(&indent) && line.trim() == "}" {
            inline.pop();
        }
        for at in starts(line, "crate") {
            let rest = &line[at + "crate".len()..];
            if rest.starts_with(" as ") {
                used.push("crate".to_owned());
            } else if rest.starts_with("::") {
                let path = &code[offset + at + "crate::".len()..];
                leaves(path, 0, &mut |_, name| used.push(name.to_owned()));
            }
        }
        for at in starts(line, "super::").filter(|at| !line[..*at].ends_with("super::")) {
            let depth = depth(name) + inline.len();
            leaves(&code[offset + at..], 0, &mut |supers, name| {
                if supers >= depth || name == "super" {
                    used.push(name.to_owned());
                }
            });
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&"mod") && words.last() == Some(&"{") {
            inline.push(indent);
        }
        offset += line.len();
    }
    used
}

/// How deep below the root the module of a file is.
fn depth(name: &str) -> usize {
    let parts: Vec<&str> = name.split('/').skip(1).collect();
    parts.len() - usize::from(parts.last() == Some(&"mod.rs"))
}

/// Where `word` begins in the line, other than within a longer word.
fn starts<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let within = |c: char| c.is_alphanumeric() || c == '_';
    let found = line.match_indices(word).map(|(at, _)| at);
    found.filter(move |at| !line[..*at].ends_with(within))
}

/// Tells the first name of every path of a tree, `{a, b::{c, d}}`, with the number of `super`s
/// before it.
fn leaves(tree: &str, supers: usize, tell: &mut dyn FnMut(usize, &str)) {
    let tree = tree.trim_start();
    if let Some(rest) = tree.strip_prefix("super::") {
        return leaves(rest, supers + 1, tell);
    }
    let Some(group) = tree.strip_prefix('{') else {
        let name = tree.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        if !name.is_empty() {
            tell(supers, name);
        }
        return;
    };
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                leaves(&group[begin..at], supers, tell);
                begin = at + 1;
                if c == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// The uses of modules that the file's module must not use.
fn forbidden_uses(name: &str, text: &str) -> Vec<String> {
    let own = module(name);
    let Some(own_rank) = rank(own) else {
        return vec![format!("{name}: {own} has no rank")];
    };
    let below = |used: u8| used < own_rank || (used == 0 && own_rank == 0);
    uses(name, &code(text))
        .into_iter()
        .filter(|used| used != own && !rank(used).is_some_and(below))
        .map(|used| format!("{name} ({own}, rank {own_rank}) uses {used}"))
        .collect()
}

/// What stands in a document for something that is yet to be written.
fn placeholders(name: &str, text: &str) -> Vec<String> {
    let is_placeholder = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        words.any(|word| ["TODO", "TBD", "FIXME", "XXX"].contains(&word))
            || line.contains("???")
            || line.to_lowercase().contains("measured later")
    };
    let lines = text.lines().enumerate().filter(|(_, line)| is_placeholder(line));
    lines.map(|(at, line)| format!("{name}:{}: {line}", at + 1)).collect()
}

fn too_long(name: &str, text: &str) -> Option<String> {
    let limit = if name.starts_with("src/") { 400 } else { 600 };
    let lines = text.lines().count();
    (lines > limit).then(|| format!("{name} has {lines} lines, {limit} are allowed"))
}

fn version(manifest: &str) -> &str {
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    line.unwrap().trim_matches('"')
}

/// What the README and the changelog do not say of this version.
fn stale_versions(version: &str, readme: &str, changelog: &str) -> Vec<String> {
    let minor = version.rsplit_once('.').unwrap().0;
    let install = format!("whippletree = \"{minor}\"");
    let heading = format!("## [{version}]");
    let mut stale = Vec::new();
    if !readme.lines().any(|line| line == install) {
        stale.push(format!("README.md lacks {install}"));
    }
    if !changelog.lines().any(|line| line.starts_with(&heading)) {
        stale.push(format!("CHANGELOG.md lacks {heading}"));
    }
    stale
}

/// Examples that the README does not list, and listed ones that do not exist.
fn unlisted_examples(examples: &[String], readme: &str) -> Vec<String> {
    let listed: Vec<&str> = readme
        .split("--example ")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .collect();
    let missing = examples.iter().filter(|name| !listed.contains(&name.as_str())).cloned();
    let wrong = listed.iter().filter(|name| !examples.iter().any(|example| example == *name));
    missing.chain(wrong.map(ToString::to_string)).collect()
}

fn examples() -> Vec<String> {
    let stem = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let entries = fs::read_dir(root().join("examples")).unwrap();
    entries.map(|entry| stem(&entry.unwrap().path())).collect()
}

#[test]
fn modules_use_only_what_is_below_them() {
    let files = sources("src").into_iter().filter(|(name, _)| name != "src/lib.rs");
    let found: Vec<String> = files.flat_map(|(name, text)| forbidden_uses(&name, &text)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_is_too_long() {
    let folders = ["src", "tests", "examples", "benches"];
    let files = folders.iter().flat_map(|folder| sources(folder));
    let found: Vec<String> = files.filter_map(|(name, text)| too_long(&name, &text)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn readme_and_changelog_know_the_version_and_the_examples() {
    let (manifest, readme) = (read("Cargo.toml"), read("README.md"));
    let mut found = stale_versions(version(&manifest), &readme, &read("CHANGELOG.md"));
    found.extend(unlisted_examples(&examples(), &readme));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn documents_have_no_placeholders() {
    let names = ["README.md", "CHANGELOG.md"];
    let found: Vec<String> =
        names.iter().flat_map(|name| placeholders(name, &read(name))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn examples_are_run_where_all_else_is_checked() {
    let script = read(".ci/run");
    let runs =
        |name: &String| script.split_whitespace().any(|word| word.trim_end_matches(';') == name);
    let missing: Vec<String> = examples().into_iter().filter(|name| !runs(name)).collect();
    // The gateway runs until it is told to stop: its own tests start it.
    assert_eq!(missing, ["gateway"]);
}

#[test]
fn planted_uses_are_found() {
    let allowed = "/// [`x`](crate::balance)\nuse crate::load::Load;\nuse crate::BoxError;\n\
        use crate::{\n    endpoint::{Node, Subset},\n    error::Error,\n};\n\
        pub(super) fn f() { super::shared::g(); }\nmod own {\n    use super::super::shared;\n}\n\
        #[cfg(test)]\nuse crate::admin;\n#[cfg(all(test, unix))]\nmod tests {\n    \
        use crate::admin;\n}\n";
    assert_eq!(found_in(allowed), [""; 0]);
    for (upwards, used) in [
        ("use crate::balance::Body;", "balance"),
        ("use crate::{error::Error, balance};", "balance"),
        ("use crate::{\n    error::{self, Error},\n    balance::Body,\n};", "balance"),
        ("fn f() {\n    crate::balance::f();\n}", "balance"),
        ("use super::super::balance::Body;", "balance"),
        ("use super::{super::balance, shared};", "balance"),
        ("mod own {\n    use super::super::super::balance;\n}", "balance"),
        ("mod own {\n}\nuse super::super::balance;", "balance"),
        ("use crate as root;", "crate"),
        ("use crate::{self as root};", "self"),
        ("use super::super as root;", "super"),
        ("#[cfg(test)]\nmod tests;\nuse crate::balance;", "balance"),
        ("#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::balance;", "balance"),
        ("#[cfg(test)]\nmod tests {}\nuse crate::balance;", "balance"),
        ("#[cfg(test)]\nuse a::{\n    b,\n};\nuse crate::balance;", "balance"),
        ("impl A {\n    #[cfg(test)]\n    fn f() {\n    }\n}\nuse crate::balance;", "balance"),
    ] {
        let told = format!("src/cluster/lease.rs (cluster, rank 4) uses {used}");
        assert_eq!(found_in(upwards), [told], "{upwards}");
        assert_eq!(found_in(&format!("{allowed}{upwards}")).len(), 1, "{upwards}");
    }
    assert_eq!(forbidden_uses("src/cluster/mod.rs", "use super::balance;").len(), 1);
    assert_eq!(forbidden_uses("src/policy/p2c.rs", "use crate::event::Event;").len(), 1);
    assert_eq!(forbidden_uses("src/novel.rs", "").len(), 1);
}

fn found_in(text: &str) -> Vec<String> {
    forbidden_uses("src/cluster/lease.rs", text)
}

#[test]
fn planted_faults_of_documents_and_lengths_are_found() {
    assert!(too_long("src/a.rs", &"\n".repeat(401)).is_some());
    assert!(too_long("src/a.rs", &"\n".repeat(400)).is_none());
    assert!(too_long("tests/a.rs", &"\n".repeat(601)).is_some());

    let readme = "whippletree = \"0.1\"\ncargo run --example one\n";
    assert!(stale_versions("0.1.3", readme, "## [0.1.3] - today").is_empty());
    assert_eq!(stale_versions("0.2.0", readme, "## [0.1.3]").len(), 2);
    assert!(unlisted_examples(&["one".into()], readme).is_empty());
    assert_eq!(unlisted_examples(&["two".into()], readme), ["two", "one"]);

    for planted in ["| TBD |", "TODO: numbers", "takes ??? ns", "Measured later.", "(FIXME)"] {
        assert_eq!(placeholders("a.md", planted).len(), 1, "{planted}");
    }
    assert!(placeholders("a.md", "all that is to be done, is it?").is_empty());
}
