//! A table file as text, offsets in front: for people, and for golden tests.

use std::fmt::{self, Write as _};

use super::Compression;
use super::block::Block;
use super::block_layout::{
    DISTINCT, FIXED_SUFFIX, FIXED_VALUE, GOES_ON, HEADER_BYTES, Layout, WIDE,
};
use super::filter::{FilterPage, FilterRef};
use super::footer::{FOOTER_BYTES, Footer, Properties};
use super::index::{IndexPage, IndexRef};
use super::packed::load_image;
use super::page::{Piece, Source, Span};
use crate::base::error::{ErrorKind, Result};
use crate::vfs::ReadFile;

/// Of a key or value so many bytes are printed.
const SHOWN_BYTES_MAX: usize = 40;

/// Prints any table file. A damaged footer or properties are an error; a damaged page is printed
/// as damaged, and the rest after it.
pub fn describe(file: &dyn ReadFile) -> Result<String> {
    let footer = Footer::read(file)?;
    let source = Source { file, place: footer.place };
    let properties = Properties::read(source, &footer)?;
    let mut page = Print { source, out: String::new() };
    page.line(format_args!(
        "{}: table {} of keyspace {} of store {:#018x}, {} bytes",
        file.name(),
        footer.place.table,
        footer.keyspace.0,
        footer.place.store_id,
        file.len()
    ));
    page.index_and_data(&footer);
    page.filter(&footer, &properties);
    page.properties(&footer, &properties);
    page.footer(&footer);
    Ok(page.out)
}

struct Print<'a> {
    source: Source<'a>,
    out: String,
}

impl Print<'_> {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a String takes all text");
        self.out.push('\n');
    }

    /// A line about the bytes from `offset` on.
    fn at(&mut self, offset: u64, text: fmt::Arguments<'_>) {
        self.line(format_args!("{offset:8}  {text}"));
    }

    fn load<P: Piece>(&mut self, span: Span) -> Option<Vec<u8>> {
        let page = self.source.load::<P>(span);
        self.readable(span, page)
    }

    /// What was read, or a line that says why it cannot be.
    fn readable<T>(&mut self, span: Span, read: Result<T>) -> Option<T> {
        if let Err(error) = &read {
            let state = match error.kind() {
                ErrorKind::Unsupported => "not shown",
                _ => "damaged",
            };
            self.at(span.offset, format_args!("{state}: {error}"));
        }
        read.ok()
    }

    /// Blocks in the order of the index, then the index.
    fn index_and_data(&mut self, footer: &Footer) {
        let Some(top) = self.index_page(footer.index_top) else { return };
        let mut leaves = vec![(footer.index_top, top)];
        if footer.leaves().bytes > 0 {
            let (_, top) = leaves.remove(0);
            for n in 0..top.children() {
                let leaf = self.index_page(top.child(n));
                leaves.extend(leaf.map(|leaf| (top.child(n), leaf)));
            }
            leaves.push((footer.index_top, top));
        }
        for (_, leaf) in leaves.iter().filter(|(_, page)| page.level() == super::index::LEAF) {
            for n in 0..leaf.children() {
                self.block(leaf.first() as usize + n, leaf.child(n));
            }
        }
        for (span, page) in &leaves {
            self.separators(*span, page);
        }
    }

    fn block(&mut self, number: usize, span: Span) {
        let read = load_image(self.source, span);
        let Some((image, compression)) = self.readable(span, read) else { return };
        let block = Block::trusted(image);
        let (shape, layout) = (block.shape(), block.layout());
        let flags = [
            (FIXED_SUFFIX, " fixed-suffix"),
            (FIXED_VALUE, " fixed-value"),
            (WIDE, " wide"),
            (GOES_ON, " goes-on"),
            (DISTINCT, " distinct"),
        ];
        let flags: String =
            flags.iter().filter(|(flag, _)| shape.has(*flag)).map(|(_, name)| *name).collect();
        let how = match compression {
            Compression::None => "of".to_owned(),
            _ => format!("bytes as {} in", compression.name()),
        };
        self.at(
            span.offset,
            format_args!(
                "data block {number}: {} {how} {} bytes, entries {}, tag bytes {}, flags{flags}",
                layout.end, span.bytes, shape.entries, shape.tag_bytes,
            ),
        );
        // Offsets in a compressed block are no offsets in the file.
        let start = if compression == Compression::None { span.offset } else { 0 };
        self.at(start + HEADER_BYTES as u64, format_args!("  prefix {}", Shown(block.prefix())));
        self.columns(start, layout);
        for n in 0..block.entries() {
            let mut key = Vec::new();
            block.append_key(n, &mut key);
            let (tag, value) = (block.tag(n), Shown(block.value(n)));
            self.line(format_args!(
                "            {:02x} {} {tag:?} {value}",
                block.fingerprints()[n],
                Shown(&key)
            ));
        }
    }

    fn columns(&mut self, start: u64, layout: &Layout) {
        let columns = [
            ("fingerprints", layout.fingerprints, layout.heads),
            ("heads", layout.heads, layout.tags),
            ("tags", layout.tags, layout.value_offsets),
            ("value offsets", layout.value_offsets, layout.key_offsets),
            ("key offsets", layout.key_offsets, layout.suffixes),
            ("key suffixes", layout.suffixes, layout.values),
            ("values", layout.values, layout.end),
        ];
        for (name, from, to) in columns {
            if from < to {
                self.at(start + from as u64, format_args!("  {name}, {} bytes", to - from));
            }
        }
    }

    fn index_page(&mut self, span: Span) -> Option<IndexPage<Vec<u8>>> {
        self.load::<IndexRef>(span).map(IndexPage::trusted)
    }

    fn separators(&mut self, span: Span, page: &IndexPage<Vec<u8>>) {
        self.at(
            span.offset,
            format_args!(
                "index page: {} bytes, level {}, children {} from number {} on",
                span.bytes,
                page.level(),
                page.children(),
                page.first(),
            ),
        );
        for n in 0..page.children() {
            let separator = page.separator(n);
            let continues = if separator.continues { " continues" } else { "" };
            self.line(format_args!(
                "            {}{continues} -> {}",
                Shown(&separator.suffix()),
                page.child(n)
            ));
        }
    }

    fn filter(&mut self, footer: &Footer, properties: &Properties) {
        let shape = properties.filter;
        for n in 0..shape.pages() {
            let span = shape.page(n, footer.filter.offset);
            if let Some(page) = self.load::<FilterRef>(span).map(FilterPage::trusted) {
                self.at(
                    span.offset,
                    format_args!(
                        "filter page {}: {} bytes, probes {}, bits set {}",
                        page.number(),
                        span.bytes,
                        page.probes(),
                        page.bits_set(),
                    ),
                );
            }
        }
    }

    fn properties(&mut self, footer: &Footer, says: &Properties) {
        self.at(
            footer.properties.offset,
            format_args!("properties: {} bytes", footer.properties.bytes),
        );
        self.line(format_args!(
            "            entries {}, tombstones {}, keys {}, data blocks {}",
            says.entries, says.tombstones, says.keys, says.data_blocks
        ));
        self.line(format_args!(
            "            sequence numbers {} to {}, key bytes {}, value bytes {}",
            says.seq_min, says.seq_max, says.key_bytes, says.value_bytes
        ));
        self.line(format_args!(
            "            keys {} to {}",
            Shown(says.range.lo()),
            Shown(says.range.hi())
        ));
        self.line(format_args!(
            "            block bytes {}, filter bits a key {}, filter lines {}",
            says.settings.block_bytes, says.settings.filter_bits_per_key, says.filter.lines
        ));
        self.line(format_args!(
            "            compression {}, data {} bytes, without it {}",
            says.settings.compression.name(),
            footer.data.bytes,
            says.image_bytes
        ));
    }

    fn footer(&mut self, footer: &Footer) {
        self.at(footer.properties.end(), format_args!("footer: {FOOTER_BYTES} bytes"));
        for (name, span) in footer.sections() {
            self.line(format_args!("            {name}: {span}"));
        }
        self.line(format_args!("            top of the index: {}", footer.index_top));
    }
}

/// Bytes as text, cut off where they get long.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_BYTES_MAX)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "... of {} bytes", self.0.len())?;
        }
        Ok(())
    }
}
