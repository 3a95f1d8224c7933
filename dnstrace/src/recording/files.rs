//! The files of a recording: one, or one after another.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// When a file is followed by the next one, and how many are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// At this size in bytes.
    pub bytes: Option<u64>,
    /// After this time.
    pub time: Option<Duration>,
}

/// The file under work, and those before it.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    /// Whether there may be several: they are numbered.
    are_many: bool,
    keep: Option<u32>,
    /// Of the file under work, from 1.
    number: u32,
    file: File,
    /// Bytes written to it.
    written: u64,
}

impl Files {
    /// Opens the first file. What it held is gone.
    ///
    /// # Errors
    /// If it cannot be opened, or is no regular file.
    pub fn create(path: &Path, are_many: bool, keep: Option<u32>) -> io::Result<Self> {
        let file = open(&name(path, are_many, 1))?;
        Ok(Self { path: path.to_owned(), are_many, keep, number: 1, file, written: 0 })
    }

    /// The path of the file under work.
    pub fn name(&self) -> PathBuf {
        name(&self.path, self.are_many, self.number)
    }

    /// Of the file under work, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes written to the file under work.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes whole blocks. Of those that could not be written to their end nothing remains in the file.
    ///
    /// # Errors
    /// If not all could be written.
    pub fn write(&mut self, blocks: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(blocks) {
            // Should that fail as well: a reader knows a block that is not whole.
            _ = self.file.set_len(self.written);
            return Err(error);
        }
        self.written += blocks.len() as u64;
        Ok(())
    }

    /// Goes on in the next file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn next(&mut self) -> io::Result<()> {
        self.file = open(&name(&self.path, self.are_many, self.number + 1))?;
        self.number += 1;
        self.written = 0;
        Ok(())
    }

    /// Removes the file that is no longer to be kept: one of this recording, no other.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn remove_oldest(&self) -> io::Result<()> {
        if let Some(old) = self.keep.and_then(|keep| self.number.checked_sub(keep)).filter(|old| *old > 0) {
            match fs::remove_file(name(&self.path, self.are_many, old)) {
                // Somebody has taken it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

/// Opens an empty file; one that is there is emptied, as tcpdump does it. But root follows nobody's symbolic link, and
/// writes neither into devices nor pipes.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(io::Error::other("it is a symbolic link: give the file that it leads to"));
        }
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    file.set_len(0)?;
    Ok(file)
}

/// `trace.pcapng`, or `trace-00001.pcapng`.
fn name(path: &Path, are_many: bool, number: u32) -> PathBuf {
    if !are_many {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:05}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
