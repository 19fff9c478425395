//! Why a block is not taken.

/// What is wrong with a block that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It ends in the middle of a number, a text or a hash.
    #[error("a block ends too early")]
    Short,
    /// It holds no text.
    #[error("a block holds no text")]
    Empty,
    /// It tells a way of packing that nobody knows.
    #[error("a block is packed in an unknown way, {0}")]
    Method(u8),
    /// What is packed in it cannot be read, or has another length than it tells.
    #[error("what a block holds cannot be unpacked to the length that it tells")]
    Packed,
    /// A mark stands for a hash that was not told.
    #[error("a block refers to a hash that was not told")]
    Hash,
    /// It tells hashes that none of its texts has.
    #[error("a block tells hashes that none of its texts has")]
    Idle,
    /// With its hashes a text is longer than any may be.
    #[error("a text of a block is longer than any may be")]
    Long,
    /// A text is not UTF-8.
    #[error("a text of a block is not UTF-8")]
    Utf8,
}
