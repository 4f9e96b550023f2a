//! Walks a tree from its first row to its last, and believes nothing on the way.

use crate::Error;
use crate::page::{BUCKET_BYTES, Header, KIND_LEAF, Page, ROW_IS_BUCKET, Row};
use crate::reader::{Bucket, BucketRoot, Reader};
use bytes::{Buf, Bytes};

/// Levels of a tree. Branches have two children at least, so that no file of this world has as many.
const DEPTH_MAX: usize = 48;

/// Which pages have been seen.
pub(crate) struct Pages {
    seen: Vec<u64>,
    end: u64,
}

impl Pages {
    pub fn new(end: u64) -> Self {
        // `end` is bounded by the file's size: a bit for each page of it.
        Pages {
            seen: vec![0; (end / 64 + 1) as usize],
            end,
        }
    }

    pub fn take(&mut self, id: u64, run: u64) -> Result<(), Error> {
        for id in id..id.saturating_add(run).min(self.end) {
            let bit = 1 << (id % 64);
            if let Some(word) = self.seen.get_mut((id / 64) as usize) {
                if *word & bit != 0 {
                    return Err(Error::damaged(format!("page {id} is used twice")));
                }
                *word |= bit;
            }
        }
        Ok(())
    }

    pub fn first_missing(&self) -> Option<u64> {
        (0..self.end).find(|id| {
            self.seen
                .get((id / 64) as usize)
                .is_none_or(|w| w & (1 << (id % 64)) == 0)
        })
    }
}

/// One row.
pub struct Element<'a> {
    pub key: Bytes,
    pub value: Value<'a>,
}

pub enum Value<'a> {
    Bytes(Bytes),
    Bucket(Bucket<'a>),
}

/// A page on the way down, and what its keys may be.
struct Level {
    page: Page,
    next: usize,
    /// Keys of the page are below this one; `None` is no bound.
    below: Option<Bytes>,
}

/// Rows of one bucket, in order. It fails once and then ends.
pub struct Iter<'a, 'p> {
    reader: &'a Reader,
    root: Option<BucketRoot>,
    levels: Vec<Level>,
    /// The last key given; the next one is above it.
    last: Option<Bytes>,
    pages: Option<&'p mut Pages>,
}

impl<'a, 'p> Iter<'a, 'p> {
    pub(crate) fn new(bucket: Bucket<'a>, pages: Option<&'p mut Pages>) -> Self {
        Iter {
            reader: bucket.reader,
            root: Some(bucket.root),
            levels: Vec::new(),
            last: None,
            pages,
        }
    }

    /// Goes down to a page. All but a root have something in them: with that and the order of keys no walk can be
    /// longer than the file.
    fn enter(&mut self, id: u64, below: Option<Bytes>, is_root: bool) -> Result<(), Error> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(Error::damaged(format!("a tree is more than {DEPTH_MAX} levels deep")));
        }
        let page = self.reader.node(id)?;
        if let Some(pages) = &mut self.pages {
            pages.take(id, u64::from(page.header.overflow) + 1)?;
        }
        if page.len() == 0 && !(is_root && page.is_leaf()) {
            return Err(page.damaged("it is empty"));
        }
        self.levels.push(Level { page, next: 0, below });
        Ok(())
    }

    fn start(&mut self, root: BucketRoot) -> Result<(), Error> {
        match root {
            BucketRoot::Page(id) => self.enter(id, None, true),
            BucketRoot::Inline(page) => {
                self.levels.push(Level {
                    page,
                    next: 0,
                    below: None,
                });
                Ok(())
            }
        }
    }

    fn advance(&mut self) -> Result<Option<Element<'a>>, Error> {
        if let Some(root) = self.root.take() {
            self.start(root)?;
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            let at = level.next;
            if at >= level.page.len() {
                self.levels.pop();
                continue;
            }
            level.next += 1;
            if level.page.is_branch() {
                let child = level.page.child(at)?;
                let below = if at + 1 < level.page.len() {
                    Some(level.page.child(at + 1)?.key)
                } else {
                    level.below.clone()
                };
                if below.as_ref().is_some_and(|below| child.key >= *below) {
                    return Err(level.page.damaged("its children are out of order"));
                }
                // What the parent says is the least that the child may hold.
                let above_all = self.last.as_ref().is_none_or(|last| *last < child.key);
                if !above_all {
                    return Err(level.page.damaged("a child begins below the end of the one before"));
                }
                self.enter(child.page, below, false)?;
                self.check_first(&child.key)?;
                continue;
            }
            let row = level.page.row(at)?;
            let ordered = self.last.as_ref().is_none_or(|last| *last < row.key)
                && level.below.as_ref().is_none_or(|below| row.key < *below);
            if !ordered {
                return Err(level.page.damaged("its keys are out of order"));
            }
            self.last = Some(row.key.clone());
            return self.element(row).map(Some);
        }
    }

    fn check_first(&self, least: &Bytes) -> Result<(), Error> {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let first = if level.page.is_leaf() {
            level.page.row(0)?.key
        } else {
            level.page.child(0)?.key
        };
        if first < *least {
            return Err(level.page.damaged("its first key is below the one that leads to it"));
        }
        Ok(())
    }

    fn element(&self, row: Row) -> Result<Element<'a>, Error> {
        let Row { flags, key, value } = row;
        let value = if flags & ROW_IS_BUCKET == 0 {
            Value::Bytes(value)
        } else {
            Value::Bucket(bucket(self.reader, &key, value)?)
        };
        Ok(Element { key, value })
    }
}

fn bucket<'a>(reader: &'a Reader, name: &[u8], mut value: Bytes) -> Result<Bucket<'a>, Error> {
    let damaged = |what: &str| Error::damaged(format!("bucket {}: {what}", name.escape_ascii()));
    if value.len() < BUCKET_BYTES {
        return Err(damaged("its row is too short"));
    }
    let (root, sequence) = (value.get_u64_le(), value.get_u64_le());
    let root = if root != 0 {
        BucketRoot::Page(root)
    } else {
        let header = Header::decode(&value).ok_or_else(|| damaged("it has neither a page nor rows"))?;
        // Such a page has no number, and by definition no others that go on with it.
        if header.kind != KIND_LEAF || header.overflow != 0 {
            return Err(damaged("the page in its row is no leaf"));
        }
        BucketRoot::Inline(Page { header, bytes: value })
    };
    Ok(Bucket { reader, root, sequence })
}

impl<'a> Iterator for Iter<'a, '_> {
    type Item = Result<Element<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.levels.clear();
        }
        next.transpose()
    }
}
