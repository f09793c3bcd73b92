//! First order motion: key points with their local affine frames, and how motion goes from one face to another.
//!
//! Siarohin et al., "First Order Motion Model for Image Animation", 2019, section 3.4 and the published demo.

use std::time::Duration;

use super::settings::{Motion, ReenactSettings};

/// A 2x2 matrix, row by row.
pub type Matrix2 = [f32; 4];

const IDENTITY: Matrix2 = [1.0, 0.0, 0.0, 1.0];

/// Key points of one picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keypoints {
    /// Positions x, y in -1..1 across the network's input (centres of the outermost pixels at -1 and 1).
    pub value: Vec<[f32; 2]>,
    /// The local affine frame at each.
    pub jacobian: Vec<Matrix2>,
}

fn multiply(a: Matrix2, b: Matrix2) -> Matrix2 {
    [
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    ]
}

/// The closed-form inverse; a determinant near zero is held off it, as the networks do themselves.
fn inverse(m: Matrix2) -> Matrix2 {
    let determinant = m[0] * m[3] - m[1] * m[2];
    let determinant = if determinant.abs() < 1e-6 { 1e-6 } else { determinant };
    [m[3] / determinant, -m[1] / determinant, -m[2] / determinant, m[0] / determinant]
}

/// Moves from `from` (0) to `to` (1).
fn blend(from: f32, to: f32, amount: f32) -> f32 {
    from + (to - from) * amount
}

fn blend_matrix(from: Matrix2, to: Matrix2, amount: f32) -> Matrix2 {
    std::array::from_fn(|i| blend(from[i], to[i], amount))
}

/// Area of the convex hull of `points` (Andrew's monotone chain).
pub fn hull_area(points: &[[f32; 2]]) -> f32 {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let cross =
        |o: [f32; 2], a: [f32; 2], b: [f32; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    let chain = |points: &mut dyn Iterator<Item = [f32; 2]>| {
        let mut hull: Vec<[f32; 2]> = Vec::new();
        for p in points {
            while hull.len() >= 2 && cross(hull[hull.len() - 2], hull[hull.len() - 1], p) <= 0.0 {
                hull.pop();
            }
            hull.push(p);
        }
        hull.pop();
        hull
    };
    let mut hull = chain(&mut sorted.iter().copied());
    hull.extend(chain(&mut sorted.iter().rev().copied()));
    let next = hull.iter().cycle().skip(1);
    hull.iter().zip(next).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f32>().abs() / 2.0
}

/// The key points that make the portrait `source` move as `driving` did since `reference`.
pub fn transfer(
    source: &Keypoints,
    driving: &Keypoints,
    reference: &Keypoints,
    settings: &ReenactSettings,
) -> Keypoints {
    let amount = settings.motion_scale;
    match settings.motion {
        Motion::Absolute => Keypoints {
            value: zip_with(&source.value, &driving.value, |s, d| {
                [blend(s[0], d[0], amount), blend(s[1], d[1], amount)]
            }),
            jacobian: zip_with(&source.jacobian, &driving.jacobian, |&s, &d| blend_matrix(s, d, amount)),
        },
        Motion::Relative => {
            let scale = if settings.adapt_scale { relative_size(source, reference) } else { 1.0 };
            let moved = zip_with(&driving.value, &reference.value, |d, r| {
                [(d[0] - r[0]) * scale * amount, (d[1] - r[1]) * scale * amount]
            });
            let turned = zip_with(&driving.jacobian, &reference.jacobian, |&d, &r| {
                blend_matrix(IDENTITY, multiply(d, inverse(r)), amount)
            });
            Keypoints {
                value: zip_with(&source.value, &moved, |s, m| [s[0] + m[0], s[1] + m[1]]),
                jacobian: zip_with(&turned, &source.jacobian, |&t, &s| multiply(t, s)),
            }
        }
    }
}

/// Size of the source's face over that of the reference, by the square root of the hulls' areas.
fn relative_size(source: &Keypoints, reference: &Keypoints) -> f32 {
    let (ours, theirs) = (hull_area(&source.value), hull_area(&reference.value));
    // Key points that fell together tell nothing about size.
    if theirs <= 1e-6 || ours <= 1e-6 {
        return 1.0;
    }
    (ours / theirs).sqrt()
}

fn zip_with<A, B, C>(a: &[A], b: &[B], f: impl Fn(&A, &B) -> C) -> Vec<C> {
    a.iter().zip(b).map(|(a, b)| f(a, b)).collect()
}

/// Exponential smoothing of key points, independent of the frame rate.
#[derive(Clone, Debug, Default)]
pub struct Smoother {
    last: Option<Keypoints>,
}

impl Smoother {
    /// Forgets the past, so that the next key points are taken as they are.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// Moves from the last result towards `new`. `smoothing` is the share of the old that a 25th of a second
    /// leaves; `elapsed` is the time since the last call.
    pub fn step(&mut self, new: Keypoints, smoothing: f32, elapsed: Duration) -> Keypoints {
        let result = match &self.last {
            Some(last) if last.value.len() == new.value.len() => {
                let keep = smoothing.clamp(0.0, 1.0).powf(elapsed.as_secs_f32() * 25.0);
                let amount = 1.0 - keep;
                Keypoints {
                    value: zip_with(&last.value, &new.value, |o, n| {
                        [blend(o[0], n[0], amount), blend(o[1], n[1], amount)]
                    }),
                    jacobian: zip_with(&last.jacobian, &new.jacobian, |&o, &n| blend_matrix(o, n, amount)),
                }
            }
            _ => new,
        };
        self.last = Some(result.clone());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(center: [f32; 2], half: f32, jacobian: Matrix2) -> Keypoints {
        let value = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
            .map(|c: [f32; 2]| [center[0] + c[0] * half, center[1] + c[1] * half])
            .to_vec();
        let jacobian = vec![jacobian; value.len()];
        Keypoints { value, jacobian }
    }

    fn assert_near(a: &Keypoints, b: &Keypoints) {
        let flat = |k: &Keypoints| {
            k.value.iter().flatten().chain(k.jacobian.iter().flatten()).copied().collect::<Vec<f32>>()
        };
        for (x, y) in flat(a).into_iter().zip(flat(b)) {
            assert!((x - y).abs() < 1e-5, "{a:?}\n{b:?}");
        }
    }

    fn settings(motion: Motion, adapt_scale: bool, motion_scale: f32) -> ReenactSettings {
        ReenactSettings { motion, adapt_scale, motion_scale, ..Default::default() }
    }

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
        let moved = transfer(&source, &driver, &driver, &settings(Motion::Relative, true, 1.0));
        assert_near(&moved, &source);
    }

    #[test]
    fn relative_motion_is_scaled_by_the_size_of_the_faces() {
        let source = square([0.0, 0.0], 0.5, IDENTITY);
        let reference = square([0.0, 0.0], 0.25, IDENTITY);
        let driving = square([0.1, 0.0], 0.25, IDENTITY);
        let adapted = transfer(&source, &driving, &reference, &settings(Motion::Relative, true, 1.0));
        assert_near(&adapted, &square([0.2, 0.0], 0.5, IDENTITY));
        let plain = transfer(&source, &driving, &reference, &settings(Motion::Relative, false, 1.0));
        assert_near(&plain, &square([0.1, 0.0], 0.5, IDENTITY));
    }

    #[test]
    fn jacobians_compose_driving_reference_source() {
        let source = square([0.0, 0.0], 0.5, [2.0, 0.0, 0.0, 1.0]);
        let reference = square([0.0, 0.0], 0.5, [0.0, -1.0, 1.0, 0.0]);
        let driving = square([0.0, 0.0], 0.5, [1.0, 1.0, 0.0, 1.0]);
        let moved = transfer(&source, &driving, &reference, &settings(Motion::Relative, true, 1.0));
        // By hand: [1 1; 0 1] * inverse([0 -1; 1 0]) * [2 0; 0 1] = [1 1; 0 1] * [0 1; -1 0] * [2 0; 0 1].
        assert_eq!(moved.jacobian[0], [-2.0, 1.0, -2.0, 0.0]);
    }

    #[test]
    fn absolute_motion_takes_the_drivers_key_points() {
        let source = square([0.0, 0.0], 0.5, IDENTITY);
        let driving = square([0.1, 0.3], 0.2, [1.0, 1.0, 0.0, 1.0]);
        let moved = transfer(&source, &driving, &source, &settings(Motion::Absolute, true, 1.0));
        assert_near(&moved, &driving);
    }

    #[test]
    fn a_motion_scale_of_nought_keeps_the_portrait_still() {
        let source = square([0.0, 0.0], 0.5, IDENTITY);
        let driving = square([0.1, 0.3], 0.2, [1.0, 1.0, 0.0, 1.0]);
        let reference = square([0.0, 0.1], 0.3, [1.0, 0.0, 0.5, 1.0]);
        for motion in [Motion::Relative, Motion::Absolute] {
            assert_near(&transfer(&source, &driving, &reference, &settings(motion, true, 0.0)), &source);
        }
    }

    #[test]
    fn degenerate_key_points_give_finite_results() {
        let source = square([0.0, 0.0], 0.5, IDENTITY);
        let flat = square([0.0, 0.0], 0.0, [0.0; 4]);
        let moved = transfer(&source, &flat, &flat, &settings(Motion::Relative, true, 1.0));
        assert!(moved.value.iter().flatten().chain(moved.jacobian.iter().flatten()).all(|v| v.is_finite()));
    }

    #[test]
    fn smoothing_does_not_depend_on_the_frame_rate() {
        let (a, b) = (square([0.0, 0.0], 0.5, IDENTITY), square([1.0, 0.0], 0.5, IDENTITY));
        let run = |steps: u32| {
            let mut smoother = Smoother::default();
            smoother.step(a.clone(), 0.5, Duration::ZERO);
            let mut result = a.clone();
            for _ in 0..steps {
                result = smoother.step(b.clone(), 0.5, Duration::from_millis(200) / steps);
            }
            result
        };
        assert_near(&run(1), &run(10));
    }

    #[test]
    fn no_smoothing_follows_at_once_and_full_smoothing_never() {
        let (a, b) = (square([0.0, 0.0], 0.5, IDENTITY), square([1.0, 0.0], 0.5, IDENTITY));
        for (smoothing, expected) in [(0.0, &b), (1.0, &a)] {
            let mut smoother = Smoother::default();
            smoother.step(a.clone(), smoothing, Duration::ZERO);
            assert_near(&smoother.step(b.clone(), smoothing, Duration::from_millis(40)), expected);
        }
    }
}
