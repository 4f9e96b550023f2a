//! Lists: from the cache, from the copy that earlier pages were read from, or from the store.
use super::object::Object;
use super::options::{self, Read};
use super::select::Selection;
use super::state::Objects;
use super::{Cacher, ListOptions, Page, token, too_large};
use crate::storage::{Error, Revision, keys};
use keelson_machinery::status::ApiError;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

/// Keys a request when a list is read from the store under a selector.
const STORE_PAGE_KEYS: u64 = 1_000;

/// One page to be made: where it starts, how long it may be.
struct Ask<'a> {
    selection: &'a Selection,
    /// What the tokens are relative to.
    prefix: &'a [u8],
    start: Vec<u8>,
    limit: usize,
}

impl Cacher {
    pub async fn list(self: &Arc<Self>, o: &ListOptions) -> Result<Page, ApiError> {
        let mut read = options::list(o)?;
        let prefix = keys::list_prefix(self.resource, &o.namespace);
        let selection = Selection::new(self.resource, &o.namespace, o.labels.clone(), o.fields.clone());
        // Upstream's cache has always ignored a limit on "whatever you have".
        let limit = if read == Read::Any && o.continue_token.is_empty() {
            0
        } else {
            o.limit
        };
        let mut ask = Ask {
            start: selection.prefix.to_vec(),
            selection: &selection,
            prefix: prefix.as_bytes(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        if !o.continue_token.is_empty() {
            let (start, revision) = token::decode(&o.continue_token, ask.prefix)?;
            ask.start = start;
            read = Revision::try_from(revision).map_or(Read::Newest, Read::Exactly);
        }
        let page = match read {
            Read::Exactly(revision) => match self.view_at(revision) {
                Some(objects) => Ok(self.page(&objects, revision, &ask)),
                None => self.read_store(revision, &ask).await,
            },
            read => match self.view(read).await? {
                Some((objects, revision)) => Ok(self.page(&objects, revision, &ask)),
                None => self.read_store(0, &ask).await,
            },
        };
        match page {
            Ok(page) => Ok(page),
            Err(Error::Compacted) if !o.continue_token.is_empty() => Err(expired(&ask)),
            Err(Error::Future) => {
                let asked = if let Read::Exactly(r) = read { r } else { 0 };
                Err(too_large(asked, self.storage.current_revision().await?))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The content as fresh as `read` asks. `None`: the cache lags behind, the store must answer itself.
    pub(super) async fn view(self: &Arc<Self>, read: Read) -> Result<Option<(Objects, Revision)>, ApiError> {
        loop {
            self.loaded().await?;
            match read {
                Read::Any => {}
                Read::Newest if seeded!(StaleList) => {}
                Read::AtLeast(r) | Read::Exactly(r) => self.fresh(r).await?,
                Read::Newest => {
                    let now = self.storage.current_revision().await?;
                    if let Err(e) = self.fresh(now).await {
                        tracing::warn!(prefix = self.prefix, error = %e, "the watch cache lags behind");
                        return Ok(None);
                    }
                }
            }
            let state = self.state.lock();
            // It may have been put to rest in between.
            if state.revision > 0 {
                return Ok(Some((state.objects.clone(), state.revision)));
            }
        }
    }

    /// The content at exactly that revision, if pages of it were read lately. Nothing else is answered from
    /// memory: a revision that the store has compacted must expire here too.
    fn view_at(&self, revision: Revision) -> Option<Objects> {
        self.snapshots.lock().find(revision, Instant::now())
    }

    fn page(&self, objects: &Objects, revision: Revision, ask: &Ask<'_>) -> Page {
        let range = (
            Bound::Included(ask.start.as_slice()),
            Bound::Excluded(ask.selection.end()),
        );
        let range = (range.0, range.1.as_ref().map(|end| end.as_ref()));
        let mut rest = objects.range::<_, [u8]>(range).map(|(_, o)| o);
        let mut items = Vec::new();
        if ask.limit == 0 {
            items.extend(rest.filter(|o| ask.selection.matches(o)).cloned());
            return Page {
                items,
                revision,
                continue_token: String::new(),
                remaining: None,
            };
        }
        while items.len() < ask.limit {
            match rest.find(|o| ask.selection.matches(o)) {
                Some(o) => items.push(o.clone()),
                None => break,
            }
        }
        let (more, remaining) = if ask.selection.everything {
            let n = rest.count() as u64;
            (n > 0, Some(n))
        } else {
            (rest.any(|o| ask.selection.matches(o)), None)
        };
        if more {
            self.snapshots.lock().keep(revision, objects, Instant::now());
        }
        finish(items, revision, more, remaining, ask)
    }

    async fn read_store(&self, at: Revision, ask: &Ask<'_>) -> Result<Page, Error> {
        let (mut at, mut start, end) = (at, ask.start.clone(), ask.selection.end());
        let chunk = match ask.limit {
            0 => super::feed::PAGE_KEYS,
            n if ask.selection.everything => n as u64,
            _ => STORE_PAGE_KEYS,
        };
        let (mut items, mut more, mut remaining) = (Vec::new(), false, None);
        loop {
            let page = self.storage.list(&start, &end, chunk, at).await?;
            if at == 0 {
                at = page.revision;
            }
            let mut left = page.count;
            for kv in &page.items {
                let object = match Object::load(kv) {
                    Ok(o) => Some(o).filter(|o| ask.selection.matches(o)),
                    Err(e) => {
                        super::feed::undecodable(&kv.key, &e);
                        None
                    }
                };
                if ask.limit > 0 && items.len() >= ask.limit {
                    more |= object.is_some();
                } else {
                    items.extend(object.map(Arc::new));
                    left = left.saturating_sub(1);
                }
            }
            let full = ask.limit > 0 && items.len() >= ask.limit;
            if full && ask.selection.everything {
                (more, remaining) = (left > 0, Some(left));
            }
            let last = page.items.last().filter(|_| page.count > page.items.len() as u64);
            match last {
                Some(kv) if !(more || full && ask.selection.everything) => {
                    start = kv.key.to_vec();
                    start.push(0);
                }
                _ => return Ok(finish(items, at, more, remaining, ask)),
            }
        }
    }
}

fn finish(items: Vec<Arc<Object>>, revision: Revision, more: bool, remaining: Option<u64>, ask: &Ask<'_>) -> Page {
    let token = |last: &Arc<Object>| token::encode(ask.prefix, &last.key, i64::try_from(revision).unwrap_or(-1));
    let continue_token = items.last().filter(|_| more).map(token).unwrap_or_default();
    Page {
        items,
        revision,
        remaining: remaining.filter(|_| more),
        continue_token,
    }
}

/// Upstream: storage/etcd3/errors.go, handleCompactedErrorForPaging.
fn expired(ask: &Ask<'_>) -> ApiError {
    let mut e = ApiError::gone(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    e.continue_token = token::inconsistent(&ask.start, ask.prefix);
    e
}
