//! Lines of bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its newline.
    Whole(Vec<u8>),
    /// A line that is longer than allowed; the rest of it is still to come.
    TooLong,
    /// The other end has hung up; what there is of a last line is dropped.
    End,
}

/// Reads a line of at most `max` bytes. What has been read of it is kept in `partial`, so that a call that is dropped
/// halfway loses nothing.
///
/// # Errors
/// What the socket says.
pub async fn read<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    partial: &mut Vec<u8>,
    max: usize,
) -> std::io::Result<Line> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(Line::End);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if partial.len() + taken > max {
            return Ok(Line::TooLong);
        }
        partial.extend(available.iter().take(taken));
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(Line::Whole(std::mem::take(partial)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let mut reader = BufReader::with_capacity(4, &b"abc\n\n0123456789\nrest"[..]);
        let mut partial = Vec::new();
        assert_eq!(read(&mut reader, &mut partial, 10).await.unwrap(), Line::Whole(b"abc".to_vec()));
        assert_eq!(read(&mut reader, &mut partial, 10).await.unwrap(), Line::Whole(Vec::new()));
        assert_eq!(read(&mut reader, &mut partial, 10).await.unwrap(), Line::Whole(b"0123456789".to_vec()));
        assert_eq!(read(&mut reader, &mut partial, 10).await.unwrap(), Line::End);
        let mut reader = BufReader::with_capacity(4, &b"0123456789\n"[..]);
        assert_eq!(read(&mut reader, &mut Vec::new(), 9).await.unwrap(), Line::TooLong);
    }
}
