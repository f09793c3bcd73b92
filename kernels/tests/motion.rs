//! Motion of key points on every device of this machine.

mod picture;

use deepfake_kernels::{hull_area, test_devices, Device, DeviceError, Element, Keypoints, Tensor, Transfer};
use picture::Random;

type Matrix2 = [f32; 4];

const IDENTITY: Matrix2 = [1.0, 0.0, 0.0, 1.0];

/// Key points in the host's memory.
#[derive(Clone, Debug, Default, PartialEq)]
struct Points {
    value: Vec<[f32; 2]>,
    jacobian: Vec<Matrix2>,
}

impl Points {
    fn on(&self, device: &Device) -> Keypoints {
        let count = self.value.len();
        let mut keypoints = Keypoints::default();
        let value = Tensor::from_vec(&[1, count, 2], self.value.concat());
        let jacobian = Tensor::from_vec(&[1, count, 2, 2], self.jacobian.concat());
        device.upload(&value, &mut keypoints.value).unwrap();
        device.upload(&jacobian, &mut keypoints.jacobian).unwrap();
        keypoints
    }

    fn from(device: &Device, keypoints: &Keypoints) -> Self {
        let (mut value, mut jacobian) = (Tensor::default(), Tensor::default());
        device.download([(&keypoints.value, &mut value), (&keypoints.jacobian, &mut jacobian)]).unwrap();
        Self {
            value: value.data().as_chunks::<2>().0.to_vec(),
            jacobian: jacobian.data().as_chunks::<4>().0.to_vec(),
        }
    }

    fn numbers(&self) -> Vec<f32> {
        self.value.iter().flatten().chain(self.jacobian.iter().flatten()).copied().collect()
    }
}

fn square(center: [f32; 2], half: f32, jacobian: Matrix2) -> Points {
    let value = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
        .map(|c: [f32; 2]| [center[0] + c[0] * half, center[1] + c[1] * half])
        .to_vec();
    let jacobian = vec![jacobian; value.len()];
    Points { value, jacobian }
}

fn transfer(
    device: &Device,
    source: &Points,
    driving: &Points,
    reference: &Points,
    how: &Transfer,
) -> Points {
    let mut output = Keypoints::default();
    let [source, driving, reference] = [source, driving, reference].map(|points| points.on(device));
    device.transfer(&source, &driving, &reference, how, &mut output).unwrap();
    Points::from(device, &output)
}

#[track_caller]
fn assert_near(a: &Points, b: &Points, what: &str) {
    assert_eq!(a.value.len(), b.value.len(), "{what}");
    for (x, y) in a.numbers().into_iter().zip(b.numbers()) {
        assert!((x - y).abs() < 1e-5, "{what}: {a:?}\n{b:?}");
    }
}

const RELATIVE: Transfer = Transfer { relative: true, adapt_scale: true, amount: 1.0 };
const ABSOLUTE: Transfer = Transfer { relative: false, ..RELATIVE };

#[test]
fn the_hull_ignores_points_inside() {
    let points = [[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0], [1.0, 0.5], [1.0, 0.0]];
    assert!((hull_area(&points) - 2.0).abs() < 1e-6);
    assert_eq!(hull_area(&[[1.0, 1.0]; 4]), 0.0);
    assert_eq!(hull_area(&[]), 0.0);
}

#[test]
fn a_driver_at_the_reference_leaves_the_portrait_alone() {
    let source = square([0.1, 0.2], 0.5, [1.0, 0.2, 0.0, 0.9]);
    let driver = square([-0.3, 0.0], 0.25, [0.8, 0.0, 0.1, 1.1]);
    for device in test_devices() {
        let moved = transfer(&device, &source, &driver, &driver, &RELATIVE);
        assert_near(&moved, &source, &format!("{device:?}"));
    }
}

#[test]
fn relative_motion_is_scaled_by_the_size_of_the_faces() {
    let source = square([0.0, 0.0], 0.5, IDENTITY);
    let reference = square([0.0, 0.0], 0.25, IDENTITY);
    let driving = square([0.1, 0.0], 0.25, IDENTITY);
    for device in test_devices() {
        let adapted = transfer(&device, &source, &driving, &reference, &RELATIVE);
        assert_near(&adapted, &square([0.2, 0.0], 0.5, IDENTITY), &format!("{device:?}"));
        let how = Transfer { adapt_scale: false, ..RELATIVE };
        let plain = transfer(&device, &source, &driving, &reference, &how);
        assert_near(&plain, &square([0.1, 0.0], 0.5, IDENTITY), &format!("{device:?}"));
    }
}

#[test]
fn the_size_of_a_face_is_that_of_the_hull_whatever_points_lie_within_and_in_which_order() {
    let mut random = Random(4);
    for count in [3, 4, 5, 10, 15, 31, 32, 33, 63, 64] {
        for round in 0..20 {
            // On a grid in some rounds, so that many points lie on one line or on each other.
            let steps = if round % 2 == 0 { 4.0 } else { 1e6 };
            let mut coordinate = || (random.next() * steps).round() / steps - 0.5;
            let corners = [[-0.6, -0.6], [0.6, -0.6], [0.0, 0.7]];
            let mut value: Vec<[f32; 2]> = (3..count).map(|_| [coordinate(), coordinate() * 0.1]).collect();
            for (index, corner) in corners.into_iter().enumerate() {
                value.insert((index * 7 + round) % (value.len() + 1), corner);
            }
            let reference = Points { jacobian: vec![IDENTITY; count], value };
            let moved = |points: &Points, factor: f32, shift: [f32; 2]| Points {
                value: points
                    .value
                    .iter()
                    .map(|p| [p[0] * factor + shift[0], p[1] * factor + shift[1]])
                    .collect(),
                jacobian: points.jacobian.clone(),
            };
            // Turned by half, so that the order is another.
            let source = moved(&reference, -1.5, [0.1, -0.2]);
            let driving = moved(&reference, 1.0, [0.2, 0.1]);
            for device in test_devices() {
                let result = transfer(&device, &source, &driving, &reference, &RELATIVE);
                let expected = moved(&source, 1.0, [0.3, 0.15]);
                assert_near(&result, &expected, &format!("{device:?}, {count} points, round {round}"));
            }
        }
    }
}

#[test]
fn every_device_gives_what_the_cpu_gives_numbers_or_not() {
    let mut random = Random(9);
    let devices = test_devices();
    for count in [0, 1, 2, 3, 10, 64] {
        for round in 0..30 {
            let special = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, -f32::INFINITY, 1e-40, 3e38];
            let mut number = || match (round % 3, random.next()) {
                (2, pick) if pick < 0.1 => special[(pick * 80.0) as usize % 8],
                _ => random.next() * 2.0 - 1.0,
            };
            let mut points = || Points {
                value: (0..count).map(|_| [number(), number()]).collect(),
                jacobian: (0..count).map(|_| std::array::from_fn(|_| number())).collect(),
            };
            let (source, driving, reference) = (points(), points(), points());
            for how in [RELATIVE, ABSOLUTE, Transfer { amount: 0.3, ..RELATIVE }] {
                let expected = transfer(&Device::Cpu, &source, &driving, &reference, &how);
                assert_eq!(expected.value.len(), count);
                for device in &devices {
                    let result = transfer(device, &source, &driving, &reference, &how);
                    let pairs = result.numbers().into_iter().zip(expected.numbers());
                    for (index, (value, expected)) in pairs.enumerate() {
                        let near = (value - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                        let same = value == expected || (value.is_nan() && expected.is_nan());
                        assert!(
                            near || same,
                            "{device:?}, {count}, {round}, {index}: {value} is not {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn jacobians_compose_driving_reference_source() {
    let source = square([0.0, 0.0], 0.5, [2.0, 0.0, 0.0, 1.0]);
    let reference = square([0.0, 0.0], 0.5, [0.0, -1.0, 1.0, 0.0]);
    let driving = square([0.0, 0.0], 0.5, [1.0, 1.0, 0.0, 1.0]);
    for device in test_devices() {
        let moved = transfer(&device, &source, &driving, &reference, &RELATIVE);
        // By hand: [1 1; 0 1] * inverse([0 -1; 1 0]) * [2 0; 0 1] = [1 1; 0 1] * [0 1; -1 0] * [2 0; 0 1].
        assert_eq!(moved.jacobian[0], [-2.0, 1.0, -2.0, 0.0], "{device:?}");
    }
}

#[test]
fn absolute_motion_takes_the_drivers_key_points() {
    let source = square([0.0, 0.0], 0.5, IDENTITY);
    let driving = square([0.1, 0.3], 0.2, [1.0, 1.0, 0.0, 1.0]);
    for device in test_devices() {
        let moved = transfer(&device, &source, &driving, &source, &ABSOLUTE);
        assert_near(&moved, &driving, &format!("{device:?}"));
    }
}

#[test]
fn an_amount_of_nought_keeps_the_portrait_still() {
    let source = square([0.0, 0.0], 0.5, IDENTITY);
    let driving = square([0.1, 0.3], 0.2, [1.0, 1.0, 0.0, 1.0]);
    let reference = square([0.0, 0.1], 0.3, [1.0, 0.0, 0.5, 1.0]);
    for device in test_devices() {
        for how in [RELATIVE, ABSOLUTE] {
            let how = Transfer { amount: 0.0, ..how };
            let moved = transfer(&device, &source, &driving, &reference, &how);
            assert_near(&moved, &source, &format!("{device:?}"));
        }
    }
}

#[test]
fn degenerate_key_points_give_finite_results() {
    let source = square([0.0, 0.0], 0.5, IDENTITY);
    let flat = square([0.0, 0.0], 0.0, [0.0; 4]);
    for device in test_devices() {
        let moved = transfer(&device, &source, &flat, &flat, &RELATIVE);
        assert!(moved.numbers().iter().all(|value| value.is_finite()), "{device:?}");
    }
}

#[test]
fn smoothing_goes_part_of_the_way() {
    let (a, b) = (square([0.0, 0.0], 0.5, IDENTITY), square([1.0, 0.0], 0.5, [2.0, 1.0, 0.0, 1.0]));
    for device in test_devices() {
        for (amount, expected) in
            [(0.0, a.clone()), (0.25, square([0.25, 0.0], 0.5, [1.25, 0.25, 0.0, 1.0])), (1.0, b.clone())]
        {
            let mut state = a.on(&device);
            device.smooth(&mut state, &b.on(&device), amount).unwrap();
            assert_near(&Points::from(&device, &state), &expected, &format!("{device:?} {amount}"));
        }
    }
}

#[test]
fn a_state_of_other_points_or_elsewhere_is_replaced() {
    let new = square([0.3, 0.0], 0.5, [2.0, 1.0, 0.0, 1.0]);
    let fewer = Points { value: vec![[f32::NAN; 2]; 2], jacobian: vec![[f32::NAN; 4]; 2] };
    let devices = test_devices();
    for device in &devices {
        for mut state in [Keypoints::default(), fewer.on(device)] {
            device.smooth(&mut state, &new.on(device), 0.25).unwrap();
            assert_eq!(Points::from(device, &state), new, "{device:?}");
        }
        for other in devices.iter().filter(|other| other.cuda().is_some() != device.cuda().is_some()) {
            let mut state = square([0.0, 0.0], 0.5, IDENTITY).on(other);
            device.smooth(&mut state, &new.on(device), 0.25).unwrap();
            assert_eq!(Points::from(device, &state), new, "{device:?} after {other:?}");
        }
    }
}

#[test]
fn key_points_elsewhere_or_of_half_precision_are_refused() {
    let devices = test_devices();
    for device in &devices {
        let here = square([0.0, 0.0], 0.5, IDENTITY).on(device);
        let mut output = Keypoints::default();
        for other in devices.iter().filter(|other| other.cuda().is_some() != device.cuda().is_some()) {
            let there = square([0.0, 0.0], 0.5, IDENTITY).on(other);
            let error = device.transfer(&here, &there, &here, &RELATIVE, &mut output).unwrap_err();
            assert!(matches!(error, DeviceError::WrongMemory { .. }), "{error}");
            let error = device.smooth(&mut output, &there, 0.5).unwrap_err();
            assert!(matches!(error, DeviceError::WrongMemory { .. }), "{error}");
        }
        let mut half = Keypoints::default();
        device.prepare_as(&mut half.value, &[1, 4, 2], Element::F16).unwrap();
        device.prepare_as(&mut half.jacobian, &[1, 4, 2, 2], Element::F16).unwrap();
        let error = device.transfer(&here, &half, &here, &RELATIVE, &mut output).unwrap_err();
        assert!(matches!(error, DeviceError::Call { .. }), "{error}");
    }
}
