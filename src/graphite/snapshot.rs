//! The snapshot file: the directories of the whisper tree as the last count found them.
//!
//! A flat file in the order of the walk, depth first, children sorted by name, of little-endian words of 8 bytes:
//!
//! ```text
//! header    magic and format version, wall clock of the count (ns), wall clock of the last full scan (ns), length of
//!           the settings; the settings that the records depend on
//! record    depth (12 bits), flags (4), length of the name (16), number of metrics (32); inode, modification time (ns),
//!           change time (ns); the device if it is not that of the whisper directory; the name
//! trailer   CRC-32 of all that precedes it (4 bytes)
//! ```
//!
//! The same tree gives the same records, whether an incremental count or a full scan wrote them. Git's index and
//! plocate's database are the models.

mod format;
mod join;
mod reader;
mod writer;

pub use format::{Record, Stamp, State, header, settings_key};
pub use join::Join;
pub use reader::{Damaged, Reader};
pub use writer::Writer;
