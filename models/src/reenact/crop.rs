//! Which square of a picture goes into the network, and how it follows a face.

use std::time::Duration;

use deepfake_kernels::{Affine, Point, Rect};

use super::settings::CropMode;
use crate::manifest::Crop;

/// A square of the picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Square {
    /// The middle.
    pub center: Point,
    /// Length of a side.
    pub side: f32,
}

impl Square {
    /// The square that a network wants about a face whose landmarks lie in `face`.
    pub fn about_face(face: Rect, crop: &Crop) -> Self {
        let size = face.width.max(face.height);
        let center = face.center();
        Self {
            center: Point { x: center.x + crop.shift[0] * size, y: center.y + crop.shift[1] * size },
            side: crop.scale * size,
        }
    }

    /// The same square, moved into a `picture` of that size as far as it fits, as the pictures of the training were cut:
    /// what lies there is better than anything made up for the outside.
    pub fn within(self, picture: (usize, usize)) -> Self {
        let half = self.side / 2.0;
        let inside = |center: f32, length: usize| {
            let length = length as f32;
            if self.side <= length {
                center.clamp(half, length - half)
            } else {
                center
            }
        };
        Self {
            center: Point { x: inside(self.center.x, picture.0), y: inside(self.center.y, picture.1) },
            ..self
        }
    }

    /// As a rectangle.
    pub fn rect(&self) -> Rect {
        Rect::square(self.center, self.side)
    }
}

/// The map from a network's input of `input` pixels to the part of a `picture` of that size that a mode without a
/// face takes; [`CropMode::Track`] has a face and is not asked here.
pub fn fixed_map(mode: CropMode, picture: (usize, usize), input: (usize, usize)) -> Affine {
    let (width, height) = (picture.0 as f32, picture.1 as f32);
    let rect = match mode {
        CropMode::None => Rect::new(0.0, 0.0, width, height),
        CropMode::Center | CropMode::Track => {
            Rect::square(Point { x: width / 2.0, y: height / 2.0 }, width.min(height))
        }
    };
    Affine::from_rect(rect, input.0, input.1)
}

/// Lets a crop rest while the face moves within it, and brings it after a face that leaves.
///
/// The network reads motion off positions within the crop: a crop that followed every movement would take the
/// motion away, and one that trembled would add some.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    current: Option<Square>,
    moving: bool,
}

/// The face may stray this far from the middle, in sides of the crop, before the crop follows.
const STRAY: f32 = 0.12;
/// And its size may change by this factor.
const STRAY_SIZE: f32 = 1.2;
/// A face this far off, in sides of the crop, is taken for a cut and jumped to.
const JUMP: f32 = 0.6;
/// The crop has arrived within this distance, in its sides.
const ARRIVED: f32 = 0.02;
/// Time in which the distance shrinks to 1/e.
const TIME_CONSTANT: f32 = 0.4;

impl Follower {
    /// Forgets the crop: the next face is jumped to.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The crop of the last face.
    pub fn current(&self) -> Option<Square> {
        self.current
    }

    /// The crop for a face that wants `target`, `elapsed` after the last one.
    pub fn step(&mut self, target: Square, elapsed: Duration) -> Square {
        let Some(current) = self.current else {
            self.current = Some(target);
            return target;
        };
        let distance =
            (target.center.x - current.center.x).hypot(target.center.y - current.center.y) / current.side;
        let growth = (target.side / current.side).max(current.side / target.side);
        let next = if distance > JUMP || growth > 2.0 {
            self.moving = false;
            target
        } else {
            if distance > STRAY || growth > STRAY_SIZE {
                self.moving = true;
            } else if distance < ARRIVED && growth < 1.0 + ARRIVED {
                self.moving = false;
            }
            let amount = if self.moving { 1.0 - (-elapsed.as_secs_f32() / TIME_CONSTANT).exp() } else { 0.0 };
            let blend = |from: f32, to: f32| from + (to - from) * amount;
            Square {
                center: Point {
                    x: blend(current.center.x, target.center.x),
                    y: blend(current.center.y, target.center.y),
                },
                side: blend(current.side, target.side),
            }
        };
        self.current = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, side: f32) -> Square {
        Square { center: Point { x, y: 50.0 }, side }
    }
    const FRAME: Duration = Duration::from_millis(40);

    #[test]
    fn a_face_that_moves_a_little_does_not_move_the_crop() {
        let mut follower = Follower::default();
        follower.step(at(100.0, 100.0), FRAME);
        assert_eq!(follower.step(at(108.0, 105.0), FRAME), at(100.0, 100.0));
    }

    #[test]
    fn a_face_that_leaves_is_followed_until_it_is_in_the_middle_again() {
        let mut follower = Follower::default();
        follower.step(at(100.0, 100.0), FRAME);
        let first = follower.step(at(130.0, 100.0), FRAME);
        assert!(first.center.x > 100.0 && first.center.x < 110.0, "glides, not jumps: {first:?}");
        let mut last = first;
        for _ in 0..100 {
            last = follower.step(at(130.0, 100.0), FRAME);
        }
        assert!((last.center.x - 130.0).abs() < 2.5, "{last:?}");
    }

    #[test]
    fn a_cut_is_jumped_over() {
        let mut follower = Follower::default();
        follower.step(at(100.0, 100.0), FRAME);
        assert_eq!(follower.step(at(300.0, 100.0), FRAME), at(300.0, 100.0));
        assert_eq!(follower.step(at(300.0, 250.0), FRAME), at(300.0, 250.0));
    }

    #[test]
    fn a_square_that_reaches_outside_is_moved_in_where_it_fits() {
        let square = Square { center: Point { x: 30.0, y: 95.0 }, side: 80.0 };
        assert_eq!(square.within((100, 100)).rect(), Rect::new(0.0, 20.0, 80.0, 80.0));
        assert_eq!(square.within((60, 100)).rect(), Rect::new(-10.0, 20.0, 80.0, 80.0), "too narrow to fit");
        let inside = Square { center: Point { x: 50.0, y: 50.0 }, side: 80.0 };
        assert_eq!(inside.within((100, 100)), inside);
    }

    #[test]
    fn the_middle_square_of_a_wide_picture_is_as_high_as_it() {
        let map = fixed_map(CropMode::Center, (640, 360), (256, 256));
        assert_eq!(map.apply(Point { x: 0.0, y: 0.0 }), Point { x: 140.0, y: 0.0 });
        assert_eq!(map.apply(Point { x: 256.0, y: 256.0 }), Point { x: 500.0, y: 360.0 });
    }
}
