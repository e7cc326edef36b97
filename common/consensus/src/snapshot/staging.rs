//! Where received snapshots lie. A file is complete, checked and synced before it is installed; from then on it has a name
//! that says so, until the state machine is durable. A start that finds that name installs it again.
//!
//! ```text
//! <folder>/<group>/incoming      pieces as they came, each with its length u32 LE in front
//! <folder>/<group>/installing    the same
//! ```

use super::piece::{self, Piece};
use crate::{GroupId, Mark, SnapshotReader, StorageFault};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The place of one group's snapshots.
#[derive(Clone)]
pub(crate) struct Staging {
    folder: PathBuf,
}

/// A snapshot that is being received.
pub(crate) struct Incoming {
    file: BufWriter<File>,
    folder: PathBuf,
    chunks: u64,
    complete: bool,
}

/// A snapshot that was received whole.
pub(crate) struct Staged {
    folder: PathBuf,
}

impl Staging {
    pub(crate) fn new(folder: &Path, group: GroupId) -> Self {
        Self {
            folder: folder.join(group.0.to_string()),
        }
    }

    /// Begins to receive a snapshot, in place of one that was not finished. Blocks, as everything here.
    pub(crate) fn receive(&self) -> io::Result<Incoming> {
        fs::create_dir_all(&self.folder)?;
        Ok(Incoming {
            file: BufWriter::new(File::create(self.folder.join("incoming"))?),
            folder: self.folder.clone(),
            chunks: 0,
            complete: false,
        })
    }

    /// The snapshot whose installation was interrupted, and its position.
    pub(crate) fn interrupted(&self) -> io::Result<Option<(Staged, Mark)>> {
        let staged = Staged {
            folder: self.folder.clone(),
        };
        if !staged.path().exists() {
            return Ok(None);
        }
        let mut pieces = staged.pieces()?;
        let header = piece::read_header(pieces.next()?.ok_or_else(too_short)?).map_err(io::Error::other)?;
        let mut chunks = staged.open()?;
        while chunks.next_chunk()?.is_some() {}
        Ok(Some((staged, Mark::from_meta(header.meta))))
    }

    /// Deletes whatever is there.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Incoming {
    /// Takes the next piece. It is an error if it is damaged, or not what may come now.
    pub(crate) fn push(&mut self, bytes: Bytes) -> io::Result<()> {
        match piece::open(bytes.clone()).map_err(io::Error::other)? {
            _ if self.complete => return Err(io::Error::other("a snapshot goes on behind its end")),
            Piece::Chunk(_) => self.chunks += 1,
            Piece::End(chunks) if chunks == self.chunks => self.complete = true,
            Piece::End(_) => return Err(too_short()),
            Piece::Header(_) => {}
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&bytes)
    }

    /// Syncs the file, if it is complete.
    pub(crate) fn finish(self) -> io::Result<Staged> {
        if !self.complete {
            return Err(too_short());
        }
        self.file.into_inner().map_err(io::Error::other)?.sync_all()?;
        Ok(Staged { folder: self.folder })
    }
}

impl Staged {
    /// Gives the file the name under which a start finds it.
    pub(crate) fn adopt(&self) -> io::Result<()> {
        fs::rename(self.folder.join("incoming"), self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Its chunks, each checked.
    pub(crate) fn open(&self) -> io::Result<impl SnapshotReader + use<>> {
        self.pieces()
    }

    /// Deletes the file: its content is durable elsewhere.
    pub(crate) fn discard(self) -> io::Result<()> {
        fs::remove_file(self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    fn pieces(&self) -> io::Result<Pieces> {
        Ok(Pieces {
            file: BufReader::with_capacity(1024 * 1024, File::open(self.path())?),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("installing")
    }
}

/// Reads a file of pieces.
struct Pieces {
    file: BufReader<File>,
}

impl Pieces {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.file.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        }
        let mut piece = Vec::new();
        let length = u64::from(u32::from_le_bytes(length));
        self.file.by_ref().take(length).read_to_end(&mut piece)?;
        Ok(Some(piece.into()))
    }
}

impl SnapshotReader for Pieces {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageFault> {
        loop {
            let piece = self.next().map_err(StorageFault::new)?;
            match piece::open(piece.ok_or_else(|| StorageFault::new(too_short()))?) {
                Ok(Piece::Header(_)) => {}
                Ok(Piece::Chunk(chunk)) => return Ok(Some(chunk)),
                Ok(Piece::End(_)) => return Ok(None),
                Err(error) => return Err(StorageFault::new(error)),
            }
        }
    }
}

fn too_short() -> io::Error {
    io::Error::other("a snapshot is not complete")
}
