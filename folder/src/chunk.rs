//! Content that does not live in a frame's text: chunk constants, and the blob constant that lists them.
//!
//! A chunk is `{ib: "chunk", data: {base64}}`. A blob is `{ib: "blob", data: {size, chunks}, rel8ns: {chunk}}`: the
//! relation names each chunk once, `chunks` is the content as indices into it. Both are constants: the same content
//! is the same address on every device, and a file's frames name one address however large the file is.

use crate::error::FolderError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastcdc::v2020::StreamCDC;
use ibgib::{Addr, IbGib, Map, Value, Verified, object};
use std::collections::HashMap;
use std::io::{self, Read};

/// Bytes of the largest chunk.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 * 1024;
const CHUNK_BYTES_MIN: usize = CHUNK_BYTES_MAX / 4;
const CHUNK_BYTES_AVG: usize = CHUNK_BYTES_MAX / 2;
/// Chunks of one blob: its list must fit into one ibgib. About 19 GB of content.
pub(crate) const CHUNKS_MAX: usize = 150_000;

/// A content as a list of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) addr: Addr,
    pub(crate) size: u64,
    pub(crate) chunks: Vec<Addr>,
}

/// Cuts what `reader` gives into chunk constants. The cuts depend on the content alone.
pub(crate) fn chunks(reader: impl Read) -> impl Iterator<Item = io::Result<(usize, Verified<IbGib>)>> {
    StreamCDC::new(reader, CHUNK_BYTES_MIN, CHUNK_BYTES_AVG, CHUNK_BYTES_MAX).map(|chunk| {
        let chunk = chunk.map_err(io::Error::from)?;
        Ok((chunk.length, chunk_node(&chunk.data)?))
    })
}

fn chunk_node(bytes: &[u8]) -> io::Result<Verified<IbGib>> {
    let data = object([("base64", STANDARD.encode(bytes).into())]);
    IbGib { ib: "chunk".into(), data: Some(data), ..IbGib::default() }.seal().map_err(io::Error::other)
}

/// The bytes of a chunk constant.
pub(crate) fn chunk_bytes(node: &Verified<IbGib>) -> Result<Vec<u8>, FolderError> {
    let text = node.datum("base64").and_then(Value::as_str);
    let bytes = text.and_then(|t| STANDARD.decode(t).ok());
    bytes.ok_or_else(|| FolderError::bad_content(node.addr(), "not a chunk"))
}

/// The constant that lists `chunks`, `size` bytes in all.
pub(crate) fn blob_node(size: u64, chunks: &[Addr]) -> Result<Verified<IbGib>, ibgib::VerifyError> {
    let mut index: HashMap<&Addr, u32> = HashMap::new();
    let mut distinct = Vec::new();
    let mut list = Vec::with_capacity(chunks.len());
    for addr in chunks {
        let next = index.len() as u32;
        let i = *index.entry(addr).or_insert_with(|| {
            distinct.push(Value::from(addr));
            next
        });
        list.push(Value::from(i));
    }
    // Sizes stay far below 2^53: CHUNKS_MAX chunks are less than 2^36 bytes.
    let data = object([("size", Value::integer(size)), ("chunks", list.into())]);
    let rel8ns = Map::from_iter([("chunk", Value::Array(distinct))]);
    IbGib { ib: "blob".into(), data: Some(data), rel8ns: Some(rel8ns.into()), ..IbGib::default() }.seal()
}

impl Blob {
    pub(crate) fn from_node(node: &Verified<IbGib>) -> Result<Self, FolderError> {
        let bad = || FolderError::bad_content(node.addr(), "not a blob");
        let distinct = node.rel8n_addrs("chunk");
        let size = node.datum("size").and_then(Value::as_u53).ok_or_else(bad)?;
        let list = node.datum("chunks").and_then(Value::as_array).ok_or_else(bad)?;
        let at = |i: &Value| distinct.get(usize::try_from(i.as_u53()?).ok()?).cloned();
        let chunks = list.iter().map(at).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
        Ok(Self { addr: node.addr().clone(), size, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeats_survive() {
        let chunk = |b: &[u8]| chunk_node(b).unwrap().addr().clone();
        let list = [chunk(b"b"), chunk(b"a"), chunk(b"b"), chunk(b"b"), chunk(b"c")];
        let node = blob_node(5, &list).unwrap();
        assert_eq!(node.rel8n("chunk").count(), 3);
        let blob = Blob::from_node(&node).unwrap();
        assert_eq!((blob.size, &blob.chunks[..]), (5, &list[..]));
    }

    #[test]
    fn cuts_are_bounded_and_local() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        };
        let mut bytes: Vec<u8> = (0..3_000_000).map(|_| random()).collect();
        let cut = |bytes: &[u8]| chunks(bytes).map(|c| c.unwrap()).collect::<Vec<_>>();
        let before = cut(&bytes);
        assert!(before.iter().all(|(size, _)| *size <= CHUNK_BYTES_MAX));
        let back: Vec<u8> = before.iter().flat_map(|(_, node)| chunk_bytes(node).unwrap()).collect();
        assert!(back == bytes);
        bytes.insert(1_500_000, 7);
        let after = cut(&bytes);
        let new = after.iter().filter(|c| !before.contains(c)).count();
        assert!(new <= 3, "{new} of {} chunks are new after one byte was inserted", after.len());
    }
}
