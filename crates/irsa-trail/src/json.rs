//! The records in a stream of JSON, found without reading the whole stream into memory.
//!
//! CloudTrail writes one object whose `Records` array holds everything, often on a single line of many megabytes;
//! `aws cloudtrail lookup-events`, Athena and CloudTrail Lake wrap their rows in other lists; pipelines write one record
//! a line. All of these are streams of elements here. Only the extent of an element is determined, by its brackets and
//! quotes: whoever reads the element finds out whether it is valid.

use std::io::{self, Read};

use memchr::{memchr, memchr2};

/// An element longer than this is passed over. CloudTrail's own limit for one event is 1 MB.
const MAX_ELEMENT: usize = 16 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;

/// Keys whose array is the list of records: of a log file, of `lookup-events`, of CloudTrail Lake and of Athena.
const LISTS: [&[u8]; 4] = [b"\"Records\"", b"\"Events\"", b"\"QueryResultRows\"", b"\"Rows\""];
/// The key of the object in which Athena's `Rows` are.
const ENVELOPE: &[u8] = b"\"ResultSet\"";

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A record, a row, or an event of `lookup-events`: its bytes.
    Element(&'a [u8]),
    /// Something that is passed over.
    Damage(Damage),
    /// The stream has ended.
    End,
}

/// Why a part of a stream is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Offset in the (decompressed) stream, in bytes.
    pub(crate) offset: u64,
    /// What is wrong there.
    pub(crate) fault: Fault,
}

/// What can be wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not JSON.
    Syntax,
    /// It ends in the middle of a value.
    Truncated,
    /// A value is longer than [`MAX_ELEMENT`].
    TooLong,
}

/// Where in a document the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// In a list of elements.
    List,
    /// In an object around such a list.
    Envelope,
}

enum Stop {
    Fault(Fault),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A stream of elements.
pub(crate) struct Elements<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins and ends.
    at: usize,
    filled: usize,
    /// Offset of `buffer[0]` in the stream.
    base: u64,
    frames: Vec<Frame>,
}

impl<R: Read> Elements<R> {
    /// A stream that begins with `head`, which was read from `input` already.
    pub(crate) fn new(head: &[u8], input: R) -> Self {
        let mut buffer = head.to_vec();
        buffer.resize(head.len().max(CHUNK), 0);
        Self {
            input,
            buffer,
            at: 0,
            filled: head.len(),
            base: 0,
            frames: Vec::new(),
        }
    }

    /// How far the stream has been read, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The next element. An I/O error ends the stream; what was passed over before it stays told.
    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        match self.advance() {
            Ok(Some(length)) => {
                let start = self.at;
                self.at += length;
                Ok(Next::Element(&self.buffer[start..start + length]))
            }
            Ok(None) => Ok(Next::End),
            Err(Stop::Io(error)) => Err(error),
            Err(Stop::Fault(fault)) => {
                let offset = self.offset();
                self.frames.clear();
                self.skip_line()?;
                Ok(Next::Damage(Damage { offset, fault }))
            }
        }
    }

    /// Moves to the next element and returns its length.
    fn advance(&mut self) -> Result<Option<usize>, Stop> {
        loop {
            let Some(byte) = self.significant()? else {
                return match self.frames.pop() {
                    None => Ok(None),
                    Some(_) => Err(Fault::Truncated.into()),
                };
            };
            match (self.frames.last(), byte) {
                (None, b'{') => {
                    if let Some(length) = self.object_or_envelope()? {
                        return Ok(Some(length));
                    }
                }
                (None, b'[') => {
                    self.at += 1;
                    self.frames.push(Frame::List);
                }
                (Some(Frame::List), b']') | (Some(Frame::Envelope), b'}') => {
                    self.at += 1;
                    self.frames.pop();
                }
                (Some(Frame::List), b'{' | b'[') => return Ok(Some(self.value(0)?)),
                (Some(Frame::Envelope), b'"') => {
                    let key = self.value(0)?;
                    match self.list_after(0, key)? {
                        (opened, true) => self.enter(opened),
                        (value, false) => {
                            let end = self.value(value)?;
                            self.at += end;
                        }
                    }
                }
                _ => return Err(Fault::Syntax.into()),
            }
        }
    }

    /// At an object outside all lists: its length if it is an element itself. `None` if it is the envelope of a list,
    /// which has been entered.
    fn object_or_envelope(&mut self) -> Result<Option<usize>, Stop> {
        let mut end = 1;
        loop {
            end = self.skip_blank(end)?;
            match self.byte(end)? {
                b'}' => return Ok(Some(end + 1)),
                b',' => end += 1,
                b'"' => {
                    let key = self.value(end)?;
                    match self.list_after(end, key)? {
                        (opened, true) => {
                            self.frames.push(Frame::Envelope);
                            self.enter(opened);
                            return Ok(None);
                        }
                        (value, false) => end = self.value(value)?,
                    }
                }
                _ => return Err(Fault::Syntax.into()),
            }
        }
    }

    /// For a key at `start..end`: where its value begins, and whether that is a list of records or the object around it.
    fn list_after(&mut self, start: usize, end: usize) -> Result<(usize, bool), Stop> {
        let colon = self.skip_blank(end)?;
        if self.byte(colon)? != b':' {
            return Err(Fault::Syntax.into());
        }
        let value = self.skip_blank(colon + 1)?;
        let opening = self.byte(value)?;
        let key = &self.buffer[self.at + start..self.at + end];
        let is_list = (opening == b'[' && LISTS.contains(&key)) || (opening == b'{' && key == ENVELOPE);
        Ok((value, is_list))
    }

    /// Enters the list or object whose opening bracket is at `opening`.
    fn enter(&mut self, opening: usize) {
        let frame = if self.buffer[self.at + opening] == b'[' {
            Frame::List
        } else {
            Frame::Envelope
        };
        self.at += opening + 1;
        self.frames.push(frame);
    }

    /// Where the value that begins at `start` ends. Both are relative to `self.at`, so that they survive a refill.
    fn value(&mut self, start: usize) -> Result<usize, Stop> {
        let mut index = start;
        let mut depth = 0_usize;
        let mut in_string = false;
        loop {
            let bytes = &self.buffer[self.at..self.filled];
            while index < bytes.len() {
                if in_string {
                    match memchr2(b'"', b'\\', &bytes[index..]) {
                        None => index = bytes.len(),
                        Some(found) if bytes[index + found] == b'\\' => index += found + 2,
                        Some(found) => {
                            index += found + 1;
                            in_string = false;
                            if depth == 0 {
                                return Ok(index);
                            }
                        }
                    }
                    continue;
                }
                match bytes[index] {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth == 0 => return Ok(index),
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Ok(index + 1);
                        }
                    }
                    b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 && index > start => return Ok(index),
                    _ => {}
                }
                index += 1;
            }
            if index > MAX_ELEMENT {
                return Err(Fault::TooLong.into());
            }
            if !self.fill()? {
                return Err(Fault::Truncated.into());
            }
        }
    }

    /// The next byte that is neither white space nor a comma, without consuming it.
    fn significant(&mut self) -> io::Result<Option<u8>> {
        loop {
            let unread = &self.buffer[self.at..self.filled];
            // A byte order mark at the beginning is white space, too.
            let is_blank =
                |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | 0xEF | 0xBB | 0xBF);
            if let Some(found) = unread.iter().position(|byte| !is_blank(byte)) {
                self.at += found;
                return Ok(Some(self.buffer[self.at]));
            }
            self.at = self.filled;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn skip_blank(&mut self, mut index: usize) -> Result<usize, Stop> {
        while matches!(self.byte(index)?, b' ' | b'\n' | b'\r' | b'\t') {
            index += 1;
        }
        Ok(index)
    }

    fn byte(&mut self, index: usize) -> Result<u8, Stop> {
        while self.at + index >= self.filled {
            if index > MAX_ELEMENT {
                return Err(Fault::TooLong.into());
            }
            if !self.fill()? {
                return Err(Fault::Truncated.into());
            }
        }
        Ok(self.buffer[self.at + index])
    }

    /// Goes on behind the next end of a line: where one record stands on each line, the next one is sound again.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            if let Some(found) = memchr(b'\n', &self.buffer[self.at..self.filled]) {
                self.at += found + 1;
                return Ok(());
            }
            self.at = self.filled;
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Reads on; `false` at the end of the input. What is unread stays.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at > 0 && self.filled == self.buffer.len() {
            self.buffer.copy_within(self.at..self.filled, 0);
            self.base += self.at as u64;
            self.filled -= self.at;
            self.at = 0;
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.filled += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of one to three, so that every boundary is met.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 3 + 1;
            let size = self.1.min(self.0.len()).min(buffer.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn all(text: &[u8]) -> (Vec<String>, Vec<Damage>) {
        let mut elements = Elements::new(b"", Trickle(text, 0));
        let (mut found, mut damages) = (Vec::new(), Vec::new());
        loop {
            match elements.next().unwrap() {
                Next::Element(bytes) => found.push(String::from_utf8_lossy(bytes).into_owned()),
                Next::Damage(damage) => damages.push(damage),
                Next::End => return (found, damages),
            }
        }
    }

    #[test]
    fn every_wrapping_gives_the_same_elements() {
        for text in [
            r#"{"Records":[{"a":"}\"]"},{"b":[1,{}]}]}"#,
            "{\"Records\" : [ {\"a\":\"}\\\"]\"} , {\"b\":[1,{}]} ] }\n",
            r#"{"NextToken":"x","n":1.5,"Events":[{"a":"}\"]"},{"b":[1,{}]}],"More":{"x":[]}}"#,
            r#"{"UpdateCount":0,"ResultSet":{"Rows":[{"a":"}\"]"},{"b":[1,{}]}],"Meta":{}}}"#,
            "{\"a\":\"}\\\"]\"}\n{\"b\":[1,{}]}\n",
            "\u{feff}[{\"a\":\"}\\\"]\"},{\"b\":[1,{}]}]",
            r#"{"Records":[{"a":"}\"]"}]}{"Records":[{"b":[1,{}]}]}"#,
        ] {
            let (found, damages) = all(text.as_bytes());
            assert_eq!(found, [r#"{"a":"}\"]"}"#, r#"{"b":[1,{}]}"#], "{text}");
            assert_eq!(damages, [], "{text}");
        }
    }

    #[test]
    fn a_damaged_line_is_passed_over_and_the_next_one_read() {
        let (found, damages) = all(b"{\"a\":1}\nnonsense {\n{\"b\":2}\n");
        assert_eq!(found, [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(
            damages,
            [Damage {
                offset: 8,
                fault: Fault::Syntax
            }]
        );
    }

    #[test]
    fn a_stream_that_ends_within_a_record_keeps_what_came_before() {
        let (found, damages) = all(br#"{"Records":[{"a":1},{"b":"#);
        assert_eq!(found, [r#"{"a":1}"#]);
        assert_eq!(damages.len(), 1);
        assert_eq!(damages[0].fault, Fault::Truncated);
        let (found, damages) = all(br#"{"Records":[{"a":1},"#);
        assert_eq!((found.len(), damages.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_elements_are_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (found, _) = all(&bytes);
            prop_assert!(found.iter().map(String::len).sum::<usize>() <= 3 * bytes.len());
        }

        #[test]
        fn brackets_and_quotes_in_any_order_end(text in "[\\[\\]{}\":, \\\\nRecords]{0,80}") {
            let _ = all(text.as_bytes());
            let _ = all(format!("{{\"Records\":[{text}").as_bytes());
        }
    }
}
