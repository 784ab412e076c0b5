//! The files that find a store: `CURRENT`, which names the manifest in force, and the manifest's
//! own header.

use crate::base::codec::{Reader, put_u32, put_u64};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::hash::record_checksum;
use crate::base::names::FileName;
use crate::vfs::ReadFile;

/// Bytes of a manifest's header; its first record stands behind them.
pub const MANIFEST_HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"eskerman";
const VERSION: u32 = 1;
/// Features that this build knows; a set bit outside is `Unsupported`.
const FEATURES: u64 = 0;
const CHECKSUM_AT: usize = MANIFEST_HEADER_BYTES - 4;

/// A longer `CURRENT` is none of ours.
const CURRENT_BYTES_MAX: u64 = 128;

/// The text of `CURRENT` that names this manifest.
pub fn encode_current(manifest: u64) -> String {
    let text = format!("esker {VERSION} {}", FileName::Manifest(manifest));
    format!("{text} {:08x}\n", current_checksum(&text))
}

/// The number of the manifest that `CURRENT` names.
pub fn read_current(file: &dyn ReadFile) -> Result<u64> {
    let damage = |part: &'static str, expected: &str, found: &str| {
        Err(Error::corrupt(FileName::Current, 0, part, expected, found))
    };
    if file.len() > CURRENT_BYTES_MAX {
        return damage("length", "one short line", &format!("{} bytes", file.len()));
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let line = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let Some((text, checksum)) = line.and_then(|line| line.rsplit_once(' ')) else {
        return damage("line", "a format, a manifest, a checksum", "something else");
    };
    let expected = format!("{:08x}", current_checksum(text));
    if checksum != expected {
        return damage("checksum", &expected, checksum);
    }
    let mut words = text.split(' ');
    let (magic, version) = (words.next(), words.next());
    let found = version.unwrap_or_default();
    if magic == Some("esker") && found != VERSION.to_string() {
        let text = format!("CURRENT: store format {found}; this build reads format {VERSION}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    match (words.next().and_then(FileName::parse), words.next()) {
        (Some(FileName::Manifest(number)), None) if magic == Some("esker") => Ok(number),
        _ => damage("line", "the name of a manifest", text),
    }
}

fn current_checksum(text: &str) -> u32 {
    record_checksum(text.as_bytes(), 0, 0, 0)
}

/// The header of a manifest.
pub fn encode_header(store_id: u64, manifest: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(MANIFEST_HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    put_u32(&mut out, VERSION);
    put_u32(&mut out, 0);
    for word in [FEATURES, store_id, manifest] {
        put_u64(&mut out, word);
    }
    out.resize(CHECKSUM_AT, 0);
    let checksum = record_checksum(&out, store_id, manifest, 0);
    put_u32(&mut out, checksum);
    out
}

/// The store's id out of the header of this manifest.
pub fn read_header(file: &dyn ReadFile, manifest: u64) -> Result<u64> {
    let name = FileName::Manifest(manifest);
    let mut bytes = [0; MANIFEST_HEADER_BYTES];
    if file.len() < bytes.len() as u64 {
        let found = format!("{} bytes", file.len());
        return Err(Error::corrupt(name, 0, "header", "64 bytes", found));
    }
    file.read_exact_at(&mut bytes, 0)?;
    let Some(header) = Header::parse(&bytes) else {
        return Err(Error::corrupt(name, 0, "magic", "eskerman", "other bytes"));
    };
    let computed = record_checksum(&bytes[..CHECKSUM_AT], header.store_id, manifest, 0);
    if header.checksum != computed {
        let (expected, found) = (format!("{computed:#010x}"), format!("{:#010x}", header.checksum));
        return Err(Error::corrupt(name, 0, "header checksum", expected, found));
    }
    if header.version != VERSION || header.features & !FEATURES != 0 {
        let text = format!(
            "{name}: manifest format {} with features {:#x}; this build reads format {VERSION} with features {FEATURES:#x}",
            header.version, header.features
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(header.store_id)
}

/// What is in a header; magic, version, features and checksum keep their places in every version.
struct Header {
    version: u32,
    features: u64,
    store_id: u64,
    checksum: u32,
}

impl Header {
    fn parse(bytes: &[u8; MANIFEST_HEADER_BYTES]) -> Option<Self> {
        let mut reader = Reader::new(bytes.strip_prefix(&MAGIC)?);
        let version = reader.u32()?;
        let _flags = reader.u32()?;
        let (features, store_id) = (reader.u64()?, reader.u64()?);
        let checksum = Reader::new(&bytes[CHECKSUM_AT..]).u32()?;
        Some(Self { version, features, store_id, checksum })
    }
}
