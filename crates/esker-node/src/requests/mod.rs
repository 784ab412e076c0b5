//! The requests: one function each, found by their type.
//!
//! A function reads its fields, asks the store and writes the reply's own fields. It checks every
//! field before it changes anything, so a malformed request has changed nothing.

mod lin_kv;
mod lsm;
mod memtable;
mod sstable;

use crate::benchmark::lsm_benchmark;
use crate::envelope::Body;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::stop::Stop;
use crate::store::Store;

/// What a request may use.
pub(crate) struct Call<'c, 'line> {
    pub(crate) store: &'c mut Store,
    pub(crate) body: &'c Body<'line>,
    pub(crate) stop: &'c Stop,
}

/// A request's work.
pub(crate) type Handler = fn(&mut Call<'_, '_>, &mut Reply<'_>) -> Result<(), Refusal>;

/// A type of request.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    /// Whether it is answered only by a node that is alone.
    pub(crate) is_lin_kv: bool,
    pub(crate) handler: Handler,
}

/// What the session must know about a request before it hands it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing has to be synced before its reply.
    Read,
    /// A write that may share its sync with the writes beside it.
    Write,
    /// A write that depends on what it reads, with a sync of its own.
    CompareAndSet,
}

/// The type of that name; all but `init`, which the session answers itself.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

const KINDS: &[Kind] = {
    use Class::{CompareAndSet, Read, Write};
    const fn kind(name: &'static str, class: Class, handler: Handler) -> Kind {
        Kind { name, class, is_lin_kv: false, handler }
    }
    const fn lin_kv(name: &'static str, class: Class, handler: Handler) -> Kind {
        Kind { is_lin_kv: true, ..kind(name, class, handler) }
    }
    &[
        kind("lsm_put", Write, lsm::put),
        kind("lsm_get", Read, lsm::get),
        kind("lsm_delete", Write, lsm::delete),
        kind("lsm_scan", Read, lsm::scan),
        kind("lsm_batch", Write, lsm::batch),
        kind("lsm_read", Read, lsm::read),
        kind("lsm_flush", Read, sstable::lsm_flush),
        kind("lsm_compact", Read, lsm::compact),
        kind("lsm_compact_status", Read, lsm::compact_status),
        kind("lsm_level_info", Read, lsm::level_info),
        kind("lsm_stats", Read, lsm::stats),
        kind("lsm_benchmark", Read, lsm_benchmark),
        kind("memtable_put", Write, memtable::put),
        kind("memtable_get", Read, memtable::get),
        kind("memtable_scan", Read, memtable::scan),
        kind("sstable_flush", Read, sstable::flush),
        kind("sstable_lookup", Read, sstable::lookup),
        lin_kv("read", Read, lin_kv::read),
        lin_kv("write", Write, lin_kv::write),
        lin_kv("cas", CompareAndSet, lin_kv::cas),
    ]
};
