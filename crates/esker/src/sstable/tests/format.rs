//! FORMAT.md says the truth: its example is read and written by the real code.

use super::super::packed::{Packed, load_image};
use super::*;

const FORMAT: &str = include_str!("../FORMAT.md");

/// What stands between the first fence of this kind and its end.
fn fenced(kind: &str) -> &'static str {
    let (_, rest) = FORMAT.split_once(&format!("```{kind}\n")).expect("FORMAT.md has the fence");
    rest.split_once("```").expect("the fence ends").0
}

fn example_bytes() -> Vec<u8> {
    hex(fenced("hex"))
}

/// Bytes of lines such as `0040: 65 73 6b  what they are`: what is behind two blanks is for people.
fn hex(lines: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.lines() {
        let (offset, rest) = line.split_once(": ").expect("offset, colon, bytes");
        assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()), "{line}");
        let hex = rest.split_once("  ").map_or(rest, |(hex, _)| hex);
        bytes.extend(hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")));
    }
    bytes
}

fn example_entries() -> Vec<Entry> {
    vec![put("user:1", 5, "ann"), put("user:2", 7, "bob"), delete("user:3", 6)]
}

#[test]
fn the_example_is_what_the_writer_writes() {
    let fixture = Fixture::new(settings(8 << 10), &example_entries());
    let written = fixture.disk.bytes(NAME).unwrap();
    let shown: String = written
        .chunks(16)
        .enumerate()
        .map(|(n, row)| {
            let row: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:04x}: {}\n", n * 16, row.join(" "))
        })
        .collect();
    assert!(written == example_bytes(), "the writer writes\n{shown}");
}

#[test]
fn the_example_is_read_by_the_reader() {
    let disk = SimDisk::new();
    let bytes = example_bytes();
    disk.put_file(NAME, &bytes);
    let table =
        Table::open(&*disk, STORE, TABLE, bytes.len() as u64, &FramePool::for_tests(1 << 20))
            .unwrap();
    table.verify().unwrap();
    assert_eq!(scan(&mut table.cursor()).unwrap(), example_entries());
    let (tag, value) = get(&table, b"user:2", 7).unwrap().expect("it is there");
    assert_eq!((tag.seq().get(), &*value), (7, &b"bob"[..]));
}

#[test]
fn the_example_is_described_so() {
    let disk = SimDisk::new();
    disk.put_file(NAME, &example_bytes());
    let text = describe(&*disk.open(NAME).unwrap()).unwrap();
    assert!(text == fenced("text table"), "it is described as\n{text}");
}

#[test]
fn several_leaves_and_long_keys_are_described() {
    let long = |end: u8| [&vec![b'k'; 9000][..], &[end]].concat();
    let entries = vec![
        put("a", 3, "1"),
        put("a", 2, "2"),
        put(long(b'x'), 1, ""),
        put(long(b'y'), 300, vec![0; 100]),
    ];
    let fixture = Fixture::new(
        TableSettings { block_bytes: 0, filter_bits_per_key: 0, compression: Compression::None },
        &entries,
    );
    let text = describe(&*fixture.disk.open(NAME).unwrap()).unwrap();
    for part in [
        "level 1, children 2",
        "\"a\" continues -> 128..256",
        "... of 9001 bytes",
        "flags fixed-suffix fixed-value goes-on",
        "    filter: ",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

/// The block that the example of a compressed one is, alone in its table.
fn packed_example_entries() -> Vec<Entry> {
    vec![put("log:1", 3, "ok ".repeat(50)), delete("log:2", 4)]
}

#[test]
fn the_example_of_a_compressed_block_is_the_writers_block() {
    use super::super::page::{Place, check};
    let stored = hex(fenced("hex lz4"));
    let fixture = Fixture::new(settings(8 << 10), &packed_example_entries());
    let (kind, span) = fixture.pieces()[0];
    let source = |file| Source { file, place: Place { store_id: STORE, table: TABLE } };
    let file = fixture.disk.open(NAME).unwrap();
    let (plain, _) = load_image(source(&*file), span).unwrap();
    assert_eq!((kind, plain.len()), ("block", 256));
    let at = source(&*file).at(0, "data block");
    check(&stored, source(&*file).place, at).unwrap();
    let packed = match Packed::read(&stored, at) {
        Ok(packed) => packed,
        Err(error) => {
            assert!(!Compression::Lz4.is_built_in());
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = "000000000007.sst at offset 0: a block compressed with lz4, which this \
                        build cannot read: build esker with its feature `lz4`";
            assert!(error.to_string().contains(text), "{error}");
            return;
        }
    };
    let mut image = vec![0xee; packed.image_bytes()];
    packed.unpack(&mut image, at).unwrap();
    // The checksum is that of what is stored.
    assert_eq!(image[8..], plain[8..]);
    let written = Fixture::new(self::packed(8 << 10, Compression::Lz4), &packed_example_entries());
    let text = describe(&*written.disk.open(NAME).unwrap()).unwrap();
    assert!(text.contains("data block 0: 242 bytes as lz4 in 128 bytes, entries 2"), "{text}");
    assert!(text.contains("compression lz4, data 128 bytes, without it 256"), "{text}");
}
