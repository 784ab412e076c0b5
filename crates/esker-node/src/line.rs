//! Lines of an input that nobody vouches for, in bounded memory.
//!
//! [`LineReader::fill`] makes one `read`; [`LineReader::lines`] hands out every line that is
//! complete, borrowed from the buffer. Whoever alternates the two never waits for input while a
//! complete line lies here, and so knows when to flush.
//!
//! A line over [`LINE_BYTES_MAX`] is dropped as it arrives, up to its newline, and handed out as
//! [`Content::TooLong`], so that it can be reported with its number. The last line needs no
//! newline. The buffer holds at most the longest line and one more read.

use std::io::{self, Read};

use memchr::memchr;

/// Longest line, its newline not counted.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 20;

/// What the buffer starts with, and what it returns to after a long line.
const BUFFER_BYTES: usize = 1 << 20;

/// Splits `input` into lines.
pub(crate) struct LineReader<R> {
    input: R,
    /// All of it is initialised; `pending` of it is input.
    buffer: Vec<u8>,
    /// Where the bytes lie that no line was made of yet.
    pending: std::ops::Range<usize>,
    /// The first so many pending bytes hold no newline.
    searched: usize,
    /// Lines handed out so far.
    number: u64,
    /// The current line is over the limit: its bytes are dropped.
    dropping: bool,
    ended: bool,
    line_bytes_max: usize,
}

/// One line and its number, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    pub(crate) content: Content<'a>,
}

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Its bytes, without the newline.
    Text(&'a [u8]),
    /// Nothing: it was over the limit.
    TooLong,
}

/// Whether more may come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes were read.
    Open,
    /// The input has ended; the last lines are here.
    Ended,
}

impl<R: Read> LineReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self::with_limit(input, LINE_BYTES_MAX, BUFFER_BYTES)
    }

    fn with_limit(input: R, line_bytes_max: usize, buffer_bytes: usize) -> Self {
        Self {
            input,
            buffer: vec![0; buffer_bytes],
            pending: 0..0,
            searched: 0,
            number: 0,
            dropping: false,
            ended: false,
            line_bytes_max,
        }
    }

    /// Waits for input once. What `lines` left behind stays.
    pub(crate) fn fill(&mut self) -> io::Result<Input> {
        if self.dropping || self.pending.len() > self.line_bytes_max {
            self.dropping = true;
            self.pending = 0..0;
            self.searched = 0;
        }
        self.make_room();
        while !self.ended {
            match self.input.read(&mut self.buffer[self.pending.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    self.pending.end += read;
                    return Ok(Input::Open);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Input::Ended)
    }

    /// The complete lines that are here.
    pub(crate) fn lines(&mut self) -> Lines<'_> {
        Lines {
            buffer: &self.buffer[..self.pending.end],
            start: &mut self.pending.start,
            searched: &mut self.searched,
            number: &mut self.number,
            dropping: &mut self.dropping,
            ended: self.ended,
            line_bytes_max: self.line_bytes_max,
        }
    }

    /// Moves what is pending to the front, and sees that there is room behind it: twice the
    /// buffer for a long line, the ordinary buffer again when it is over.
    fn make_room(&mut self) {
        let pending = self.pending.len();
        if self.buffer.len() > BUFFER_BYTES && pending < BUFFER_BYTES / 2 {
            let mut buffer = vec![0; BUFFER_BYTES];
            buffer[..pending].copy_from_slice(&self.buffer[self.pending.clone()]);
            self.buffer = buffer;
        } else {
            self.buffer.copy_within(self.pending.clone(), 0);
        }
        self.pending = 0..pending;
        if pending == self.buffer.len() {
            self.buffer.resize(pending.saturating_mul(2).min(self.line_bytes_max + BUFFER_BYTES), 0);
        }
    }
}

/// Iterator over complete lines; they live as long as the buffer is not filled again.
pub(crate) struct Lines<'a> {
    buffer: &'a [u8],
    start: &'a mut usize,
    searched: &'a mut usize,
    number: &'a mut u64,
    dropping: &'a mut bool,
    ended: bool,
    line_bytes_max: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = &self.buffer[*self.start..];
        let text = match memchr(b'\n', &rest[*self.searched..]) {
            Some(at) => {
                let text = &rest[..*self.searched + at];
                *self.start += text.len() + 1;
                text
            }
            None if self.ended && (*self.dropping || !rest.is_empty()) => {
                *self.start = self.buffer.len();
                rest
            }
            None => {
                *self.searched = rest.len();
                return None;
            }
        };
        *self.searched = 0;
        *self.number += 1;
        let too_long = std::mem::take(self.dropping) || text.len() > self.line_bytes_max;
        let content = if too_long { Content::TooLong } else { Content::Text(text) };
        Some(Line { number: *self.number, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives at most the next of `sizes` bytes at each read.
    struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: Vec<usize>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes.pop().unwrap_or(usize::MAX).min(buffer.len());
            self.bytes.read(&mut buffer[..size.max(1)])
        }
    }

    fn owned(line: &Line<'_>) -> Option<Vec<u8>> {
        match line.content {
            Content::Text(text) => Some(text.to_vec()),
            Content::TooLong => None,
        }
    }

    fn all_lines(bytes: &[u8], sizes: Vec<usize>, line_bytes_max: usize) -> Vec<Option<Vec<u8>>> {
        let mut reader = LineReader::with_limit(Pieces { bytes, sizes }, line_bytes_max, 4);
        let mut all = Vec::new();
        loop {
            let input = reader.fill().unwrap();
            for line in reader.lines() {
                all.push(owned(&line));
                assert_eq!(line.number, all.len() as u64);
            }
            if input == Input::Ended {
                return all;
            }
        }
    }

    proptest! {
        #[test]
        fn lines_are_what_split_says_however_the_bytes_arrive(
            bytes in prop::collection::vec(prop::sample::select(&b"ab\n\r"[..]), 0..80),
            sizes in prop::collection::vec(1usize..9, 0..80),
            line_bytes_max in 1usize..12,
        ) {
            let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<_> = expected
                .into_iter()
                .map(|line| (line.len() <= line_bytes_max).then(|| line.to_vec()))
                .collect();
            prop_assert_eq!(all_lines(&bytes, sizes, line_bytes_max), expected);
        }
    }

    #[test]
    fn a_line_at_the_limit_is_whole_and_one_byte_more_is_dropped() {
        let text = [vec![b'x'; LINE_BYTES_MAX], vec![b'\n']].concat();
        let over = [vec![b'x'; LINE_BYTES_MAX + 1], b"\nnext\n".to_vec()].concat();
        let input = text.chain(&over[..]);
        let mut reader = LineReader::new(input);
        let mut seen = Vec::new();
        while reader.fill().unwrap() == Input::Open {
            assert!(reader.buffer.len() <= LINE_BYTES_MAX + BUFFER_BYTES);
            seen.extend(reader.lines().map(|line| match line.content {
                Content::Text(text) => Some(text.len()),
                Content::TooLong => None,
            }));
        }
        assert_eq!(seen, [Some(LINE_BYTES_MAX), None, Some(4)]);
        assert_eq!(reader.buffer.len(), BUFFER_BYTES, "the buffer shrinks after a long line");
    }
}
