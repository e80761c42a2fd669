//! The rules of the house, read off the sources: who may use whom, how long a file may be, and
//! that documents and code agree. Every rule is tried on a planted violation too.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank: each may use those of a lower rank only; those of rank 0 one another.
const RANKS: [(&str, u8); 17] = [
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
    ("balance", 5),
    ("config", 6),
    ("sticky", 6),
    ("failover", 6),
    ("admin", 7),
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

/// The lines of code: no comments, and nothing from the unit tests on.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// The uses of modules that the file's module must not use.
fn forbidden_uses(name: &str, text: &str) -> Vec<String> {
    let own = module(name);
    let Some(own_rank) = rank(own) else {
        return vec![format!("{name}: {own} has no rank")];
    };
    let uses = code(text).flat_map(|line| line.split("crate::").skip(1));
    uses.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .filter(|used| !used.is_empty() && *used != own)
        .filter(|used| {
            let used = rank(used);
            !used.is_some_and(|used| used < own_rank || (used == 0 && own_rank == 0))
        })
        .map(|used| format!("{name} ({own}, rank {own_rank}) uses {used}"))
        .collect()
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
fn examples_are_run_where_all_else_is_checked() {
    let script = read(".ci/run");
    let runs =
        |name: &String| script.split_whitespace().any(|word| word.trim_end_matches(';') == name);
    let missing: Vec<String> = examples().into_iter().filter(|name| !runs(name)).collect();
    // The gateway runs until it is told to stop: its own tests start it.
    assert_eq!(missing, ["gateway"]);
}

#[test]
fn planted_violations_are_found() {
    let upwards = "use crate::balance::Body;\nuse crate::{error::Error};\n";
    let found = forbidden_uses("src/cluster/lease.rs", upwards);
    assert_eq!(found, ["src/cluster/lease.rs (cluster, rank 4) uses balance"]);
    assert_eq!(forbidden_uses("src/policy/p2c.rs", "use crate::event::Event;").len(), 1);
    assert_eq!(forbidden_uses("src/novel.rs", "").len(), 1);
    let allowed =
        "/// [`x`](crate::balance)\nuse crate::load::Load;\n#[cfg(test)]\nuse crate::admin;";
    assert!(forbidden_uses("src/cluster/lease.rs", allowed).is_empty());

    assert!(too_long("src/a.rs", &"\n".repeat(401)).is_some());
    assert!(too_long("src/a.rs", &"\n".repeat(400)).is_none());
    assert!(too_long("tests/a.rs", &"\n".repeat(601)).is_some());

    let readme = "whippletree = \"0.1\"\ncargo run --example one\n";
    assert!(stale_versions("0.1.3", readme, "## [0.1.3] - today").is_empty());
    assert_eq!(stale_versions("0.2.0", readme, "## [0.1.3]").len(), 2);
    assert!(unlisted_examples(&["one".into()], readme).is_empty());
    assert_eq!(unlisted_examples(&["two".into()], readme), ["two", "one"]);
}
