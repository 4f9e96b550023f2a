//! One bucket under construction: rows in ascending order become leaves, and leaves become branches.

use crate::page::{
    BRANCH_ELEMENT_BYTES, BUCKET_BYTES, HEADER_BYTES, KIND_BRANCH, KIND_LEAF, LEAF_ELEMENT_BYTES, ROW_IS_BUCKET,
    put_header,
};
use crate::writer::Writer;
use crate::{Error, KEY_BYTES_MAX, PAGE_BYTES, VALUE_BYTES_MAX};
use bytes::BufMut;

/// The largest bucket that lies in its own row, bytes: bbolt's bound.
const INLINE_BYTES_MAX: usize = PAGE_BYTES / 4;
/// bbolt, when it takes the next to last child away, expects a parent to have had two.
const CHILDREN_MIN: usize = 2;

/// A finished bucket: the value of its row.
#[derive(Clone, Debug)]
pub struct Root(Vec<u8>);

struct Row {
    flags: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

struct Child {
    key: Vec<u8>,
    page: u64,
}

/// Children that wait for their branch.
#[derive(Default)]
struct Level {
    children: Vec<Child>,
    bytes: usize,
}

/// Takes rows in ascending order. Each level holds back one page.
#[derive(Default)]
pub struct Tree {
    rows: Vec<Row>,
    bytes: usize,
    last_key: Vec<u8>,
    levels: Vec<Level>,
}

fn page_count(len: usize) -> Result<u16, Error> {
    // Elements have 16 bytes, so that a page of 4 KiB has a few hundred at most.
    u16::try_from(len).map_err(|_| Error::Misuse(format!("a page of {len} rows")))
}

fn encode_leaf(id: u64, rows: &[Row]) -> Result<Vec<u8>, Error> {
    let data: usize = rows.iter().map(|r| r.key.len() + r.value.len()).sum();
    let bytes = HEADER_BYTES + rows.len() * LEAF_ELEMENT_BYTES + data;
    let overflow = bytes.div_ceil(PAGE_BYTES).saturating_sub(1) as u32;
    let mut out = Vec::with_capacity(bytes.next_multiple_of(PAGE_BYTES));
    put_header(&mut out, id, KIND_LEAF, page_count(rows.len())?, overflow);
    // Positions count from the element that they are in.
    let mut position = rows.len() * LEAF_ELEMENT_BYTES;
    for row in rows {
        out.put_u32_le(row.flags);
        out.put_u32_le(position as u32);
        out.put_u32_le(row.key.len() as u32);
        out.put_u32_le(row.value.len() as u32);
        position = position + row.key.len() + row.value.len() - LEAF_ELEMENT_BYTES;
    }
    for row in rows {
        out.extend_from_slice(&row.key);
        out.extend_from_slice(&row.value);
    }
    Ok(out)
}

fn encode_branch(id: u64, children: &[Child]) -> Result<Vec<u8>, Error> {
    let data: usize = children.iter().map(|c| c.key.len()).sum();
    let bytes = HEADER_BYTES + children.len() * BRANCH_ELEMENT_BYTES + data;
    let overflow = bytes.div_ceil(PAGE_BYTES).saturating_sub(1) as u32;
    let mut out = Vec::with_capacity(bytes.next_multiple_of(PAGE_BYTES));
    put_header(&mut out, id, KIND_BRANCH, page_count(children.len())?, overflow);
    let mut position = children.len() * BRANCH_ELEMENT_BYTES;
    for child in children {
        out.put_u32_le(position as u32);
        out.put_u32_le(child.key.len() as u32);
        out.put_u64_le(child.page);
        position = position + child.key.len() - BRANCH_ELEMENT_BYTES;
    }
    for child in children {
        out.extend_from_slice(&child.key);
    }
    Ok(out)
}

/// Writes a page, padded, and names it as its parent will.
fn write_page(writer: &mut Writer, key: Vec<u8>, mut page: Vec<u8>) -> Result<Child, Error> {
    let id = writer.next_page();
    page.resize(page.len().next_multiple_of(PAGE_BYTES), 0);
    writer.write_run(&page)?;
    Ok(Child { key, page: id })
}

fn element_bytes(child: &Child) -> usize {
    BRANCH_ELEMENT_BYTES + child.key.len()
}

fn write_branch(writer: &mut Writer, children: &[Child]) -> Result<Child, Error> {
    let key = children.first().map(|c| c.key.clone()).unwrap_or_default();
    let page = encode_branch(writer.next_page(), children)?;
    write_page(writer, key, page)
}

/// How many children of the front fill a page.
fn fitting(children: &[Child]) -> usize {
    let mut bytes = HEADER_BYTES;
    let fit = children.iter().take_while(|child| {
        bytes += element_bytes(child);
        bytes <= PAGE_BYTES
    });
    fit.count().max(CHILDREN_MIN)
}

impl Tree {
    pub fn new() -> Self {
        Tree {
            bytes: HEADER_BYTES,
            ..Tree::default()
        }
    }

    /// Adds a row. Keys come in strictly ascending order.
    pub fn put(&mut self, writer: &mut Writer, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.add(writer, 0, key, value)
    }

    /// Adds a finished bucket as a row.
    pub fn put_bucket(&mut self, writer: &mut Writer, name: &[u8], bucket: &Root) -> Result<(), Error> {
        self.add(writer, ROW_IS_BUCKET, name, &bucket.0)
    }

    fn add(&mut self, writer: &mut Writer, flags: u32, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Error::Misuse(format!("a key of {} bytes", key.len())));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::Misuse(format!("a value of {} bytes", value.len())));
        }
        if key <= self.last_key.as_slice() {
            return Err(Error::Misuse(format!("key {} comes out of order", key.escape_ascii())));
        }
        let bytes = LEAF_ELEMENT_BYTES + key.len() + value.len();
        if self.bytes + bytes > PAGE_BYTES && !self.rows.is_empty() {
            self.flush_leaf(writer)?;
        }
        self.bytes += bytes;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.rows.push(Row {
            flags,
            key: key.to_vec(),
            value: value.to_vec(),
        });
        Ok(())
    }

    fn flush_leaf(&mut self, writer: &mut Writer) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = HEADER_BYTES;
        let page = encode_leaf(writer.next_page(), &rows)?;
        let key = rows.into_iter().next().map(|r| r.key).unwrap_or_default();
        let child = write_page(writer, key, page)?;
        self.add_child(writer, 0, child)
    }

    fn add_child(&mut self, writer: &mut Writer, level: usize, child: Child) -> Result<(), Error> {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        let Some(here) = self.levels.get_mut(level) else {
            return Ok(());
        };
        here.bytes += element_bytes(&child);
        here.children.push(child);
        let full = fitting(&here.children);
        // A page goes out only when enough stays for the next one to be legal.
        if HEADER_BYTES + here.bytes <= PAGE_BYTES || here.children.len() < full + CHILDREN_MIN {
            return Ok(());
        }
        let branch: Vec<_> = here.children.drain(..full).collect();
        here.bytes -= branch.iter().map(element_bytes).sum::<usize>();
        let parent = write_branch(writer, &branch)?;
        self.add_child(writer, level + 1, parent)
    }

    /// Writes what is left. The root is a page of its own.
    pub(crate) fn finish_on_page(mut self, writer: &mut Writer) -> Result<u64, Error> {
        if !self.rows.is_empty() || self.levels.is_empty() {
            self.flush_leaf(writer)?;
        }
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.levels.len();
            let children = match self.levels.get_mut(level) {
                Some(here) => std::mem::take(&mut here.children),
                None => return Err(Error::Misuse("a tree without a root".to_owned())),
            };
            if is_top && let [root] = children.as_slice() {
                return Ok(root.page);
            }
            let mut rest = children.as_slice();
            while !rest.is_empty() {
                let full = fitting(rest).min(rest.len());
                let take = if rest.len() - full == 0 || rest.len() < 2 * CHILDREN_MIN {
                    rest.len()
                } else {
                    full.min(rest.len() - CHILDREN_MIN)
                };
                let (branch, after) = rest.split_at(take);
                let parent = write_branch(writer, branch)?;
                self.add_child(writer, level + 1, parent)?;
                rest = after;
            }
            level += 1;
        }
    }

    /// Writes what is left and gives the row by which a bucket above names this one. A small one lies in that row.
    pub fn finish(self, writer: &mut Writer) -> Result<Root, Error> {
        let holds_buckets = self.rows.iter().any(|r| r.flags & ROW_IS_BUCKET != 0);
        let inline = self.levels.is_empty() && !holds_buckets && self.bytes <= INLINE_BYTES_MAX;
        let mut row = Vec::with_capacity(BUCKET_BYTES);
        if inline {
            row.put_u64_le(0);
            row.put_u64_le(0);
            row.extend_from_slice(&encode_leaf(0, &self.rows)?);
        } else {
            row.put_u64_le(self.finish_on_page(writer)?);
            row.put_u64_le(0);
        }
        Ok(Root(row))
    }
}
