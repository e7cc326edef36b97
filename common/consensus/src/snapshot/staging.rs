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

#[cfg(test)]
mod tests {
    use super::super::piece::{Header, outgoing};
    use super::*;
    use crate::raft::types::{LogId, SnapshotMeta, Vote};
    use futures_util::StreamExt;

    const GROUP: GroupId = GroupId(5);

    struct Chunks(std::vec::IntoIter<Bytes>);

    impl SnapshotReader for Chunks {
        fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageFault> {
            Ok(self.0.next())
        }
    }

    async fn pieces(chunks: Vec<Bytes>) -> Vec<Bytes> {
        let header = Header {
            group: GROUP,
            vote: Vote::new_committed(3, 1),
            meta: SnapshotMeta {
                last_log_id: Some(LogId::new_term_index(2, 77)),
                ..SnapshotMeta::default()
            },
        };
        let reader = Box::new(Chunks(chunks.into_iter()));
        outgoing(&header, reader).map(Result::unwrap).collect().await
    }

    fn receive(staging: &Staging, pieces: &[Bytes]) -> io::Result<Staged> {
        let mut incoming = staging.receive()?;
        for piece in pieces {
            incoming.push(piece.clone())?;
        }
        incoming.finish()
    }

    fn content(reader: &mut dyn SnapshotReader) -> Result<Vec<Bytes>, StorageFault> {
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    #[tokio::test]
    async fn what_was_sent_is_found_again_after_a_crash_until_it_is_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path(), GROUP);
        let chunks = [
            Bytes::from_static(b"one"),
            Bytes::new(),
            Bytes::from(vec![7; 100_000]),
        ];
        let staged = receive(&staging, &pieces(chunks.to_vec()).await).unwrap();
        assert!(
            staging.interrupted().unwrap().is_none(),
            "it is not being installed yet"
        );
        staged.adopt().unwrap();
        let (staged, mark) = staging.interrupted().unwrap().unwrap();
        assert_eq!(mark.index().0, 77);
        assert_eq!(content(&mut staged.open().unwrap()).unwrap(), chunks);
        staged.discard().unwrap();
        assert!(staging.interrupted().unwrap().is_none());
        staging.clear().unwrap();
        staging.clear().unwrap();
    }

    #[tokio::test]
    async fn what_is_not_whole_is_not_staged() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path(), GROUP);
        let whole = pieces(vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]).await;
        assert!(receive(&staging, &whole).is_ok());
        for missing in 1..whole.len() {
            let mut pieces = whole.clone();
            pieces.remove(missing);
            assert!(receive(&staging, &pieces).is_err(), "without piece {missing}");
        }
        for damaged in 0..whole.len() {
            let mut pieces = whole.clone();
            let mut piece = pieces[damaged].to_vec();
            *piece.last_mut().unwrap() ^= 1;
            pieces[damaged] = piece.into();
            assert!(
                receive(&staging, &pieces).is_err(),
                "with piece {damaged} damaged"
            );
        }
        let mut longer = whole.clone();
        longer.push(whole[1].clone());
        assert!(receive(&staging, &longer).is_err());
    }

    #[tokio::test]
    async fn a_staged_file_that_was_damaged_is_not_installed() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(folder.path(), GROUP);
        let staged = receive(&staging, &pieces(vec![Bytes::from(vec![7; 1000])]).await).unwrap();
        staged.adopt().unwrap();
        let path = staged.path();
        let whole = fs::read(&path).unwrap();
        for at in [whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(staging.interrupted().is_err());
            fs::write(&path, &whole[..at]).unwrap();
            assert!(staging.interrupted().is_err());
        }
    }
}
