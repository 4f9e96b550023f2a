//! Chunks and positions as bytes.
//!
//! ```text
//! chunk     u32 checksum of the rest | u8 format | u8 1 if it is the last | u64 index | u64 term
//!           | u32 length, position where it begins | u32 length, position where it ends | rows
//! row       u8 column family | u32 length, key | u32 length, value
//! position  empty at the start, else u8 column family | u64 rows | u32 checksum of the rows | key of the last row
//! ```
//! All integers are little-endian.

use crate::db::Cf;
use crate::state_machine::StorageError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

fn damaged(what: &str) -> StorageError {
    StorageError(format!("a piece of a snapshot is damaged: {what}"))
}

/// A place between two rows, and the sum of what is before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last row before it; none at the start.
    pub row: Option<(Cf, Bytes)>,
    pub rows: u64,
    pub checksum: u32,
}

impl Position {
    pub fn encode(&self) -> Bytes {
        let Some((cf, key)) = &self.row else {
            return Bytes::new();
        };
        let mut out = BytesMut::with_capacity(13 + key.len());
        out.put_u8(*cf as u8);
        out.put_u64_le(self.rows);
        out.put_u32_le(self.checksum);
        out.put_slice(key);
        out.freeze()
    }

    pub fn decode(token: &[u8]) -> Result<Position, StorageError> {
        if token.is_empty() {
            return Ok(Position::default());
        }
        let mut rest = token;
        let bad = |_| damaged("its position");
        let cf = rest
            .try_get_u8()
            .ok()
            .and_then(Cf::from_u8)
            .ok_or_else(|| damaged("its position"))?;
        let rows = rest.try_get_u64_le().map_err(bad)?;
        let checksum = rest.try_get_u32_le().map_err(bad)?;
        Ok(Position {
            row: Some((cf, Bytes::copy_from_slice(rest))),
            rows,
            checksum,
        })
    }

    /// Where it is after one more row, which must come later in the order of rows.
    pub fn pass(&mut self, row: &Row) -> Result<(), StorageError> {
        if self
            .row
            .as_ref()
            .is_some_and(|(cf, key)| (*cf, key) >= (row.cf, &row.key))
        {
            return Err(damaged("its rows are out of order"));
        }
        self.checksum = row.checksum(self.checksum);
        self.rows += 1;
        self.row = Some((row.cf, row.key.clone()));
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub cf: Cf,
    pub key: Bytes,
    pub value: Bytes,
}

impl Row {
    const OVERHEAD_BYTES: usize = 9;

    pub fn bytes(&self) -> usize {
        Row::OVERHEAD_BYTES + self.key.len() + self.value.len()
    }

    fn checksum(&self, before: u32) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(before);
        hasher.update(&[self.cf as u8]);
        hasher.update(&(self.key.len() as u64).to_le_bytes());
        hasher.update(&self.key);
        hasher.update(&(self.value.len() as u64).to_le_bytes());
        hasher.update(&self.value);
        hasher.finalize()
    }
}

/// A chunk taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    pub index: u64,
    pub term: u64,
    pub begins: Position,
    pub ends: Position,
    pub last: bool,
    pub rows: Vec<Row>,
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), StorageError> {
    let len = u32::try_from(bytes.len()).map_err(|_| StorageError("a row is over 4 GiB".to_owned()))?;
    out.put_u32_le(len);
    out.put_slice(bytes);
    Ok(())
}

fn take_bytes(rest: &mut Bytes) -> Result<Bytes, StorageError> {
    let len = rest.try_get_u32_le().map_err(|_| damaged("it ends early"))? as usize;
    if len > rest.len() {
        return Err(damaged("it ends early"));
    }
    Ok(rest.split_to(len))
}

impl Parts {
    pub fn encode(&self) -> Result<Bytes, StorageError> {
        let rows_bytes: usize = self.rows.iter().map(Row::bytes).sum();
        let mut out = BytesMut::with_capacity(rows_bytes + 128);
        out.put_u32_le(0);
        out.put_u8(FORMAT);
        out.put_u8(u8::from(self.last));
        out.put_u64_le(self.index);
        out.put_u64_le(self.term);
        put_bytes(&mut out, &self.begins.encode())?;
        put_bytes(&mut out, &self.ends.encode())?;
        for row in &self.rows {
            out.put_u8(row.cf as u8);
            put_bytes(&mut out, &row.key)?;
            put_bytes(&mut out, &row.value)?;
        }
        let checksum = crc32fast::hash(out.get(CHECKSUM_BYTES..).unwrap_or_default());
        if let Some(head) = out.get_mut(..CHECKSUM_BYTES) {
            head.copy_from_slice(&checksum.to_le_bytes());
        }
        Ok(out.freeze())
    }

    /// Checks all that one chunk can tell of itself. Keys and values are slices of `chunk`.
    pub fn decode(chunk: Bytes) -> Result<Parts, StorageError> {
        let short = |_| damaged("it ends early");
        let mut rest = chunk;
        let checksum = rest.try_get_u32_le().map_err(short)?;
        if crc32fast::hash(&rest) != checksum {
            return Err(damaged("its checksum is wrong"));
        }
        let format = rest.try_get_u8().map_err(short)?;
        if format != FORMAT {
            return Err(StorageError(format!(
                "the snapshot has format {format}, and this program reads format {FORMAT}"
            )));
        }
        let last = rest.try_get_u8().map_err(short)? != 0;
        let index = rest.try_get_u64_le().map_err(short)?;
        let term = rest.try_get_u64_le().map_err(short)?;
        let begins = Position::decode(&take_bytes(&mut rest)?)?;
        let ends = Position::decode(&take_bytes(&mut rest)?)?;
        let mut rows = Vec::new();
        let mut at = begins.clone();
        while rest.has_remaining() {
            let cf = Cf::from_u8(rest.get_u8()).ok_or_else(|| damaged("a row of an unknown kind"))?;
            let row = Row {
                cf,
                key: take_bytes(&mut rest)?,
                value: take_bytes(&mut rest)?,
            };
            at.pass(&row)?;
            rows.push(row);
        }
        if at != ends {
            return Err(damaged("its rows are not those that it names"));
        }
        Ok(Parts {
            index,
            term,
            begins,
            ends,
            last,
            rows,
        })
    }
}
