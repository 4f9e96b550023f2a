//! A bbolt file that nobody writes to, opened for reading.

use crate::meta::{META_BYTES, Meta, NO_FREELIST, second_meta_offsets};
use crate::page::{HEADER_BYTES, Header, KIND_BRANCH, KIND_FREELIST, KIND_LEAF, Page};
use crate::walk::{Element, Iter, Pages, Value};
use crate::{Error, RUN_BYTES_MAX};
use bytes::{Buf, Bytes};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Buckets in buckets that are followed; etcd nests none.
const NESTING_MAX: usize = 16;
/// A freelist of this length says its length in its first entry.
const FREELIST_COUNT_ELSEWHERE: u16 = 0xFFFF;

/// An open file. Pages are read when they are asked for; nothing is kept.
pub struct Reader {
    file: File,
    meta: Meta,
}

/// A bucket: rows in order, some of which may be buckets.
#[derive(Clone)]
pub struct Bucket<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) root: BucketRoot,
    /// bbolt's counter, of which etcd makes no use.
    pub sequence: u64,
}

#[derive(Clone)]
pub(crate) enum BucketRoot {
    Page(u64),
    /// A small bucket lies in its own row, as a leaf without a place of its own.
    Inline(Page),
}

fn read_at(file: &File, at: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::damaged(format!("it ends before byte {}", at + len as u64)),
        _ => Error::io(format!("read {len} bytes at {at}"), e),
    })?;
    Ok(bytes)
}

/// The newest meta page that is whole. bbolt writes them by turns, so that one of them always is.
fn newest_meta(file: &File) -> Result<Meta, Error> {
    const BYTES: usize = HEADER_BYTES + META_BYTES;
    let first = read_at(file, 0, BYTES).and_then(|page| Meta::decode(&page));
    let second = match &first {
        Ok(meta) => read_at(file, u64::from(meta.page_bytes), BYTES)
            .and_then(|page| Meta::decode(&page))
            .ok(),
        Err(_) => second_meta_offsets().find_map(|at| {
            let meta = Meta::decode(&read_at(file, at, BYTES).ok()?).ok()?;
            (u64::from(meta.page_bytes) == at).then_some(meta)
        }),
    };
    match (first, second) {
        (Ok(first), Some(second)) if second.page_bytes == first.page_bytes && second.txid > first.txid => Ok(second),
        (Ok(first), _) => Ok(first),
        (Err(_), Some(second)) => Ok(second),
        (Err(error), None) => Err(error),
    }
}

impl Reader {
    /// Opens a file and checks its meta pages. What follows the last page (a checksum) is not looked at.
    pub fn open(path: &Path) -> Result<Reader, Error> {
        let file = File::open(path).map_err(|e| Error::at("open", path, e))?;
        Self::from_file(file)
    }

    pub fn from_file(file: File) -> Result<Reader, Error> {
        let meta = newest_meta(&file)?;
        let bytes = file.metadata().map_err(|e| Error::io("read the file's size", e))?.len();
        let pages = bytes / u64::from(meta.page_bytes);
        if meta.end > pages {
            return Err(Error::damaged(format!(
                "it is to have {} pages and ends after {pages}",
                meta.end
            )));
        }
        Ok(Reader { file, meta })
    }

    pub fn page_bytes(&self) -> usize {
        self.meta.page_bytes as usize
    }

    /// Bytes of all pages: what `etcdutl snapshot status` calls the total size.
    pub fn bytes(&self) -> u64 {
        self.meta.end * u64::from(self.meta.page_bytes)
    }

    /// The bucket of all buckets.
    pub fn root(&self) -> Bucket<'_> {
        Bucket {
            reader: self,
            root: BucketRoot::Page(self.meta.root),
            sequence: self.meta.sequence,
        }
    }

    /// A bucket of the first level.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'_>>, Error> {
        for element in self.root().iter() {
            let Element { key, value } = element?;
            if let Value::Bucket(bucket) = value
                && key == name
            {
                return Ok(Some(bucket));
            }
        }
        Ok(None)
    }

    fn run(&self, id: u64) -> Result<Page, Error> {
        let outside = |what: &str| Error::damaged(format!("page {id} {what}"));
        if id < 2 || id >= self.meta.end {
            return Err(outside("is not of the file, but something points at it"));
        }
        let page_bytes = self.page_bytes();
        let at = id * u64::from(self.meta.page_bytes);
        let mut bytes = read_at(&self.file, at, page_bytes)?;
        let header = Header::decode(&bytes).ok_or_else(|| outside("is too short"))?;
        if header.id != id {
            return Err(outside(&format!("says that it is page {}", header.id)));
        }
        let run = u64::from(header.overflow) + 1;
        if run > self.meta.end - id {
            return Err(outside("goes on after the end of the file"));
        }
        let run_bytes = run.saturating_mul(u64::from(self.meta.page_bytes));
        if run_bytes > RUN_BYTES_MAX as u64 {
            return Err(Error::Refused(format!(
                "page {id} is {run_bytes} bytes long; at most {RUN_BYTES_MAX} are read"
            )));
        }
        if header.overflow > 0 {
            let rest = read_at(&self.file, at + page_bytes as u64, run_bytes as usize - page_bytes)?;
            bytes.extend_from_slice(&rest);
        }
        Ok(Page {
            header,
            bytes: Bytes::from(bytes),
        })
    }

    /// A page of a tree.
    pub(crate) fn node(&self, id: u64) -> Result<Page, Error> {
        let page = self.run(id)?;
        match page.header.kind {
            KIND_BRANCH | KIND_LEAF => Ok(page),
            other => Err(page.damaged(&format!("it is to be of a tree and has kind {other:#x}"))),
        }
    }

    /// Walks everything: every bucket in order, each page named once, and the freelist. The first thing wrong is the
    /// error.
    pub fn check(&self) -> Result<(), Error> {
        let mut pages = Pages::new(self.meta.end);
        pages.take(0, 1)?;
        pages.take(1, 1)?;
        let free = self.freelist(&mut pages)?;
        check_bucket(&self.root(), &mut pages, 0)?;
        let Some(free) = free else {
            // Without a list everything that is in no tree is free.
            return Ok(());
        };
        for id in free {
            if id < 2 || id >= self.meta.end {
                return Err(Error::damaged(format!(
                    "the freelist names page {id}, which is not of the file"
                )));
            }
            pages
                .take(id, 1)
                .map_err(|_| Error::damaged(format!("page {id} is free and in use, or free twice")))?;
        }
        match pages.first_missing() {
            Some(id) => Err(Error::damaged(format!("page {id} is neither used nor free"))),
            None => Ok(()),
        }
    }

    fn freelist(&self, pages: &mut Pages) -> Result<Option<Vec<u64>>, Error> {
        if self.meta.freelist == NO_FREELIST {
            return Ok(None);
        }
        let page = self.run(self.meta.freelist)?;
        if page.header.kind != KIND_FREELIST {
            return Err(page.damaged("it is to be the freelist"));
        }
        pages.take(page.header.id, u64::from(page.header.overflow) + 1)?;
        let mut ids = page.bytes.slice(HEADER_BYTES..);
        let short = || page.damaged("the freelist reaches outside of it");
        let mut count = u64::from(page.header.count);
        if page.header.count == FREELIST_COUNT_ELSEWHERE {
            count = ids.try_get_u64_le().map_err(|_| short())?;
        }
        if count > (ids.len() / 8) as u64 {
            return Err(short());
        }
        Ok(Some((0..count).map_while(|_| ids.try_get_u64_le().ok()).collect()))
    }
}

fn check_bucket(bucket: &Bucket<'_>, pages: &mut Pages, depth: usize) -> Result<(), Error> {
    if depth > NESTING_MAX {
        return Err(Error::damaged(format!(
            "buckets are nested more than {NESTING_MAX} deep"
        )));
    }
    // The walk borrows the set, and so would the walks below it: nested buckets wait until it is over.
    let mut nested = Vec::new();
    for element in bucket.iter_counting(pages) {
        if let Value::Bucket(inner) = element?.value {
            nested.push(inner);
        }
    }
    nested
        .iter()
        .try_for_each(|inner| check_bucket(inner, pages, depth + 1))
}

impl<'a> Bucket<'a> {
    /// All rows, in order. After an error there is nothing more.
    pub fn iter(&self) -> Iter<'a, 'static> {
        Iter::new(self.clone(), None)
    }

    fn iter_counting<'p>(&self, pages: &'p mut Pages) -> Iter<'a, 'p> {
        Iter::new(self.clone(), Some(pages))
    }

    /// The value of one row.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        // The buckets that are asked for single rows hold a handful of them.
        for element in self.iter() {
            let element = element?;
            if element.key == key {
                return Ok(match element.value {
                    Value::Bytes(value) => Some(value),
                    Value::Bucket(_) => None,
                });
            }
        }
        Ok(None)
    }
}
