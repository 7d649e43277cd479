//! Compressed streams: gzip and zstd, chosen by file name when writing and by the first bytes when reading.
//!
//! Owns: compressing and decompressing. Never: looks at the contents.

use std::io;
use std::io::{BufReader, BufWriter, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Bytes read or written at once.
const BUFFER_BYTES: usize = 256 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Compression of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pack {
    /// Not compressed
    None,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
}

impl Pack {
    /// As the ending of the name says.
    pub fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match name.rsplit_once('.').map(|(_, end)| end) {
            Some("gz") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Compresses what is written.
pub enum Packer<W: Write> {
    None(BufWriter<W>),
    Gzip(GzEncoder<BufWriter<W>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<W>>),
}

impl<W: Write> Packer<W> {
    pub fn new(to: W, pack: Pack) -> io::Result<Self> {
        let to = BufWriter::with_capacity(BUFFER_BYTES, to);
        Ok(match pack {
            Pack::None => Self::None(to),
            Pack::Gzip => Self::Gzip(GzEncoder::new(to, Compression::default())),
            Pack::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    /// Ends the compressed stream, and writes everything out.
    pub fn finish(self) -> io::Result<W> {
        let buffer = match self {
            Self::None(to) => to,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        buffer.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(to) => to.write(bytes),
            Self::Gzip(to) => to.write(bytes),
            Self::Zstd(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(to) => to.flush(),
            // Flushed at the end, since well-compressible data buffers long.
            Self::Gzip(_) | Self::Zstd(_) => Ok(()),
        }
    }
}

/// Decompresses a stream if it starts like a compressed one. `interrupted` tells an interrupted read from damage.
pub fn unpack<'s>(mut source: impl Read + 's, interrupted: Arc<AtomicBool>) -> io::Result<Box<dyn Read + 's>> {
    let mut head = Vec::new();
    source.by_ref().take(4).read_to_end(&mut head)?;
    let packed = if head.starts_with(&GZIP_MAGIC) {
        Pack::Gzip
    } else if head == ZSTD_MAGIC {
        Pack::Zstd
    } else {
        Pack::None
    };
    let source = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(source));
    Ok(match packed {
        Pack::None => Box::new(source),
        Pack::Gzip => Box::new(MultiGzDecoder::new(source)),
        Pack::Zstd => Box::new(Unzstd { decoder: zstd::stream::read::Decoder::with_buffer(source)?, interrupted }),
    })
}

/// Reports damage in a zstd stream as invalid data, as other decoders do.
struct Unzstd<R: io::BufRead> {
    decoder: zstd::stream::read::Decoder<'static, R>,
    interrupted: Arc<AtomicBool>,
}

impl<R: io::BufRead> Read for Unzstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            let is_damage = error.kind() == io::ErrorKind::Other && !self.interrupted.load(Ordering::Relaxed);
            if is_damage { io::Error::new(io::ErrorKind::InvalidData, error) } else { error }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_and_damage_is_told_as_such() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for (name, pack) in [("a", Pack::None), ("a.gz", Pack::Gzip), ("A.ZST", Pack::Zstd), ("b.zstd", Pack::Zstd)] {
            assert_eq!(Pack::of_name(name), pack);
            let mut writer = Packer::new(Vec::new(), pack).unwrap();
            writer.write_all(&text).unwrap();
            let mut packed = writer.finish().unwrap();
            let read = |bytes: &[u8]| {
                let mut all = Vec::new();
                unpack(bytes, Arc::default())?.read_to_end(&mut all).map(|_| all)
            };
            assert_eq!(read(&packed).unwrap(), text);
            if pack == Pack::None {
                continue;
            }
            let kinds = [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput, io::ErrorKind::UnexpectedEof];
            let error = read(&packed[..packed.len() / 2]).unwrap_err();
            assert!(kinds.contains(&error.kind()), "{name}: {error:?}");
            let middle = packed.len() / 2;
            packed[middle..middle + 64].fill(0xa5);
            if let Err(error) = read(&packed) {
                assert!(kinds.contains(&error.kind()), "{name}: {error:?}");
            }
        }
    }
}
