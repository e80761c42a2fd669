use std::fmt::{self, Write};

use super::{Claim, Results};
use crate::names::{
    ARC_LIST, BALANCE, BALANCE_SHARED, BARE, BARE_TABLE, BUILD, CLUSTER, FLOOR, HASHING,
    HASHING_SIZES, KETAMA, LEAST_REQUEST, MAGLEV, MAGLEV_BOUNDED, MAGLEV_BUSY, P2C, P2C_EWMA, PICK,
    PICK_SIZES, PINGORA_CONSISTENT, PINGORA_KETAMA, PINGORA_RANDOM, PINGORA_ROUND_ROBIN,
    PINGORA_UPDATE, PUBLISH, PUBLISH_SIZES, RANDOM, RENDEZVOUS, REQUEST, REQUEST_SIZES, RING_HASH,
    ROUND_ROBIN, TOWER, TOWER_BUFFER, TOWER_EWMA, TOWER_PIPELINE, TOWER_REQUEST,
};

const PICKERS: [&str; 12] = [
    P2C,
    P2C_EWMA,
    RANDOM,
    ROUND_ROBIN,
    LEAST_REQUEST,
    TOWER,
    TOWER_EWMA,
    TOWER_BUFFER,
    TOWER_PIPELINE,
    PINGORA_ROUND_ROBIN,
    PINGORA_RANDOM,
    FLOOR,
];
const HASHERS: [&str; 10] = [
    MAGLEV,
    MAGLEV_BOUNDED,
    MAGLEV_BUSY,
    RING_HASH,
    KETAMA,
    RENDEZVOUS,
    PINGORA_KETAMA,
    PINGORA_CONSISTENT,
    BARE_TABLE,
    RANDOM,
];
const PUBLISHERS: [&str; 3] = [CLUSTER, PINGORA_UPDATE, ARC_LIST];
const REQUESTS: [&str; 4] = [BARE, BALANCE, BALANCE_SHARED, TOWER_REQUEST];

/// All medians: a table per group, a row per subject, a column per endpoint count.
///
/// # Errors
///
/// None but those of writing to `out`.
pub fn everything(out: &mut impl Write, results: &Results) -> fmt::Result {
    for (_, group) in PICK {
        table(out, results, group, (&PICKERS, &PICK_SIZES))?;
    }
    for (_, group) in HASHING {
        table(out, results, group, (&HASHERS, &HASHING_SIZES))?;
    }
    table(out, results, BUILD, (&HASHERS, &HASHING_SIZES))?;
    for group in PUBLISH {
        table(out, results, group, (&PUBLISHERS, &PUBLISH_SIZES))?;
    }
    table(out, results, REQUEST, (&REQUESTS, &REQUEST_SIZES))
}

/// What was claimed beside what was measured.
///
/// # Errors
///
/// None but those of writing to `out`.
pub fn comparison(out: &mut impl Write, claims: &[Claim]) -> fmt::Result {
    writeln!(out, "### claims\n\n| | measured | claimed | holds |\n|---|---:|---:|---|")?;
    for claim in claims {
        let holds = if claim.holds() { "yes" } else { "**no**" };
        let (measured, claimed) = (claim.value(), claim.claimed());
        writeln!(out, "| {} | {measured} | {claimed} | {holds} |", claim.subject)?;
    }
    Ok(())
}

fn table(
    out: &mut impl Write,
    results: &Results,
    group: &str,
    (subjects, sizes): (&[&str], &[usize]),
) -> fmt::Result {
    write!(out, "### {group}, median in ns by number of endpoints\n\n| |")?;
    for size in sizes {
        write!(out, " {size} |")?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(sizes.len()))?;
    for subject in subjects {
        let medians = sizes.iter().map(|size| results.median(group, subject, *size));
        let cells: Vec<Option<f64>> = medians.collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        write!(out, "| {subject} |")?;
        for cell in cells {
            match cell {
                Some(nanos) if nanos < 100.0 => write!(out, " {nanos:.1} |")?,
                Some(nanos) => write!(out, " {nanos:.0} |")?,
                None => write!(out, " |")?,
            }
        }
        writeln!(out)?;
    }
    writeln!(out)
}
