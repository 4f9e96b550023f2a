//! Builds a file from its first page to its last; the meta pages, which make it valid, come at the end.

use crate::meta::Meta;
use crate::page::{KIND_FREELIST, put_header};
use crate::tree::{Root, Tree};
use crate::{Error, PAGE_BYTES};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;
/// Page numbers below this one are the meta pages'.
const FIRST_PAGE: u64 = 2;
/// bbolt counts transactions; the second meta page is the one before.
const TXID: u64 = 2;

/// A file under construction. Pages go out in the order in which trees fill them; several trees may grow by turns.
pub struct Writer {
    out: BufWriter<File>,
    next: u64,
}

fn write_error(e: std::io::Error) -> Error {
    Error::io("write the file", e)
}

impl Writer {
    /// Begins in an empty file.
    pub fn create(file: File) -> Result<Writer, Error> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        // Until the end there are no meta pages: nobody takes half a file for a whole one.
        for _ in 0..FIRST_PAGE {
            out.write_all(&[0; PAGE_BYTES]).map_err(write_error)?;
        }
        Ok(Writer { out, next: FIRST_PAGE })
    }

    /// The number that the next page gets.
    pub(crate) fn next_page(&self) -> u64 {
        self.next
    }

    /// Writes a run that was built for [`Writer::next_page`]; its length is a number of whole pages.
    pub(crate) fn write_run(&mut self, run: &[u8]) -> Result<(), Error> {
        debug_assert_eq!(run.len() % PAGE_BYTES, 0);
        self.out.write_all(run).map_err(write_error)?;
        self.next += (run.len() / PAGE_BYTES) as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.next * PAGE_BYTES as u64
    }

    /// Writes a bucket of buckets as the root, the freelist and the meta pages. The file is whole then, but not
    /// synced.
    pub fn finish(mut self, mut buckets: Vec<(Vec<u8>, Root)>) -> Result<File, Error> {
        buckets.sort_by(|a, b| a.0.cmp(&b.0));
        let mut tree = Tree::new();
        for (name, root) in &buckets {
            tree.put_bucket(&mut self, name, root)?;
        }
        let root = tree.finish_on_page(&mut self)?;
        let freelist = self.next;
        let mut page = Vec::with_capacity(PAGE_BYTES);
        put_header(&mut page, freelist, KIND_FREELIST, 0, 0);
        page.resize(PAGE_BYTES, 0);
        self.write_run(&page)?;
        let mut meta = Meta {
            page_bytes: PAGE_BYTES as u32,
            root,
            sequence: 0,
            freelist,
            end: self.next,
            txid: TXID,
        };
        let mut file = self.out.into_inner().map_err(|e| write_error(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(write_error)?;
        file.write_all(&meta.encode(0)).map_err(write_error)?;
        meta.txid -= 1;
        file.write_all(&meta.encode(1)).map_err(write_error)?;
        Ok(file)
    }
}
