//! The kernels as the compiler and the driver see them, and the way of frames to a GPU and back.

mod picture;

use std::env;

use deepfake_kernels::{
    cuda::{compile, CompiledKernels, ARCHITECTURES},
    test_devices, Background, ColorSpace, DeviceError, Download, FrameLayout, PixelFormat, Upload,
};
use picture::Picture;

/// The kernels for an architecture; `None` where there is no compiler and none was named.
fn compiled(architecture: (u32, u32)) -> Option<CompiledKernels> {
    match compile(architecture) {
        Ok(kernels) => Some(kernels),
        Err(DeviceError::NoCompiler) if env::var_os("DEEPFAKE_NVRTC_LIBRARY").is_none() => {
            eprintln!("SKIPPED: compiling the kernels for sm_{}{}: no NVRTC", architecture.0, architecture.1);
            None
        }
        Err(error) => panic!("{architecture:?}: {error}"),
    }
}

/// The numbers of `line` in front of `words`, as in "0 bytes spill stores".
fn number_before(line: &str, words: &str) -> Option<u32> {
    line.split_once(words)?.0.split_whitespace().next_back()?.parse().ok()
}

#[test]
fn every_kernel_compiles_for_every_architecture_without_spilling_registers() {
    std::thread::scope(|scope| {
        for architecture in ARCHITECTURES {
            scope.spawn(move || {
                let Some(CompiledKernels { cubin, log }) = compiled(architecture) else { return };
                assert!(cubin.starts_with(b"\x7fELF"), "{architecture:?}");
                assert!(!log.contains("warning"), "{architecture:?}: {log}");
                let kernels = log.lines().filter(|line| line.contains("Compiling entry function")).count();
                let spills: Vec<_> = log
                    .lines()
                    .filter_map(|line| {
                        let stores = number_before(line, "bytes spill stores")?;
                        Some((stores, number_before(line, "bytes spill loads")?))
                    })
                    .collect();
                assert!(kernels > 1, "{architecture:?}: {log}");
                assert!(spills.len() >= kernels, "{architecture:?}: {log}");
                assert!(spills.iter().all(|spills| *spills == (0, 0)), "{architecture:?}: {log}");
            });
        }
    });
}

#[test]
fn no_kernel_takes_more_than_a_multiprocessor_of_any_gpu_has() {
    for cuda in test_devices().iter().filter_map(|device| device.cuda()) {
        let resources = cuda.kernel_resources().unwrap();
        assert!(resources.iter().any(|kernel| kernel.kernel == "sample_nv12"));
        for kernel in resources {
            assert!((1..=128).contains(&kernel.registers), "{kernel:?}");
            assert!(kernel.shared <= 48 << 10, "{kernel:?}");
            assert!(kernel.local <= 64, "{kernel:?}");
        }
    }
}

#[test]
fn frames_of_every_format_size_and_stride_survive_the_way_to_a_gpu_and_back() {
    for device in test_devices() {
        let Some(cuda) = device.cuda() else { continue };
        let (mut upload, mut download) = (Upload::new(cuda).unwrap(), Download::new(cuda).unwrap());
        for format in PixelFormat::ALL {
            // The last ones take several pieces, and rows longer than a piece.
            for (width, height) in [(1, 1), (1, 7), (9, 1), (5, 4), (64, 33), (1921, 1081), (300_001, 3)] {
                let picture = Picture::noise(format, width, height);
                let layout = FrameLayout { format, color: ColorSpace::default(), width, height };
                let there = upload.take(&picture.frame()).unwrap();
                assert_eq!(there.layout(), layout);
                assert!(there.cuda_planes().iter().all(|plane| plane.address % 256 == 0));
                let mut back = Picture::filled(format, width, height, 0);
                let mut output = back.frame_mut();
                let mut target = download.target(&output).unwrap();
                device.compose(&[], Background::Picture(&there), &mut target).unwrap();
                download.give(&mut output).unwrap();
                assert!(back.padding_is_untouched(), "{format:?} {width}x{height}");
                assert_eq!(back.bytes(), picture.bytes(), "{format:?} {width}x{height}");
            }
        }
    }
}
