//! Where pixels and tensors live and kernels run.

use half::f16;

use crate::{
    cuda::{CudaDevice, DeviceError, Graph},
    tensor::{Element, Storage, Tensor},
};

/// Where pixels and tensors live and kernels run, and in which order. Every operation of this crate is a method, which
/// has one meaning on all devices: the CPU's is the reference.
///
/// On the CPU an operation is done when its method returns. On a GPU it has been enqueued on one stream, in order; only
/// [`download`](Self::download), [`synchronize`](Self::synchronize) and [`Download`](crate::Download) wait.
#[derive(Clone, Debug, Default)]
pub enum Device {
    /// The processor, and the threads of the current rayon pool.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda(CudaDevice),
}

impl Device {
    /// The GPU, if it is one.
    pub fn cuda(&self) -> Option<&CudaDevice> {
        match self {
            Self::Cpu => None,
            Self::Cuda(cuda) => Some(cuda),
        }
    }

    /// On a GPU another stream of it, whose work runs beside this one's; the CPU itself.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn fork(&self) -> Result<Self, DeviceError> {
        match self {
            Self::Cpu => Ok(Self::Cpu),
            Self::Cuda(cuda) => Ok(Self::Cuda(cuda.fork()?)),
        }
    }

    /// Has what this device is given from now on come after what `other`, a [`fork`](Self::fork), was given so far.
    ///
    /// # Errors
    /// [`DeviceError::Call`] if the driver refuses.
    pub fn wait_for(&self, other: &Self) -> Result<(), DeviceError> {
        match (self, other) {
            (Self::Cuda(this), Self::Cuda(other)) => this.wait_for(other),
            _ => Ok(()),
        }
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// [`DeviceError`] if any of it failed.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        self.cuda().map_or(Ok(()), CudaDevice::synchronize)
    }

    /// Gives `tensor` a shape and memory on this device, keeping what it has where that is large enough. Values are
    /// unspecified afterwards.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub fn prepare(&self, tensor: &mut Tensor, shape: &[usize]) -> Result<(), DeviceError> {
        self.prepare_as(tensor, shape, Element::F32)
    }

    /// Like [`prepare`](Self::prepare), for values stored as `element`.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub fn prepare_as(
        &self,
        tensor: &mut Tensor,
        shape: &[usize],
        element: Element,
    ) -> Result<(), DeviceError> {
        let count: usize = shape.iter().product();
        let bytes = count * element.bytes();
        match (self, tensor.storage_mut()) {
            (Self::Cpu, Storage::Host(data)) if element == Element::F32 => data.resize(count, 0.0),
            (Self::Cpu, Storage::HostHalf(data)) if element == Element::F16 => data.resize(count, f16::ZERO),
            (Self::Cpu, storage) => {
                *storage = match element {
                    Element::F32 => Storage::Host(vec![0.0; count]),
                    Element::F16 => Storage::HostHalf(vec![f16::ZERO; count]),
                };
            }
            (Self::Cuda(cuda), Storage::Cuda(memory, same))
                if memory.is_of(cuda) && memory.bytes() >= bytes =>
            {
                *same = element;
            }
            (Self::Cuda(cuda), storage) => {
                // First what is there, so that both never need room at once.
                *storage = Storage::default();
                *storage = Storage::Cuda(cuda.allocate(bytes)?, element);
            }
        }
        tensor.set_shape(shape);
        Ok(())
    }

    /// A tensor of unspecified values.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`].
    pub fn tensor(&self, shape: &[usize]) -> Result<Tensor, DeviceError> {
        let mut tensor = Tensor::default();
        self.prepare(&mut tensor, shape)?;
        Ok(tensor)
    }

    /// Copies `from`, in the host's memory, to `to` on this device.
    ///
    /// # Errors
    /// [`DeviceError`] if there is no memory, or if `from` lies on a GPU.
    pub fn upload(&self, from: &Tensor, to: &mut Tensor) -> Result<(), DeviceError> {
        let bytes = match from.storage() {
            Storage::Host(data) => as_bytes(data),
            Storage::HostHalf(data) => as_bytes(data),
            Storage::Cuda(..) => return Err(wrong_tensor("CUDA", "system")),
        };
        self.prepare_as(to, from.shape(), from.element())?;
        match (self, to.storage_mut()) {
            (Self::Cuda(cuda), Storage::Cuda(memory, _)) => cuda.write(memory, bytes),
            (_, Storage::Host(data)) => {
                data.copy_from_slice(from.data());
                Ok(())
            }
            (_, Storage::HostHalf(data)) => {
                data.copy_from_slice(from.half_data());
                Ok(())
            }
            (Self::Cpu, Storage::Cuda(..)) => unreachable!("prepared on this device"),
        }
    }

    /// Waits for the work so far and copies each `from`, on this device, to its `to` in the host's memory.
    ///
    /// # Errors
    /// [`DeviceError`] if any of the work failed or a tensor lies elsewhere.
    pub fn download<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a Tensor, &'a mut Tensor)>,
    ) -> Result<(), DeviceError> {
        for (from, to) in pairs {
            Self::Cpu.prepare_as(to, from.shape(), from.element())?;
            match (self, from.storage(), to.storage_mut()) {
                (Self::Cuda(cuda), Storage::Cuda(memory, _), Storage::Host(data)) => {
                    cuda.read(memory, as_bytes_mut(data))?;
                }
                (Self::Cuda(cuda), Storage::Cuda(memory, _), Storage::HostHalf(data)) => {
                    cuda.read(memory, as_bytes_mut(data))?;
                }
                (Self::Cpu, Storage::Host(from), Storage::Host(to)) => to.copy_from_slice(from),
                (Self::Cpu, Storage::HostHalf(from), Storage::HostHalf(to)) => to.copy_from_slice(from),
                (Self::Cpu, Storage::Cuda(..), _) => return Err(wrong_tensor("CUDA", "system")),
                (Self::Cuda(_), ..) => return Err(wrong_tensor("system", "CUDA")),
                _ => unreachable!("prepared as the same element above"),
            }
        }
        self.synchronize()
    }

    /// Copies the values of `from` to `to`, both on this device.
    ///
    /// # Errors
    /// [`DeviceError`] if there is no memory, or if `from` lies elsewhere or is of half precision.
    pub fn copy(&self, from: &Tensor, to: &mut Tensor) -> Result<(), DeviceError> {
        self.prepare_as(to, from.shape(), from.element())?;
        match self {
            Self::Cpu => self.upload(from, to),
            Self::Cuda(cuda) => crate::copy::cuda(cuda, from, to, 0),
        }
    }

    /// Puts tensors of one shape, `[1, ...]`, one behind the other into `to`, `[how many, ...]`, all of them on this device.
    ///
    /// # Panics
    /// If there is none, or if their shapes differ or do not begin with 1.
    ///
    /// # Errors
    /// [`DeviceError`] if there is no memory, or if one of them lies elsewhere or is of half precision.
    pub fn stack(&self, parts: &[&Tensor], to: &mut Tensor) -> Result<(), DeviceError> {
        let mut shape = parts[0].shape().to_vec();
        assert_eq!(shape.first(), Some(&1), "tensors are stacked along a first dimension of 1");
        assert!(
            parts.iter().all(|part| part.shape() == shape),
            "tensors of different shapes are not stacked"
        );
        shape[0] = parts.len();
        self.prepare(to, &shape)?;
        let length = parts[0].len();
        for (number, part) in parts.iter().enumerate() {
            match (self, part.storage()) {
                (Self::Cuda(cuda), _) => crate::copy::cuda(cuda, part, to, number * length)?,
                (Self::Cpu, Storage::Host(data)) => {
                    to.data_mut()[number * length..][..length].copy_from_slice(data);
                }
                (Self::Cpu, Storage::HostHalf(_)) => {
                    let reason = "half precision is not supported".into();
                    return Err(DeviceError::Call { call: "stack", reason });
                }
                (Self::Cpu, Storage::Cuda(..)) => return Err(wrong_tensor("CUDA", "system")),
            }
        }
        Ok(())
    }

    /// Runs `work`, the operations of one frame. On a GPU it is captured as a CUDA graph, replayed from frame to frame as
    /// long as it stays the same but for the arguments of operations of this crate, and captured anew when it changes.
    ///
    /// `work` may be called more than once for one run: it must give the device the same to do however often it is called,
    /// and neither wait nor look at results.
    ///
    /// # Errors
    /// Those of `work`, and [`DeviceError`].
    pub fn replay<E: From<DeviceError>>(
        &self,
        graph: &mut Graph,
        mut work: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Cpu => work(),
            Self::Cuda(cuda) => cuda.replay(graph, &mut work),
        }
    }
}

pub(crate) fn wrong_tensor(found: &'static str, wanted: &'static str) -> DeviceError {
    DeviceError::WrongMemory { what: "tensor", found, wanted }
}

/// A value that may be taken as its bytes and made of any.
trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for f16 {}

fn as_bytes<T: Plain>(data: &[T]) -> &[u8] {
    // SAFETY: plain numbers without padding.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) }
}

fn as_bytes_mut<T: Plain>(data: &mut [T]) -> &mut [u8] {
    // SAFETY: plain numbers without padding, for which any bytes are valid.
    unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr().cast(), size_of_val(data)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_where_it_is_large_enough() {
        let device = Device::Cpu;
        let mut tensor = device.tensor(&[2, 3]).unwrap();
        tensor.data_mut().fill(1.0);
        device.prepare(&mut tensor, &[3]).unwrap();
        assert_eq!((tensor.shape(), tensor.len()), (&[3][..], 3));
        device.prepare_as(&mut tensor, &[4], Element::F16).unwrap();
        assert_eq!((tensor.element(), tensor.half_data().len()), (Element::F16, 4));
    }

    #[test]
    fn values_survive_the_way_to_a_device_and_back() {
        for device in crate::test_devices() {
            let from = Tensor::from_vec(&[5, 7], (0..35).map(|i| i as f32 - 3.5).collect());
            let half = Tensor::from_half(&[3], [1.0, -2.5, 65504.0].map(f16::from_f32).to_vec());
            let (mut there, mut copy, mut back) = (Tensor::default(), Tensor::default(), Tensor::default());
            device.upload(&from, &mut there).unwrap();
            device.copy(&there, &mut copy).unwrap();
            device.download([(&copy, &mut back)]).unwrap();
            assert_eq!((back.shape(), back.data()), (from.shape(), from.data()));
            device.upload(&half, &mut there).unwrap();
            device.download([(&there, &mut back)]).unwrap();
            assert_eq!((back.shape(), back.half_data()), (half.shape(), half.half_data()));
        }
    }

    #[test]
    fn stacked_tensors_lie_one_behind_the_other() {
        for device in crate::test_devices() {
            // Lengths with and without whole float4s, and parts that begin at any float.
            for length in [1, 3, 4, 7, 1024, 1027] {
                let parts: Vec<Tensor> = (0..3)
                    .map(|number| {
                        let values = (0..length).map(|i| (number * 10_000 + i) as f32).collect();
                        let mut there = Tensor::default();
                        device.upload(&Tensor::from_vec(&[1, length], values), &mut there).unwrap();
                        there
                    })
                    .collect();
                let (mut stacked, mut back) = (Tensor::default(), Tensor::default());
                device.stack(&parts.iter().collect::<Vec<_>>(), &mut stacked).unwrap();
                device.download([(&stacked, &mut back)]).unwrap();
                assert_eq!(back.shape(), [3, length]);
                let expected = |index: usize| (index / length * 10_000 + index % length) as f32;
                let whole = back.data().iter().enumerate().all(|(index, &value)| value == expected(index));
                assert!(whole, "{length}: {:?}", back.data());
            }
        }
    }

    #[test]
    #[should_panic(expected = "different shapes")]
    fn tensors_of_different_shapes_are_not_stacked() {
        let parts = [Tensor::zeros(&[1, 2]), Tensor::zeros(&[1, 3])];
        let _ = Device::Cpu.stack(&[&parts[0], &parts[1]], &mut Tensor::default());
    }

    #[test]
    fn a_replayed_graph_does_what_its_last_arguments_say() {
        for device in crate::test_devices() {
            let mut graph = Graph::default();
            let sources: Vec<Tensor> = (0..6)
                .map(|i| {
                    let mut there = Tensor::default();
                    device.upload(&Tensor::from_vec(&[1000], vec![i as f32; 1000]), &mut there).unwrap();
                    there
                })
                .collect();
            let (mut middle, mut end) = (device.tensor(&[1000]).unwrap(), device.tensor(&[1000]).unwrap());
            for (i, source) in sources.iter().enumerate() {
                device
                    .replay::<DeviceError>(&mut graph, || {
                        device.copy(source, &mut middle)?;
                        device.copy(&middle, &mut end)
                    })
                    .unwrap();
                let mut back = Tensor::default();
                device.download([(&end, &mut back)]).unwrap();
                assert!(
                    back.data().iter().all(|&value| value == i as f32),
                    "run {i}: {:?}",
                    &back.data()[..3]
                );
            }
            if device.cuda().is_some() {
                assert!(graph.is_ready(), "{:?}", graph.refusal());
                assert_eq!(graph.captures(), 1);
            }
            // Other work: less of it.
            for _ in 0..3 {
                device.replay::<DeviceError>(&mut graph, || device.copy(&sources[2], &mut end)).unwrap();
            }
            let mut back = Tensor::default();
            device.download([(&end, &mut back)]).unwrap();
            assert_eq!(back.data()[999], 2.0);
        }
    }
}
