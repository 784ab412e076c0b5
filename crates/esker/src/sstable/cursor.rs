//! `TableCursor`.
use crate::base::cursor::Cursor;
use crate::base::error::Result;
use crate::base::key::{SeqNo, Tag};

/// Walks a table.
#[derive(Debug)]
pub struct TableCursor;

impl Cursor for TableCursor {
    fn valid(&self) -> bool {
        unimplemented!()
    }
    fn seek_first(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn seek_last(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn seek(&mut self, _key: &[u8], _seq: SeqNo) -> Result<()> {
        unimplemented!()
    }
    fn seek_before(&mut self, _key: &[u8]) -> Result<()> {
        unimplemented!()
    }
    fn next(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn prev(&mut self) -> Result<()> {
        unimplemented!()
    }
    fn key(&self) -> &[u8] {
        unimplemented!()
    }
    fn tag(&self) -> Tag {
        unimplemented!()
    }
    fn value(&self) -> &[u8] {
        unimplemented!()
    }
}
