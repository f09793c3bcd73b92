//! Points, rectangles and affine maps in pixel coordinates.

/// A position in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Downwards.
    pub y: f32,
}

/// An axis-aligned rectangle in pixels; may reach outside the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width, not negative.
    pub width: f32,
    /// Height, not negative.
    pub height: f32,
}

impl Rect {
    /// A rectangle from its upper left corner and size.
    pub fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self { x, y, width, height }
    }

    /// The square of side `side` about `center`.
    pub fn square(center: Point, side: f32) -> Self {
        Self::new(center.x - side / 2.0, center.y - side / 2.0, side, side)
    }

    /// The smallest rectangle around `points`; `None` if there are none.
    pub fn bounding(points: impl IntoIterator<Item = Point>) -> Option<Self> {
        let mut points = points.into_iter();
        let first = points.next()?;
        let (mut low, mut high) = (first, first);
        for p in points {
            low = Point { x: low.x.min(p.x), y: low.y.min(p.y) };
            high = Point { x: high.x.max(p.x), y: high.y.max(p.y) };
        }
        Some(Self::new(low.x, low.y, high.x - low.x, high.y - low.y))
    }

    /// The middle.
    pub fn center(&self) -> Point {
        Point { x: self.x + self.width / 2.0, y: self.y + self.height / 2.0 }
    }

    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// Area shared with `other`, over the area of both together: 0 (apart) to 1 (the same).
    pub fn intersection_over_union(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let shared = width * height;
        shared / (self.area() + other.area() - shared)
    }
}

/// The affine map `x' = a x + b y + tx`, `y' = c x + d y + ty`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Coefficients `[a, b, tx, c, d, ty]`.
    pub m: [f32; 6],
}

impl Affine {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self { m: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0] };

    /// Maps an output of `width` x `height` pixels onto the rectangle `source`.
    pub fn from_rect(source: Rect, width: usize, height: usize) -> Self {
        Self { m: [source.width / width as f32, 0.0, source.x, 0.0, source.height / height as f32, source.y] }
    }

    /// Maps an output of `size` x `size` pixels onto the square of side `side` about `center`, turned by
    /// `angle` radians (clockwise on the screen, as y points down).
    pub fn from_rotated_square(center: Point, side: f32, angle: f32, size: usize) -> Self {
        let scale = side / size as f32;
        let (sin, cos) = angle.sin_cos();
        let (a, b, c, d) = (cos * scale, -sin * scale, sin * scale, cos * scale);
        let half = size as f32 / 2.0;
        Self { m: [a, b, center.x - (a + b) * half, c, d, center.y - (c + d) * half] }
    }

    /// Where the map takes `p`.
    pub fn apply(&self, p: Point) -> Point {
        let [a, b, tx, c, d, ty] = self.m;
        Point { x: a * p.x + b * p.y + tx, y: c * p.x + d * p.y + ty }
    }

    /// The map back; `None` where this one is singular.
    pub fn inverse(&self) -> Option<Self> {
        let [a, b, tx, c, d, ty] = self.m;
        let determinant = a * d - b * c;
        if !determinant.is_finite() || determinant.abs() < 1e-12 {
            return None;
        }
        let (ia, ib, ic, id) = (d / determinant, -b / determinant, -c / determinant, a / determinant);
        Some(Self { m: [ia, ib, -(ia * tx + ib * ty), ic, id, -(ic * tx + id * ty)] })
    }

    /// First `self`, then `next`.
    pub fn then(&self, next: &Self) -> Self {
        let [a, b, tx, c, d, ty] = self.m;
        let [na, nb, ntx, nc, nd, nty] = next.m;
        Self {
            m: [
                na * a + nb * c,
                na * b + nb * d,
                na * tx + nb * ty + ntx,
                nc * a + nd * c,
                nc * b + nd * d,
                nc * tx + nd * ty + nty,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_undoes_a_rotated_square() {
        let map = Affine::from_rotated_square(Point { x: 31.0, y: 17.5 }, 48.0, 0.4, 192);
        let there = map.apply(Point { x: 3.0, y: 150.0 });
        let back = map.inverse().unwrap().apply(there);
        assert!((back.x - 3.0).abs() < 1e-3 && (back.y - 150.0).abs() < 1e-3, "{back:?}");
    }

    #[test]
    fn the_centre_of_the_output_meets_the_centre_of_the_square() {
        let center = Point { x: 31.0, y: 17.5 };
        let map = Affine::from_rotated_square(center, 48.0, 1.1, 192);
        let hit = map.apply(Point { x: 96.0, y: 96.0 });
        assert!((hit.x - center.x).abs() < 1e-4 && (hit.y - center.y).abs() < 1e-4);
    }

    #[test]
    fn then_applies_left_to_right() {
        let grow = Affine { m: [2.0, 0.0, 0.0, 0.0, 2.0, 0.0] };
        let shift = Affine { m: [1.0, 0.0, 5.0, 0.0, 1.0, 0.0] };
        assert_eq!(grow.then(&shift).apply(Point { x: 1.0, y: 1.0 }), Point { x: 7.0, y: 2.0 });
    }

    #[test]
    fn a_singular_map_has_no_inverse() {
        assert!(Affine { m: [1.0, 2.0, 0.0, 2.0, 4.0, 0.0] }.inverse().is_none());
    }

    #[test]
    fn overlap_of_half_shifted_squares_is_a_third() {
        let a = Rect::new(0.0, 0.0, 2.0, 2.0);
        let b = Rect::new(1.0, 0.0, 2.0, 2.0);
        assert!((a.intersection_over_union(&b) - 1.0 / 3.0).abs() < 1e-6);
    }
}
