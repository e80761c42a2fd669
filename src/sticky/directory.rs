use std::collections::HashMap;
use std::sync::Arc;

use super::keys::{Keys, Tag};
use crate::cluster::Homes;
use crate::endpoint::EndpointId;
use crate::sync::{Mutex, Published};

/// Which endpoint a token means: the tags of all that are present, for every key.
///
/// Filled when a request first names a tag that is not in it, after the endpoints may have changed:
/// one digest for every endpoint that is new, and no lock while nothing changes.
pub(super) struct Directory {
    table: Published<Table>,
    filling: Mutex<()>,
}

#[derive(Default)]
struct Table {
    /// The version of the endpoints; `None` before the first.
    version: Option<u64>,
    endpoints: Vec<HashMap<Tag, EndpointId>>,
    tags: HashMap<EndpointId, Arc<[Tag]>>,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { table: Published::new(Table::default()), filling: Mutex::default() }
    }

    /// The endpoint with this tag, if it is present.
    pub(super) fn find(
        &self,
        key: usize,
        tag: &Tag,
        keys: &Keys,
        homes: &Homes,
    ) -> Option<EndpointId> {
        if let Some(found) = self.look_up(key, tag) {
            return Some(found);
        }
        if self.table.load().version == Some(homes.version()) {
            return None;
        }
        self.fill(keys, homes);
        self.look_up(key, tag)
    }

    fn look_up(&self, key: usize, tag: &Tag) -> Option<EndpointId> {
        self.table.load().endpoints.get(key)?.get(tag).cloned()
    }

    #[cold]
    fn fill(&self, keys: &Keys, homes: &Homes) {
        let _filling = self.filling.lock();
        let before = self.table.load();
        if before.version == Some(homes.version()) {
            return;
        }
        let mut table = Table { endpoints: vec![HashMap::new(); keys.len()], ..Table::default() };
        let version = homes.each(|id| {
            let known = before.tags.get(id).cloned();
            let tags =
                known.unwrap_or_else(|| (0..keys.len()).map(|key| keys.tag(key, id)).collect());
            for (endpoints, tag) in table.endpoints.iter_mut().zip(&*tags) {
                endpoints.insert(*tag, id.clone());
            }
            table.tags.insert(id.clone(), tags);
        });
        table.version = Some(version);
        drop(before);
        self.table.swap(Arc::new(table));
    }
}
