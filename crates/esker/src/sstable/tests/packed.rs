//! Tables with compressed blocks: equal to those without, and bounded whatever they declare.

use super::super::packed::load_image;
use super::super::page::{Place, seal};
use super::*;
use crate::base::error::Error;

/// Entries whose values compress to about half, and some that do not compress.
fn mixed_entries(n: u64) -> Vec<Entry> {
    let value = |i: u64| {
        let noise = (0..60_u64).map(|at| key_hash(&(i * 64 + at).to_le_bytes()) as u8);
        match i / 200 % 3 {
            2 => noise.chain((60..100).map(|at| key_hash(&(at * i).to_le_bytes()) as u8)).collect(),
            _ => noise.chain([b'-'; 40]).collect::<Vec<u8>>(),
        }
    };
    (0..n).map(|i| put(format!("key{:013}", i * 3), 1 + i % 1000, value(i))).collect()
}

#[test]
fn a_compressed_table_reads_as_one_that_is_not() {
    let entries = mixed_entries(3000);
    for compression in compressions().skip(1) {
        let fixture = Fixture::new(packed(4 << 10, compression), &entries);
        let blocks = fixture.summary.data_blocks as usize;
        let packed_blocks = fixture.packed_blocks();
        assert!(
            packed_blocks > blocks / 2 && packed_blocks < blocks,
            "{packed_blocks} of {blocks}"
        );
        assert!(fixture.summary.bytes < fixture.summary.uncompressed_bytes * 9 / 10);
        // All in the pool, some of it, nothing.
        for pool_bytes in [4 << 20, 64 << 10, 0] {
            let table = fixture.open_with(&FramePool::for_tests(pool_bytes)).unwrap();
            table.verify().unwrap();
            for _ in 0..2 {
                assert_eq!(scan(&mut table.cursor()).unwrap(), entries);
                assert_eq!(scan(&mut table.cursor_once()).unwrap(), entries);
            }
            let mut cursor = table.cursor();
            cursor.seek_last().unwrap();
            for (key, tag, value) in entries.iter().rev() {
                assert_eq!(
                    (cursor.key(), cursor.tag(), cursor.value()),
                    (&key[..], *tag, &value[..])
                );
                cursor.prev().unwrap();
            }
            for (key, tag, value) in entries.iter().step_by(17) {
                let found = get(&table, key, SeqNo::MAX.get()).unwrap().expect("it was put");
                assert_eq!((found.0, &*found.1), (*tag, &value[..]));
            }
        }
    }
}

#[test]
fn an_unpacked_block_is_the_one_that_is_stored_without_compression() {
    let entries = mixed_entries(500);
    let plain = Fixture::new(settings(1 << 10), &entries);
    let images = |fixture: &Fixture| -> Vec<Vec<u8>> {
        let table = fixture.table();
        let pieces = fixture.pieces().into_iter().filter(|(kind, _)| *kind == "block");
        pieces.map(|(_, span)| load_image(table.source(), span).unwrap().0[8..].to_vec()).collect()
    };
    for compression in compressions() {
        let fixture = Fixture::new(packed(1 << 10, compression), &entries);
        assert!(images(&fixture) == images(&plain), "{compression:?}");
        assert_eq!(fixture.summary.uncompressed_bytes, plain.summary.bytes);
        assert_eq!(fixture.table().properties.settings.compression, compression);
    }
}

#[test]
fn a_block_that_would_save_less_than_an_eighth_of_its_lines_is_stored_as_it_is() {
    for compression in compressions().skip(1) {
        let mut kept = [0, 0];
        for same in (0..2000).step_by(50) {
            let noise = (0..3000_u64 - same).map(|n| key_hash(&n.to_le_bytes()) as u8);
            let value: Vec<u8> = noise.chain((0..same).map(|_| 0)).collect();
            let fixture = Fixture::new(packed(4 << 10, compression), &[put("key", 1, value)]);
            let data_bytes = fixture.table().footer.data.bytes;
            let saved = fixture.summary.uncompressed_bytes - fixture.summary.bytes;
            let image_bytes = data_bytes + saved;
            assert!(saved == 0 || saved * 8 >= image_bytes - 7, "{saved} of {image_bytes}");
            assert_eq!(fixture.packed_blocks(), usize::from(saved > 0));
            kept[usize::from(saved > 0)] += 1;
        }
        assert!(kept[0] > 3 && kept[1] > 3, "{kept:?}");
    }
}

#[test]
fn a_value_that_is_shared_keeps_the_unpacked_block() {
    for compression in compressions() {
        let entries = [put("long", 1, vec![1; 4000]), put("short", 1, vec![2; 1024])];
        let table = Fixture::new(packed(8 << 10, compression), &entries).table();
        let again = || get(&table, b"long", 1).unwrap().unwrap().1;
        let value = again();
        assert_eq!(value.as_ptr(), again().as_ptr());
        assert_eq!(&*value, &[1; 4000]);
    }
}

#[test]
fn what_a_header_declares_is_bounded_before_memory_is_asked_for() {
    for compression in compressions().skip(1) {
        let entries = [put("key", 1, vec![0; 7000])];
        let fixture = Fixture::new(packed(8 << 10, compression), &entries);
        assert_eq!(fixture.packed_blocks(), 1);
        let (_, span) = fixture.pieces()[0];
        let stored = fixture.disk.bytes(NAME).unwrap()[..span.bytes as usize].to_vec();
        let image_bytes = u32::from_le_bytes(stored[8..12].try_into().unwrap());
        let stored_bytes = u32::from_le_bytes(stored[12..16].try_into().unwrap());
        let error_with = |at: usize, number: u32| -> Error {
            let mut block = stored.clone();
            block[at..at + 4].copy_from_slice(&number.to_le_bytes());
            seal(&mut block, Place { store_id: STORE, table: TABLE }, 0);
            fixture.disk.overwrite(NAME, 0, &block);
            let error = get(&fixture.table(), b"key", 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption, "{at} {number}: {error}");
            assert!(fixture.table().verify().is_err());
            error
        };
        for number in [0, 39, stored_bytes, u32::MAX, (65 << 20) + 65_536] {
            let error = error_with(8, number);
            assert!(error.to_string().contains("data block length"), "{number}: {error}");
        }
        for number in [image_bytes - 1, image_bytes + 1, 64 << 20] {
            let error = error_with(8, number);
            assert!(error.to_string().contains("compressed part"), "{number}: {error}");
        }
        for number in [0, 39, span.bytes as u32 + 1, u32::MAX] {
            let error = error_with(12, number);
            assert!(error.to_string().contains("stored length"), "{number}: {error}");
        }
        error_with(12, stored_bytes - 1);
    }
}
