//! An open file of a source, wherever it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::remote::RemoteFile;

/// A file of this machine, or an object that is read by ranges.
#[derive(Debug)]
pub(super) enum FileHandle {
    Local(File),
    Remote(RemoteFile),
}

impl From<File> for FileHandle {
    fn from(file: File) -> FileHandle {
        FileHandle::Local(file)
    }
}

impl Read for &FileHandle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            FileHandle::Local(file) => {
                let mut file: &File = file;
                file.read(buffer)
            }
            FileHandle::Remote(file) => {
                let mut file: &RemoteFile = file;
                file.read(buffer)
            }
        }
    }
}

impl Seek for &FileHandle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            FileHandle::Local(file) => {
                let mut file: &File = file;
                file.seek(to)
            }
            FileHandle::Remote(file) => {
                let mut file: &RemoteFile = file;
                file.seek(to)
            }
        }
    }
}

impl Read for FileHandle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Seek for FileHandle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}
