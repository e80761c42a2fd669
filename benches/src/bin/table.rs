//! Prints the results of the last benchmarks as Markdown, with their ratios to the peers.
//!
//! ```text
//! cargo run --profile bench -p whippletree-bench --bin table [-- --check] [FOLDER]
//! ```
//!
//! `--check` also says which claim the results do not bear out, and then fails. A claim without
//! results counts as such. `FOLDER` is criterion's, `target/criterion` by default.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use whippletree_bench::report::{self, Results};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let (flags, folders): (Vec<_>, Vec<_>) =
        env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--check") {
        return Err(format!("unknown option {unknown}: there is only --check").into());
    }
    let folder = folders.first().map_or_else(Results::folder, PathBuf::from);
    let results = Results::read(&folder).map_err(|error| {
        format!("{}: {error}; run `cargo bench -p whippletree-bench` first", folder.display())
    })?;
    let claims = report::all(&results);

    let mut page = String::new();
    report::everything(&mut page, &results)?;
    report::comparison(&mut page, &claims)?;
    print!("{page}");

    let broken: Vec<_> = claims.iter().filter(|claim| !claim.holds()).collect();
    if flags.is_empty() || broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for claim in broken {
        eprintln!("not borne out: {claim}");
    }
    Ok(ExitCode::FAILURE)
}
