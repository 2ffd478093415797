//! `aws-chunked` bodies: an upload in pieces, each with its own signature, and trailers with a checksum at the end.
//!
//! SDKs use it for uploads by default since they send checksums as trailers: unsigned chunks over TLS
//! (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`), signed ones over plain HTTP and from older SDKs.

use bytes::Bytes;

use super::canonical::sha256_hex;
use super::date::AmzDate;
use super::scope::CredentialScope;
use super::signature::{Signature, SigningKey};

/// What `x-amz-content-sha256` says about a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadMode {
    /// A hash of the whole body, in hexadecimal.
    Hash(String),
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, or with trailers when `trailer`.
    SignedChunks {
        /// Whether trailers follow.
        trailer: bool,
    },
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedChunks,
}

impl PayloadMode {
    /// Reads the header's value.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Some(match value {
            "UNSIGNED-PAYLOAD" => Self::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Self::SignedChunks { trailer: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Self::SignedChunks { trailer: true },
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Self::UnsignedChunks,
            hash if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Self::Hash(hash.to_owned())
            }
            _ => return None,
        })
    }
}

/// What the signatures of chunks go on from: the verified signature of the head.
#[derive(Debug)]
pub struct Seed<'a> {
    /// The key of the scope.
    pub key: &'a SigningKey,
    /// The signature of the head.
    pub signature: Signature,
    /// The date of the request.
    pub date: AmzDate,
    /// The scope of the request.
    pub scope: &'a CredentialScope,
}

/// A body without its chunk frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The content.
    pub content: Bytes,
    /// Trailers: lower-case names and values.
    pub trailers: Vec<(String, String)>,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Ends within a frame, or a frame is none.
    #[error("the body is not in the aws-chunked form at byte {0}")]
    Frame(usize),
    /// The signature of a chunk, or of the trailers, is wrong.
    #[error("the signature of chunk {0} does not match")]
    Signature(usize),
}

/// Longest frame line that is looked at: a size, an extension and a signature fit many times.
const MAX_LINE: usize = 4096;

/// Takes the frames off `body`, verifying chunk signatures against `seed` where the mode has them.
///
/// # Errors
/// When frames are broken or a signature is wrong.
pub fn decode(body: &[u8], seed: Option<&Seed<'_>>, trailer: bool) -> Result<Decoded, ChunkError> {
    let mut at = 0;
    let mut content = Vec::with_capacity(body.len());
    let mut previous = seed.map(|seed| seed.signature.clone());
    for number in 0.. {
        let (line, after) = line_at(body, at)?;
        let (size, extensions) = line
            .split_once(';')
            .map_or((line, ""), |(size, rest)| (size, rest));
        let size = size.trim();
        if size.is_empty() || size.len() > 8 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ChunkError::Frame(at));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| ChunkError::Frame(at))?;
        let data = body
            .get(after..after.saturating_add(size))
            .ok_or(ChunkError::Frame(after))?;
        if let (Some(seed), Some(before)) = (seed, &previous) {
            let sent = extensions
                .split(';')
                .find_map(|extension| extension.trim().strip_prefix("chunk-signature="))
                .and_then(Signature::parse)
                .ok_or(ChunkError::Signature(number))?;
            let message = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
                seed.date,
                seed.scope,
                before.to_hex(),
                sha256_hex(b""),
                sha256_hex(data)
            );
            let expected = seed.key.sign(message.as_bytes());
            if !expected.matches(&sent) {
                return Err(ChunkError::Signature(number));
            }
            previous = Some(expected);
        }
        at = after + size;
        if size == 0 {
            let trailers = if trailer {
                trailers_at(body, at, seed, previous.as_ref(), number)?
            } else {
                Vec::new()
            };
            return Ok(Decoded {
                content: content.into(),
                trailers,
            });
        }
        content.extend_from_slice(data);
        if body.get(at..at + 2) != Some(b"\r\n") {
            return Err(ChunkError::Frame(at));
        }
        at += 2;
    }
    Err(ChunkError::Frame(at))
}

/// The trailers after the last chunk, with their signature where chunks are signed.
fn trailers_at(
    body: &[u8],
    mut at: usize,
    seed: Option<&Seed<'_>>,
    previous: Option<&Signature>,
    number: usize,
) -> Result<Vec<(String, String)>, ChunkError> {
    let mut trailers = Vec::new();
    let mut sent = None;
    while at < body.len() {
        let (line, after) = line_at(body, at)?;
        if line.is_empty() {
            at = after;
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(ChunkError::Frame(at))?;
        let name = name.trim().to_ascii_lowercase();
        if name == "x-amz-trailer-signature" {
            sent = Some(Signature::parse(value.trim()).ok_or(ChunkError::Signature(number + 1))?);
        } else {
            trailers.push((name, value.trim().to_owned()));
        }
        at = after;
    }
    if let (Some(seed), Some(previous)) = (seed, previous) {
        let mut canonical = String::new();
        for (name, value) in &trailers {
            canonical.push_str(name);
            canonical.push(':');
            canonical.push_str(value);
            canonical.push('\n');
        }
        let message = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            seed.date,
            seed.scope,
            previous.to_hex(),
            sha256_hex(canonical.as_bytes())
        );
        let expected = seed.key.sign(message.as_bytes());
        if !sent.is_some_and(|sent| sent.matches(&expected)) {
            return Err(ChunkError::Signature(number + 1));
        }
    }
    Ok(trailers)
}

/// The line that begins at `at`, without its end, and where the next begins. A lone line feed ends a line too: trailers
/// are seen with both.
fn line_at(body: &[u8], at: usize) -> Result<(&str, usize), ChunkError> {
    let rest = body.get(at..).ok_or(ChunkError::Frame(at))?;
    let window = rest.get(..MAX_LINE).unwrap_or(rest);
    let (line, after) = match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => (window.get(..end).unwrap_or_default(), at + end + 1),
        None => return Err(ChunkError::Frame(at)),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line)
        .map(|line| (line, after))
        .map_err(|_| ChunkError::Frame(at))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const SIGNATURES: [&str; 4] = [
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ];

    fn scope() -> CredentialScope {
        CredentialScope::parse("AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request").unwrap()
    }

    fn seed<'a>(scope: &'a CredentialScope, key: &'a SigningKey) -> Seed<'a> {
        Seed {
            key,
            signature: Signature::parse(SIGNATURES[0]).unwrap(),
            date: AmzDate::parse("20130524T000000Z").unwrap(),
            scope,
        }
    }

    /// The example of the S3 documentation: 65 KiB of the letter a.
    fn documented_body() -> Vec<u8> {
        let mut body = format!("10000;chunk-signature={}\r\n", SIGNATURES[1]).into_bytes();
        body.extend(vec![b'a'; 65536]);
        body.extend(format!("\r\n400;chunk-signature={}\r\n", SIGNATURES[2]).into_bytes());
        body.extend(vec![b'a'; 1024]);
        body.extend(format!("\r\n0;chunk-signature={}\r\n\r\n", SIGNATURES[3]).into_bytes());
        body
    }

    #[test]
    fn the_documented_upload_is_verified_chunk_by_chunk() {
        let scope = scope();
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope);
        let decoded = decode(&documented_body(), Some(&seed(&scope, &key)), false).unwrap();
        assert_eq!(decoded.content.len(), 66560);
        assert!(decoded.content.iter().all(|byte| *byte == b'a'));
    }

    #[test]
    fn a_changed_byte_in_any_chunk_is_found() {
        let scope = scope();
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope);
        for (at, chunk) in [(100, 0), (65536 + 200, 1)] {
            let mut body = documented_body();
            body[at] = b'b';
            assert_eq!(
                decode(&body, Some(&seed(&scope, &key)), false),
                Err(ChunkError::Signature(chunk))
            );
        }
    }

    #[test]
    fn unsigned_chunks_bring_their_checksum_as_a_trailer() {
        let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
        let decoded = decode(body, None, true).unwrap();
        assert_eq!(&decoded.content[..], b"hello world");
        assert_eq!(
            decoded.trailers,
            [("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned())]
        );
    }

    #[test]
    fn signed_trailers_must_be_signed() {
        let scope = scope();
        let key = SigningKey::derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope);
        let seed = seed(&scope, &key);
        let last = key.sign(
            format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{scope}\n{}\n{}\n{}",
                seed.date,
                seed.signature.to_hex(),
                sha256_hex(b""),
                sha256_hex(b"")
            )
            .as_bytes(),
        );
        let trailer = key.sign(
            format!(
                "AWS4-HMAC-SHA256-TRAILER\n{}\n{scope}\n{}\n{}",
                seed.date,
                last.to_hex(),
                sha256_hex(b"x-amz-checksum-crc32c:sOO8/Q==\n")
            )
            .as_bytes(),
        );
        let body = |value: &str| {
            format!(
                "0;chunk-signature={}\r\nx-amz-checksum-crc32c:{value}\n\r\nx-amz-trailer-signature:{}\r\n\r\n",
                last.to_hex(),
                trailer.to_hex()
            )
        };
        let decoded = decode(body("sOO8/Q==").as_bytes(), Some(&seed), true).unwrap();
        assert_eq!(decoded.trailers[0].1, "sOO8/Q==");
        assert_eq!(
            decode(body("AAAAAA==").as_bytes(), Some(&seed), true),
            Err(ChunkError::Signature(1))
        );
        let unsigned = format!(
            "0;chunk-signature={}\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
            last.to_hex()
        );
        assert_eq!(
            decode(unsigned.as_bytes(), Some(&seed), true),
            Err(ChunkError::Signature(1))
        );
    }

    #[test]
    fn broken_frames_are_errors_and_no_panic() {
        for body in [
            &b""[..],
            b"5",
            b"5\r\nhel",
            b"5\r\nhello",
            b"5\r\nhelloXX0\r\n\r\n",
            b"zz\r\n",
            b"-5\r\nhello\r\n",
            b"ffffffff\r\nhello\r\n",
            b"fffffffffffffffff\r\nhello\r\n",
            b";\r\n",
            b"\xff\r\n",
        ] {
            assert!(
                matches!(decode(body, None, true), Err(ChunkError::Frame(_))),
                "{body:?}"
            );
        }
    }
}
