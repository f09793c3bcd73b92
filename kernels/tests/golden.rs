//! Compositions against pictures that NumPy computed; see `golden/README.md`.

mod picture;
mod records;

use deepfake_kernels::{compose, Affine, FrameMut, Layer, PixelFormat, PlaneMut};
use records::Reader;

/// Largest difference allowed between composed bytes: rounding may fall to either side.
const COMPOSE_TOLERANCE: u8 = 1;

#[test]
fn compositions_into_every_format_equal_numpy_and_leave_padding_alone() {
    let (mut reader, count) = Reader::open("compose.bin");
    let mut formats = Vec::new();
    let mut inexact = 0;
    for _ in 0..count {
        let name = reader.name();
        let layers: Vec<_> = (0..reader.integer())
            .map(|_| {
                let (width, height) = (reader.integer(), reader.integer());
                let (map, [feather]) = (Affine { m: reader.array() }, reader.array());
                (width, height, map, feather, reader.floats(3 * width * height))
            })
            .collect();
        let background = reader.array();
        let expected = reader.picture();

        let layers: Vec<_> = layers
            .iter()
            .map(|(width, height, map, feather, image)| Layer {
                image,
                width: *width,
                height: *height,
                map: *map,
                feather: *feather,
            })
            .collect();
        let mut planes: Vec<_> =
            expected.planes().iter().map(|(data, stride)| (vec![0xA5; data.len()], *stride)).collect();
        let views = planes.iter_mut().map(|(data, stride)| PlaneMut { data, stride: *stride }).collect();
        let (width, height) = (expected.width, expected.height);
        let mut frame = FrameMut::new(expected.format, expected.color, width, height, views).unwrap();
        compose(&layers, background, &mut frame);

        for (plane, ((bytes, stride), (wanted, _))) in planes.iter().zip(expected.planes()).enumerate() {
            for (index, (byte, wanted)) in bytes.iter().zip(wanted).enumerate() {
                let padding = index % stride >= expected.format.row_bytes(plane, width);
                let tolerance = if padding { 0 } else { COMPOSE_TOLERANCE };
                let (x, y) = (index % stride, index / stride);
                assert!(
                    byte.abs_diff(*wanted) <= tolerance,
                    "{name}, plane {plane}, byte {x} of row {y}: {byte} is not {wanted}"
                );
                inexact += usize::from(byte != wanted);
            }
        }
        formats.push(expected.format);
    }
    assert!(reader.finished());
    assert!(PixelFormat::ALL.iter().all(|format| formats.contains(format)));
    println!("bytes off by one: {inexact}");
}
