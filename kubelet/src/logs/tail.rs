//! Finds the last lines of a file, from its end.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

const BLOCK_BYTES: u64 = 64 << 10;

/// Where the last `lines` lines begin.
pub fn offset(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut newlines = 0;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.take(end - start).read_to_end(&mut block)?;
        for (i, b) in block.iter().enumerate().rev() {
            let at = start + i as u64;
            // The newline that ends the file begins no line.
            if *b == b'\n' && at + 1 < length {
                newlines += 1;
                if newlines == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    #[test]
    fn over_blocks() {
        let mut f = tempfile::tempfile().unwrap();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..200 {
            f.write_all(&line).unwrap();
        }
        for (lines, at) in [(0, 200_000), (1, 199_000), (100, 100_000), (200, 0), (201, 0)] {
            assert_eq!(offset(&mut f, lines).unwrap(), at, "{lines}");
        }
        f.seek(SeekFrom::End(0)).unwrap();
        f.write_all(b"half").unwrap();
        assert_eq!(offset(&mut f, 1).unwrap(), 200_000, "a line under way is one");
        assert_eq!(offset(&mut tempfile::tempfile().unwrap(), 5).unwrap(), 0);
    }
}
