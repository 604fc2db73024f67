//! Content that was signed, wherever it is: read in pieces, so that its size is no matter.

use std::{
    fs::File,
    io::{self, Read, Seek},
};

use azure_core::http::Etag;

use crate::{
    remote::{self, Blob, Remote},
    settings::Error,
};

/// Bytes of a file that are in memory at any time.
const PIECE: usize = 1024 * 1024;

/// Content that has been opened and not been read yet.
pub struct Content {
    name: String,
    origin: Origin,
}

enum Origin {
    /// A file, a pipe or standard input; the length where it is known beforehand.
    Stream(Box<dyn Read + Send>, Option<u64>),
    Blob(Box<Blob>),
    Whole(Vec<u8>),
}

impl Content {
    /// Opens a file, a URL, or `-` for standard input.
    pub async fn open(location: &str, remote: &Remote) -> Result<Self, Error> {
        let origin = if remote::is_url(location) {
            let url = remote::https(location)?;
            if remote::is_blob_storage(&url) {
                Origin::Blob(Box::new(Blob::open(remote, url).await?))
            } else {
                Origin::Whole(remote.read_web_content(&url).await?)
            }
        } else if location == "-" {
            Origin::Stream(Box::new(io::stdin()), None)
        } else {
            let file = File::open(location).map_err(|error| unreadable(location, &error))?;
            let metadata = file.metadata().map_err(|error| unreadable(location, &error))?;
            Origin::Stream(Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let name = if location == "-" { "standard input" } else { location };
        Ok(Self { name: name.to_owned(), origin })
    }

    /// Its bytes, where that is known before it is read.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.origin {
            Origin::Stream(_, length) => *length,
            Origin::Blob(blob) => Some(blob.length),
            Origin::Whole(bytes) => Some(bytes.len() as u64),
        }
    }

    /// Which state of a blob it is.
    #[must_use]
    pub fn etag(&self) -> Option<&Etag> {
        match &self.origin {
            Origin::Blob(blob) => blob.etag.as_ref(),
            _ => None,
        }
    }

    /// The same content with a known length: what comes from a pipe goes to a file first, which is gone afterwards.
    pub fn with_length(self) -> Result<Self, Error> {
        let Origin::Stream(mut stream, None) = self.origin else { return Ok(self) };
        let mut spool = || {
            let mut file = tempfile::tempfile()?;
            let length = io::copy(&mut stream, &mut file)?;
            file.rewind()?;
            io::Result::Ok((file, length))
        };
        let (file, length) = spool().map_err(|error| unreadable(&self.name, &error))?;
        Ok(Self { name: self.name, origin: Origin::Stream(Box::new(file), Some(length)) })
    }

    /// Reads all of it, in its order.
    pub async fn read(self, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        match self.origin {
            Origin::Blob(blob) => blob.read(take).await,
            Origin::Whole(bytes) => {
                take(&bytes);
                Ok(())
            }
            Origin::Stream(mut stream, _) => {
                let mut piece = vec![0; PIECE];
                loop {
                    match stream.read(&mut piece) {
                        Ok(0) => return Ok(()),
                        Ok(length) => take(&piece[..length]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(unreadable(&self.name, &error)),
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("name", &self.name).field("length", &self.length()).finish_non_exhaustive()
    }
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    format!("{name} cannot be read: {error}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(content: Content) -> (usize, Vec<u8>) {
        let (mut largest, mut whole) = (0, Vec::new());
        let outcome = content.read(|piece| {
            largest = largest.max(piece.len());
            whole.extend_from_slice(piece);
        });
        outcome.await.unwrap();
        (largest, whole)
    }

    #[tokio::test]
    async fn files_come_in_pieces_and_pipes_get_a_length() {
        let bytes: Vec<u8> = (0..3 * PIECE + 5).map(|number| number.to_le_bytes()[0]).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("content");
        std::fs::write(&path, &bytes).unwrap();
        let content = Content::open(path.to_str().unwrap(), &Remote::new().unwrap()).await.unwrap();
        assert_eq!(content.length(), Some(bytes.len() as u64));
        let (largest, whole) = read(content).await;
        assert!(largest <= PIECE && whole == bytes, "{largest}");

        let pipe = || {
            let stream = Box::new(io::Cursor::new(bytes.clone()));
            Content { name: "standard input".to_owned(), origin: Origin::Stream(stream, None) }
        };
        assert_eq!(pipe().length(), None);
        let spooled = pipe().with_length().unwrap();
        assert_eq!(spooled.length(), Some(bytes.len() as u64));
        assert!(read(spooled).await.1 == bytes && read(pipe()).await.1 == bytes);
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        for location in ["missing-file", "http://example.com/x"] {
            let error = Content::open(location, &Remote::new().unwrap()).await.unwrap_err();
            assert!(error.to_string().contains(location), "{error}");
        }
    }
}
