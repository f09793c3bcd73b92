//! Frames from wherever they lie to the device, and back.

use deepfake_kernels::{Device, Download, Frame, FrameMut, Memory, Upload};

use crate::Result;

/// Brings frames to a device that do not lie there yet.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    upload: Option<Upload>,
}

impl Intake {
    /// `frame` on `device`. A frame in the host's memory has been read when this returns.
    pub fn take<'a>(&'a mut self, device: &Device, frame: &Frame<'a>) -> Result<Frame<'a>> {
        match (device, frame.memory()) {
            (Device::Cuda(cuda), Memory::Host) => {
                if self.upload.is_none() {
                    self.upload = Some(Upload::new(cuda)?);
                }
                Ok(self.upload.as_mut().expect("made above").take(frame)?)
            }
            // Lies there already, or cannot be used there, which the first operation says.
            _ => Ok(frame.clone()),
        }
    }
}

/// Brings frames from a device to wherever they are wanted.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    download: Option<Download>,
}

impl Outlet {
    /// Has `work` write a frame on `device`, waits until it is written and sees to it that it stands in `output`.
    pub fn give<T>(
        &mut self,
        device: &Device,
        output: &mut FrameMut<'_>,
        work: impl FnOnce(&mut FrameMut<'_>) -> Result<T>,
    ) -> Result<T> {
        let result = match (device, output.memory()) {
            (Device::Cuda(cuda), Memory::Host) => {
                if self.download.is_none() {
                    self.download = Some(Download::new(cuda)?);
                }
                let download = self.download.as_mut().expect("made above");
                download.target(output).map_err(Into::into).and_then(|mut there| work(&mut there)).and_then(
                    |result| {
                        download.give(output)?;
                        Ok(result)
                    },
                )
            }
            _ => work(output).and_then(|result| {
                device.synchronize()?;
                Ok(result)
            }),
        };
        if result.is_err() {
            // Nothing may still be read or written when the caller takes the frames back.
            let _ = device.synchronize();
        }
        result
    }
}
