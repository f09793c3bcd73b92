//! A file of JSON Lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;

/// The file. Every line reaches the system whole and at once, so that a reader may follow along and a crash costs
/// nothing that was reported.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(File),
    Closed,
    /// Writing failed once; the rest would have holes.
    Failed,
}

impl Report {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let state = State::Open(File::create(&path)?);
        Ok(Self { path, state })
    }

    /// [`create`](Self::create) for an element's start.
    ///
    /// # Errors
    /// A message for the bus.
    pub fn create_for_element(path: PathBuf) -> Result<Self, gst::ErrorMessage> {
        Self::create(path.clone()).map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::OpenWrite,
                ("The report {} cannot be written: {}", path.display(), error),
                ["{:?}", error]
            )
        })
    }

    /// A failure of [`write`](Self::write) or [`close`](Self::close), in words for the user.
    pub fn failure(&self, error: &io::Error) -> String {
        format!("The report {} ends here, writing it failed: {error}", self.path.display())
    }

    /// Appends `record` as one line, to a file closed before as well. After a failure nothing more is written.
    ///
    /// # Errors
    /// The system's, once.
    pub fn write(&mut self, record: &impl Serialize) -> io::Result<()> {
        let result = self.try_write(record);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn try_write(&mut self, record: &impl Serialize) -> io::Result<()> {
        if matches!(self.state, State::Closed) {
            self.state = State::Open(OpenOptions::new().append(true).create(true).open(&self.path)?);
        }
        let State::Open(file) = &mut self.state else { return Ok(()) };
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Closes the file.
    ///
    /// # Errors
    /// The system's, where it only now finds that what was written cannot be kept.
    pub fn close(&mut self) -> io::Result<()> {
        // What failed stays so: lines after a hole would look like a whole report.
        let State::Open(file) = &self.state else { return Ok(()) };
        let result = match file.sync_data() {
            // Pipes and terminals cannot be synchronised, which is no loss.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        };
        self.state = if result.is_ok() { State::Closed } else { State::Failed };
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_each_other_across_a_close() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.jsonl");
        std::fs::write(&path, "what was there before").unwrap();
        let mut report = Report::create(path.clone()).unwrap();
        report.write(&1).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n", "a line is not held back");
        report.close().unwrap();
        report.write(&[2]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n[2]\n");
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let mut report = Report::create("/dev/full".into()).unwrap();
        assert!(report.write(&1).is_err());
        assert!(report.write(&2).is_ok());
        assert!(report.close().is_ok());
    }

    #[test]
    fn nothing_follows_a_hole_not_even_after_a_close() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.jsonl");
        let mut report = Report::create("/dev/full".into()).unwrap();
        assert!(report.write(&1).is_err());
        // The disk has room again.
        report.path = path.clone();
        report.close().unwrap();
        report.write(&2).unwrap();
        assert!(!path.exists(), "{:?}", std::fs::read_to_string(&path));
    }
}
