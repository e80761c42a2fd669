use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde_json::Value;

/// Medians in nanoseconds, by group, subject and endpoint count.
#[derive(Debug, Default)]
pub struct Results {
    medians: BTreeMap<(String, String, usize), f64>,
}

impl Results {
    /// Where criterion leaves its results.
    #[must_use]
    pub fn folder() -> PathBuf {
        let within = |folder: PathBuf| folder.join("criterion");
        env::var_os("CRITERION_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).map(within))
            .unwrap_or_else(|| within(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")))
    }

    /// Reads every `new` result below `folder`. Results of an earlier run that the last one did not
    /// measure again are among them; delete the folder to be rid of them.
    ///
    /// # Errors
    ///
    /// A folder or file that cannot be read, or is no result.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut results = Self::default();
        results.visit(folder)?;
        Ok(results)
    }

    /// The median, if this was measured.
    #[must_use]
    pub fn median(&self, group: &str, subject: &str, size: usize) -> Option<f64> {
        self.medians.get(&(group.into(), subject.into(), size)).copied()
    }

    fn visit(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if entry.file_name() == "new" {
                self.take(&entry.path())?;
            } else {
                self.visit(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Takes one result in. Its names are those in the file: the folder's are shortened.
    fn take(&mut self, folder: &Path) -> io::Result<()> {
        let id = json(&folder.join("benchmark.json"))?;
        let name = |key: &str| id[key].as_str().map(String::from);
        let size = id["value_str"].as_str().and_then(|size| size.parse().ok());
        let (Some(group), Some(subject), Some(size)) =
            (name("group_id"), name("function_id"), size)
        else {
            return Ok(());
        };
        let estimates = json(&folder.join("estimates.json"))?;
        let median = estimates["median"]["point_estimate"].as_f64();
        let median = median.ok_or_else(|| io::Error::other("an estimate has no median"))?;
        self.medians.insert((group, subject, size), median);
        Ok(())
    }
}

fn json(path: &Path) -> io::Result<Value> {
    let text = fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(serde_json::from_slice(&text)?)
}
