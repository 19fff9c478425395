//! A working folder as ibgib timelines.
//!
//! A [`Folder`] binds a directory to a timeline in an [`ibgib_spaces::Space`]. A **snapshot** takes what changed on
//! disk into the space, a **checkout** makes the files what the space says; syncing the space with others is what
//! carries a folder between machines, and their edits merge there. [`Folder::undo`] and [`Folder::restore`] write
//! old contents as new frames, [`Folder::conflicts`] and [`Folder::resolve`] settle what both sides changed, [`log`]
//! and [`Folder::diff`] look back. A [`Watch`] tells when there is something to take.
//!
//! How it is kept: every file has a timeline of its own, whose frames hold a text (a JSON document is one), the list of a
//! binary file's chunks, or what a symbolic link says. Which files there are stands in 256 more timelines, the shards, by a hash of the path, so
//! that devices that add different files seldom edit the same frame. The first frames of both follow from the folder
//! and the path alone: two devices that add the same file, without knowing of each other, edit one timeline.
//!
//! What it refuses to do:
//! * to lose work: a checkout overwrites only what a snapshot holds ([`FolderError::Unsaved`]), and a file that is
//!   saved at the very moment of the checkout stays;
//! * to touch anything outside the folder: symbolic links are never followed, those that lead outside not even made,
//!   and names that could lead out, or mean
//!   something else on another system, are refused one by one ([`PathProblem`]);
//! * to talk to anybody: it knows no network and no identity, takes time and entropy from its caller ([`Moments`]),
//!   prints nothing and reads no settings.
//!
//! What it does runs on a runtime of Tokio: the directory is walked on one of its threads for blocking work.
//!
//! ```
//! use ibgib::transform::Moment;
//! use ibgib_folder::{CheckoutOpts, Folder};
//! use ibgib_spaces::MemorySpace;
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (dir, space) = (tempfile::tempdir()?, Arc::new(MemorySpace::new("mine")));
//! // Time and entropy of each edit; a program takes them from the system.
//! let mut moments = || Moment { now_ms: 1_767_225_600_000, random: [7; 16] };
//! let folder = Folder::create(space, dir.path(), &mut moments).await?;
//!
//! let file = dir.path().join("todo.md");
//! std::fs::write(&file, "bread\n")?;
//! let report = folder.snapshot(&mut moments).await?;
//! assert_eq!(report.added[0].as_str(), "todo.md");
//!
//! std::fs::remove_file(&file)?;
//! folder.checkout(&CheckoutOpts::default()).await?;
//! assert_eq!(std::fs::read_to_string(&file)?, "bread\n");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod agreement;
mod ancestry;
mod checkout;
mod chunk;
mod conflict;
mod content;
mod deletions;
mod error;
mod folder;
mod frames;
mod history;
mod json;
mod keeping;
mod lineage;
mod links;
mod moved;
mod names;
mod origin;
mod path;
mod people;
mod record;
mod resolving;
mod rules;
mod scan;
mod snapshot;
mod times;
mod tree;
mod undo;
mod untrack;
mod untracking;
mod walk;
mod watch;
mod whole;
mod writer;

pub use agreement::{RuleChange, Widened};
pub use checkout::{CheckoutOpts, CheckoutReport};
pub use conflict::{Conflict, conflicts, conflicts_of};
pub use content::TEXT_BYTES_MAX;
pub use deletions::{DELETIONS_MIN, content_word, count_deleted, is_mass_delete};
pub use error::FolderError;
pub use folder::{Device, Entry, Folder, FolderOpts, Moments, Progress, Refused, Remembered, Skipped};
pub use history::{Diff, LogEntry, log};
pub use ibgib::conflict::Resolution;
pub use keeping::Keeping;
pub use lineage::LogFrame;
pub use names::Twin;
pub use origin::{ConflictOrigin, EditOrigin, conflict_origins};
pub use path::{COMPONENT_BYTES_MAX, EntryPath, PATH_BYTES_MAX, PathProblem};
pub use people::Names;
pub use resolving::ResolutionReport;
pub use scan::{Change, ChangeKind, StatusReport};
pub use snapshot::SnapshotReport;
pub use undo::{UndoKind, UndoPlan, UndoReport};
pub use watch::Watch;
pub use whole::{FileContent, WholeFile};
